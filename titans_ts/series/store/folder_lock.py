"""Who may write to a folder, and who reads in it: locks on two empty files, which the system drops when a process ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from titans_ts.series.store.connection import StoreInUseError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: two writers there are told apart by the name of a change, which only one can take
    fcntl = None

WRITER, READERS = ".writer.lock", ".readers.lock"


class FolderLock:
    """The locks of a folder; each call takes one of its own, so that threads are told apart too."""

    def __init__(self, path: Path, timeout: float) -> None:
        self.path, self.timeout = path, timeout

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep others from writing; wait for those that do."""
        with _opened(self.path / WRITER, os.O_RDWR | os.O_CREAT) as descriptor:
            end, pause = time.monotonic() + self.timeout, 0.001
            while not _taken(descriptor, exclusive=True):
                if time.monotonic() >= end:
                    raise StoreInUseError(
                        f"{str(self.path)!r} is being written by another process or thread, for more than the "
                        f"timeout={self.timeout:g} seconds; nothing was changed: wait until it is done, or open the store "
                        "with a longer timeout"
                    )
                time.sleep(min(pause, max(end - time.monotonic(), 0)))
                pause = min(2 * pause, 0.05)
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep files from being taken away; where nothing may be made in the folder, and nothing was, nobody writes."""
        with ExitStack() as stack:
            try:
                descriptor = stack.enter_context(_opened(self.path / READERS, os.O_RDWR | os.O_CREAT))
            except PermissionError:
                if not (self.path / READERS).exists():
                    yield
                    return
                descriptor = stack.enter_context(_opened(self.path / READERS, os.O_RDONLY))
            _taken(descriptor, exclusive=False, wait=True)
            yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether nobody reads in the folder, and keep it so."""
        with _opened(self.path / READERS, os.O_RDWR | os.O_CREAT) as descriptor:
            yield _taken(descriptor, exclusive=True)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise PermissionError(
            f"{str(path.parent)!r} can be read, but not written: {path} cannot be opened ({error.strerror}); copy the store "
            "to where you may write"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int, *, exclusive: bool, wait: bool = False) -> bool:
    """Take a lock, and tell whether it was free; where the system has none, it is."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
