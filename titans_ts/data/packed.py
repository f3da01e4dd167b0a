"""Text files, plain or gzipped, told apart by their first bytes and not by their name."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_GZIP = b"\x1f\x8b"


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there.

    Raises
    ------
    FileNotFoundError
        There is no such file, or it is a folder.

    Examples
    --------
    >>> existing_file("no/such.fa")
    Traceback (most recent call last):
    FileNotFoundError: no/such.fa: no such file; check the path
    """
    if not os.path.isfile(path):
        what = "is a folder; name a file in it" if os.path.isdir(path) else "no such file; check the path"
        raise FileNotFoundError(f"{os.fspath(path)}: {what}")
    return Path(path)


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Say whether a file is gzipped, by its first two bytes."""
    with existing_file(path).open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    r"""Open a text file, gzipped or not, whatever its line ends are.

    Parameters
    ----------
    path : path-like
        A file; gzip is known by its first two bytes. Bytes that are no UTF-8 become U+FFFD, for the reader to refuse
        where they matter; a byte order mark is passed over.

    Yields
    ------
    file object
        Open for reading text; lines end in ``\n``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        While it is read: the gzip stream is damaged or cut short.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "packed.txt")
    ...     _ = path.write_bytes(gzip.compress(b"a\r\nb"))
    ...     with open_text(path) as file:
    ...         file.read()
    'a\nb'
    """
    path = existing_file(path)
    how: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "errors": "replace"}
    with gzip.open(path, **how) if is_gzip(path) else path.open(**how) as text:
        try:
            yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is damaged or cut short ({error}); fetch it again") from error
