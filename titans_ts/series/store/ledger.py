"""Which series a folder holds, and how far each was read, without any of their states."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from titans_ts.series.store.log import Head, index_key, time_of
from titans_ts.series.store.tables import key_of

_COLUMNS = ("shard", "place", "n_seen", "last", "static", "waiting")


class Entry(NamedTuple):
    """What is known of one series."""

    name: Hashable
    n_seen: int
    time: Any  # stamp of the last row, its number without stamps, None before the first
    shard: int
    static: np.ndarray  # s, as its state keeps them


@dataclass(frozen=True, eq=False)
class Ledger(Collection[Hashable]):
    """The series after change ``number``; a collection of ids that is never written to. Arrays are ``(n,)``."""

    number: int
    stamped: bool  # whether time stamps are dates
    index: dict[Any, int]  # where a series stands
    names: list[Hashable]
    shard: np.ndarray
    place: np.ndarray  # order in which series began
    n_seen: np.ndarray
    last: np.ndarray  # int64
    static: np.ndarray  # n s
    waiting: np.ndarray  # rows in the log that are not in the shard

    @classmethod
    def of(cls, number: int, names: list[Hashable], *, stamped: bool, **columns: np.ndarray) -> Ledger:
        """Return the ledger of series that all lie in their shards."""
        index = {index_key(name): i for i, name in enumerate(names)}
        return cls(number, stamped, index, names, waiting=np.zeros(len(names), np.int64), **columns)

    def after(self, head: Head, number: int) -> Ledger:
        """Return the ledger after a change; one that does not follow what is known is refused."""
        keys = [index_key(name) for name in head.ids]
        index, names = self.index, self.names
        new = [i for i, key in enumerate(keys) if key not in index]
        columns = {name: getattr(self, name).copy() for name in _COLUMNS}
        if new:
            index = {**index, **{keys[i]: len(names) + j for j, i in enumerate(new)}}
            names = [*names, *(head.ids[i] for i in new)]
            nothing = {name: np.zeros((len(new), *x.shape[1:]), x.dtype) for name, x in columns.items()}
            nothing |= {"shard": head.shard[new], "place": head.place[new]}
            columns = {name: np.concatenate([x, nothing[name]]) for name, x in columns.items()}
        at = np.array([index[key] for key in keys], np.int64)
        wrong = columns["n_seen"][at] != head.before
        if wrong.any():
            raise ValueError(f"rows of series {head.ids[int(wrong.argmax())]!r} are missing from the log")
        if head.kind == "forget":
            kept = np.ones(len(names), bool)
            kept[at] = False
            names = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
            index = {index_key(name): i for i, name in enumerate(names)}
            columns = {name: x[kept] for name, x in columns.items()}
            return replace(self, number=number, index=index, names=names, **columns)
        begin = at if head.kind == "states" else at[head.before == 0]
        columns["static"][begin] = head.static if head.kind == "states" else head.static[head.before == 0]
        columns["n_seen"][at] = head.rows + (head.before if head.kind == "rows" else 0)
        columns["waiting"][at] += head.rows
        columns["last"][at] = head.last
        return replace(self, number=number, index=index, names=names, **columns)

    def merged(self, shards: Collection[int]) -> Ledger:
        """Return the ledger once all rows of some shards lie in them."""
        return replace(self, waiting=np.where(np.isin(self.shard, list(shards)), 0, self.waiting))

    # --- as a collection ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        try:
            return index_key(name) in self.index
        except TypeError:  # of no kind that could be kept
            return False

    def __iter__(self) -> Iterator[Hashable]:
        return (self.names[i] for i in np.argsort(self.place).tolist())

    def rows(self) -> list[Entry]:
        """Return all series in the order in which they began."""
        return [self._entry(i) for i in np.argsort(self.place).tolist()]

    def find(self, name: Hashable) -> Entry | None:
        """Return what is known of a series, None if there is none."""
        at = self.index.get(index_key(name))
        return None if at is None else self._entry(at)

    def _entry(self, at: int) -> Entry:
        return Entry(self.names[at], int(self.n_seen[at]), self.time(at), int(self.shard[at]), self.static[at])

    def time(self, at: int) -> Any:
        """Return the time stamp of the last row of a series."""
        return time_of(int(self.last[at]), stamped=self.stamped)


class LastStamps(Mapping[Hashable, Any]):
    """The time stamps of the last rows of the series of a ledger; those without a row are not in it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getitem__(self, name: Hashable) -> Any:
        at = self._ledger.index.get(index_key(name))
        last = None if at is None else self._ledger.time(at)
        if last is None:
            raise KeyError(name)
        return last

    def __len__(self) -> int:
        return len(self._ledger)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._ledger)


def shard_of(name: Hashable, shards: int) -> int:
    """Return the shard of a series, the same in every process.

    >>> shard_of("well 7", 64), shard_of(7, 64) == shard_of(7.0, 64)
    (4, True)
    """
    return zlib.crc32(key_of(name).encode()) % shards
