"""The file of a store: made once, read and written in transactions by any number of processes and threads."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakSet

from titans_ts.files.replacing import clear_partial, replacing
from titans_ts.series.store.connection import Connection, StoreInUseError
from titans_ts.series.store.tables import FORMAT, Tables, make_tables, upgrade, version_of

LOG_BYTES = 64 * 2**20
"""Size of the log beside the file (``-wal``) from which it is emptied after an update."""

_T = TypeVar("_T")


class StoreFile:
    """A file of memories of one model's weights.

    Readers see the file as it was when they began, whatever is written meanwhile; writers wait for each other, at most
    ``timeout`` seconds. Each call takes a connection of its own, so that threads need not wait for one another, and none is
    open while a process forks: SQLite's locks do not follow into a child.
    """

    def __init__(self, path: str | Path, model: str, timeout: float) -> None:
        self.path, self.model, self.timeout = Path(path), model, timeout
        self.closed = False
        self._at = Path(os.path.realpath(self.path))  # a link is followed
        self._idle: list[Connection] = []
        self._busy: list[tuple[int, int]] = []  # the file of each connection that is in use
        self._held = ""  # mark of the last change after which the list was found whole
        _OPEN.add(self)
        clear_partial(self.path)
        if not os.path.lexists(self._at):
            self._make()
        with self.reading():
            pass

    def __reduce__(self) -> Any:
        return StoreFile, (self.path, self.model, self.timeout)  # another process opens it for itself

    def close(self) -> None:
        """Close the file; what was not written is gone."""
        self.closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with _forking:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # --- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Tables]:
        """Hand out the tables as they are now, whatever is written while the block runs."""
        with self._connected() as connection:
            tables = self._begun(connection, "BEGIN")
            try:
                yield tables
            finally:
                if connection.mode.endswith("immutable=1"):
                    self._hold_still(tables)
            self._held = tables.held

    @contextmanager
    def writing(self) -> Iterator[Tables]:
        """Hand out the tables, for nobody else to write to; what the block changes is kept if it ends well."""
        with self._connected() as connection:
            if connection.mode != "rw":
                what = self._at if not os.access(self._at, os.W_OK) else f"the folder {self._at.parent}"
                raise PermissionError(
                    f"{str(self.path)!r} can be read, but not written: {what} is read-only; copy the store to where you may "
                    "write"
                )
            tables = self._begun(connection, "BEGIN IMMEDIATE")
            yield tables
            tables.finish()
            connection.ask("COMMIT")
            self._held = tables.held
            self._empty_log(connection)

    def _begun(self, connection: Connection, statement: str) -> Tables:
        """Begin a transaction, once no one else is in the way."""

        def begin() -> Tables:
            connection.ask(statement)
            try:
                return Tables(connection, self._held)
            except BaseException:
                connection.ask("ROLLBACK")
                raise

        tables = self._waited(begin)
        if tables.facts.model != self.model:
            raise ValueError(
                f"{str(self.path)!r} holds memories of another model, or of this one with other weights; load the model "
                "that wrote them, or give another path"
            )
        return tables

    def _waited(self, step: Callable[[], _T]) -> _T:
        """Return what a step returns, once no one else is in the way; in steps of its own, so that Ctrl-C is heard."""
        end, pause = time.monotonic() + self.timeout, 0.001
        while True:
            try:
                return step()
            except StoreInUseError:
                if time.monotonic() >= end:
                    raise StoreInUseError(
                        f"{str(self.path)!r} is being written by another process or thread, for more than the "
                        f"timeout={self.timeout:g} seconds; nothing was changed: wait until it is done, or open the store "
                        "with a longer timeout"
                    ) from None
            time.sleep(min(pause, max(end - time.monotonic(), 0)))
            pause = min(2 * pause, 0.05)

    def _hold_still(self, tables: Tables) -> None:
        """Refuse what was read without a lock if someone wrote meanwhile."""
        with closing(Connection(self.path, at=self._at, mode="ro&immutable=1", identity=(0, 0))) as again:
            if Tables(again).facts.written != tables.facts.written:
                raise StoreInUseError(f"{str(self.path)!r} was written while it was read from a read-only place; read again")

    def _empty_log(self, connection: Connection) -> None:
        """Empty the log when it is large, which SQLite leaves to whoever finds no reader."""
        log = Path(f"{self._at}-wal")
        with suppress(OSError, StoreInUseError):
            if log.stat().st_size > LOG_BYTES:
                connection.ask("PRAGMA busy_timeout = 1000")  # new readers read past the log, the others end
                connection.ask("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.ask("PRAGMA busy_timeout = 0")

    # --- connections --------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Hand out a connection, and end whatever transaction it is left in."""
        connection = self._taken()
        try:
            yield connection
        finally:
            if connection.process == os.getpid():
                self._given_back(connection)
            else:
                _LEFT_ALONE.append(connection)

    def _taken(self) -> Connection:
        identity = self._identity()
        with _forking:
            if self.closed:
                raise ValueError(f"the store {str(self.path)!r} is closed; open it again: MemoryStore(path, forecaster)")
            if any(idle.identity != identity for idle in self._idle):  # another file lies there now
                self._close_idle()
            self._busy.append(identity)
            if self._idle:
                return self._idle.pop()
        try:
            return self._connect(identity)
        except BaseException:
            self._busy.remove(identity)
            raise

    def _given_back(self, connection: Connection) -> None:
        with suppress(OSError, ValueError, MemoryError):  # closing ends a transaction, too
            if connection.in_transaction:
                connection.ask("ROLLBACK")
        with _forking:
            keep = not self.closed and connection.mode == "rw" and not connection.in_transaction
            if keep:
                self._idle.append(connection)
            else:
                connection.close()
            self._busy.remove(connection.identity)

    def _connect(self, identity: tuple[int, int]) -> Connection:
        """Open the file, as far as this process may, and bring its tables up to date."""
        if identity in _CARRIED:
            raise ValueError(
                f"{str(self.path)!r} was in use by a thread when this process was forked, and SQLite cannot tell the two "
                "apart; fork while no call is running, or start processes by 'spawn'"
            )
        if not os.access(self._at, os.R_OK):
            raise PermissionError(f"{str(self.path)!r} cannot be read; ask its owner for the right to")
        mode = "rw"
        if not (os.access(self._at, os.W_OK) and os.access(self._at.parent, os.W_OK)):
            log = Path(f"{self._at}-wal")
            mode = "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"
        connection = Connection(self.path, at=self._at, mode=mode, identity=identity)
        try:
            self._waited(lambda: self._set_up(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: Connection) -> None:
        connection.ask("PRAGMA trusted_schema = OFF")
        connection.ask("PRAGMA cell_size_check = ON")
        version = version_of(connection)
        if connection.mode == "rw":
            connection.ask("PRAGMA journal_mode = WAL")
            connection.ask("PRAGMA synchronous = NORMAL")
            connection.ask(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        if version == FORMAT:
            return
        if connection.mode != "rw":
            raise PermissionError(
                f"{str(self.path)!r} was written by an older titans_ts and must be brought up to date, but the file or its "
                "folder is read-only; copy it to where you may write, and open it there"
            )
        connection.ask("BEGIN IMMEDIATE")
        try:
            if version_of(connection) != FORMAT:
                upgrade(connection)
            connection.ask("COMMIT")
        finally:
            if connection.in_transaction:
                connection.ask("ROLLBACK")

    def _identity(self) -> tuple[int, int]:
        """Return what tells the file from another at its path; what cannot be a store is refused."""
        where = repr(str(self.path))
        try:
            found = os.stat(self._at)
        except FileNotFoundError:
            raise FileNotFoundError(f"{where} is gone; restore it, or open a new store") from None
        if S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"path={where} is a folder; name a file in it, for example 'wells.memory'")
        if not S_ISREG(found.st_mode):
            raise ValueError(f"path={where} is no regular file; give another path")
        if not found.st_size:
            raise ValueError(
                f"{where} is empty: it is no store of titans_ts, or all that was in it is lost; restore it from a copy, or "
                "delete it to begin anew"
            )
        return found.st_dev, found.st_ino

    # --- a new file ---------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        """Make a store without series, whole or not at all; one that another process made meanwhile stays."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
            make_tables(empty.execute, self.model)
            content = empty.serialize()
        with suppress(FileExistsError), replacing(self.path, only_new=True) as new:
            new.write_bytes(content)


# --- forks ------------------------------------------------------------------------------------------------------------

_OPEN: WeakSet[StoreFile] = WeakSet()
_CARRIED: set[tuple[int, int]] = set()
"""Files that the parent was using while this process was forked."""
_LEFT_ALONE: list[Connection] = []
"""The parent's connections to them: even to close one would disturb it."""
_forking: Any = RLock()
"""Held while connections change hands, and while the process forks."""


def _before_fork() -> None:
    _forking.acquire()
    for file in list(_OPEN):
        file._close_idle()


def _after_fork_in_child() -> None:
    global _forking
    _forking = RLock()
    for file in list(_OPEN):
        _CARRIED.update(file._busy)
        file._busy = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=lambda: _forking.release(), after_in_child=_after_fork_in_child)
