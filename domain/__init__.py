"""The write side: the events, stored for ever, and who may see them."""
