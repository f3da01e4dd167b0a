"""The series of a folder at one moment: what they answer, and a change that is being made to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from titans_ts.frames.faults import Faults
from titans_ts.frames.panel import Panel, Series
from titans_ts.frames.write import Forecast
from titans_ts.series.intervals import Asked
from titans_ts.series.reader import Reader
from titans_ts.series.state import SeriesState
from titans_ts.series.store import shards
from titans_ts.series.store.archive import write_archive
from titans_ts.series.store.layout import Snapshot, change_path
from titans_ts.series.store.ledger import Entry, LastStamps, Ledger, shard_of
from titans_ts.series.store.log import NEVER, Head, index_key, members, stamp_of
from titans_ts.series.store.shards import Ask, Job, Outcome, Source, failures, told


class Home(Protocol):
    """The folder that a view is of."""

    path: Path
    reader: Reader
    form: SeriesState

    @property
    def job(self) -> Job:
        """What a worker needs beside its shards."""

    def source(self, snapshot: Snapshot, shard: int) -> Source:
        """Return where a shard lies."""

    def work(self, task: Callable[..., list[Outcome]], parts: Sequence[Any], *more: Any, what: str) -> list[Outcome]:
        """Return what came of the work on each of some shards, in their order."""


class FolderView(Collection[Hashable]):
    """The series of a folder at one moment, and a change that is being made to them."""

    def __init__(self, folder: Home, snapshot: Snapshot, ledger: Ledger) -> None:
        self._folder, self._snapshot, self._ledger = folder, snapshot, ledger
        self.change: dict[Hashable, Any] = {}  # by id: a series, a state with the stamp of its last row, or None to forget
        self.last_times = LastStamps(ledger)

    def __len__(self) -> int:
        return len(self._ledger)

    def __contains__(self, name: object) -> bool:
        return name in self._ledger

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._ledger)

    def rows(self) -> list[Entry]:
        """Return what is known of all series, in the order in which they began."""
        return self._ledger.rows()

    def find(self, name: Hashable) -> Entry | None:
        """Return what is known of a series, None if there is none."""
        return self._ledger.find(name)

    # --- answers ------------------------------------------------------------------------------------------------------

    def state(self, entry: Entry) -> SeriesState:
        """Return the state of a series."""
        return shards.state_of(self._folder.job, self._folder.source(self._snapshot, entry.shard), entry.name)

    def forecast(
        self, entries: Sequence[Entry], ahead: Mapping[Hashable, Tensor] | None, asked: Asked, horizon: int
    ) -> dict[Hashable, Forecast]:
        """Return forecasts by id; ``ahead`` is what is known in advance, if anything has to be told."""
        by_shard: dict[int, dict[Any, Entry]] = {}
        for entry in entries:
            by_shard.setdefault(entry.shard, {})[index_key(entry.name)] = entry
        sizes = np.bincount(self._ledger.shard, minlength=self._snapshot.plan.shards)
        parts = []
        for shard, some in sorted(by_shard.items()):
            keys = None if len(some) == sizes[shard] else frozenset(some)
            known = None if ahead is None else {key: ahead[entry.name] for key, entry in some.items()}
            parts.append((self._folder.source(self._snapshot, shard), keys, known))
        found = self._folder.work(shards.forecast, parts, Ask(asked.shares, horizon), what="forecasting")
        if failed := failures(found):
            raise ValueError(f"{str(self._folder.path)!r}: {len(failed)} shards cannot be read: {told(failed)}")
        answers = {}
        for one in found:
            for name, point, values in zip(*one.answer, strict=True):
                last = by_shard[one.shard][index_key(name)].time
                answers[index_key(name)] = Forecast(point, last, *asked.parted(values))
        return {entry.name: answers[index_key(entry.name)] for entry in entries}

    def check(self) -> None:
        """Read all shards and the log; refuse what is damaged, by shard."""
        numbers = range(self._snapshot.plan.shards)
        found = self._folder.work(
            shards.count, [(self._folder.source(self._snapshot, shard),) for shard in numbers], what="checking"
        )
        if failed := failures(found):
            raise ValueError(f"{str(self._folder.path)!r} is damaged in {len(failed)} shards: {told(failed)}")
        if [one.answer for one in found] != np.bincount(self._ledger.shard, minlength=len(numbers)).tolist():
            raise ValueError(f"{str(self._folder.path)!r} is damaged: its shards do not hold the series they say")

    # --- changes ------------------------------------------------------------------------------------------------------

    def absorb(self, panel: Panel, faults: Faults) -> int:
        """Take the rows of those series that can be read on; returns how many these are."""
        reader, form = self._folder.reader, self._folder.form
        for one in panel:
            if form.static.numel():  # nothing else of a state can refuse rows
                entry = self.find(one.id)
                try:
                    static = None if entry is None else form._replace(n_seen=entry.n_seen, static=_tensor(entry.static))
                    reader.begin(one, static)
                except ValueError as error:
                    faults.note(one.id, str(error))
                    continue
            if len(one):
                self.change[one.id] = one
        return len(self.change)

    def put(self, name: Hashable, state: SeriesState, last_time: Any) -> None:
        """Put a state in the place of what is kept of a series."""
        self.change[name] = state, stamp_of(last_time)

    def drop(self, name: Hashable) -> None:
        """Take a series out."""
        self.change[name] = None

    def clear(self) -> None:
        """Take all series out."""
        self.change = dict.fromkeys(self._ledger)

    def write(self) -> None:
        """Write the change to the log: it is absorbed then."""
        kinds = {type(one) for one in self.change.values()}
        assert len(kinds) == 1
        kind = {Series: "rows", tuple: "states"}.get(kinds.pop(), "forget")
        ids, ledger = list(self.change), self._ledger
        at = np.array([ledger.index.get(index_key(name), -1) for name in ids], np.int64)
        shard, place, before = (_taken(x, at) for x in (ledger.shard, ledger.place, ledger.n_seen))
        static = _taken(ledger.static, at)
        new = np.flatnonzero(at < 0)
        shard[new] = [shard_of(ids[i], self._snapshot.plan.shards) for i in new]
        place[new] = np.arange(len(new)) + ledger.place.max(initial=-1) + 1
        rows, last = np.zeros_like(before), np.full_like(before, NEVER)
        given: dict[str, Any] = {}
        if kind == "rows":
            series = given["series"] = list(self.change.values())
            rows[:] = [len(one) for one in series]
            last[:] = [
                end - 1 if one.times is None else one.times[-1].astype(np.int64)
                for end, one in zip(before + rows, series, strict=True)
            ]
            for i in np.flatnonzero(before == 0) if static.size else ():
                static[i] = self._folder.reader.preparation.static_tensor(series[i].static).numpy()
        elif kind == "states":
            states = given["states"] = [state for state, _ in self.change.values()]
            rows[:], last[:] = [state.n_seen for state in states], [stamp for _, stamp in self.change.values()]
            static = np.stack([state.static.numpy() for state in states])
        head = Head(kind, ids, shard, place, before, rows, last, static)  # type: ignore[arg-type]
        path = change_path(self._folder.path, self._snapshot.number + 1)
        write_archive(path, members(head, **given, network=self._folder.reader.network))


def _taken(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return what stands at some places; zeros for -1."""
    return np.concatenate([x, np.zeros((1, *x.shape[1:]), x.dtype)])[at]


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x)
