"""Hold a table to a regular time axis: check the order, find the frequency, and fill gaps with missing rows."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from titans_ts.frames.clock import Clock, infer_frequency, parse_frequency, show_time
from titans_ts.frames.faults import Faults
from titans_ts.frames.panel import Table

_IN_PIECES = "; X is read in pieces, so the rows of each series must be in order of time: sort it by time stamp first"
_MOST_FILLED_ROWS, _MOST_FILLED_RATIO = 1000, 10


def regularise(
    table: Table, freq: Any, follow: Mapping[Hashable, Any] | None, faults: Faults, *, in_order: bool = False
) -> Table:
    """Return the table with its frequency known and a row at every step in order of time; without time stamps as it is.

    Rows `in_order`, of a piece of a stream, are not sorted: those that are not are refused.

    Rows made for a gap hold NaN and are False in `given`; a warning counts them. `freq` goes before what the layout says and
    the most common step. Rows must come after `follow`, the last time stamp absorbed of each series. Series with a fault are
    noted and left out before the frequency is looked for.
    """
    if table.times is None or not table.layout.has_times:  # an array's rows follow on by themselves
        return table
    if not in_order:
        table = _sorted(table)
    _note_overlaps(table, follow or {}, faults, in_order)
    note_disorder(table, faults)
    table = faults.sift(table)
    given = table.layout.frequency
    while True:  # without a series that does not fit, another frequency may be the most common one
        origins, skip = _origins(table, follow or {})
        assert table.times is not None
        firsts = (table.times[table.bounds[:-1]] - origins).astype(np.int64)
        frequency = _frequency(table, freq, np.concatenate([_steps(table), firsts[skip > 0]]))
        if frequency is None:
            return table
        table = replace(table, layout=replace(table.layout, frequency=frequency))
        clock = Clock(frequency, table.layout.time_zone)
        assert table.times is not None
        position, on_grid = clock.position(table.spread(origins), table.times)
        _note_off_grid(table, on_grid, origins, faults)
        position = position - table.spread(skip)
        total = position[table.bounds[1:] - 1] + 1
        _note_gaps(table, position, total, faults)
        kept = faults.sift(table)
        if kept is table:
            break
        table = replace(kept, layout=replace(kept.layout, frequency=given))
    filled = int(total.sum()) - len(position)
    if not filled:
        return table
    warnings.warn(
        f"X: {filled} missing rows were filled with NaN to make a regular time axis, freq={frequency!r}; "
        f"{_first_gap(table, position)}",
        stacklevel=4,
    )
    return _fill(table, position, total, clock, origins, skip)


def continue_from(table: Table, clock: Clock, follow: Mapping[Hashable, Any]) -> Table:
    """Give the rows of an array the time stamps after the last absorbed one; a new series has none to go on from."""
    unknown = [id_ for id_ in table.ids if id_ not in follow]
    if unknown:
        raise ValueError(f"X carries no time stamps and the series {unknown[0]!r} is new; pass a frame with time stamps")
    origins = _as_times([follow[id_] for id_ in table.ids], integer=isinstance(clock.frequency, int))
    steps = np.arange(len(table.values)) - table.spread(table.bounds[:-1]) + 1
    return replace(table, times=clock.advance(table.spread(origins), steps))


def number_on(table: Table, follow: Mapping[Hashable, Any]) -> Table:
    """Return rows without time stamps numbered on from the last one absorbed of each series; as they are if one is new."""
    last = [follow.get(id_) for id_ in table.ids]
    if any(number is None for number in last):
        return table
    steps = np.arange(len(table.values)) - table.spread(table.bounds[:-1]) + 1
    return replace(table, times=table.spread(_as_times(last, integer=True)) + steps)


def _as_times(values: list[Any], *, integer: bool) -> np.ndarray:
    return np.array(values, np.int64 if integer else "M8[ns]")


def _origins(table: Table, follow: Mapping[Hashable, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the time stamp that each series is counted from, and the step its first row should be at: both (n,)."""
    assert table.times is not None
    origins = table.times[table.bounds[:-1]].copy()
    known = [i for i, id_ in enumerate(table.ids) if id_ in follow]
    skip = np.zeros(len(table.ids), np.int64)
    if known:
        origins[known], skip[known] = _last_of(table, known, follow), 1
    return origins, skip


def _last_of(table: Table, known: list[int], follow: Mapping[Hashable, Any]) -> np.ndarray:
    """Return the last time stamp absorbed of some series."""
    assert table.times is not None
    return _as_times([follow[table.ids[i]] for i in known], integer=table.times.dtype.kind != "M")


def _note_overlaps(table: Table, follow: Mapping[Hashable, Any], faults: Faults, in_order: bool) -> None:
    """Note the series whose rows do not come after what was absorbed."""
    assert table.times is not None
    known = [i for i, id_ in enumerate(table.ids) if id_ in follow]
    last = _last_of(table, known, follow)
    firsts = table.bounds[:-1][known]
    for at in np.flatnonzero(table.times[firsts] <= last):
        k, stamp = int(firsts[at]), show_time(last[at], table.layout.time_zone)
        faults.note(
            table.ids[known[at]],
            f"X: {table.where(k)} ({_show(table, k)}) is not after the last absorbed time stamp {stamp}; "
            f"pass only rows that come after it{_IN_PIECES if in_order else ''}",
        )


def _steps(table: Table) -> np.ndarray:
    """Return the steps between neighbouring time stamps of each series, int64."""
    assert table.times is not None
    return np.diff(table.times).astype(np.int64)[_inside(table)]


def _inside(table: Table) -> np.ndarray:
    """Say of which neighbouring rows both are of one series, (r - 1,)."""
    inside = np.ones(len(table.values) - 1, bool)
    inside[table.bounds[1:-1] - 1] = False
    return inside


def note_disorder(table: Table, faults: Faults) -> None:
    """Note the series whose time stamps do not increase."""
    assert table.times is not None
    times = table.times

    def reason(k: int) -> str:
        here, before = (f"{_show(table, at)} ({table.where(at)})" for at in (k, k - 1))
        if times[k] < times[k - 1]:
            return f"X: the time stamp {here} goes back from {before}{_IN_PIECES}"
        remedy = "drop one"
        if table.layout.is_single:
            remedy += ", name the column of the ids in id_column if X holds several series"
        if table.layout.is_single and table.layout.numbered_index:
            remedy += ", or pass X.reset_index(drop=True) if its index says nothing of time"
        if not (table.layout.time_zone or table.layout.integer_times):
            remedy += "; give local times their time zone"
        return f"X: the time stamp {here} repeats {before}; {remedy}"

    faults.note_rows(table, np.flatnonzero(_inside(table) & ~(times[1:] > times[:-1])) + 1, reason)


def _note_off_grid(table: Table, on_grid: np.ndarray, origins: np.ndarray, faults: Faults) -> None:
    """Note the series with a time stamp between two steps."""

    def reason(k: int) -> str:
        return (
            f"X: the time stamp {_show(table, k)} ({table.where(k)}) is no whole number of steps of "
            f"{table.layout.frequency!r} after {show_time(origins[table.series_of(k)], table.layout.time_zone)}; pass "
            "freq=... if it is another, else resample X"
        )

    faults.note_rows(table, np.flatnonzero(~on_grid), reason)


def sort_rows(table: Table) -> Table:
    """Return the table with the rows of each series in order of time; stamps that are there twice stay side by side."""
    if table.times is None or not _backward(table).size:
        return table
    table = _by_id(table)
    times: Any = table.times
    return table.reordered(np.lexsort((times, table.spread(np.arange(len(table.ids))))))


def _by_id(table: Table) -> Table:
    """Return a table whose rows were mixed with its series by id: which came first says nothing then."""
    if table.rows is None or len(table.ids) < 2:
        return table
    spans = np.maximum.reduceat(table.rows, table.bounds[:-1]) - np.minimum.reduceat(table.rows, table.bounds[:-1])
    try:
        order = sorted(range(len(table.ids)), key=table.ids.__getitem__)  # type: ignore[arg-type]
    except TypeError:  # ids of several kinds
        return table
    if (spans < table.lengths).all() or order == list(range(len(order))):
        return table
    rows = np.concatenate([np.arange(table.bounds[i], table.bounds[i + 1]) for i in order])
    bounds = np.concatenate([[0], np.cumsum(table.lengths[order])])
    return replace(table.reordered(rows), ids=[table.ids[i] for i in order], bounds=bounds)


def _sorted(table: Table) -> Table:
    """Sort rows in time; a warning says so of a wide frame, which most often is upside down."""
    found = sort_rows(table)
    assert found.times is not None
    if found is not table and table.layout.is_single and (found.times[1:] > found.times[:-1]).all():
        k = int(_backward(table)[0])
        by = "index" if table.layout.time_in_index else f"column {table.layout.time_column!r}"
        warnings.warn(
            f"X: its rows are not in order of time: {_show(table, k + 1)} ({table.where(k + 1)}) comes after "
            f"{_show(table, k)}; they were sorted by its {by}",
            stacklevel=5,
        )
    return found


def _backward(table: Table) -> np.ndarray:
    """Return the rows after which the time of a series goes back."""
    assert table.times is not None
    return np.flatnonzero(_inside(table) & (table.times[1:] < table.times[:-1]))


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


def _note_gaps(table: Table, position: np.ndarray, total: np.ndarray, faults: Faults) -> None:
    """Note the series that lack too many rows, or some where a future covariate is unknown; rows at (r,), of (n,)."""
    lacking = total - table.lengths
    frequency, covariates = table.layout.frequency, list(table.layout.future_columns)
    too_many = lacking > _MOST_FILLED_RATIO * table.lengths
    if lacking.sum() <= max(_MOST_FILLED_ROWS, _MOST_FILLED_RATIO * len(position)):
        too_many[:] = False
    for i in np.flatnonzero(too_many | (lacking > 0) & bool(covariates)).tolist():
        first = _first_gap(table, position, i)
        if too_many[i]:
            reason = (
                f"X has {table.lengths[i]} rows{table.whose(i)}, but {lacking[i]} more are missing for a regular time axis "
                f"of freq={frequency!r}; {first}; pass freq=... with the true frequency, or resample X"
            )
        else:
            reason = (
                f"X lacks {lacking[i]} rows of a regular time axis of freq={frequency!r}{table.whose(i)}, and the future "
                f"covariates {covariates} must be known at every step; {first}; add these rows, targets NaN"
            )
        faults.note(table.ids[i], reason)


def _first_gap(table: Table, position: np.ndarray, series: int | None = None) -> str:
    """Say where the first gap is, of all series or of one."""
    before = np.concatenate([[-1], position[:-1]])
    before[table.bounds[:-1]] = -1
    start, end = (0, len(position)) if series is None else table.bounds[series : series + 2].tolist()
    k = start + int(np.flatnonzero((position - before)[start:end] > 1)[0])
    return f"the first gap: {int(position[k] - before[k] - 1)} before {_show(table, k)} ({table.where(k)})"


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
