"""Containers of series in and out: arrays and frames of pandas, polars and pyarrow, whole or as a stream."""
