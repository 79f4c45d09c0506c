"""How fast it is: each figure beside its limit, both measured alternately in one run, since machines are noisy."""
