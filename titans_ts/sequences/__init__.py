"""Whole sequences through a network: in batches, answered from one strand or both, and explained."""
