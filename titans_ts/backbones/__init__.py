"""A network's middle: where the memory sits, as context (MAC), gate (MAG), layer (MAL) or alone (LMM), and baselines."""
