"""A learned memory: projections, gates, a learned start, and one of the ops that writes and reads it."""
