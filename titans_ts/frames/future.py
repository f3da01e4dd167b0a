"""Future covariates in: the rows after the last one, for each series."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from titans_ts.frames.clock import continue_times, show_time
from titans_ts.frames.columns import Request
from titans_ts.frames.covariates.categories import encode, encodings, unseen_values, warn_unseen
from titans_ts.frames.covariates.holidays import holiday_columns
from titans_ts.frames.faults import Faults
from titans_ts.frames.panel import Layout, Table
from titans_ts.frames.read import is_frame, read_array_table, read_frame_table
from titans_ts.frames.regular import note_disorder, sort_rows


def read_future(
    future: Any, layout: Layout, last_times: Mapping[Hashable, Any], horizon: int, faults: Faults | None = None
) -> dict[Hashable, np.ndarray]:
    """Read the covariates (horizon, q) that are known for the rows after each series' last one; see `continue_times`.

    Frames may hold more rows, columns and ids than are needed. Without time stamps, and in arrays, it is exactly `horizon`
    rows a series, and an array's columns are the future covariates alone, in the order of the layout. Series for which they
    cannot be had are noted in `faults`, which refuse them or leave them out.
    """
    columns = list(layout.future_columns)
    if not columns:
        if future is None:
            return _with_holidays({id_: np.empty((horizon, 0)) for id_ in last_times}, layout, last_times, horizon)
        raise ValueError("future was given, but the model was fitted without future covariates; leave it out")
    if future is None:
        raise ValueError(
            f"future=None: the model needs the future covariates {columns} of the next {horizon} rows; "
            "future_frame() makes the frame to fill"
        )
    faults, found = Faults() if faults is None else faults, Faults()
    try:
        table = _take_apart(future, layout, found)
        if table.times is not None:
            table = sort_rows(table)
            note_disorder(table, found)
    except (TypeError, ValueError) as error:
        raise type(error)(_of_future(str(error))) from error
    for id_, reason in found.reasons.items():
        if id_ in last_times:
            faults.note(id_, _of_future(reason))
    numbers = {id_: i for i, id_ in enumerate(table.ids)}
    matrix = table.future if table.layout.backend != "numpy" else table.values
    wanted = continue_times(layout, list(last_times.values()), horizon) if table.layout.has_times else None
    answer, tables = {}, encodings(table.labels, layout)
    for n, id_ in enumerate(last_times):
        if id_ in faults.reasons:
            continue
        try:
            if id_ not in numbers:
                raise ValueError(f"future has no rows for the series {id_!r}")
            rows = _find_rows(table, numbers[id_], None if wanted is None else wanted[n], horizon)
            _check_finite(matrix[rows], rows, table, columns)
        except ValueError as error:
            faults.note(id_, str(error))
        else:
            answer[id_] = encode(matrix[rows], columns, tables)
    faults.settle(others=bool(answer))
    warn_unseen({name: new for name, new in unseen_values(table.labels, layout).items() if name in columns}, "future")
    return _with_holidays(answer, layout, last_times, horizon)


def _with_holidays(
    known: dict[Hashable, np.ndarray], layout: Layout, last_times: Mapping[Hashable, Any], horizon: int
) -> dict[Hashable, np.ndarray]:
    """Return what is known of the rows after each series' last one, with their holidays beside it."""
    if not layout.holidays or not known:
        return known
    times = continue_times(layout, [last_times[id_] for id_ in known], horizon)
    columns = np.split(holiday_columns(times.ravel(), layout), len(known))
    return {id_: np.concatenate([values, own], axis=1) for (id_, values), own in zip(known.items(), columns, strict=True)}


def _of_future(message: str) -> str:
    """Return what a reader says of X as said of future."""
    return re.sub(r"(?<!['\"])\bX\b(?!')", "future", message)


def _take_apart(future: Any, layout: Layout, faults: Faults) -> Table:
    """Read the covariates' columns, and hold the container to the ids and time stamps of the layout."""
    if is_frame(future):
        time_column = "ds" if layout.stamped_column is None else layout.stamped_column
        categorical = tuple(one.column for one in layout.categories)
        names = layout.id_column or "unique_id", time_column
        request = Request(*names, target=(), future=layout.future_columns, categorical=categorical)
        table = read_frame_table(future, request, None, target=False)
    else:
        words = [one.column for one in layout.categories if one.column in layout.future_columns]
        if words:
            raise TypeError(
                f"X is no frame, but {words} hold categories; pass a frame with the columns {list(layout.future_columns)}"
            )
        table = read_array_table(future, Request(), None, faults)
        if table.values.shape[1] != len(layout.future_columns):
            raise ValueError(
                f"X has {table.values.shape[1]} columns; expected {len(layout.future_columns)}: "
                f"{list(layout.future_columns)}"
            )
    found = table.layout
    if (found.is_single, found.kind == "list") != (layout.is_single, layout.kind == "list"):
        ids = f" with the ids in {layout.id_column!r}" if layout.kind == "long" else ""
        raise ValueError(f"X is of kind {found.kind!r}; expected the kind {layout.kind!r}{ids}, as the series are")
    counted = found.numbered_index and found.is_single and not layout.has_times  # from row 0 of the series
    if (
        found.backend != "numpy"
        and not counted
        and (found.has_times, found.integer_times, found.time_zone)
        != (
            layout.has_times,
            layout.integer_times,
            layout.time_zone,
        )
    ):
        if not found.has_times:
            name = "its index" if layout.time_in_index else f"column {layout.time_column!r}"
            raise ValueError(f"X has no time stamps; give it those of the rows to forecast, {layout.time_axis}, in {name}")
        if not layout.has_times:
            raise ValueError(f"X has time stamps ({found.time_axis}), but the series have none; leave them out")
        raise ValueError(f"X has time stamps of {found.time_axis}; expected {layout.time_axis}, as the series have")
    return table


def _find_rows(table: Table, i: int, wanted: np.ndarray | None, horizon: int) -> np.ndarray:
    """Return the rows of series `i` that bear the wanted time stamps, or all of them when there are none to compare."""
    start, end = int(table.bounds[i]), int(table.bounds[i + 1])
    if wanted is None or table.times is None:
        if end - start != horizon:
            raise ValueError(f"future has {end - start} rows{table.whose(i)}; expected horizon={horizon}")
        return np.arange(start, end)
    times = table.times[start:end]
    place = np.minimum(np.searchsorted(times, wanted), len(times) - 1)
    missing = times[place] != wanted
    if missing.any():
        zone = table.layout.time_zone
        raise ValueError(
            f"future lacks {int(missing.sum())} of the {horizon} rows to forecast{table.whose(i)}; "
            f"the first missing is {show_time(wanted[missing][0], zone)}"
        )
    return start + place


def _check_finite(values: np.ndarray, rows: np.ndarray, table: Table, columns: list[Any]) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if wrong.size:
        k, j = wrong[0]
        raise ValueError(
            f"future has {values[k, j]} in {table.where(int(rows[k]))}, column {columns[j]!r}; "
            "a future covariate must be known: fill it in"
        )
