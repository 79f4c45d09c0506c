"""The read side: the logs folded into small tables that answer questions."""
