"""Answers to questions: each is parsed, answered from the read models, rendered and cached."""
