"""What a worker does: merge what the log holds into shards, and forecast from them. It gets a path, and gives no state back.

Series of a shard lie in blocks, in the order in which they began. A block is read, and forecast, side by side and with one
thread: so numbers depend on the rows alone, and on nobody who happens to do the work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from titans_ts.backbones.state import map_tensors
from titans_ts.series.reader import Reader, Reading, last_time
from titans_ts.series.reading import absorb_together, forecast_together
from titans_ts.series.state import SeriesState
from titans_ts.series.store.archive import Archive, to_bytes, write_archive
from titans_ts.series.store.ledger import shard_of
from titans_ts.series.store.log import (
    HEAD,
    Pending,
    index_key,
    names_from_json,
    names_to_json,
    read_pending,
    stamp_of,
    time_of,
)
from titans_ts.series.store.records import states_from_bytes, states_to_bytes


class Source(NamedTuple):
    """Where a shard lies: its file, if it has one, and the changes since that concern it."""

    shard: int
    file: Path | None
    log: tuple[Path, ...]


class Job(NamedTuple):
    """What a worker needs beside its shards."""

    reader: Reader
    form: SeriesState  # of the parts of every state
    block: int  # series of a block


class Listed(NamedTuple):
    """What a shard says of one series."""

    name: Hashable
    place: int  # order in which series began
    n_seen: int
    last: int  # stamp of the last row, see :func:`stamp_of`
    static: np.ndarray  # s


class Slot(NamedTuple):
    """A series of a shard: where its state lies, and what the log holds of it."""

    listed: Listed
    block: int  # of the file; -1 where the state does not come from there
    row: int  # within that block
    pending: Pending | None


class Outcome(NamedTuple):
    """What came of the work on a shard: an answer, or why there is none."""

    shard: int
    answer: Any
    error: Exception | None = None


class Answers(NamedTuple):
    """Forecasts of series of a shard in the user's units."""

    ids: list[Hashable]
    point: np.ndarray  # n f c
    values: np.ndarray  # n f c s, of the quantiles that were asked for


class Shard:
    """One shard and its part of the log, open for reading."""

    def __init__(self, source: Source, job: Job) -> None:
        self.source, self.job = source, job
        self.slots: list[Slot] = []
        self._sizes: list[int] = []
        self._states: dict[int, list[SeriesState]] = {}  # of the last block of the file that was read
        pending: dict[Any, Pending] = {}
        for path in source.log:
            with Archive(path) as archive:
                read_pending(archive, source.shard, pending, job.reader.network, job.form)
        self._file = None if source.file is None else Archive(source.file)
        if self._file is not None:
            listed, self._sizes = shard_list(self._file)
            at = [(block, row) for block, size in enumerate(self._sizes) for row in range(size)]
            for one, (block, row) in zip(listed, at, strict=True):
                new = pending.get(index_key(one.name))
                if new is None or new.goes_on:
                    self.slots.append(Slot(one, block, row, pending.pop(index_key(one.name), None)))
        begun = sorted((one for one in pending.values() if one.pieces or one.state is not None), key=lambda one: one.place)
        nothing = np.zeros(job.form.static.shape, np.float32)
        self.slots += [Slot(Listed(one.name, one.place, 0, one.last, nothing), -1, -1, one) for one in begun]

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def blocks(self) -> Iterator[list[Slot]]:
        """Yield the series of the shard, those of a block together."""
        return (self.slots[first : first + self.job.block] for first in range(0, len(self.slots), self.job.block))

    def raw(self, slots: Sequence[Slot]) -> bytes | None:
        """Return a block as it lies in the file, if nothing of it is new and none is gone."""
        number = slots[0].block
        same = all(one.block == number and one.row == row and one.pending is None for row, one in enumerate(slots))
        if self._file is None or not same or len(slots) != self._sizes[number]:
            return None
        return self._file.read(f"block-{number}")

    def states(self, slots: Sequence[Slot]) -> tuple[list[Listed], list[SeriesState]]:
        """Return series as they are after the log; those with new rows are read side by side."""
        reader = self.job.reader
        states, listed = [self._state(slot) for slot in slots], [slot.listed for slot in slots]
        new = [(i, slot.pending.series) for i, slot in enumerate(slots) if slot.pending is not None and slot.pending.pieces]
        if new:
            begun = [reader.begin(series, states[i]) for i, series in new]
            tensors = [reader.preparation.tensors(one, state.scale) for (_, one), state in zip(new, begun, strict=True)]
            for (i, series), after in zip(new, absorb_together(reader.network, begun, tensors), strict=True):
                states[i], listed[i] = after, listed[i]._replace(last=stamp_of(last_time(series, after)))
        found: list[Any] = states
        listed = [one._replace(n_seen=x.n_seen, static=x.static.numpy()) for one, x in zip(listed, found, strict=True)]
        return listed, found

    def _state(self, slot: Slot) -> SeriesState | None:
        if slot.block < 0 or self._file is None:
            return None if slot.pending is None else slot.pending.state
        if slot.block not in self._states:
            data = self._file.read(f"block-{slot.block}")
            self._states = {slot.block: states_from_bytes(self.job.reader.network, self.job.form, data)}
        return self._states[slot.block][slot.row]


def shard_list(file: Archive) -> tuple[list[Listed], list[int]]:
    """Return what the file of a shard says of its series, and how many are in each block."""
    facts, arrays = file.arrays(HEAD)
    columns = [arrays[name].tolist() for name in ("place", "n_seen", "last")]
    listed = map(Listed, names_from_json(facts["ids"]), *columns, arrays["static"])
    return list(listed), facts["sizes"]


def write_shard(path: Path, job: Job, blocks: Iterable[tuple[Sequence[Listed], bytes]]) -> None:
    """Write the file of a shard, whole or not at all."""
    every, sizes = list[Listed](), list[int]()

    def members() -> Iterator[tuple[str, bytes]]:
        for number, (listed, data) in enumerate(blocks):
            every.extend(listed)
            sizes.append(len(listed))
            yield f"block-{number}", data
        columns = {name: np.array([getattr(one, name) for one in every], np.int64) for name in ("place", "n_seen", "last")}
        static = np.zeros((len(every), *job.form.static.shape), np.float32)
        for i, one in enumerate(every):
            static[i] = one.static
        yield HEAD, to_bytes({"ids": names_to_json(one.name for one in every), "sizes": sizes}, columns | {"static": static})

    write_archive(path, members())


# --- work -------------------------------------------------------------------------------------------------------------


def merge(job: Job, parts: Sequence[tuple[Source, Path]]) -> list[Outcome]:
    """Write new files of shards, in which all of the log is read; a shard that fails leaves none."""

    def one(source: Source, path: Path) -> None:
        with Shard(source, job) as shard:
            write_shard(path, job, _blocks_after_log(shard))

    return _outcomes(one, parts)


def _blocks_after_log(shard: Shard) -> Iterator[tuple[Sequence[Listed], bytes]]:
    for slots in shard.blocks():
        data = shard.raw(slots)
        if data is not None:
            yield [slot.listed for slot in slots], data
        else:
            listed, states = shard.states(slots)
            yield listed, states_to_bytes(shard.job.reader.network, states)


def forecast(
    job: Job, parts: Sequence[tuple[Source, Collection[Any] | None, Mapping[Any, Tensor] | None]], ask: Ask
) -> list[Outcome]:
    """Forecast series of shards: all, or those of some keys, with what is known in advance of them by key."""

    def one(source: Source, keys: Collection[Any] | None, ahead: Mapping[Any, Tensor] | None) -> Answers:
        ids, found = list[Hashable](), list[Any]()
        with Shard(source, job) as shard:
            for slots in shard.blocks():
                some = [slot for slot in slots if keys is None or index_key(slot.listed.name) in keys]
                if some:
                    listed, states = shard.states(some)
                    ids += [each.name for each in listed]
                    found += forecast_together(job.reader.network, states, _ahead(job.reader, listed, ahead), ask.shares)
        points, values = zip(*map(job.reader.in_units, found), strict=True)
        return Answers(ids, *(np.concatenate(x)[:, : ask.horizon] for x in (points, values)))

    return _outcomes(one, parts)


class Ask(NamedTuple):
    """What is asked of every series."""

    shares: tuple[float, ...]  # quantiles
    horizon: int


def _ahead(reader: Reader, listed: Sequence[Listed], known: Mapping[Any, Tensor] | None) -> list[Tensor]:
    """Return what is known in advance of some series."""
    if known is not None:
        return [known[index_key(one.name)] for one in listed]
    stamped = reader.layout.has_times and not reader.layout.integer_times
    last = Reading({}, {one.name: time_of(one.last, stamped=stamped) for one in listed}, reader.layout)
    return list(reader.ahead(last, reader.network.config.horizon).values())


def count(job: Job, parts: Sequence[tuple[Source]]) -> list[Outcome]:
    """Read all of some shards; the answer is how many series each holds."""

    def one(source: Source) -> int:
        with Shard(source, job) as shard:
            return sum(len(shard.states(slots)[1]) for slots in shard.blocks())

    return _outcomes(one, parts)


def rebalance(job: Job, parts: Sequence[tuple[Source, Sequence[Source], Path, int]]) -> list[Outcome]:
    """Write shards of another layout, of series that lie in some of this one, whose log is empty."""

    def one(target: Source, sources: Sequence[Source], path: Path, shards: int) -> None:
        with ExitStack() as stack:
            old = [stack.enter_context(Shard(source, job)) for source in sources]
            slots = [(slot, shard) for shard in old for slot in shard.slots]
            slots = [one for one in slots if shard_of(one[0].listed.name, shards) == target.shard]
            slots.sort(key=lambda one: one[0].listed.place)
            blocks = (slots[first : first + job.block] for first in range(0, len(slots), job.block))
            write_shard(path, job, (_moved(job, some) for some in blocks))

    return _outcomes(one, parts)


def _moved(job: Job, slots: Sequence[tuple[Slot, Shard]]) -> tuple[list[Listed], bytes]:
    states = [shard.states([slot])[1][0] for slot, shard in slots]
    return [slot.listed for slot, _ in slots], states_to_bytes(job.reader.network, states)


def state_of(job: Job, source: Source, name: Hashable) -> SeriesState:
    """Return the state of one series of a shard, a copy of its own, which keeps no block in memory."""
    with one_thread(), Shard(source, job) as shard:
        slots = [slot for slot in shard.slots if index_key(slot.listed.name) == index_key(name)]
        return map_tensors(torch.clone, shard.states(slots)[1][0])  # type: ignore[no-any-return]


def _outcomes(work: Callable[..., Any], parts: Sequence[Any]) -> list[Outcome]:
    """Do the work on one shard after the other, with one thread; what goes wrong with one does not stop the others."""
    found = []
    with one_thread():
        for part in parts:
            try:
                found.append(Outcome(part[0].shard, work(*part)))
            except Exception as error:
                found.append(Outcome(part[0].shard, None, error))
    return found


def failures(found: Sequence[Outcome]) -> list[Outcome]:
    """Return the shards on which work failed."""
    return [one for one in found if one.error is not None]


def told(failed: Sequence[Outcome], most: int = 3) -> str:
    """Name the first few of some shards, and say what was wrong."""
    first = "; ".join(f"shard {one.shard}: {type(one.error).__name__}: {one.error}" for one in failed[:most])
    return first + (f"; and {len(failed) - most} more" if len(failed) > most else "")


_lock = threading.Lock()
_users = 0
_before: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let products use one thread, since several add in another order; threads of Python that ask for it share it."""
    global _users, _before
    with _lock:
        if not _users:
            _before = torch.get_num_threads(), threadpool_limits(1)
        _users += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                torch.set_num_threads(_before[0])
                _before[1].restore_original_limits()
