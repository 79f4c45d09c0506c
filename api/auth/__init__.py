"""Authentication of callers: sessions, API keys, their rate limits and their last use."""
