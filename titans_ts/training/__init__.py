"""Training on streams with the state carried: torch's own loop, nothing between."""
