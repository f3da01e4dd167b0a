"""Rows seen by the phase of a season: gaps filled, sums of every season, sums of every phase."""

from __future__ import annotations

import numpy as np
import scipy  # whose parts are imported when they are first used
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fill_gaps(rows: Array, last: Array, start: NDArray[np.int64]) -> Array:
    """Return the last season and the rows, ``(s, m+t)``, with gaps filled so that any cut of the rows fills them alike.

    A gap holds the row of a season before; in the first season of a stream, the row before. Before the first row that row
    stands, and where nothing was ever observed 0.

    Parameters
    ----------
    rows : array ``(s, t)``
        NaN where missing.
    last : array ``(s, m)``
        The filled rows before them; what lies before the first row does not count.
    start : array ``(s,)``
        Index of each stream's first row, counted from the first of ``rows``: negative where it was read before, ``t`` where
        it is still to come.
    """
    (s, t), m = rows.shape, last.shape[1]
    both, place = np.concatenate([last, rows], 1), np.arange(m + t)
    since = place - m - start[:, None]
    known = ~np.isnan(both) & (since >= 0)
    if not known.all():
        held = np.take_along_axis(both, np.maximum.accumulate(np.where(known, place, 0), axis=1), 1)
        known |= (since >= 0) & (since < m)
        index = np.maximum.accumulate(_by_phase(np.where(known, place, -1), m), axis=1).reshape(s, -1)[:, : m + t]
        beginning = np.take_along_axis(both, np.clip(m + start, 0, m + t - 1)[:, None], 1)
        both = np.where(index >= 0, np.take_along_axis(held, np.maximum(index, 0), 1), beginning)
    return np.nan_to_num(both)


def sums_by_phase(start: Array, parts: Array, keep: float) -> Array:
    """Return sums of ``parts`` ``(..., t)`` by phase, ``(..., m+t)``: after ``j`` rows they stand at ``j`` to ``j+m-1``.

    Parameters
    ----------
    start : array ``(..., m)``
        The sums before, the phase of the first of the parts first.
    parts : array ``(..., t)``
        What is summed.
    keep : float
        What a season leaves of the sums.
    """
    m, t = start.shape[-1], parts.shape[-1]
    table, start = _by_phase(parts, m), start[..., None, :]
    if keep == 1:
        sums = np.cumsum(np.concatenate([start, table], -2), -2)
    elif t:
        sums = np.concatenate([start, scipy.signal.lfilter([1], [1, -keep], table, axis=-2, zi=keep * start)[0]], -2)
    else:
        sums = start
    return sums.reshape(*sums.shape[:-2], sums.shape[-2] * m)[..., : m + t]


def season_sums(rows: Array, season: int) -> Array:
    """Return the sum of every ``season`` rows of ``(..., m+t)``, ``(..., t+1)``, which no other row rounds."""
    t = rows.shape[-1] - season
    table = _by_phase(rows, season)
    ends = np.cumsum(table, -1)  # from the season's first row on
    starts = np.cumsum(table[..., ::-1], -1)[..., ::-1]  # to the season's last row
    flat = (*table.shape[:-2], table.shape[-2] * season)
    starts, ends = starts.reshape(flat)[..., : t + 1], ends.reshape(flat)[..., season - 1 : season + t]
    return np.where(np.arange(t + 1) % season == 0, starts, starts + ends)


def _by_phase(rows: NDArray, season: int) -> NDArray:
    """Return rows ``(..., t)`` as ``(..., seasons, m)``, the last season filled up with no row: -1 of indices, else 0."""
    if short := -rows.shape[-1] % season:
        nothing = -1 if rows.dtype.kind == "i" else 0
        rows = np.concatenate([rows, np.full((*rows.shape[:-1], short), nothing, rows.dtype)], -1)
    return rows.reshape(*rows.shape[:-1], rows.shape[-1] // season, season)
