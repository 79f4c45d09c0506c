"""Builds the read models: folds logs into rows, live in the projector and anew in a replay."""
