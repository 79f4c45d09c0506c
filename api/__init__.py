"""The edge: HTTP in, HTTP out, and nothing decided here but who is asking."""
