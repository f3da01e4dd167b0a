"""Data before it becomes tensors: frames in and out, public data sets, generated series and forecast metrics.

Data frames live in this room alone, and it knows nothing of models.
"""
