"""How read models come about: logs are folded into rows, live by the projector and anew by a replay."""
