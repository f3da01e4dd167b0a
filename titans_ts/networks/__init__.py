"""Whole networks: inputs, backbone and head from one configuration, a file a task."""
