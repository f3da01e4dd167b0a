"""The memories of many series in one file: read by id, written in batches, never all in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from titans_ts.backbones.state import pack, unpack
from titans_ts.frames.faults import Faults
from titans_ts.frames.panel import Series
from titans_ts.frames.stream import is_stream, rows_of
from titans_ts.frames.write import Forecast, forecast_container
from titans_ts.learn.progress import progress_bar
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.reader import Reading, chosen, last_time, some
from titans_ts.series.reading import absorb_together, completes_patch, forecast_together
from titans_ts.series.state import MemoryState, SeriesState
from titans_ts.series.store.file import StoreFile
from titans_ts.series.store.tables import LastTimes, Row, Tables


class MemoryStore:
    """Keep what a forecaster has read of many series in one file, and let it read on.

    For each series the memory lies apart from the rows that wait for their patch to be complete: a row that completes none
    touches only these. An update is written whole or not at all, whatever interrupts it.

    Any number of processes and threads may use one file. An update, ``remember`` and ``forget`` begin by locking it against
    other writers and read only then what was absorbed, so that rows which another has absorbed meanwhile are refused as any
    others that overlap. They hold the lock until they are done: minutes, for many rows. Readers never wait; what they see
    is the store as it was when they began, the same moment for all series.

    Everything is held against checksums as it is read: what is damaged, lost, or another series' is refused by name.

    Parameters
    ----------
    path : str or Path
        The file (SQLite); made where there is none. While it is open, files that end in ``-wal`` and ``-shm`` lie beside it
        and belong to it. From a read-only file or folder a store is read, but not updated.
    forecaster : TitansForecaster
        Fitted on series by id. Its own ``states_`` are neither read nor written.
    batch_size : int, default=256
        Series worked on at once; bounds what lies in memory and never changes an answer.
    timeout : float, default=30
        Seconds to wait for another writer to be done; ``float("inf")`` for as long as it takes.

    Raises
    ------
    ValueError
        If the file belongs to other weights, is empty or damaged, or was written by a newer version.
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such folder, the path is a folder, or the file may not be read, or not be made.
    TimeoutError
        If others go on writing for longer than ``timeout``; it is a ValueError, too. Nothing is changed then.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from titans_ts import TitansForecaster, make_panel
    >>> panel = make_panel(3, min_steps=200, max_steps=200, random_state=0)
    >>> forecaster = TitansForecaster(horizon=4, lookback=48, max_steps=2, random_state=0).fit(panel)
    >>> with TemporaryDirectory() as folder:
    ...     with MemoryStore(Path(folder, "wells.memory"), forecaster) as store:
    ...         _ = store.update(panel)
    ...         len(store), store.predict(list(store)[:2]).shape[0]
    (3, 8)
    """

    def __init__(
        self, path: str | Path, forecaster: TitansForecaster, *, batch_size: int = 256, timeout: float = 30.0
    ) -> None:
        self.reader = forecaster.reader_
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more series, a whole number, got {batch_size!r}")
        if not isinstance(timeout, (int, float, np.number)) or not timeout >= 0:
            raise ValueError(f"timeout must be a number of seconds, 0 or more, got {timeout!r}")
        if self.reader.layout.is_single:
            raise ValueError("forecaster was fitted on one series without an id; fit on a long frame or a list to keep many")
        self.path, self.batch_size = Path(path), batch_size
        self._form = self.reader.fresh_state()  # what a state in the file looks like
        self._file = StoreFile(path, self.reader.fingerprint, float(timeout))

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store can be used no more."""
        self._file.close()

    def __len__(self) -> int:
        with self._file.reading() as tables:
            return len(tables)

    def __contains__(self, name: object) -> bool:
        with self._file.reading() as tables:
            return name in tables

    def __iter__(self) -> Iterator[Hashable]:
        with self._file.reading() as tables:
            names = list(tables)
        return iter(names)

    def __getitem__(self, name: Hashable) -> MemoryState:
        """Return the state of one series.

        Raises
        ------
        KeyError
            If there is none of that id.
        """
        with self._file.reading() as tables:
            row = tables.find(name) if name in tables else None
            if row is None:
                raise KeyError(f"there is no series {name!r} in {str(self.path)!r}")
            return self.reader.portable(row.name, self._state(tables, row), row.time)

    @property
    def n_seen_(self) -> dict[Hashable, int]:
        """Rows read, by id."""
        with self._file.reading() as tables:
            return {row.name: row.n_seen for row in tables.rows()}

    def check(self) -> MemoryStore:
        """Read the whole file and hold it against its checksums; what is damaged otherwise shows only when it is read.

        Where pages of the file are damaged, take what is whole into a new store: ``new.remember(old[id])``.

        Returns
        -------
        MemoryStore
            Itself.

        Raises
        ------
        ValueError
            If anything is not what was written; it names the series.
        """
        with self._file.reading() as tables:
            tables.hold_structure()
            damaged = []
            for part in self._batches(tables.rows()):
                for row in part:
                    try:
                        self._state(tables, row)
                    except ValueError:
                        damaged.append(row.name)
        if damaged:
            raise ValueError(
                f"{str(self.path)!r} is damaged at {len(damaged)} series: {some(damaged)}; forget() them and read their "
                "rows again"
            )
        return self

    def update(self, X: Any, *, static: Any = None) -> MemoryStore:
        """Absorb new rows of many series; see :meth:`TitansForecaster.update`.

        Parameters
        ----------
        X : container like that of ``fit``, or a stream
            A stream is written piece by piece: with ``on_error="skip"`` a series that cannot be used is left out from that
            piece on. An error, or an interruption, leaves the pieces before it absorbed, and the
            error says from which row of X on to go on.
        static : frame, optional
            Static covariates of new series, where ``fit`` took them from such a frame.

        Returns
        -------
        MemoryStore
            Itself.

        Raises
        ------
        ValueError
            If rows overlap what was read, by this process or another, or X does not fit; of that piece nothing is absorbed
            then.
        PermissionError, TimeoutError
            If the store is read-only, or others write to it for longer than ``timeout``.
        """
        faults = self.reader.faults
        given, done, absorbed = self.reader.static(static), 0, False
        for piece in self.reader.pieces(X) if is_stream(X) else [X]:
            faults.nothing_left = False
            try:
                with self._file.writing() as tables:
                    known: dict[str, Any] = {"follow": LastTimes(tables), "static": given, "begun": tables, "faults": faults}
                    panel = self.reader.panel(piece, first_row=done if is_stream(X) else None, **known)
                    read = sum(self._absorb(tables, part, faults) for part in self._batches(list(panel)))
                    faults.settle(others=read > 0)
                    absorbed = True
            except (ValueError, TypeError) as error:
                if is_stream(X) and faults.nothing_left and faults.may_skip:
                    pass  # nothing of this piece, which says nothing of the others
                elif done:
                    place = f"from row {done:,} on (rows are counted from there; those before are absorbed)"
                    raise type(error)(f"the rows of X {place}: {error}") from error
                else:
                    raise
            done += rows_of(piece) if is_stream(X) else 0
        faults.settle(others=absorbed)
        faults.tell()
        return self

    def predict(
        self,
        ids: Hashable | Iterable[Hashable] | None = None,
        *,
        horizon: int | None = None,
        level: Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
        future: Any = None,
    ) -> Any:
        """Forecast the ``horizon`` rows after what was read; see :meth:`TitansForecaster.predict`.

        Parameters
        ----------
        ids : id or list of ids, optional
            Which series; all by default.
        horizon : int, optional
            Rows to forecast, at most as many as the model learned, which is the default.
        level : sequence of float, optional
            Intervals to add, in percent.
        quantiles : sequence of float, optional
            Quantiles to add, as shares.
        future : list or frame, optional
            Covariates known in advance, for the rows to forecast of these series; needed if the model was fitted with any.
            :meth:`future_frame` makes the frame to fill.

        Returns
        -------
        list or frame
            A container like that of ``fit``, ``horizon`` rows a series.

        Raises
        ------
        ValueError
            If there is no series of an id, ``future`` does not fit, ``horizon`` is longer than what was learned, or a level
            or a quantile is out of range.
        """
        reader, config, faults = self.reader, self.reader.network.config, self.reader.faults
        rows, asked = reader.horizon(horizon), reader.asked(level, quantiles)
        known = bool(reader.layout.future_columns) or future is not None
        found: dict[Hashable, Forecast] = {}
        with self._file.reading() as tables:
            series = _asked_for(tables, ids)
            if known:  # of all at once, before any is forecast
                last_times = {row.name: row.time for row in series}
                given = reader.ahead(Reading({}, last_times, reader.layout), rows, future, faults)
                series = [row for row in series if row.name in given]
            for part in self._batches(series):
                states = [self._state(tables, row) for row in part]
                last = Reading({}, {row.name: row.time for row in part}, reader.layout)
                ahead = [given[row.name] for row in part] if known else list(reader.ahead(last, config.horizon).values())
                forecasts = forecast_together(reader.network, states, ahead, asked.shares)
                for row, one in zip(part, forecasts, strict=True):
                    found[row.name] = reader.answer(one, row.time, asked, rows)
        faults.tell()
        return forecast_container(reader.layout, found)

    def future_frame(self, ids: Hashable | Iterable[Hashable] | None = None, horizon: int | None = None) -> Any:
        """Return ids and time stamps of the rows to come, to be filled with covariates known in advance.

        Parameters
        ----------
        ids : id or list of ids, optional
            Which series; all by default.
        horizon : int, optional
            Rows a series, at most as many as the model learned to forecast, which is the default.

        Returns
        -------
        frame or list
            What ``predict(ids, future=...)`` takes once it is filled; see :meth:`TitansForecaster.future_frame`.

        Raises
        ------
        ValueError
            If there is no series of an id, nothing was read of one, or ``horizon`` is longer than what was learned.
        """
        rows = self.reader.horizon(horizon)
        with self._file.reading() as tables:
            return self.reader.future_frame({row.name: row.time for row in _asked_for(tables, ids)}, rows)

    def remember(self, states: MemoryState | Iterable[MemoryState] | Mapping[Hashable, MemoryState]) -> MemoryStore:
        """Put states in, in place of what was kept of their series; see :meth:`TitansForecaster.remember`.

        Parameters
        ----------
        states : MemoryState, or several
            As ``store[id]`` and ``TitansForecaster.state_`` give them.

        Returns
        -------
        MemoryStore
            Itself.

        Raises
        ------
        TypeError, ValueError
            If one is no state, belongs to other weights, or is damaged; nothing is changed then.
        """
        with self._file.writing() as tables:
            for kept, state in self.reader.taken_back(states):
                _save(tables, kept.id, state, kept.last_time, with_memory=True)
        return self

    def forget(self, ids: Hashable | Iterable[Hashable] | None = None) -> MemoryStore:
        """Take series out of the store, damaged ones too.

        Parameters
        ----------
        ids : id or list of ids, optional
            Which series; all by default.

        Returns
        -------
        MemoryStore
            Itself.

        Raises
        ------
        ValueError
            If there is no series of an id; none is forgotten then.
        """
        with self._file.writing() as tables:
            if ids is None:
                tables.clear()
            else:
                for name in dict.fromkeys(chosen(ids, tables)):
                    tables.drop(name)
        return self

    # --- inside -------------------------------------------------------------------------------------------------------

    def _batches(self, items: list[Any]) -> Iterator[list[Any]]:
        firsts = range(0, len(items), self.batch_size)
        shown = progress_bar(self.reader.verbose, "series", unit="batch", iterable=firsts)
        return (items[first : first + self.batch_size] for first in shown)

    def _absorb(self, tables: Tables, series: list[Series], faults: Faults) -> int:
        """Read the rows of those of a batch of series that can be read on; returns how many these are."""
        reader = self.reader
        rows = {one.id: tables.find(one.id) for one in series}
        states, writes = {}, set()
        for one in series:
            row = rows[one.id]
            kept = None if row is None else self._state(tables, row, with_memory=False)
            try:
                state = reader.begin(one, kept)
            except ValueError as error:
                faults.note(one.id, str(error))
                continue
            if completes_patch(reader.network, state, len(one)) or row is None:
                writes.add(one.id)
                state = state if row is None or not row.n_seen else self._state(tables, row)
            states[one.id] = state
        series = [one for one in series if one.id in states]
        if not series:
            return 0
        tensors = [reader.preparation.tensors(one, states[one.id].scale) for one in series]
        found = absorb_together(reader.network, [states[one.id] for one in series], tensors)
        for one, after in zip(series, found, strict=True):
            _save(tables, one.id, after, last_time(one, after), with_memory=one.id in writes)
        return len(series)

    def _state(self, tables: Tables, row: Row, *, with_memory: bool = True) -> SeriesState:
        """Return the state of one series; without memory, with nothing in its place."""
        form = self._form if with_memory else self._form._replace(backbone=())
        try:
            state: SeriesState = unpack(form, tables.tensors(row, with_memory=with_memory))
        except KeyError:
            raise tables.damaged_at(row) from None
        if state.n_seen != row.n_seen:
            raise tables.damaged_at(row)
        return state


def _asked_for(tables: Tables, ids: Hashable | Iterable[Hashable] | None) -> list[Row]:
    """Return the rows of the series that were asked for, all by default; one that has read nothing is refused."""
    series = tables.rows() if ids is None else [tables[name] for name in chosen(ids, tables)]
    if not series:
        raise ValueError("there is no series to forecast; update() with rows first, or name one")
    if unread := [row.name for row in series if not row.n_seen]:
        raise ValueError(f"ids: nothing was read of {some(unread)}; update() with rows of them first")
    return series


def _save(tables: Tables, name: Hashable, state: SeriesState, last_time: Any, *, with_memory: bool) -> None:
    """Write a state, its memory only if that was written to."""
    memory = _encoded(pack(state.backbone, prefix="backbone")) if with_memory else None
    tables.put(name, state.n_seen, last_time, _encoded(pack(state._replace(backbone=()))), memory)


def _encoded(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.numpy import save  # the bytes that safetensors.torch writes, in a third of the time

    return save({name: x.detach().cpu().numpy() for name, x in tensors.items()})
