"""Frames that many tests of this room read."""

import numpy as np
import pandas as pd

DAYS = pd.date_range("2024-01-01", periods=4, freq="D")


def wide(times=DAYS, **columns):
    return pd.DataFrame({"ds": times, **(columns or {"a": np.arange(len(times)) * 1.0, "b": 2.0})})


def long(ids=("b", "a") * 3):
    """Two interleaved series, "b" first, with hourly stamps."""
    hours = pd.date_range("2024-01-01", periods=3, freq="h")
    return pd.DataFrame(
        {"unique_id": list(ids), "ds": np.repeat(hours, 2), "y": [10.0, 1.0, 20.0, 2.0, 30.0, 3.0], "x": 1.0}
    )
