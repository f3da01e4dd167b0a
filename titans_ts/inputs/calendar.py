"""Where a time stamp stands in the day, the week and the year."""

from __future__ import annotations

import numpy as np

CYCLES = {"day": 86_400.0, "week": 604_800.0, "year": 31_556_952.0}
"""Length of each cycle in seconds."""
HARMONICS = {"day": 2, "week": 3, "year": 1}
"""Waves to each cycle: the week has three, so that a Saturday is told from a Monday."""


def calendar_cycles(step_seconds: float | None) -> tuple[str, ...]:
    """Return the cycles that a series of this step can show: those of at least two steps.

    Parameters
    ----------
    step_seconds : float or None
        Seconds from one row to the next; ``None`` for a series without time stamps.

    Examples
    --------
    >>> calendar_cycles(3600.0), calendar_cycles(86_400.0), calendar_cycles(None)
    (('day', 'week', 'year'), ('week', 'year'), ())
    """
    if step_seconds is None:
        return ()
    return tuple(name for name, length in CYCLES.items() if length >= 2 * step_seconds)


def calendar_features(times: np.ndarray | None, cycles: tuple[str, ...], rows: int) -> np.ndarray:
    """Return sine and cosine of each cycle's waves at every row.

    Parameters
    ----------
    times : ndarray of datetime64, shape (t,), or None
        Time stamps, read as they stand on the clock.
    cycles : tuple of str
        Names from :data:`CYCLES`.
    rows : int
        Number of rows ``t``, for a series without time stamps.

    Returns
    -------
    ndarray of float32, shape (t, k)
        ``k`` is two for every wave; 0 without cycles.

    Examples
    --------
    >>> noon = np.array(["2024-01-01T12:00"], dtype="datetime64[s]")
    >>> (calendar_features(noon, ("day",), 1).round(3) + 0.0).tolist()  # Monday noon: half a day
    [[0.0, -1.0, 0.0, 1.0]]
    """
    if times is None or not cycles:
        return np.zeros((rows, 0), dtype=np.float32)
    seconds = times.astype("datetime64[s]").astype(np.float64)
    columns = []
    for name in cycles:
        origin = 4 * 86_400.0 if name == "week" else 0.0  # 1970-01-01 was a Thursday: weeks begin on Mondays
        phase = 2 * np.pi * (((seconds - origin) / CYCLES[name]) % 1.0)
        for wave in range(1, HARMONICS[name] + 1):
            columns += [np.sin(wave * phase), np.cos(wave * phase)]
    return np.stack(columns, axis=1).astype(np.float32)


def feature_count(cycles: tuple[str, ...]) -> int:
    """Return the number of columns that :func:`calendar_features` makes."""
    return 2 * sum(HARMONICS[name] for name in cycles)
