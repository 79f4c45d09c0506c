"""The way out: a question is parsed, answered from the read models, rendered and cached."""
