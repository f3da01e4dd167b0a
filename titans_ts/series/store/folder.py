"""A folder of shards: files whose names say all, written once, so that what is there is whole.

``store.json`` says how many shards there are. ``shards/0001-00007-000000000042.states`` holds the series of shard 7 of
layout 1 after change 42; ``log/000000000043.rows`` is change 43, of all shards together. A change is absorbed once its file
bears its name. Its rows go into a shard later, when they complete patches, and the number in the shard's name says which are
in it: whatever stops a writer, nothing is lost, and nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from titans_ts.learn.progress import progress_bar
from titans_ts.series.reader import Reader
from titans_ts.series.store import shards as work
from titans_ts.series.store.archive import Archive, ArchiveError
from titans_ts.series.store.folder_lock import FolderLock
from titans_ts.series.store.folder_view import FolderView
from titans_ts.series.store.layout import PLAN, Plan, Snapshot, make_folder, shard_path, write_plan
from titans_ts.series.store.ledger import Ledger
from titans_ts.series.store.log import Head, head_of
from titans_ts.series.store.shards import Job, Outcome, Source, failures, told

PART_FULL = 0.25
"""Share of a shard's series whose rows in the log fill a patch, from which they go into the shard."""
BYTES_FULL = 0.5
"""Share of a shard's bytes that its rows in the log may take."""
MOST_CHANGES = 1000
"""Changes that the log holds, at most, of a shard before they go into it."""
TASKS_A_WORKER = 4
"""Tasks that each worker gets, about: fewer hand over less, more are shared better where shards are of unlike size."""


class ShardError(ValueError):
    """Rows were absorbed, but could not yet be merged into some shards; the next update takes them up again."""


class Folder:
    """A folder of shards of one model's states."""

    def __init__(self, path: Path, reader: Reader, *, timeout: float, shards: int | None, block: int) -> None:
        self.path, self.reader = path, reader
        self.lock = FolderLock(path, timeout)
        self.form = reader.fresh_state()
        self.closed = False
        self._known: tuple[Snapshot, Ledger] | None = None
        self._changes: dict[int, tuple[str, frozenset[int]]] = {}  # what each change of the log is, and of which shards
        if not (path / PLAN).exists():
            if shards is None:
                raise IsADirectoryError(
                    f"path={str(path)!r} is a folder; name a file in it, for example 'wells.memory', or a new folder with "
                    "shards="
                )
            make_folder(path, Plan(reader.fingerprint, shards, block))
        with self.reading():
            plan = self._known[0].plan  # type: ignore[index]
        if shards not in (None, plan.shards):
            raise ValueError(f"shards={shards}: {str(path)!r} has {plan.shards}; leave shards out, and rebalance() it")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": None, "_changes": {}}  # another process reads what is there itself

    def close(self) -> None:
        """End; the folder can be used no more."""
        self.closed = True

    @contextmanager
    def reading(self) -> Iterator[FolderView]:
        """Hand out what is there now, whatever is written while the block runs."""
        self._check_open()
        with self.lock.reading():
            yield FolderView(self, *self._moment())

    @contextmanager
    def writing(self) -> Iterator[FolderView]:
        """Hand out what is there, for nobody else to write to; what the block changes is absorbed if it ends well."""
        self._check_open()
        with self.lock.writing():
            self._clear_up()
            view = FolderView(self, *self._moment())
            yield view
            if view.change:
                view.write()
                snapshot, ledger = self._moment()
                self.merge(self._due(snapshot, ledger), snapshot)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"the store {str(self.path)!r} is closed; open it again: MemoryStore(path, forecaster)")

    # --- what is there ------------------------------------------------------------------------------------------------

    def _moment(self) -> tuple[Snapshot, Ledger]:
        """Return the files as they are, and the series in them."""
        snapshot = self._snapshot()
        known = self._known
        try:
            if known is None or known[0].plan != snapshot.plan or not self._goes_on(known[1].number, snapshot):
                ledger = self._load(snapshot)
            else:
                ledger = self._follow(snapshot, *known)
        except (ArchiveError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(self.path)!r} is damaged: {error}") from error
        self._known = snapshot, ledger
        return snapshot, ledger

    def _snapshot(self) -> Snapshot:
        snapshot = Snapshot.of(self.path)
        if snapshot.plan.model != self.reader.fingerprint:
            raise ValueError(
                f"{str(self.path)!r} holds memories of another model, or of this one with other weights; load the model "
                "that wrote them, or give another path"
            )
        return snapshot

    def _goes_on(self, number: int, snapshot: Snapshot) -> bool:
        """Tell whether all changes after a number are in the log."""
        return all(each in snapshot.log for each in range(number + 1, snapshot.number + 1))

    def _load(self, snapshot: Snapshot) -> Ledger:
        """Read which series there are from the shards, and from the log after them."""
        every: list[tuple[int, list[work.Listed]]] = []
        for shard, (_, path) in sorted(snapshot.files.items()):
            with Archive(path) as archive:
                every.append((shard, work.shard_list(archive)[0]))
        listed = [one for _, some in every for one in some]
        columns: dict[str, Any] = {name: [getattr(one, name) for one in listed] for name in ("place", "n_seen", "last")}
        columns = {name: np.array(values, np.int64) for name, values in columns.items()}
        columns["shard"] = np.repeat([shard for shard, _ in every], [len(some) for _, some in every]).astype(np.int64)
        columns["static"] = np.zeros((len(listed), *self.form.static.shape), np.float32)
        for i, one in enumerate(listed):
            columns["static"][i] = one.static
        layout = self.reader.layout
        ledger = Ledger.of(
            snapshot.plan.since,
            [one.name for one in listed],
            stamped=layout.has_times and not layout.integer_times,
            **columns,
        )
        for number in snapshot.log:
            head = self._head(number, snapshot)
            later = np.array([snapshot.merged(shard) < number for shard in range(snapshot.plan.shards)])
            ledger = ledger.after(head.only(later[head.shard]), number)
        return replace(ledger, number=snapshot.number)

    def _follow(self, snapshot: Snapshot, before: Snapshot, ledger: Ledger) -> Ledger:
        """Return the series after changes, and mergers, that were made since."""
        mergers: dict[int, list[int]] = {}
        for shard, (number, _) in snapshot.files.items():
            if number > before.merged(shard):
                mergers.setdefault(number, []).append(shard)
        for number in sorted({*mergers, *(n for n in snapshot.log if n > ledger.number)}):
            if number > ledger.number:
                ledger = ledger.after(self._head(number, snapshot), number)
            if number in mergers and number == ledger.number:
                ledger = ledger.merged(mergers[number])
        return ledger

    def _head(self, number: int, snapshot: Snapshot) -> Head:
        with Archive(snapshot.log[number]) as archive:
            head = head_of(archive)
        self._changes[number] = head.kind, frozenset(np.unique(head.shard).tolist())
        return head

    # --- work on shards -----------------------------------------------------------------------------------------------

    @property
    def job(self) -> Job:
        """What a worker needs beside its shards."""
        assert self._known is not None
        return Job(self.reader, self.form, self._known[0].plan.block)

    def source(self, snapshot: Snapshot, shard: int) -> Source:
        """Return where a shard lies."""
        log = (number for number in snapshot.log if number > snapshot.merged(shard) and shard in self._changes[number][1])
        file = snapshot.files[shard][1] if shard in snapshot.files else None
        return Source(shard, file, tuple(snapshot.log[number] for number in log))

    def _due(self, snapshot: Snapshot, ledger: Ledger) -> list[int]:
        """Return the shards whose part of the log is to be merged."""
        config, shards = self.reader.network.config, snapshot.plan.shards
        series = np.bincount(ledger.shard, minlength=shards)
        full = np.bincount(ledger.shard[ledger.waiting >= config.patch_length], minlength=shards)
        rows = np.bincount(ledger.shard, weights=ledger.waiting, minlength=shards)
        nbytes = rows * 8 * (config.channels + config.past + config.future + 1)
        due = (full > 0) & (full >= PART_FULL * series)
        for shard, (_, path) in snapshot.files.items():
            due[shard] |= nbytes[shard] > BYTES_FULL * path.stat().st_size
        for number in snapshot.log:
            kind, concerned = self._changes[number]
            if kind != "rows" or number <= snapshot.number - MOST_CHANGES:
                due[[shard for shard in concerned if snapshot.merged(shard) < number]] = True
        return np.flatnonzero(due).tolist()

    def merge(self, shards: Sequence[int], snapshot: Snapshot) -> None:
        """Write new files of some shards, and take away what they take the place of."""
        if not shards:
            return
        name = partial(shard_path, self.path, snapshot.plan.layout, number=snapshot.number)
        parts = [(self.source(snapshot, shard), name(shard=shard)) for shard in shards]
        failed = failures(self.work(work.merge, parts, what="merging"))
        self._moment()
        self._clear_up()
        if failed:
            raise ShardError(
                f"{str(self.path)!r}: all rows are absorbed, but the log could not be merged into {len(failed)} of "
                f"{len(shards)} shards, and the next update takes them up again: {told(failed)}"
            )

    def work(self, task: Callable[..., list[Outcome]], parts: Sequence[Any], *more: Any, what: str) -> list[Outcome]:
        """Return what came of the work on each of some shards, in their order; a worker that dies fails those it had."""
        found: dict[int, Outcome] = {}
        try:
            for one in fan_out(task, self.job, parts, *more, what=what):
                found[one.shard] = one
        except Exception as error:
            lost = {part[0].shard: Outcome(part[0].shard, None, error) for part in parts}
            found = lost | found
        return [found[part[0].shard] for part in parts]

    def _clear_up(self) -> None:
        """Take away files that others stand for, and what dead writers left, unless somebody reads in the folder."""
        snapshot = self._snapshot()
        known = {number: self._changes[number][1] for number in snapshot.log if number in self._changes}
        for number in [n for n in self._changes if n < snapshot.number - 2 * MOST_CHANGES]:
            del self._changes[number]
        needless = [n for n, shards in known.items() if all(snapshot.merged(shard) >= n for shard in shards)]
        with self.lock.alone() as alone:
            if alone:
                snapshot.clear_up(self.path, needless)

    def rebalance(self, shards: int) -> None:
        """Distribute the series over another number of shards, a multiple or a part of that there is."""
        self._check_open()
        with self.lock.writing():
            self._clear_up()
            snapshot, _ = self._moment()
            before = snapshot.plan.shards
            if max(shards, before) % min(shards, before):
                raise ValueError(
                    f"shards={shards} is neither a multiple nor a part of the {before} there are; for example {2 * before}"
                )
            self.merge([shard for shard in range(before) if self.source(snapshot, shard).log], snapshot)
            snapshot, _ = self._moment()
            plan = replace(snapshot.plan, shards=shards, layout=snapshot.plan.layout + 1, since=snapshot.number)
            parts = []
            for shard in range(shards):
                old = range(shard % before, before, shards)
                sources = [self.source(snapshot, one) for one in old if one in snapshot.files]
                path = shard_path(self.path, plan.layout, shard, plan.since)
                parts.append((Source(shard, None, ()), sources, path, shards))
            failed = failures(self.work(work.rebalance, parts, what="rebalancing"))
            if failed:
                raise ValueError(f"{str(self.path)!r} is as it was; shards could not be made: {told(failed)}")
            write_plan(self.path, plan)
            self._clear_up()


def fan_out(work: Callable[..., list[Outcome]], job: Job, parts: Sequence[Any], *more: Any, what: str) -> Iterator[Outcome]:
    """Yield what came of the work on each of some shards, as it comes; a worker gets shards that lie side by side.

    Without :func:`joblib.parallel_config`, the reader's ``n_jobs`` threads work.
    """
    asked: Any = {"n_jobs": job.reader.n_jobs, "prefer": "threads", "batch_size": 1}
    workers = effective_n_jobs(job.reader.n_jobs)
    size = 1 if workers == 1 else -(-len(parts) // (TASKS_A_WORKER * workers)) or 1
    tasks = [delayed(work)(job, parts[first : first + size], *more) for first in range(0, len(parts), size)]
    streams = getattr(get_active_backend()[0], "supports_return_generator", False)
    with progress_bar(job.reader.verbose, what, unit="shard", total=len(parts)) as progress:
        for found in Parallel(**asked, return_as="generator_unordered" if streams else "list")(tasks):
            progress.update(len(found))
            yield from found
