"""Bricks that know no memory: norm, feed-forward, causal convolution, windowed attention, persistent tokens."""
