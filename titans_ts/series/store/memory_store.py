"""The memories of many series in one file: read by id, written in batches, never all in memory."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from titans_ts.backbones.state import pack, unpack
from titans_ts.frames.panel import Series
from titans_ts.frames.stream import is_stream
from titans_ts.frames.write import Forecast, forecast_container
from titans_ts.learn.progress import progress_bar
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.intervals import Asked
from titans_ts.series.reader import chosen, last_time
from titans_ts.series.reading import absorb_together, completes_patch, forecast_together
from titans_ts.series.state import MemoryState, SeriesState, original, plain

FORMAT = 1
"""Version of the file; one of a newer version is refused."""

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE series (
    place INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, n_seen INTEGER NOT NULL, last_time TEXT NOT NULL,
    waiting BLOB NOT NULL, waiting_sum INTEGER NOT NULL
);
CREATE TABLE memory (place INTEGER PRIMARY KEY, tensors BLOB NOT NULL, sum INTEGER NOT NULL);
"""
_PUT_SERIES = """
INSERT INTO series (id, n_seen, last_time, waiting, waiting_sum) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET n_seen = excluded.n_seen, last_time = excluded.last_time, waiting = excluded.waiting,
    waiting_sum = excluded.waiting_sum
RETURNING place
"""


class MemoryStore:
    """Keep what a forecaster has read of many series in one file, and let it read on.

    For each series the memory lies apart from the rows that wait for their patch to be complete: a row that completes none
    touches only these. An update is written whole or not at all, whatever interrupts it.

    Parameters
    ----------
    path : str or Path
        The file (SQLite); made where there is none.
    forecaster : TitansForecaster
        Fitted on series by id. Its own ``states_`` are neither read nor written.
    batch_size : int, default=256
        Series worked on at once; bounds what lies in memory and never changes an answer.

    Raises
    ------
    ValueError
        If the file belongs to other weights, is damaged, or was written by a newer version.

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

    def __init__(self, path: str | Path, forecaster: TitansForecaster, *, batch_size: int = 256) -> None:
        self.reader = forecaster.reader_
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more series, got {batch_size}")
        if self.reader.layout.is_single:
            raise ValueError("forecaster was fitted on one series without an id; fit on a long frame or a list to keep many")
        self.path, self.batch_size = Path(path), batch_size
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"the folder {str(self.path.parent)!r} of path={str(path)!r} does not exist; make it first"
            )
        self._file = sqlite3.connect(self.path, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        try:
            tables = {name for (name,) in self._file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "about" not in tables:
                raise ValueError(f"{str(self.path)!r} is an SQLite file, but no store of titans_ts; give another path")
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            if not tables:
                self._make()
            about = dict(self._file.execute("SELECT name, value FROM about"))
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{str(self.path)!r} is no store of titans_ts, or damaged ({error})") from None
        if int(about["titans_ts"]) > FORMAT:
            raise ValueError(f"{str(self.path)!r} was written by a newer titans_ts; upgrade titans_ts")
        if about["model"] != self.reader.fingerprint:
            raise ValueError(
                f"{str(self.path)!r} holds memories of another model, or of this one with other weights; load the model "
                "that wrote them, or give another path"
            )

    def _make(self) -> None:
        """Make the tables, whole or not at all."""
        with self._writing():
            for statement in _TABLES.split(";"):
                self._file.execute(statement)
            facts = {"titans_ts": str(FORMAT), "model": self.reader.fingerprint}
            self._file.executemany("INSERT INTO about VALUES (?, ?)", facts.items())

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM series").fetchone()[0])

    def __contains__(self, name: object) -> bool:
        return self._file.execute("SELECT 1 FROM series WHERE id = ?", (_key(name),)).fetchone() is not None

    def __iter__(self) -> Iterator[Hashable]:
        names = self._file.execute("SELECT id FROM series ORDER BY place").fetchall()
        return (original(json.loads(name)) for (name,) in names)

    def __getitem__(self, name: Hashable) -> MemoryState:
        """Return the state of one series.

        Raises
        ------
        KeyError
            If there is none of that id.
        """
        found = self._load([name], with_memory=True)
        if name not in found:
            raise KeyError(f"there is no series {name!r} in {str(self.path)!r}")
        return self.reader.portable(name, *found[name])

    @property
    def n_seen_(self) -> dict[Hashable, int]:
        """Rows read, by id."""
        rows = self._file.execute("SELECT id, n_seen FROM series ORDER BY place")
        return {original(json.loads(name)): count for name, count in rows}

    def update(self, X: Any) -> MemoryStore:
        """Absorb new rows of many series; see :meth:`TitansForecaster.update`.

        Parameters
        ----------
        X : container like that of ``fit``, or a stream
            A stream is written piece by piece.

        Returns
        -------
        MemoryStore
            Itself.

        Raises
        ------
        ValueError
            If rows overlap what was read, or X does not fit; of that piece nothing is absorbed then.
        """
        for piece in self.reader.pieces(X) if is_stream(X) else [X]:
            panel = self.reader.panel(piece, follow=self._last_times(), first_row=0 if is_stream(X) else None)
            with self._writing():
                for part in self._batches(list(panel)):
                    self._absorb(part)
        return self

    def predict(
        self,
        ids: Hashable | Iterable[Hashable] | None = None,
        *,
        horizon: int | None = None,
        level: Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
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

        Returns
        -------
        list or frame
            A container like that of ``fit``, ``horizon`` rows a series.

        Raises
        ------
        ValueError
            If there is no series of an id, the model needs covariates known in advance, or ``horizon``, a level or a
            quantile reaches beyond what was learned.
        """
        reader, config = self.reader, self.reader.network.config
        rows, asked = reader.horizon(horizon), Asked.checked(level, quantiles, config.quantiles)
        if config.future:
            raise ValueError("a model with future covariates forecasts series by series: forecaster.remember(store[id])")
        names = chosen(ids, self)
        if not names:
            raise ValueError("there is no series to forecast; update() with rows first, or name one")
        ahead = torch.zeros(config.horizon, 0)
        found: dict[Hashable, Forecast] = {}
        for part in self._batches(names):
            states = self._load(part, with_memory=True)
            forecasts = forecast_together(reader.network, [states[name][0] for name in part], [ahead] * len(part))
            for name, one in zip(part, forecasts, strict=True):
                found[name] = reader.answer(one, states[name][1], asked, rows)
        return forecast_container(reader.layout, found)

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
        with self._writing():
            for kept, state in self.reader.taken_back(states):
                self._save({kept.id: state}, {kept.id: kept.last_time}, {kept.id})
        return self

    def forget(self, ids: Hashable | Iterable[Hashable] | None = None) -> MemoryStore:
        """Take series out of the store.

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
        with self._writing():
            for name in chosen(ids, self):
                self._file.execute("DELETE FROM memory WHERE place = (SELECT place FROM series WHERE id = ?)", (_key(name),))
                self._file.execute("DELETE FROM series WHERE id = ?", (_key(name),))
        return self

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make everything inside the block one transaction."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    def _batches(self, items: list[Any]) -> Iterator[list[Any]]:
        firsts = range(0, len(items), self.batch_size)
        shown = progress_bar(self.reader.verbose, "series", unit="batch", iterable=firsts)
        return (items[first : first + self.batch_size] for first in shown)

    def _last_times(self) -> dict[Hashable, Any]:
        rows = self._file.execute("SELECT id, last_time FROM series")
        return {original(json.loads(name)): original(json.loads(time)) for name, time in rows}

    def _absorb(self, series: list[Series]) -> None:
        """Read the rows of a batch of series."""
        reader = self.reader
        kept = self._load([one.id for one in series], with_memory=False)
        states = {one.id: reader.begin(one, kept[one.id][0] if one.id in kept else None) for one in series}
        writes = {one.id for one in series if completes_patch(reader.network, states[one.id], len(one))}
        whole = self._load([name for name in writes if name in kept], with_memory=True)
        states |= {name: state for name, (state, _) in whole.items() if state.n_seen}
        tensors = [reader.preparation.tensors(one, states[one.id].scale) for one in series]
        found = absorb_together(reader.network, [states[one.id] for one in series], tensors)
        after = {one.id: state for one, state in zip(series, found, strict=True)}
        new = {one.id for one in series if one.id not in kept}
        self._save(after, {one.id: last_time(one, after[one.id]) for one in series}, writes | new)

    def _load(self, names: Sequence[Hashable], *, with_memory: bool) -> dict[Hashable, tuple[SeriesState, Any]]:
        """Return states and last time stamps of those series that are there; without memory, with nothing in its place."""
        found = {}
        like = self.reader.fresh_state()
        for name in names:
            row = self._file.execute(
                "SELECT place, last_time, waiting, waiting_sum FROM series WHERE id = ?", (_key(name),)
            ).fetchone()
            if row is None:
                continue
            place, last_time, waiting, total = row
            tensors, form = _decoded(waiting, total, name, self.path), like._replace(backbone=())
            if with_memory:
                memory = self._file.execute("SELECT tensors, sum FROM memory WHERE place = ?", (place,)).fetchone()
                blob, total = memory
                tensors, form = tensors | _decoded(blob, total, name, self.path), like
            state: SeriesState = unpack(form, tensors)
            found[name] = state, original(json.loads(last_time))
        return found

    def _save(
        self, states: Mapping[Hashable, SeriesState], last_times: Mapping[Hashable, Any], with_memory: set[Hashable]
    ) -> None:
        """Write states, the memory of some of them only."""
        for name, state in states.items():
            waiting = _encoded(pack(state._replace(backbone=())))
            values = (state.n_seen, json.dumps(plain(last_times[name])), waiting, zlib.crc32(waiting))
            (place,) = self._file.execute(_PUT_SERIES, (_key(name), *values)).fetchone()
            if name in with_memory:
                memory = _encoded(pack(state.backbone, prefix="backbone"))
                self._file.execute("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", (place, memory, zlib.crc32(memory)))


def _key(name: object) -> str:
    """Return an id as the file spells it, its kind included."""
    return json.dumps(plain(name))


def _encoded(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: x.cpu().clone() for name, x in tensors.items()})


def _decoded(blob: bytes, total: int, name: Hashable, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if zlib.crc32(blob) == total:
            return load(blob)
    except (SafetensorError, ValueError):
        pass
    raise ValueError(f"{str(path)!r} is damaged at series {name!r}: forget() it and read its rows again")
