"""Hold a table to a regular time axis: check the order, find the frequency, and fill gaps with missing rows."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from titans_ts.frames.clock import Clock, infer_frequency, parse_frequency, show_time
from titans_ts.frames.panel import Table

_MOST_FILLED_ROWS, _MOST_FILLED_RATIO = 1000, 10


def regularise(table: Table, freq: Any, follow: Mapping[Hashable, Any] | None) -> Table:
    """Return the table with its frequency known and a row at every step; without time stamps as it is.

    Rows made for a gap hold NaN and are False in `given`; a warning counts them. `freq` goes before what the layout says and
    the most common step. Rows must come after `follow`, the last time stamp absorbed of each series.
    """
    if table.times is None or not table.layout.has_times:  # an array's rows follow on by themselves
        return table
    origins, skip = _origins(table, follow or {})
    firsts = (table.times[table.bounds[:-1]] - origins).astype(np.int64)
    steps = np.concatenate([check_order(table), firsts[skip > 0]])
    frequency = _frequency(table, freq, steps)
    table = replace(table, layout=replace(table.layout, frequency=frequency))
    if frequency is None:
        return table
    clock = Clock(frequency, table.layout.time_zone)
    assert table.times is not None
    position, on_grid = clock.position(table.spread(origins), table.times)
    if not on_grid.all():
        k = int(np.flatnonzero(~on_grid)[0])
        origin = origins[np.searchsorted(table.bounds, k, side="right") - 1]
        raise ValueError(
            f"X: the time stamp {_show(table, k)} ({table.where(k)}) is no whole number of steps of {frequency!r} "
            f"after {show_time(origin, table.layout.time_zone)}; pass freq=... if it is another, else resample X"
        )
    position = position - table.spread(skip)
    total = position[table.bounds[1:] - 1] + 1
    filled = int(total.sum()) - len(position)
    if not filled:
        return table
    _report_gaps(table, position, filled)
    return _fill(table, position, total, clock, origins, skip)


def continue_from(table: Table, clock: Clock, follow: Mapping[Hashable, Any]) -> Table:
    """Give the rows of an array the time stamps after the last absorbed one; a new series has none to go on from."""
    unknown = [id_ for id_ in table.ids if id_ not in follow]
    if unknown:
        raise ValueError(f"X carries no time stamps and the series {unknown[0]!r} is new; pass a frame with time stamps")
    origins = _as_times([follow[id_] for id_ in table.ids], integer=isinstance(clock.frequency, int))
    steps = np.arange(len(table.values)) - table.spread(table.bounds[:-1]) + 1
    return replace(table, times=clock.advance(table.spread(origins), steps))


def _as_times(values: list[Any], *, integer: bool) -> np.ndarray:
    return np.array(values, np.int64 if integer else "M8[ns]")


def _origins(table: Table, follow: Mapping[Hashable, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the time stamp that each series is counted from, and the step its first row should be at: both (n,)."""
    assert table.times is not None
    origins = table.times[table.bounds[:-1]].copy()
    known = [i for i, id_ in enumerate(table.ids) if id_ in follow]
    skip = np.zeros(len(table.ids), np.int64)
    if known:
        last = _as_times([follow[table.ids[i]] for i in known], integer=origins.dtype.kind != "M")
        overlap = np.flatnonzero(origins[known] <= last)
        if overlap.size:
            i, stamp = known[overlap[0]], show_time(last[overlap[0]], table.layout.time_zone)
            k = int(table.bounds[i])
            raise ValueError(
                f"X: {table.where(k)} ({_show(table, k)}) is not after the last absorbed time stamp {stamp}; "
                "pass only rows that come after it"
            )
        origins[known], skip[known] = last, 1
    return origins, skip


def check_order(table: Table) -> np.ndarray:
    """Return the steps between neighbouring time stamps of each series, int64; refuse those that do not increase."""
    assert table.times is not None
    later = table.times[1:] > table.times[:-1]
    steps = np.diff(table.times).astype(np.int64)
    inside = np.ones(len(steps), bool)
    inside[table.bounds[1:-1] - 1] = False
    wrong = np.flatnonzero(inside & ~later)
    if wrong.size:
        k = int(wrong[0])
        what = "repeats" if steps[k] == 0 else "goes back from"
        local = "" if table.layout.time_zone or table.layout.integer_times else "; give local times their time zone"
        raise ValueError(
            f"X: the time stamp {_show(table, k + 1)} ({table.where(k + 1)}) {what} {_show(table, k)} "
            f"({table.where(k)}); sort X by time and drop duplicates{local}"
        )
    return steps[inside]


def _frequency(table: Table, freq: Any, steps: np.ndarray) -> str | int | None:
    assert table.times is not None
    if freq is not None:
        return parse_frequency(freq, table.layout.integer_times)
    if table.layout.frequency is not None:
        try:
            return parse_frequency(table.layout.frequency, table.layout.integer_times)
        except ValueError:  # a pandas index with business hours or custom holidays: judge by the stamps instead
            pass
    return infer_frequency(steps, table.times, table.layout.time_zone)


def _report_gaps(table: Table, position: np.ndarray, filled: int) -> None:
    """Warn about the rows to be made for gaps, or refuse when there are too many or a future covariate is unknown."""
    before = np.concatenate([[-1], position[:-1]])
    before[table.bounds[:-1]] = -1
    k = int(np.flatnonzero(position - before > 1)[0])
    frequency, count = table.layout.frequency, int(position[k] - before[k] - 1)
    first = f"the first gap: {count} before {_show(table, k)} ({table.where(k)})"
    rows = len(position)
    if filled > max(_MOST_FILLED_ROWS, _MOST_FILLED_RATIO * rows):
        raise ValueError(
            f"X has {rows} rows, but {filled} more are missing for a regular time axis of freq={frequency!r}; {first}; "
            "pass freq=... with the true frequency, or resample X"
        )
    if table.layout.future_columns:
        raise ValueError(
            f"X lacks {filled} rows of a regular time axis of freq={frequency!r}, and the future covariates "
            f"{list(table.layout.future_columns)} must be known at every step; {first}; add these rows, targets NaN"
        )
    warnings.warn(
        f"X: {filled} missing rows were filled with NaN to make a regular time axis, freq={frequency!r}; {first}",
        stacklevel=4,
    )


def _fill(
    table: Table, position: np.ndarray, total: np.ndarray, clock: Clock, origins: np.ndarray, skip: np.ndarray
) -> Table:
    """Return the table with rows of NaN in the gaps."""
    assert table.times is not None
    bounds = np.concatenate([[0], np.cumsum(total)])
    place = table.spread(bounds[:-1]) + position
    steps = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - skip, total)
    times = clock.advance(np.repeat(origins, total), steps)
    times[place] = table.times

    def widen(old: np.ndarray) -> np.ndarray:
        new = np.full((len(times), old.shape[1]), np.nan)
        new[place] = old
        return new

    given = np.zeros(len(times), bool)
    given[place] = True
    rows = np.full(len(times), -1)
    rows[place] = table.rows if table.rows is not None else np.arange(len(table.times))
    static = table.static[table.bounds[:-1]]
    return replace(
        table,
        bounds=bounds,
        values=widen(table.values),
        past=widen(table.past),
        future=widen(table.future),
        static=np.repeat(static, total, axis=0),
        times=times,
        rows=rows,
        given=given,
    )


def _show(table: Table, k: int) -> str:
    assert table.times is not None
    return show_time(table.times[k], table.layout.time_zone)
