"""All states in one file, each series by itself: for stores of some thousands of series."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from titans_ts.backbones.state import pack, unpack
from titans_ts.frames.faults import Faults
from titans_ts.frames.panel import Panel, Series
from titans_ts.frames.write import Forecast
from titans_ts.learn.progress import progress_bar
from titans_ts.series.intervals import Asked
from titans_ts.series.reader import Reader, Reading, last_time, some
from titans_ts.series.reading import absorb_together, completes_patch, forecast_together
from titans_ts.series.state import SeriesState
from titans_ts.series.store.file import StoreFile
from titans_ts.series.store.tables import LastTimes, Row, Tables


class OneFile:
    """A file of states of one model; ``block`` series are worked on at once."""

    def __init__(self, path: Path, reader: Reader, *, timeout: float, block: int) -> None:
        self.path, self.reader, self.block = path, reader, block
        self.form = reader.fresh_state()  # what a state in the file looks like
        self.file = StoreFile(path, reader.fingerprint, timeout)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @contextmanager
    def reading(self) -> Iterator[FileView]:
        """Hand out what is there now, whatever is written while the block runs."""
        with self.file.reading() as tables:
            yield FileView(self, tables)

    @contextmanager
    def writing(self) -> Iterator[FileView]:
        """Hand out what is there, for nobody else to write to; what the block changes is kept if it ends well."""
        with self.file.writing() as tables:
            yield FileView(self, tables)


class FileView(Collection[Hashable]):
    """The series of a file at one moment, to be read and changed."""

    def __init__(self, kept: OneFile, tables: Tables) -> None:
        self._kept, self._tables = kept, tables
        self.last_times = LastTimes(tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._tables)

    def rows(self) -> list[Row]:
        """Return what is known of all series, in the order in which they began."""
        return self._tables.rows()

    def find(self, name: Hashable) -> Row | None:
        """Return what is known of a series, None if there is none."""
        return self._tables.find(name)

    # --- answers ------------------------------------------------------------------------------------------------------

    def state(self, row: Row, *, with_memory: bool = True) -> SeriesState:
        """Return the state of one series; without memory, with nothing in its place."""
        form = self._kept.form if with_memory else self._kept.form._replace(backbone=())
        try:
            state: SeriesState = unpack(form, self._tables.tensors(row, with_memory=with_memory))
        except KeyError:
            raise self._tables.damaged_at(row) from None
        if state.n_seen != row.n_seen:
            raise self._tables.damaged_at(row)
        return state

    def forecast(
        self, rows: Sequence[Row], ahead: Mapping[Hashable, Tensor] | None, asked: Asked, horizon: int
    ) -> dict[Hashable, Forecast]:
        """Return forecasts by id; ``ahead`` is what is known in advance, if anything has to be told."""
        reader, found = self._kept.reader, dict[Hashable, Forecast]()
        for part in self._batches(rows):
            states = [self.state(row) for row in part]
            if ahead is None:
                last = Reading({}, {row.name: row.time for row in part}, reader.layout)
                known = list(reader.ahead(last, reader.network.config.horizon).values())
            else:
                known = [ahead[row.name] for row in part]
            for row, one in zip(part, forecast_together(reader.network, states, known, asked.shares), strict=True):
                found[row.name] = reader.answer(one, row.time, asked, horizon)
        return found

    def check(self) -> None:
        """Read all of the file; refuse what is damaged, by series."""
        self._tables.hold_structure()
        damaged = []
        for part in self._batches(self._tables.rows()):
            for row in part:
                try:
                    self.state(row)
                except ValueError:
                    damaged.append(row.name)
        if damaged:
            raise ValueError(
                f"{str(self._kept.path)!r} is damaged at {len(damaged)} series: {some(damaged)}; forget() them and read "
                "their rows again"
            )

    # --- changes ------------------------------------------------------------------------------------------------------

    def absorb(self, panel: Panel, faults: Faults) -> int:
        """Read the rows of those series that can be read on; returns how many these are."""
        return sum(self._absorb(part, faults) for part in self._batches(list(panel)))

    def _absorb(self, series: list[Series], faults: Faults) -> int:
        reader, tables = self._kept.reader, self._tables
        rows = {one.id: tables.find(one.id) for one in series}
        states, writes = {}, set()
        for one in series:
            row = rows[one.id]
            kept = None if row is None else self.state(row, with_memory=False)
            try:
                state = reader.begin(one, kept)
            except ValueError as error:
                faults.note(one.id, str(error))
                continue
            if completes_patch(reader.network, state, len(one)) or row is None:
                writes.add(one.id)
                state = state if row is None or not row.n_seen else self.state(row)
            states[one.id] = state
        series = [one for one in series if one.id in states]
        if not series:
            return 0
        tensors = [reader.preparation.tensors(one, states[one.id].scale) for one in series]
        found = absorb_together(reader.network, [states[one.id] for one in series], tensors)
        for one, after in zip(series, found, strict=True):
            _save(tables, one.id, after, last_time(one, after), with_memory=one.id in writes)
        return len(series)

    def put(self, name: Hashable, state: SeriesState, last_time: Any) -> None:
        """Put a state in the place of what is kept of a series."""
        _save(self._tables, name, state, last_time, with_memory=True)

    def drop(self, name: Hashable) -> None:
        """Take a series out, damaged or not."""
        self._tables.drop(name)

    def clear(self) -> None:
        """Take all series out, whatever is damaged."""
        self._tables.clear()

    def _batches(self, items: Sequence[Any]) -> Iterator[list[Any]]:
        firsts = range(0, len(items), self._kept.block)
        shown = progress_bar(self._kept.reader.verbose, "series", unit="batch", iterable=firsts)
        return (list(items[first : first + self._kept.block]) for first in shown)


def _save(tables: Tables, name: Hashable, state: SeriesState, last_time: Any, *, with_memory: bool) -> None:
    """Write a state, its memory only if that was written to."""
    memory = _encoded(pack(state.backbone, prefix="backbone")) if with_memory else None
    tables.put(name, state.n_seen, last_time, _encoded(pack(state._replace(backbone=()))), memory)


def _encoded(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.numpy import save  # the bytes that safetensors.torch writes, in a third of the time

    return save({name: x.detach().cpu().numpy() for name, x in tensors.items()})
