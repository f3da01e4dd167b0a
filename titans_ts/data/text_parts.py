"""Text files of tables cut into parts of whole records, plain or gzipped, so that none lies in memory as a whole."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

LONGEST_RECORD = 2**24
"""Bytes: a quote that is not closed must not take the rest of the file into memory."""


def separator_of(path: Path) -> str:
    """Return the separator of a CSV file: the most frequent candidate in its header."""
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def text_parts(path: Path, rows: int) -> Iterator[bytes]:
    """Hand out a text file in parts of whole records, at most `rows`, under its header; a header without rows as it is.

    A line end within quotes ends no record: where a part holds an odd number of quotes, its last field is still open.
    """
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        header = b""
        while not header.strip(b"\xef\xbb\xbf\r\n") and (line := file.readline()):  # a byte order mark is no name either
            header = line
        header = _closed(header, file, path)
        is_first = True
        while lines := list(islice(file, rows)):
            is_first = False
            yield header + _closed(b"".join(lines), file, path)
        if is_first:
            yield header


def _closed(part: bytes, file: Any, path: Path) -> bytes:
    """Return a part with the lines that its last field goes on in, if that is quoted and still open."""
    more, n_more, is_open = [part], 0, part.count(b'"') % 2 == 1
    while is_open and (line := file.readline()):
        is_open = line.count(b'"') % 2 == 0
        more.append(line)
        n_more += len(line)
        if n_more > LONGEST_RECORD:
            raise EOFError(f"a quoted field does not end within {LONGEST_RECORD} bytes (is a closing quote missing?)")
    return b"".join(more)


def place_of(part: bytes, start: int, separator: str) -> str:
    """Return where in the file a part is that cannot be read: the first row with too many fields, or from which row on."""
    text = io.StringIO(part.decode(errors="replace"), newline="")
    with suppress(csv.Error):
        records = csv.reader(text, delimiter=separator)
        n_columns = len(next(records, []))
        for row, record in enumerate(records, start):
            if len(record) > n_columns:
                return f", row {row} (counted from 0): {len(record)} fields under {n_columns} names"
    return f", in row {start} (counted from 0) or after it" if start or part else ""
