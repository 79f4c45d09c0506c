"""The HTTP interface: it parses requests, authenticates callers and renders answers."""
