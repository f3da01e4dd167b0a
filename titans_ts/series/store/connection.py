"""A connection to SQLite that speaks in this library's errors: the path, what is wrong, and the remedy."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any


class StoreInUseError(TimeoutError, ValueError):
    """Another process or thread went on writing to a store for longer than was waited."""


class Connection(sqlite3.Connection):
    """A connection to an existing file, for one thread at a time; it waits for nobody.

    ``mode`` is part of SQLite's URI: ``rw``, ``ro``, or ``ro&immutable=1``, which needs no lock and notices no writer.
    """

    def __init__(self, path: Path, *, at: Path, mode: str, identity: tuple[int, int]) -> None:
        self.path, self.mode = path, mode  # the path as the user knows it; `at` is where the file is
        self.identity, self.process = identity, os.getpid()  # the file's device and number
        try:
            super().__init__(
                f"{at.as_uri()}?mode={mode}", timeout=0, isolation_level=None, check_same_thread=False, uri=True
            )
        except sqlite3.Error as error:
            raise explained(error, path) from None
        self.text_factory = partial(str, encoding="utf-8", errors="replace")  # what is damaged is seen by its sum

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return what SQLite answers; never in a process that was forked meanwhile, whose locks it does not have."""
        if self.process != os.getpid():
            raise ValueError(f"{str(self.path)!r} is in use by the process this one was forked from; open it here anew")
        try:
            return self.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise explained(error, self.path) from None


def explained(error: sqlite3.Error, path: Path) -> Exception:
    """Return the error to raise in place of SQLite's.

    >>> explained(sqlite3.DatabaseError("malformed"), Path("wells.memory"))
    ValueError("'wells.memory' is no store of titans_ts, or damaged (malformed); restore it from a copy, or delete it to ...
    """
    code, where = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF, repr(str(path))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreInUseError(f"{where} is being written by another process or thread; wait until it is done")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return PermissionError(
            f"{where} cannot be written: the file or its folder is read-only ({error}); copy it to where you may write"
        )
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, f"{where}: the disk is full; nothing of the rows was kept: make room and try again")
    if code == sqlite3.SQLITE_IOERR:
        return OSError(errno.EIO, f"{where} cannot be read or written ({error}); see to the disk, and try again")
    if code == sqlite3.SQLITE_NOMEM:
        return MemoryError(f"{where}: there is too little memory; open the store with a smaller batch_size")
    return ValueError(
        f"{where} is no store of titans_ts, or damaged ({error}); restore it from a copy, or delete it to begin anew"
    )
