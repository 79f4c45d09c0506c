"""What an admin changes and sees over HTTP: users, workspaces, hooks, and the forgetting of prospects."""
