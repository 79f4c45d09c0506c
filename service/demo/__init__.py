"""The demonstration: outreach that never happened, sent through the real endpoint."""
