"""Containers out: forecasts, per-row values and backtests as the kind of container that came in.

Column names are Nixtla's: ``<target>``, ``<target>-lo-80``, ``<target>-hi-80``, ``<target>-q-10``; numbers are percentages.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from titans_ts.frames.clock import continue_times
from titans_ts.frames.panel import Column, Layout, Panel
from titans_ts.frames.stamps import zoned_dtype


def build_frame(layout: Layout, columns: Mapping[Column, Any], index: Any = None) -> Any:
    """Return a frame of the layout's backend (pandas for arrays) from columns (r,); `index` is for pandas only."""
    if layout.backend in ("numpy", "pandas"):
        import pandas as pd

        if index is not None and not columns:
            return pd.DataFrame(index=index)
        if all(isinstance(values, np.ndarray) for values in columns.values()):
            return pd.DataFrame(dict(columns), index=index)
        frame = pd.DataFrame(dict(columns))
        return frame if index is None else frame.set_axis(index, axis=0)
    import narwhals as nw

    backend: Any = layout.backend
    native: dict[Any, Any] = {
        name: nw.new_series(str(name), values, backend=backend).to_native() if isinstance(values, np.ndarray) else values
        for name, values in columns.items()
    }
    return nw.from_dict(native, backend=backend).to_native()


def id_column(layout: Layout, ids: Sequence[Hashable], repeats: Any) -> Any:
    """Return each id repeated, as a native series with the dtype that the ids had."""
    if layout.backend in ("numpy", "pandas"):
        import pandas as pd

        values = pd.Series(list(ids)) if layout.id_dtype is None else pd.Series(list(ids)).astype(layout.id_dtype)
        return values.iloc[np.repeat(np.arange(len(values)), repeats)].reset_index(drop=True)
    import narwhals as nw

    backend: Any = layout.backend
    values = nw.new_series("id", list(ids), backend=backend)
    dtype = getattr(nw, layout.id_dtype or "", None)  # an Enum is not named by its dtype alone: it comes back as text
    if dtype is not None:
        values = values.cast(dtype)
    column = values[np.repeat(np.arange(len(values)), repeats)].to_native()
    return column.cast("large_string") if layout.id_dtype == "LargeString" else column


def time_column(layout: Layout, times: np.ndarray) -> Any:
    """Return time stamps (r,), in UTC when there is a zone, as a native series with the dtype that the user's had."""
    if layout.backend in ("numpy", "pandas"):
        import pandas as pd

        return pd.Series(time_index(layout, times)) if layout.has_times else pd.Series(times)
    import narwhals as nw

    backend: Any = layout.backend
    column = nw.new_series("time", times, backend=backend)
    if not layout.has_times:
        return column.to_native()
    zone = layout.time_zone
    if layout.time_zone is not None:
        zone = layout.time_zone if layout.time_zone[3:4] not in ("+", "-") else layout.time_zone[3:]  # as Arrow spells it
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    spelled: Any = layout.time_dtype
    if spelled.startswith("datetime["):
        return column.cast(nw.Datetime(spelled[9:-1], zone)).to_native()
    names: dict[str, Any] = {"date": nw.Date, "int64": nw.Int64, "int32": nw.Int32, "int16": nw.Int16, "int8": nw.Int8}
    names |= {"uint64": nw.UInt64, "uint32": nw.UInt32, "uint16": nw.UInt16, "uint8": nw.UInt8}
    return column.cast(names[spelled]).to_native()


def time_index(layout: Layout, times: np.ndarray) -> Any:
    """Return time stamps as a pandas index: dates (zone, unit, frequency kept), periods, integers or row numbers."""
    import pandas as pd

    name = layout.time_column if layout.time_in_index else None
    if not layout.has_times:
        follow = len(times) == times[-1] - times[0] + 1
        return pd.RangeIndex(int(times[0]), int(times[-1]) + 1) if follow else pd.Index(times)
    if layout.integer_times:
        return pd.Index(times, dtype=layout.time_dtype, name=name)
    index = pd.DatetimeIndex(times, name=name)
    spelled = layout.time_dtype or ""
    if spelled.startswith("period["):
        return index.to_period(spelled[7:-1])
    if layout.time_zone is not None:
        index = index.tz_localize("UTC").tz_convert(layout.time_zone)
    if "pyarrow" in spelled:
        return pd.Index(index.to_series().astype(spelled), name=name)
    index = index.astype(zoned_dtype(spelled))
    if layout.time_in_index and layout.kind == "wide":
        with suppress(ValueError):  # the clocks change, and pandas counts otherwise
            index.freq = layout.frequency
    return index


Bounds = Mapping[float, tuple[np.ndarray, np.ndarray]]
Quantiles = Mapping[float, np.ndarray]


@dataclass(frozen=True, eq=False)
class Forecast:
    """The forecast of one series."""

    point: np.ndarray  # one value a row of the horizon and channel (f, c)
    last_time: Any = None  # time stamp of the last row read; without a time axis its number, None before any row
    bounds: Bounds = field(default_factory=dict)  # by level in percent: {80: (lower, upper)}, both (f, c)
    quantiles: Quantiles = field(default_factory=dict)  # by share: {0.1: values}, (f, c)

    @property
    def beside(self) -> dict[str, np.ndarray]:
        """What stands beside the point, by what its column's name ends with."""
        return _beside(self.bounds, self.quantiles)


@dataclass(frozen=True, eq=False)
class Backtest:
    """The forecasts of one series from k origins."""

    cutoffs: np.ndarray  # time stamp (or number) of the last row that each forecast has seen (k,)
    actual: np.ndarray  # (k, f, c)
    forecast: np.ndarray  # (k, f, c)
    bounds: Bounds = field(default_factory=dict)  # by level in percent: (lower, upper), both (k, f, c)
    quantiles: Quantiles = field(default_factory=dict)  # by share, (k, f, c)

    @property
    def beside(self) -> dict[str, np.ndarray]:
        """What stands beside the forecast, by what its column's name ends with."""
        return _beside(self.bounds, self.quantiles)


def _beside(bounds: Bounds, quantiles: Quantiles) -> dict[str, np.ndarray]:
    """Return bounds and quantiles by the ends of their columns' names."""
    found = {f"-{word}-{level:g}": bounds[level][side] for level in bounds for side, word in enumerate(("lo", "hi"))}
    return found | {f"-q-{100 * share:g}": values for share, values in quantiles.items()}


def forecast_container(layout: Layout, forecasts: Mapping[Hashable, Forecast]) -> Any:
    """Return forecasts, all of one shape and set of levels, as the kind of container that the layout describes.

    An array gives an array (f, c), also when it was 1-D, and a list a list; with bounds or quantiles both give a long frame
    ``unique_id, ds, y`` (``y0, y1, ...`` for several channels) with row numbers as ``ds``. Wide frames go on in their index
    or time column, long ones hold id, time and targets. A Series gives a Series, with bounds a frame.
    """
    _check_alike(forecasts)
    parts = list(forecasts.values())
    beside = tuple(parts[0].beside)
    if layout.backend == "numpy" and not beside:
        points = [part.point.astype(layout.value_dtype) for part in parts]
        return points if layout.kind == "list" else points[0]
    names = target_names(layout)
    columns = _split(layout, names, np.concatenate([part.point for part in parts]))
    for end in beside:
        values = np.concatenate([part.beside[end] for part in parts])
        columns |= _split(layout, [f"{name}{end}" for name in names], values)
    columns = {key: columns[key] for j in range(len(names)) for key in list(columns)[j :: len(names)]}  # by target
    horizon = len(parts[0].point)
    times = continue_times(layout, [part.last_time for part in parts], horizon).ravel()
    frame = _with_rows(layout, list(forecasts), np.full(len(parts), horizon), times, columns)
    alone = layout.was_1d and not beside and (layout.kind == "wide" or layout.index_names)
    return frame[layout.target_columns[0]] if alone else frame


def paths_container(layout: Layout, paths: Mapping[Hashable, np.ndarray], last_times: Mapping[Hashable, Any]) -> Any:
    """Return paths ``(n, f, c)`` of every series as the kind of container that the layout describes.

    An array gives such an array, a list a list of them. A frame has a row a path and step, by series and path: ids and time
    stamps as a forecast has them, the number of the path in a column ``path``, and the targets.
    """
    parts = list(paths.values())
    if layout.backend == "numpy":
        found = [part.astype(layout.value_dtype) for part in parts]
        return found if layout.kind == "list" else found[0]
    names = target_names(layout)
    if "path" in names:
        raise ValueError("a column to forecast is called 'path', as is that of the number of a path: give it another name")
    count, horizon = parts[0].shape[:2]
    times = continue_times(layout, [last_times[name] for name in paths], horizon)
    numbers = np.tile(np.repeat(np.arange(count), horizon), len(parts))
    columns = {"path": numbers, **_split(layout, names, np.concatenate([part.reshape(-1, len(names)) for part in parts]))}
    lengths = np.full(len(parts), count * horizon)
    return _with_rows(layout, list(paths), lengths, np.tile(times[:, None], (1, count, 1)).ravel(), columns)


def future_container(layout: Layout, last_times: Mapping[Hashable, Any], horizon: int) -> Any:
    """Return ids and time stamps of the rows after each series' last one, as `read_future` takes them back once filled.

    A frame with neither, and an array, has the columns of the covariates instead, all missing.
    """
    times = continue_times(layout, list(last_times.values()), horizon).ravel()
    empty = [np.full((horizon, len(layout.future_columns)), np.nan) for _ in last_times]
    if layout.backend == "numpy":
        return empty if layout.kind == "list" else empty[0]
    frame = _with_rows(layout, list(last_times), np.full(len(last_times), horizon), times, {})
    if layout.has_times or layout.kind == "long":
        return frame
    return build_frame(layout, {name: empty[0][:, j] for j, name in enumerate(layout.future_columns)})


def row_values_container(
    layout: Layout, panel: Panel, values: Mapping[Hashable, np.ndarray], *, columns: Sequence[str] | None = None
) -> Any:
    """Return one value a row and column, (t, m) by id, as the kind of container that the panel was read from.

    Rows that were made to fill a gap are left out again. Wide frames have the index or time column that came in, and its
    rows in the same order; long frames hold id, time and columns (None takes the targets), series by series in order of
    time.
    """
    names = list(target_names(layout) if columns is None else columns)
    parts = []
    for series in panel:
        part = values[series.id]
        if part.shape != (len(series), len(names)):
            raise ValueError(f"values[{series.id!r}] has shape {part.shape}; expected {(len(series), len(names))}")
        parts.append(part if series.given is None else part[series.given])
    if layout.backend == "numpy":
        return [part.astype(layout.value_dtype) for part in parts] if layout.kind == "list" else parts[0]
    back = slice(None) if panel.order is None else np.argsort(panel.order)
    data = _split(layout, names, np.concatenate(parts)[back])
    if panel.index is not None and (layout.time_in_index or not layout.has_times):
        return build_frame(layout, data, panel.index)
    if not layout.has_times:
        ids: dict[Column, Any] = {layout.id_column or "": id_column(layout, [s.id for s in panel], [len(p) for p in parts])}
        return build_frame(layout, (ids if layout.kind == "long" else {}) | data)
    times = np.concatenate([s.times if s.given is None else s.times[s.given] for s in panel if s.times is not None])
    frame = _with_rows(layout, [s.id for s in panel], np.array([len(p) for p in parts]), times[back], data)
    return frame if panel.index is None else frame.set_axis(panel.index, axis=0)


def backtest_frame(layout: Layout, results: Mapping[Hashable, Backtest]) -> Any:
    """Return rolling-origin forecasts as a long frame that ``utilsforecast`` reads (pandas for arrays).

    Columns: ``unique_id, ds, cutoff, y, forecast, forecast-lo-80, ...``; rows by series, channel, cutoff and step.
    """
    parts = list(results.values())
    beside = tuple(parts[0].beside)
    horizon, channels = parts[0].forecast.shape[1:]
    times, cutoffs = [], []
    for id_, part in results.items():
        if part.forecast.shape != (len(part.cutoffs), horizon, channels) or tuple(part.beside) != beside:
            raise ValueError(f"results[{id_!r}] differs from the first series in its horizon, channels, levels or quantiles")
        times.append(np.tile(continue_times(layout, list(part.cutoffs), horizon).ravel(), channels))
        cutoffs.append(np.tile(np.repeat(part.cutoffs, horizon), channels))

    def flat(arrays: Iterator[np.ndarray]) -> np.ndarray:
        return np.concatenate([a.transpose(2, 0, 1).ravel() for a in arrays]).astype(layout.value_dtype)

    keys, plain = backtest_ids(layout, list(results), target_names(layout))
    columns: dict[Column, Any] = {
        "unique_id": id_column(plain, keys, np.repeat([len(p.cutoffs) * horizon for p in parts], len(keys) // len(parts))),
        "ds": time_column(layout, np.concatenate(times)),
        "cutoff": time_column(layout, np.concatenate(cutoffs)),
        "y": flat(p.actual for p in parts),
        "forecast": flat(p.forecast for p in parts),
    }
    for end in beside:
        columns[f"forecast{end}"] = flat(p.beside[end] for p in parts)
    return build_frame(layout, columns)


def backtest_ids(layout: Layout, ids: list[Hashable], names: Sequence[Column]) -> tuple[list[Hashable], Layout]:
    """Return a name for every series and channel: column, id, or ``<id>/<column>``; and the layout with its id dtype."""
    if layout.is_single:
        return [str(name) for name in names], replace(layout, id_dtype=None)
    if len(names) == 1:
        return ids, layout
    texts = ["/".join(map(str, id_)) if isinstance(id_, tuple) else id_ for id_ in ids]
    return [f"{text}/{name}" for text in texts for name in names], replace(layout, id_dtype=None)


def target_names(layout: Layout) -> Sequence[Column]:
    """Return the targets' names; an array's channels are y, or y0, y1, ..."""
    targets = layout.target_columns
    if layout.backend != "numpy" or any(isinstance(name, str) for name in targets):
        return targets
    return ["y"] if len(targets) == 1 else [f"y{j}" for j in range(len(targets))]


def _check_alike(forecasts: Mapping[Hashable, Forecast]) -> None:
    first = next(iter(forecasts.values()))
    for id_, part in forecasts.items():
        if part.point.shape != first.point.shape or tuple(part.beside) != tuple(first.beside):
            raise ValueError(
                f"forecasts[{id_!r}] has shape {part.point.shape} and beside it {list(part.beside)}; "
                f"the first series has {first.point.shape} and {list(first.beside)}"
            )


def _split(layout: Layout, names: Sequence[Column], matrix: np.ndarray) -> dict[Column, Any]:
    matrix = np.asarray(matrix, layout.value_dtype)
    return {name: np.ascontiguousarray(matrix[:, j]) for j, name in enumerate(names)}


def _with_rows(
    layout: Layout, ids: list[Hashable], lengths: np.ndarray, times: np.ndarray, columns: Mapping[Column, Any]
) -> Any:
    """Return the columns beside the ids and time stamps of their rows, as the layout has them."""
    head: dict[Column, Any] = {}
    index = None
    if layout.backend == "numpy":
        head["unique_id"] = id_column(layout, [0 if id_ is None else id_ for id_ in ids], lengths)
        head["ds"] = time_column(layout, times)
    else:
        if layout.kind == "long" and not layout.index_names:
            head[layout.id_column or "unique_id"] = id_column(layout, ids, lengths)
        if layout.index_names:
            index = _levels(layout, ids, lengths, times)
        elif layout.time_in_index or (layout.backend == "pandas" and layout.kind == "wide" and not layout.has_times):
            index = time_index(layout, times)
        elif layout.has_times:
            head[layout.time_column or "ds"] = time_column(layout, times)
    return build_frame(layout, head | dict(columns), index)


def _levels(layout: Layout, ids: list[Hashable], lengths: np.ndarray, times: np.ndarray) -> Any:
    """Return ids and time stamps as a pandas MultiIndex."""
    import pandas as pd

    if len(layout.index_names) == 2:
        keys = [id_column(layout, ids, lengths)]
    else:
        place = np.repeat(np.arange(len(ids)), lengths)
        tuples: list[Any] = list(ids)
        keys = [pd.Series(list(level)).iloc[place] for level in zip(*tuples, strict=True)]
    return pd.MultiIndex.from_arrays([*keys, time_index(layout, times)], names=layout.index_names)
