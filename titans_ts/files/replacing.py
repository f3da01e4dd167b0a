"""A file that is written whole or not at all: beside its place first, and then moved there.

What is being written is ``.<name>.<number>.partial`` in the folder of the file, and its writer holds a lock on it
(``flock``) for as long as it lives. The system lets go of the lock when a process ends, however it ends: a partial file that
nobody holds was left by a dead writer, and whoever next writes or opens the file takes it away. A process number in the
name could not tell this: it is given out again, and means nothing on another host.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: nothing tells the dead from the living there, so that nothing is taken away
    fcntl = None

WRITERS = 16
"""Numbers that writers of one file at the same time take in turn; all are looked at when the dead are cleared away."""
LONGEST_NAME = 200
"""Bytes of a file's name that its partial files repeat; a longer one is hashed, since systems allow 255."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_OLD = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def replacing(path: str | os.PathLike[str], *, only_new: bool = False) -> Iterator[Path]:
    """Hand out a temporary file that takes the place of `path` when the block ends well, and vanishes otherwise.

    A file that is there keeps its mode and, where allowed, its owner. A link stays, and what it leads to is replaced. With
    `only_new` a file that is there by then stays as it is, and FileExistsError is raised.
    """
    path = Path(path)
    target, old = _target(path)
    clear_partial(path)
    temporary, descriptor = _begun(target, path, 0o666 if old is None else 0o600)
    try:
        try:
            yield temporary
            if old is not None:
                _make_like(descriptor, old)
            os.fsync(descriptor)
            if fcntl is None:  # Windows moves no open file
                os.close(descriptor)
                descriptor = -1
            (_move_if_new if only_new else os.replace)(temporary, target)
        except OSError as error:
            if error.filename not in (None, os.fspath(temporary)):
                raise  # about another file, which was used inside the block
            raise _unwritable(path, error) from error
    finally:
        if descriptor < 0 or _is_at(temporary, descriptor):  # it was not moved, and the name is still its own
            temporary.unlink(missing_ok=True)
        if descriptor >= 0:
            os.close(descriptor)


def _move_if_new(temporary: Path, target: Path) -> None:
    """Give a file its name, unless there is one of it; a file system without links is believed when it shows none."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS) or os.path.lexists(target):
            raise
        os.replace(temporary, target)


def clear_partial(path: str | os.PathLike[str]) -> None:
    """Take away what writers of `path` left beside it that did not live to its end; what cannot be taken away stays."""
    if fcntl is None:
        return
    target = Path(os.path.realpath(path))
    for number in range(WRITERS):
        _remove_dead(_partial(target, number))


def _partial(target: Path, number: int | str) -> Path:
    name = os.fsencode(target.name)
    kept = target.name if len(name) <= LONGEST_NAME else hashlib.sha256(name).hexdigest()
    return target.with_name(f".{kept}.{number}.partial")


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """Return what is to be replaced, links followed, and what is known of it; refuse a place that can hold no file."""
    target = Path(os.path.realpath(path))
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    except OSError as error:
        raise _unwritable(path, error) from error
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"path={str(path)!r} is a folder; name a file in it, for example 'model.titans'")
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise OSError(f"path={str(path)!r} is a pipe or a device, no plain file; name a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {target.parent} does not exist; make it first")
    return target, old


def _begun(target: Path, path: Path, mode: int) -> tuple[Path, int]:
    """Return a new partial file, and what holds the lock on it."""
    while True:
        for number in (*range(WRITERS), secrets.token_hex(8)):
            name = _partial(target, number)
            try:
                descriptor = os.open(name, _NEW, mode)
            except FileExistsError:  # a living writer's
                continue
            except OSError as error:
                raise _unwritable(path, error) from error
            if _locked(descriptor) is not False and _is_at(name, descriptor):
                return name, descriptor
            os.close(descriptor)  # somebody who clears up was quicker than the lock, and takes it away


def _remove_dead(name: Path) -> None:
    """Remove a partial file unless a living writer holds it."""
    try:
        descriptor = os.open(name, _OLD)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _locked(descriptor) and _is_at(name, descriptor):
            with suppress(OSError):
                name.unlink()
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool | None:
    """Take the lock on an open file; False if another holds it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _is_at(name: Path, descriptor: int) -> bool:
    """Tell whether an open file still bears its name."""
    try:
        return os.path.samestat(os.stat(name, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


def _make_like(descriptor: int, old: os.stat_result) -> None:
    """Give a new file owner and mode of the one that it replaces; a group that cannot be kept gets what all others have."""
    if not hasattr(os, "fchmod"):
        return
    mode, new = stat.S_IMODE(old.st_mode), os.fstat(descriptor)
    if new.st_uid != old.st_uid:
        with suppress(OSError):
            os.fchown(descriptor, old.st_uid, -1)
    if new.st_gid != old.st_gid:
        try:
            os.fchown(descriptor, -1, old.st_gid)
        except OSError:
            mode = (mode & ~0o070) | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)


def _unwritable(path: Path, error: OSError) -> OSError:
    """Return an error of the same kind that names the file the user named."""
    reason = error.strerror or str(error)
    if error.errno is None:
        return type(error)(f"{path} could not be written: {reason}")
    remedy = {
        errno.ENOSPC: "; make room on the disk, or name another place",
        errno.EACCES: "; name a folder that you may write to",
        errno.EROFS: "; name a folder that you may write to",
    }.get(error.errno, "")
    return OSError(error.errno, f"{path} could not be written: {reason}{remedy}. What was there is as it was")
