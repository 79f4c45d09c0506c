"""The write side: what has happened, kept for ever, and who may see it."""
