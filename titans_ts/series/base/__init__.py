"""The base of a forecast: what is solved in closed form, and goes on learning while a series is read."""
