"""Who is calling: sessions, API keys, their limits and their last use."""
