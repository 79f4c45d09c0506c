"""The read models' queries: each statement also reads the caller and the workspaces that they may see."""
