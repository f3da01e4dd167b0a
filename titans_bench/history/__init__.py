"""The bench of history: what was absorbed before a forecast, what it is worth, and what it costs."""
