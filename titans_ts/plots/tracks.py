"""One series of a container as a picture needs it: a few columns and their time stamps."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from titans_ts.blocks.warned import own_filters
from titans_ts.frames.clock import continue_times
from titans_ts.frames.panel import Column, Layout
from titans_ts.frames.read import read_panel
from titans_ts.frames.stamps import read_stamps

Names = tuple[str, str]
NAMES: Names = ("unique_id", "ds")  # columns of ids and of time stamps

_BOUND = re.compile(r"(?P<target>.*)-(?P<side>lo|hi)-(?P<level>\d+(\.\d+)?)")


@dataclass(frozen=True, eq=False)
class Track:
    """One series: the columns asked for, and the layout of the container they were read from."""

    id: Hashable  # None for a single array or a wide frame
    times: Any  # t: datetime64[ns] (UTC where the user's stamps carry a zone) or int64; None without a time axis
    values: np.ndarray  # t, k: NaN where missing
    layout: Layout

    def tail(self, rows: int | None) -> Track:
        """Return the last rows; None keeps all."""
        return self if rows is None else self.where(slice(max(len(self.values) - rows, 0), None))

    def where(self, rows: Any) -> Track:
        """Return some of the rows."""
        return replace(self, times=self.times[rows], values=self.values[rows])

    def numbered(self, first: int = 0) -> Track:
        """Return the track with row numbers for time stamps, where it has none."""
        return self if self.times is not None else replace(self, times=first + np.arange(len(self.values)))

    def after(self, other: Track) -> Track:
        """Return the track with the time stamps that follow another's, where it has none."""
        if self.times is not None:
            return self
        return replace(self, times=continue_times(other.layout, [other.times[-1]], len(self.values))[0])


def read_track(X: Any, columns: Sequence[Column], unique_id: Hashable = None, names: Names = NAMES) -> Track:
    """Return one series of a container, the one asked for or the first; columns are numbers for arrays."""
    tracks = {track.id: track for track in read_tracks(X, columns, names)}
    if unique_id is None or set(tracks) == {None}:
        return next(iter(tracks.values()))
    if unique_id not in tracks:
        raise ValueError(f"unique_id={unique_id!r} is not there; the series are {some_of(tracks)}")
    return tracks[unique_id]


def read_tracks(X: Any, columns: Sequence[Column], names: Names = NAMES) -> list[Track]:
    """Return every series of a container; see :func:`read_track`."""
    with own_filters():
        warnings.simplefilter("ignore")  # rows missing in the time axis: fit has said so, and the line shows the gap
        panel = read_panel(X, id_column=names[0], time_column=names[1], target_columns=columns)
    return [Track(series.id, series.times, series.values, panel.layout) for series in panel]


def aligned(past: Track, ahead: Track) -> tuple[Track, Track]:
    """Return a history and its forecast on one time axis, where one of them or both lack time stamps."""
    first = 0 if ahead.times is None or ahead.times.dtype.kind == "M" else int(ahead.times[0]) - len(past.values)
    past = past.numbered(first)
    ahead = ahead.after(past)
    if past.times.dtype.kind != ahead.times.dtype.kind:
        dated, plain = ("history", "forecast") if past.times.dtype.kind == "M" else ("forecast", "history")
        raise ValueError(f"{dated} has dates and {plain} has none; pass both as frames with the same time stamps")
    return past, ahead


def find_target(X: Any, column: Column | None, names: Names, argument: str) -> tuple[Column, int]:
    """Return the column to draw, by default the first, and its place among the targets; arrays have numbers for names.

    A column ``y-lo-80`` beside ``y`` is a bound and no target. ``argument`` is what X is called in errors.
    """
    columns = _columns(X, names)
    if columns is None:
        columns = list(range(_width(X)))
    targets = [name for name in columns if not ((found := _bound(name)) and found["target"] in columns)]
    chosen: Any = targets[0] if column is None and targets else column
    if isinstance(chosen, int) and chosen not in targets and -len(targets) <= chosen < len(targets):
        chosen = targets[chosen]
    if chosen not in targets:
        raise ValueError(f"column={column!r} is not in {argument}, which has {some_of(targets)}")
    return chosen, targets.index(chosen)


def same_column(X: Any, column: Column, place: int, argument: str, names: Names = NAMES) -> Column:
    """Return what a target is called in another container: by its name, else the only column, else by its place."""
    columns = _columns(X, names)
    if columns is None:
        return place if place < _width(X) else 0
    if column in columns:
        return column
    if len(columns) == 1:
        return columns[0]
    raise ValueError(f"column={column!r} is not in {argument}, which has {some_of(columns)}; pass column=...")


class Band(NamedTuple):
    """An interval of a forecast."""

    level: float  # percent
    low: str  # column of its lower end
    high: str


def find_bands(X: Any, column: Column, level: float | Sequence[float] | None) -> list[Band]:
    """Return the intervals of a forecast's column, all of them or those of some levels, the widest first."""
    found = [_bound(name) for name in _columns(X, NAMES) or []]
    there = sorted({float(one["level"]) for one in found if one and one["target"] == str(column)}, reverse=True)
    wanted = there if level is None else [level] if isinstance(level, int | float) else list(level)
    if any(one not in there for one in wanted):
        has = f"has the levels {some_of(there)}" if there else "has no intervals"
        raise ValueError(f"level={level!r}: the forecast {has} for {column!r}; pass level={wanted} to predict")
    return [Band(float(one), f"{column}-lo-{one:g}", f"{column}-hi-{one:g}") for one in sorted(wanted, reverse=True)]


def read_watched(
    watched: Any, columns: Sequence[str], *, unique_id: Hashable = None, channel: Column | None = None
) -> dict[int, Track]:
    """Return some columns of the frame that ``TitansForecaster.watch`` gives, a track a layer.

    They are of one series and channel, by default the first.
    """
    import narwhals as nw

    try:
        frame = nw.from_native(watched, eager_only=True)
    except TypeError as error:
        raise TypeError(f"watched is a {type(watched).__name__}; expected the frame that watch(X) returned") from error
    time = "ds" if "ds" in frame.columns else "row"
    missing = [name for name in (time, "layer", *columns) if name not in frame.columns]
    if missing:
        raise ValueError(
            f"watched has no column {some_of(missing)}; it has {some_of(frame.columns)}; pass what watch(X) returned"
        )
    if len(frame) == 0:
        raise ValueError("watched has no rows: nothing was written; watch more rows than a patch has")
    frame, name = _only(frame, "unique_id", unique_id)
    frame, _ = _only(frame, "channel", None if channel is None else str(channel))
    backend: Any = frame.implementation.name.lower()
    tracks = {}
    for layer in frame.get_column("layer").unique(maintain_order=True).to_list():
        part = frame.filter(nw.col("layer") == layer)
        stamps = read_stamps(part.get_column(time), f"column {time!r}")
        layout = Layout("long", backend, tuple(columns), time_dtype=stamps.dtype, time_zone=stamps.zone)
        values = np.stack([part.get_column(each).to_numpy() for each in columns], axis=1)
        tracks[int(layer)] = Track(name, stamps.times, values, layout)
    return tracks


def _only(frame: Any, name: str, value: Hashable) -> tuple[Any, Hashable]:
    """Return the rows of a narwhals frame that have a value in a column, by default its first, and the value."""
    if name not in frame.columns:
        if value is not None:
            raise ValueError(f"{name}={value!r}: watched has no column {name!r}; leave {name} at None")
        return frame, None
    there = frame.get_column(name)
    wanted = there[0] if value is None else value
    kept = frame.filter(there == wanted)
    if len(kept) == 0:
        raise ValueError(f"{name}={value!r} is not in watched, which has {some_of(there.unique(maintain_order=True))}")
    return kept, wanted


def some_of(names: Iterable[Any], most: int = 8) -> str:
    """Return the first of many names, for an error."""
    found = list(names)
    return ", ".join(repr(name) for name in found[:most]) + (f" and {len(found) - most} more" if found[most:] else "")


def _columns(X: Any, names: Names) -> list[Column] | None:
    """Return the columns of a frame without ids and time stamps, the name of a Series, or None for arrays."""
    if hasattr(X, "columns"):
        return [name for name in getattr(X, "column_names", X.columns) if name not in names]
    if hasattr(X, "name") and not isinstance(X, np.ndarray):
        return [X.name if X.name not in (None, "") else "y"]
    return None


def _width(X: Any) -> int:
    """Return the columns of an array, or of the arrays in a list."""
    return len(read_panel(X).layout.target_columns)


def _bound(name: Column) -> re.Match[str] | None:
    """Return target, side and level of a column's name, where it is that of a bound."""
    return _BOUND.fullmatch(name) if isinstance(name, str) else None
