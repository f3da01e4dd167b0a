"""Where the memory sits: as context (MAC), gate (MAG), layer (MAL) or alone (LMM), stacked into a network's middle."""
