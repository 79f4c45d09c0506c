"""The ingest: the body of a post becomes events, and these are appended to the log."""
