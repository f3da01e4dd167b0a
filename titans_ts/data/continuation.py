"""The time stamps after the last one, for one series or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from titans_ts.data.calendar_axis import Clock
from titans_ts.data.panel import Layout


def continue_times(layout: Layout, last_time: Any, horizon: int) -> np.ndarray:
    """Return the `horizon` time stamps after `last_time`.

    Parameters
    ----------
    layout : Layout
        Its frequency and time zone say how to go on.
    last_time : datetime64[ns] (UTC when there is a zone), int or None
        The last row's time stamp; without a time axis the last row's number, None before any row.
    horizon : int
        How many.

    Returns
    -------
    ndarray (horizon,)
        datetime64[ns], UTC when there is a zone, or int64.

    Raises
    ------
    ValueError
        The layout has time stamps but no frequency.

    Examples
    --------
    >>> layout = Layout("wide", "pandas", ("y",), time_column="ds", time_dtype="datetime64[ns]", frequency="ME")
    >>> continue_times(layout, np.datetime64("2024-01-31", "ns"), 2).astype("M8[D]")
    array(['2024-02-29', '2024-03-31'], dtype='datetime64[D]')
    """
    return continue_many(layout, [last_time], horizon)[0]


def continue_many(layout: Layout, last_times: Sequence[Any], horizon: int) -> np.ndarray:
    """Return the `horizon` time stamps after each of n last ones, (n, horizon); see `continue_times`.

    Examples
    --------
    >>> continue_many(Layout("list", "numpy", (0,)), [9, None], 3).tolist()
    [[10, 11, 12], [0, 1, 2]]
    """
    if not layout.has_times:
        last = np.array([-1 if time is None else time for time in last_times], np.int64)
        return last[:, None] + np.arange(1, horizon + 1)
    if layout.frequency is None:
        raise ValueError("freq=None: one row does not show the frequency of the time stamps; pass freq=... to continue them")
    last = np.array(last_times, np.int64 if layout.integer_times else "M8[ns]")
    steps = np.tile(np.arange(1, horizon + 1), len(last))
    clock = Clock(layout.frequency, layout.time_zone)
    return clock.advance(np.repeat(last, horizon), steps).reshape(len(last), horizon)
