"""Frames of what was seen of memories, and such a frame taken apart for a picture."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from titans_ts.data.containers import build_frame, id_column, time_column
from titans_ts.data.outputs import target_names
from titans_ts.data.panel import Column, Layout, Panel
from titans_ts.data.stamps import read_stamps
from titans_ts.data.tracks import Track, some_of

Measures = Mapping[str, np.ndarray]
"""What was measured, by name, each ``(b, l, n)``: streams, memory layers, and patches or heads."""


def watched_frame(panel: Panel, rows: Mapping[Hashable, np.ndarray], found: Mapping[Hashable, Measures]) -> Any:
    """Return what was seen of the memories while they read a panel: a row a patch, layer and stream.

    Parameters
    ----------
    panel : Panel
        What was read; its backend is used (pandas for arrays).
    rows : mapping of id to ndarray (n,)
        The last row of each patch, from 0.
    found : mapping of id to Measures
        Of each series, ``(b, l, n)``.

    Returns
    -------
    frame
        ``unique_id`` where the panel has ids; ``ds``, or ``row`` where rows have no time stamps; ``channel``, the target's
        name, where there are several streams; ``layer``, from 0; what was measured. Rows by series, channel, layer and time.

    Examples
    --------
    >>> from titans_ts.data.frames import read_panel
    >>> seen = {"surprise": np.array([[[0.5, 0.25]]])}
    >>> frame = watched_frame(read_panel(np.zeros(9)), {None: np.array([3, 7])}, {None: seen})
    >>> list(frame), frame["row"].tolist()
    (['row', 'layer', 'surprise'], [3, 7])
    """
    layout = panel.layout
    parts = []
    for series in panel:
        last = rows[series.id]
        streams, layers, _ = _shape(found[series.id])
        parts.append(np.tile(last if series.times is None else series.times[last], streams * layers))
    every = np.concatenate(parts)
    when: dict[Column, Any] = {"ds": time_column(layout, every)} if layout.has_times else {"row": every}
    return _frame(layout, {series.id: found[series.id] for series in panel}, before=when)


def holdings_frame(layout: Layout, found: Mapping[Hashable, Measures]) -> Any:
    """Return what memories hold: a row a head, layer and stream.

    Parameters
    ----------
    layout : Layout
        Of the container that came in; its backend is used (pandas for arrays).
    found : mapping of id to Measures
        Of each series, ``(b, l, h)``.

    Returns
    -------
    frame
        ``unique_id`` where the layout has ids; ``channel``, the target's name, where there are several streams; ``layer``
        and ``head``, from 0; what was measured.

    Examples
    --------
    >>> frame = holdings_frame(Layout("array", "numpy", (0, 1)), {None: {"distance": np.zeros((2, 1, 2))}})
    >>> frame["channel"].tolist(), frame["head"].tolist()
    (['y0', 'y0', 'y1', 'y1'], [0, 1, 0, 1])
    """
    return _frame(layout, found, number="head")


def read_watched(
    watched: Any, columns: Sequence[str], *, unique_id: Hashable = None, channel: Column | None = None
) -> dict[int, Track]:
    """Return one stream of what `watched_frame` made: a track of some columns a layer.

    Parameters
    ----------
    watched : frame
        As `TitansForecaster.watch` gives it.
    columns : sequence of str
        The columns wanted.
    unique_id, channel : hashable
        The series and the target wanted; None takes the first.

    Raises
    ------
    TypeError, ValueError
        It is not such a frame, or has not what is asked for; the message lists what it has.

    Examples
    --------
    >>> from titans_ts.data.frames import read_panel
    >>> seen = {"surprise": np.array([[[0.5, 0.25]]])}
    >>> frame = watched_frame(read_panel(np.zeros(9)), {None: np.array([3, 7])}, {None: seen})
    >>> read_watched(frame, ["surprise"])[0].values[:, 0].tolist()
    [0.5, 0.25]
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


def _shape(measures: Measures) -> tuple[int, ...]:
    return next(iter(measures.values())).shape


def _frame(
    layout: Layout,
    found: Mapping[Hashable, Measures],
    *,
    before: Mapping[Column, Any] | None = None,
    number: str | None = None,
) -> Any:
    """Put measures below one another, beside what says where they belong; ``number`` names the place on the last axis."""
    shapes = np.array([_shape(part) for part in found.values()])
    columns: dict[Column, Any] = {}
    if not layout.is_single:
        columns["unique_id"] = id_column(layout, list(found), shapes.prod(1))
    columns |= before or {}
    if shapes[0, 0] > 1:
        names = [str(name) for _ in found for name in target_names(layout)]
        plain = replace(layout, id_dtype=None)
        columns["channel"] = id_column(plain, names, np.repeat(shapes[:, 1] * shapes[:, 2], shapes[:, 0]))
    places = [np.indices(tuple(shape)).reshape(3, -1) for shape in shapes]
    columns["layer"] = np.concatenate([place[1] for place in places])
    if number is not None:
        columns[number] = np.concatenate([place[2] for place in places])
    for name in next(iter(found.values())):
        columns[name] = np.concatenate([part[name].ravel() for part in found.values()]).astype(layout.value_dtype)
    return build_frame(layout, columns)
