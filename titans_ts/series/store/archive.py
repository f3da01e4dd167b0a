"""A file of named members with a checksum each (a zip without compression), and arrays as the bytes of a member.

It is written whole or not at all, and read member by member: what is damaged shows when it is read, and nowhere else.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from titans_ts.files.replacing import replacing

_ALIGNED = 8
_KINDS = {"f": "float", "i": "int", "u": "uint"}


class ArchiveError(ValueError):
    """A file of a store is not what was written."""


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write members to a new file, whole or not at all; one of that name that is there is refused."""
    with replacing(path, only_new=True) as new, zipfile.ZipFile(new, "w") as file:
        for name, data in members:
            file.writestr(zipfile.ZipInfo(name), data)


class Archive:
    """An archive that is open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise ArchiveError(f"{str(path)!r} is gone; restore it from a copy") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str) -> bytes:
        """Return a member; one that is not what was written is refused."""
        try:
            return self._file.read(name)
        except (KeyError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from None

    def arrays(self, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the facts and arrays of a member."""
        data = self.read(name)
        try:
            return from_bytes(data)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ArchiveError:
        return ArchiveError(f"{str(self.path)!r} is damaged or of another kind ({error}); restore it from a copy")


def to_bytes(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return facts that JSON can hold, and arrays of numbers, as bytes.

    >>> facts, arrays = from_bytes(to_bytes({"ids": ["a"]}, {"rows": np.arange(3.0)}))
    >>> facts, arrays["rows"]
    ({'ids': ['a']}, array([0., 1., 2.]))
    """
    forms = {name: [x.dtype.str, list(x.shape)] for name, x in arrays.items()}
    head = json.dumps([facts, forms], separators=(",", ":")).encode()
    parts = [len(head).to_bytes(8, "little"), head, _padding(len(head))]
    for x in arrays.values():
        parts += [np.ascontiguousarray(x).tobytes(), _padding(x.nbytes)]
    return b"".join(parts)


def from_bytes(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what :func:`to_bytes` was given; the arrays can be written to."""
    size = int.from_bytes(data[:8], "little")
    facts, forms = json.loads(data[8 : 8 + size])
    whole = np.frombuffer(bytearray(memoryview(data)[8 + size + len(_padding(size)) :]), np.uint8)
    arrays, begin = {}, 0
    for name, (kind, shape) in forms.items():
        dtype = np.dtype(kind)
        if dtype.kind not in _KINDS:
            raise ValueError(f"{name!r} is of an unknown kind, {kind!r}")
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        arrays[name] = whole[begin : begin + nbytes].view(dtype).reshape(shape)
        begin += nbytes + len(_padding(nbytes))
    return facts, arrays


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _ALIGNED)
