"""The log of a folder of shards: one file a change, in the order of their numbers, never written to again.

A change is of all shards together: it is there or it is not. Its rows lie apart by shard, so that whoever works on a shard
reads those of it alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from titans_ts.frames.panel import Series
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.state import SeriesState, original, plain
from titans_ts.series.store.archive import Archive, to_bytes
from titans_ts.series.store.records import states_from_bytes, states_to_bytes
from titans_ts.series.store.tables import key_of

HEAD = "head"
NEVER = int(np.iinfo(np.int64).min)
"""Stands for the last time stamp of a series without a row; it is numpy's NaT."""
_PARTS = ("values", "past", "future")


class Head(NamedTuple):
    """What a change says of all its series; arrays ``(n,)``."""

    kind: Literal["rows", "states", "forget"]
    ids: list[Hashable]
    shard: np.ndarray
    place: np.ndarray  # order in which series began
    before: np.ndarray  # rows that had been read of each
    rows: np.ndarray  # of the change; with states, rows that these have read
    last: np.ndarray  # time stamp of each last row, in nanoseconds, or its number; NEVER before the first
    static: np.ndarray  # n s, what a state keeps of the static covariates

    def only(self, kept: np.ndarray) -> Head:
        """Return what is said of some of the series, ``(n,)``."""
        ids = [name for name, keep in zip(self.ids, kept.tolist(), strict=True) if keep]
        return Head(self.kind, ids, *(x[kept] for x in self[2:]))


@dataclass
class Pending:
    """What the log holds of a series beyond its shard: rows, after the state in the shard or one in its place."""

    name: Hashable
    place: int
    last: int = NEVER  # stamp of the last row of `state`
    goes_on: bool = True  # from the state in the shard; otherwise from `state`, or afresh
    state: SeriesState | None = None
    pieces: list[Series] = field(default_factory=list)

    @property
    def series(self) -> Series:
        """All rows in one piece."""
        first = self.pieces[0]
        if len(self.pieces) == 1:
            return first
        parts: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in self.pieces]) for name in _PARTS}
        times = None if first.times is None else np.concatenate([one.times for one in self.pieces if one.times is not None])
        return replace(first, times=times, **parts)


def members(
    head: Head,
    *,
    series: Sequence[Series] = (),
    states: Sequence[SeriesState] = (),
    network: ForecastNetwork,
) -> Iterator[tuple[str, bytes]]:
    """Yield the members of the archive of a change; ``series`` or ``states`` are in the order of its ids."""
    arrays = {name: getattr(head, name) for name in head._fields[2:]}
    yield HEAD, to_bytes({"kind": head.kind, "ids": names_to_json(head.ids)}, arrays)
    order = np.argsort(head.shard, kind="stable")
    shards, begins = np.unique(head.shard[order], return_index=True)
    for shard, places in zip(shards.tolist(), np.split(order, begins[1:]), strict=True):
        facts: dict[str, Any] = {"kind": head.kind, "ids": names_to_json([head.ids[i] for i in places])}
        own: dict[str, np.ndarray] = {"place": head.place[places]}
        if head.kind == "rows":
            some = [series[i] for i in places]
            own |= {"count": head.rows[places], "static": np.stack([one.static for one in some])}
            own |= {name: np.concatenate([getattr(one, name) for one in some]) for name in _PARTS}
            if some[0].times is not None:
                times = np.concatenate([one.times for one in some if one.times is not None])
                facts["stamps"] = times.dtype.kind == "M"
                own["times"] = times.view(np.int64) if facts["stamps"] else times.astype(np.int64)
        elif head.kind == "states":
            own["last"] = head.last[places]
            own["states"] = np.frombuffer(states_to_bytes(network, [states[i] for i in places]), np.uint8)
        yield str(shard), to_bytes(facts, own)


def head_of(archive: Archive) -> Head:
    """Return what an archive of the log says of its series."""
    facts, arrays = archive.arrays(HEAD)
    return Head(facts["kind"], names_from_json(facts["ids"]), **{name: arrays[name] for name in Head._fields[2:]})


def read_pending(
    archive: Archive, shard: int, pending: dict[Any, Pending], network: ForecastNetwork, form: SeriesState
) -> None:
    """Add what a change holds of a shard to what those before it hold, by :func:`index_key` of the id."""
    facts, arrays = archive.arrays(str(shard))
    kind, ids, places = facts["kind"], names_from_json(facts["ids"]), arrays["place"].tolist()
    if kind == "rows":
        for name, place, piece in zip(ids, places, _pieces(ids, facts, arrays), strict=True):
            one = pending.setdefault(index_key(name), Pending(name, place))
            one.place = place  # a series that was forgotten, and begins again, is the last
            one.pieces.append(piece)
        return
    states: Iterable[Any] = [None] * len(ids)
    if kind == "states":
        states = states_from_bytes(network, form, arrays["states"].tobytes())
    lasts = arrays["last"].tolist() if kind == "states" else [NEVER] * len(ids)
    for name, place, last, state in zip(ids, places, lasts, states, strict=True):
        pending.pop(index_key(name), None)
        pending[index_key(name)] = Pending(name, place, last, goes_on=False, state=state)


def _pieces(ids: list[Hashable], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[Series]:
    ends = np.cumsum(arrays["count"])
    times = arrays.get("times")
    if times is not None and facts["stamps"]:
        times = times.view("M8[ns]")
    for i, (name, begin, end) in enumerate(zip(ids, (ends - arrays["count"]).tolist(), ends.tolist(), strict=True)):
        parts: dict[str, Any] = {part: arrays[part][begin:end] for part in _PARTS}
        yield Series(name, times=None if times is None else times[begin:end], static=arrays["static"][i], **parts)


def stamp_of(time: Any) -> int:
    """Return a time stamp, or the number of a row, as a whole number; None is NEVER."""
    if time is None:
        return NEVER
    return int(time.astype("M8[ns]").astype(np.int64)) if isinstance(time, np.datetime64) else int(time)


def time_of(stamp: int, *, stamped: bool) -> Any:
    """Return what :func:`stamp_of` was given, where time stamps are dates or numbers."""
    if stamp == NEVER:
        return None
    return np.datetime64(stamp, "ns") if stamped else stamp


def index_key(name: object) -> str | bytes:
    """Return what stands for an id in an index: text for itself, all else as it is spelled in files."""
    return str(name) if isinstance(name, str) else key_of(name).encode()  # numpy's text is text, too


def names_to_json(names: Iterable[Hashable]) -> list[Any]:
    """Return ids as JSON can hold them; text stands for itself.

    >>> names_from_json(names_to_json(["well", 7, ("a", 1)]))
    ['well', 7, ('a', 1)]
    """
    return [str(name) if isinstance(name, str) else plain(name) for name in names]


def names_from_json(kept: Iterable[Any]) -> list[Hashable]:
    """Return the ids that :func:`names_to_json` was given."""
    return [name if isinstance(name, str) else original(name) for name in kept]
