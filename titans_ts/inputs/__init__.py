"""From raw arrays to model width: series now, other sequences later."""
