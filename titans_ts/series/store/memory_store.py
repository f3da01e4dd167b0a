"""The memories of many series in a file or a folder of shards: read by id, written in batches, never all in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from titans_ts.frames.stream import is_stream, rows_of
from titans_ts.frames.write import forecast_container
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.reader import Reading, chosen, some
from titans_ts.series.state import MemoryState
from titans_ts.series.store.folder import Folder, ShardError
from titans_ts.series.store.folder_view import FolderView
from titans_ts.series.store.one_file import FileView, OneFile

MOST_SHARDS = 99_999


class MemoryStore:
    """Keep what a forecaster has read of many series in a file or a folder, and let it read on.

    An update is written whole or not at all, whatever interrupts it. One file serves some thousands of series. A folder of
    shards (``shards=64``) serves a million: series lie in shards by a hash of their id, new rows go to a log, and a shard
    reads them on once they fill patches, many series side by side. Forecasts read the rows that wait in the log, too.

    Work on a folder is joblib's: ``with joblib.parallel_config(backend="loky", n_jobs=8)`` decides who does it, and so do
    ``"threading"``, ``"ray"`` and ``"dask"``. A worker gets shards that lie side by side, and the path; with workers on
    several machines all see the folder at that path. Each works with one thread on fixed blocks of series, so that numbers
    are the same to the last digit, whoever works. Without a configuration it is the forecaster's ``n_jobs`` threads.

    Any number of processes and threads may use one store. An update, ``remember`` and ``forget`` begin by locking it against
    other writers and read only then what was absorbed, so that rows which another has absorbed meanwhile are refused as any
    others that overlap. They hold the lock until they are done: minutes, for many rows. Readers never wait; what they see
    is the store as it was when they began, the same moment for all series.

    Everything is held against checksums as it is read: what is damaged or lost is refused by name.

    Parameters
    ----------
    path : str or Path
        The file (SQLite), or the folder; made where there is none. While a file is open, files that end in ``-wal`` and
        ``-shm`` lie beside it and belong to it. From a read-only file or folder a store is read, but not updated.
    forecaster : TitansForecaster
        Fitted on series by id. Its own ``states_`` are neither read nor written.
    shards : int, optional
        Make a folder of so many shards; one file by default. Where there is a folder, it knows. Some thousand series a
        shard are well; see :meth:`rebalance`.
    batch_size : int, default=256
        Series worked on at once; bounds what lies in memory. A folder keeps that of its making.
    timeout : float, default=30
        Seconds to wait for another writer to be done; ``float("inf")`` for as long as it takes.

    Raises
    ------
    ValueError
        If the store belongs to other weights, is empty or damaged, was written by a newer version, or has another number of
        shards.
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no such folder, the path is a folder of other files, or may not be read, or not be made.
    TimeoutError
        If others go on writing for longer than ``timeout``; it is a ValueError, too. Nothing is changed then.

    Notes
    -----
    A folder holds ``store.json``, ``log/``, one file a change, and ``shards/``. No file is written to twice: the name of a
    shard says which changes are in it, so that each is read once, whatever is interrupted. A shard takes its part of the log
    once a quarter of its series have a full patch there, or the rows are half as large as the shard, or 1,000 changes old.

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
        self,
        path: str | Path,
        forecaster: TitansForecaster,
        *,
        shards: int | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> None:
        self.reader = forecaster.reader_
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more series, a whole number, got {batch_size!r}")
        if not isinstance(timeout, (int, float, np.number)) or not timeout >= 0:
            raise ValueError(f"timeout must be a number of seconds, 0 or more, got {timeout!r}")
        if self.reader.layout.is_single:
            raise ValueError("forecaster was fitted on one series without an id; fit on a long frame or a list to keep many")
        if shards is not None:
            _check_shards(shards)
        self.path, self.batch_size = Path(path), int(batch_size)
        self._kept: OneFile | Folder
        if self.path.is_dir() or (shards is not None and not self.path.exists()):
            self._kept = Folder(self.path, self.reader, timeout=float(timeout), shards=shards, block=self.batch_size)
        elif shards is not None:
            raise ValueError(f"shards={shards}: {str(path)!r} is a file, which has none; leave shards out, or name a folder")
        else:
            self._kept = OneFile(self.path, self.reader, timeout=float(timeout), block=self.batch_size)

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store can be used no more."""
        self._kept.close()

    def __len__(self) -> int:
        with self._kept.reading() as series:
            return len(series)

    def __contains__(self, name: object) -> bool:
        with self._kept.reading() as series:
            return name in series

    def __iter__(self) -> Iterator[Hashable]:
        with self._kept.reading() as series:
            names = list(series)
        return iter(names)

    def __getitem__(self, name: Hashable) -> MemoryState:
        """Return the state of one series.

        Raises
        ------
        KeyError
            If there is none of that id.
        """
        with self._kept.reading() as series:
            row: Any = series.find(name) if name in series else None
            if row is None:
                raise KeyError(f"there is no series {name!r} in {str(self.path)!r}")
            return self.reader.portable(row.name, series.state(row), row.time)

    @property
    def n_seen_(self) -> dict[Hashable, int]:
        """Rows read, by id."""
        with self._kept.reading() as series:
            return {row.name: row.n_seen for row in series.rows()}

    @property
    def last_times_(self) -> dict[Hashable, Any]:
        """Time stamp of the last row read, by id; its number without stamps. Series without a row are not in it."""
        with self._kept.reading() as series:
            return {row.name: row.time for row in series.rows() if row.n_seen}

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
        with self._kept.reading() as series:
            series.check()
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
            then. A ``ShardError`` says that all was absorbed, but some shards could not take rows from the log; it names
            them, and the next update takes them up again.
        PermissionError, TimeoutError
            If the store is read-only, or others write to it for longer than ``timeout``.
        """
        faults = self.reader.faults
        given, done, absorbed = self.reader.static(static), 0, False
        for piece in self.reader.pieces(X) if is_stream(X) else [X]:
            faults.nothing_left = False
            try:
                with self._kept.writing() as series:
                    known: dict[str, Any] = {"follow": series.last_times, "static": given, "begun": series, "faults": faults}
                    panel = self.reader.panel(piece, first_row=done if is_stream(X) else None, **known)
                    read = series.absorb(panel, faults)
                    faults.settle(others=read > 0)
                    absorbed = True
            except ShardError:
                raise  # the rows of this piece are absorbed
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
        reader, faults = self.reader, self.reader.faults
        rows, asked = reader.horizon(horizon), reader.asked(level, quantiles)
        with self._kept.reading() as series:
            entries, given = _asked_for(series, ids), None
            if reader.layout.future_columns or future is not None:  # of all at once, before any is forecast
                last_times = {entry.name: entry.time for entry in entries}
                given = reader.ahead(Reading({}, last_times, reader.layout), rows, future, faults)
                entries = [entry for entry in entries if entry.name in given]
            found = series.forecast(entries, given, asked, rows)
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
        with self._kept.reading() as series:
            return self.reader.future_frame({row.name: row.time for row in _asked_for(series, ids)}, rows)

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
        with self._kept.writing() as series:
            for kept, state in self.reader.taken_back(states):
                series.put(kept.id, state, kept.last_time)
        return self

    def rebalance(self, shards: int) -> MemoryStore:
        """Distribute the series of a folder over another number of shards.

        Parameters
        ----------
        shards : int
            A multiple of the number there is, or a part of it, so that each shard is cut, or joined with others.

        Returns
        -------
        MemoryStore
            Itself.

        Raises
        ------
        ValueError
            If the store is one file, or ``shards`` is no such number; a store stays as it was.
        """
        _check_shards(shards)
        if not isinstance(self._kept, Folder):
            raise ValueError(f"{str(self.path)!r} is one file; make a folder and let it remember() the states of this store")
        self._kept.rebalance(shards)
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
        with self._kept.writing() as series:
            if ids is None:
                series.clear()
            else:
                for name in dict.fromkeys(chosen(ids, series)):
                    series.drop(name)
        return self


def _asked_for(series: FileView | FolderView, ids: Hashable | Iterable[Hashable] | None) -> list[Any]:
    """Return what is known of the series that were asked for, all by default; one that has read nothing is refused."""
    entries: Any = series.rows() if ids is None else [series.find(name) for name in chosen(ids, series)]
    if not entries:
        raise ValueError("there is no series to forecast; update() with rows first, or name one")
    if unread := [entry.name for entry in entries if not entry.n_seen]:
        raise ValueError(f"ids: nothing was read of {some(unread)}; update() with rows of them first")
    return entries  # type: ignore[no-any-return]


def _check_shards(shards: Any) -> None:
    if isinstance(shards, bool) or not isinstance(shards, int | np.integer) or not 1 <= shards <= MOST_SHARDS:
        raise ValueError(f"shards must be a whole number from 1 to {MOST_SHARDS:,}, got {shards!r}")
