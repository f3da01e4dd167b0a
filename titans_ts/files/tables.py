"""Tables of series in plain files, CSV and parquet, in and out."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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


_YEAR_FIRST = r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


def _plain(column: Any) -> Any:
    """Return a column of text without spaces around its words, and null where they mean missing."""
    plain = column.str.strip_chars()
    return plain.set(plain.str.to_lowercase().is_in(_MISSING), None)


@dataclass
class Words:
    """What a column holds, as far as it was seen: so that a part of it is parsed as the whole would be.

    Attributes
    ----------
    types : set of polars types
        Of the batches that held a value.
    kinds : set of str
        What every word so far can be read as: "number", "date", "datetime".
    longest : int
        Letters of the longest word.
    first : polars.Series or None
        The first word, which decides how dates are written.
    fault : tuple of (row, word) or None
        The first that is no date.
    """

    name: str
    path: Path
    must_be_dates: bool
    types: set[Any] = field(default_factory=set)
    kinds: set[str] = field(default_factory=lambda: {"number", "date", "datetime"})
    longest: int = 0
    first: Any = None
    fault: tuple[int, str] | None = None

    def look(self, column: Any, start: int) -> None:
        """Take in a batch that begins at row `start`."""
        import polars as pl

        if column.null_count() == len(column):
            return
        self.types.add(column.dtype)
        if column.dtype != pl.String:  # of no matter, unless another batch holds words
            column = column.fill_nan(None) if column.dtype.is_float() else column  # NaN is one of those that mean missing
            if column.null_count() < len(column):
                self.kinds &= {"number"} if column.dtype.is_numeric() else set()
                self._blame(column.cast(pl.String), column, start)
            return
        plain = _plain(column)
        if self.first is None:
            self.first = plain.drop_nulls().head(1) if plain.null_count() < len(plain) else None
        self.longest = max(self.longest, plain.str.len_chars().max() or 0)
        self.kinds -= {"number"} if self.must_be_dates else set()
        self.kinds = {kind for kind in self.kinds if self._read(plain, kind) is not None}
        if self.must_be_dates and not self.kinds & {"date", "datetime"}:
            self._blame(plain, column, start)
            raise self._no_date()

    @property
    def dtype(self) -> Any:
        """The type polars would have given to the whole column of a text file."""
        import polars as pl

        if len(self.types) == 1:
            return next(iter(self.types))
        numbers = [dtype for dtype in (pl.Float64, pl.Int128, pl.Int64) if dtype in self.types]
        return numbers[0] if numbers and len(numbers) == len(self.types) else pl.String

    def parse(self, column: Any) -> Any:
        """Return a column of text as numbers or dates, where every word seen is one or means missing; else as it is."""
        kind = "date" if self.longest <= 10 else "datetime"
        kind = "number" if "number" in self.kinds and not self.must_be_dates else kind
        if kind not in self.kinds:
            if self.must_be_dates:
                raise self._no_date()
            return column
        parsed = self._read(_plain(column), kind)
        if parsed is None:
            raise ValueError(f"{self.path} changed while it was read, in column {self.name!r}; read it again")
        return parsed

    def _read(self, plain: Any, kind: str, *, strict: bool = True) -> Any:
        """Return words as numbers, dates or time stamps; None where one of them is none."""
        import polars as pl

        if kind == "number":
            numbers = plain.cast(pl.Float64, strict=False)
            return numbers if numbers.null_count() == plain.null_count() else None
        if (kind == "date" and self.longest > 10) or not plain.str.contains(_YEAR_FIRST).all():
            return None
        n_before = 0 if self.first is None else 1
        words = pl.concat([self.first, plain]) if n_before else plain
        with suppress(pl.exceptions.PolarsError):
            dates = words.str.to_date() if kind == "date" else words.str.to_datetime(time_unit="us", strict=strict)
            return dates.slice(n_before)
        return None

    def _blame(self, plain: Any, column: Any, start: int) -> None:
        """Keep the first word that is no date, of words read and as they came."""
        if self.fault is not None or not self.must_be_dates:
            return
        dates = self._read(plain.set(~plain.str.contains(_YEAR_FIRST), None), "datetime", strict=False)
        wrong = plain.is_not_null() if dates is None else plain.is_not_null() & dates.is_null()
        row = wrong.arg_max()
        self.fault = (start + row, str(column[row]))

    def _no_date(self) -> ValueError:
        row, word = self.fault or (None, None)
        where = "" if row is None else f", {word!r} in " + ("its first row" if row == 0 else f"row {row} (counted from 0)")
        return ValueError(
            f"{self.path}: the time column {self.name!r} holds text that is no date{where}; write time stamps as "
            "2024-01-31 or 2024-01-31 13:30:00, or as integers"
        )


SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


def table_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix that says how a table is stored.

    Raises
    ------
    ValueError
        It is none of ``SUFFIXES``.

    Examples
    --------
    >>> table_suffix("a.b/load.CSV.gz")
    '.csv.gz'
    """
    name = Path(path).name.lower()
    found = max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default=None)
    if found is None:
        raise ValueError(f"{os.fspath(path)} has an unknown suffix; name it with one of {', '.join(SUFFIXES)}")
    return found


def read_table(path: str | os.PathLike[str], *, time_column: str = "ds", id_column: str = "unique_id") -> Any:
    r"""Read a file of rows as a polars frame, the time stamps parsed.

    Parameters
    ----------
    path : path-like
        CSV (separated by commas, semicolons or tabs, plain or gzipped) or parquet, by its suffix.
    time_column, id_column : str
        Columns of time stamps and ids, if there are such. Ids stay text, as they are. Dates must put the year first:
        01/02/2024 is two days, and which one nobody can tell. Elsewhere NA, NaN, null, none and ? mean missing.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it cannot be read, holds no rows, or its time stamps are no dates.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "load.csv")
    ...     _ = path.write_text("ds,y\n2024-01-01 00:00,1\n2024-01-01 01:00,NA\n")
    ...     read_table(path)["y"].to_list()
    [1.0, None]
    """
    import polars as pl

    path, suffix = _existing_table(path)
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path, glob=False)
        else:
            options: dict[str, Any] = {"separator": separator_of(path), "infer_schema_length": None, "glob": False}
            frame = pl.read_csv(path, schema_overrides={id_column: pl.String}, **options)
    except _failures() as error:
        raise _unreadable(path, error) from error
    if frame.height == 0:
        raise _no_rows(path, frame.columns)
    words = {name: Words(name, path, must_be_dates=name == time_column) for name in _text_columns(frame.schema, id_column)}
    for name, word in words.items():
        word.look(frame[name], 0)
    return frame.with_columns(word.parse(frame[name]) for name, word in words.items())


def read_table_batches(
    path: str | os.PathLike[str], *, rows: int, time_column: str = "ds", id_column: str = "unique_id"
) -> Iterator[Any]:
    r"""Read a file of rows piece by piece, so that memory does not grow with its length; joined, they are `read_table`'s.

    What a column holds is known only when all of it was seen: one without a value in the first million rows may hold
    words in the next. So the file is gone through twice, first to look at its columns (of parquet: at those of text, if
    there are such), then to hand out its rows. That a file is damaged shows before the first row is handed out.

    Parameters
    ----------
    path, time_column, id_column
        As `read_table` takes them.
    rows : int
        Rows of a batch, at least 1; there may be fewer. Of parquet a row group is in memory as a whole.

    Yields
    ------
    polars.DataFrame
        In the order of the file, with the same types throughout.

    Raises
    ------
    FileNotFoundError
        There is no such file; raised by the call, before the first batch.
    ValueError
        As `read_table`, before the first batch; where one can tell, the message says in which row, counted from 0 at the
        first after the header. Or `rows` is below 1 (raised by the call), or the file changed while it was read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "load.csv")
    ...     _ = path.write_text("ds,y\n2024-01-01,NA\n2024-01-02,1\n2024-01-03,2.5\n")
    ...     [batch["y"].to_list() for batch in read_table_batches(path, rows=2)]
    [[None, 1.0], [2.5]]
    """
    if rows < 1:
        raise ValueError(f"rows={rows!r} must be at least 1")
    path, suffix = _existing_table(path)
    walk = _parquet_batches if suffix == ".parquet" else _text_batches
    return walk(path, rows, time_column, id_column)


def count_rows(path: str | os.PathLike[str]) -> int | None:
    """Return how many rows a file holds, where that is known without reading it: of parquet; None of text.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_table([{"y": 1.5}, {"y": 2.5}], Path(folder, "load.parquet"))
    ...     count_rows(Path(folder, "load.parquet"))
    2
    """
    import polars as pl

    path, suffix = _existing_table(path)
    if suffix != ".parquet":
        return None
    try:
        return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    except _failures() as error:
        raise _unreadable(path, error) from error


def date_columns(frame: Any) -> list[str]:
    """Return the columns of a polars frame that hold dates or times of day and date.

    Examples
    --------
    >>> import polars as pl
    >>> date_columns(pl.DataFrame({"y": [1.0]}).with_columns(when=pl.datetime(2024, 1, 1)))
    ['when']
    """
    import polars as pl

    return [name for name, dtype in frame.schema.items() if dtype == pl.Date or isinstance(dtype, pl.Datetime)]


def write_table(frame: Any, path: str | os.PathLike[str]) -> None:
    r"""Write a frame (pandas or polars) to a file, whole or not at all; the suffix says how.

    Examples
    --------
    >>> import polars as pl
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_table(pl.DataFrame({"y": [1.5]}), Path(folder, "load.csv"))
    ...     Path(folder, "load.csv").read_text()
    'y\n1.5\n'
    """
    suffix = table_suffix(path)
    with replacing(path) as temporary:
        if suffix == ".parquet":
            _as_polars(frame).write_parquet(temporary)
        else:
            content = csv_text(frame, separator="\t" if suffix.startswith(".tsv") else ",").encode()
            temporary.write_bytes(gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content)


def csv_text(frame: Any, *, separator: str = ",") -> str:
    r"""Return a frame (pandas or polars) as the text of a CSV file, time stamps in ISO 8601.

    Examples
    --------
    >>> import polars as pl
    >>> csv_text(pl.DataFrame({"unique_id": ["a"], "y": [0.5]}))
    'unique_id,y\na,0.5\n'
    """
    table = _as_polars(frame)
    return table.with_columns(_iso(column) for column in table.iter_columns()).write_csv(separator=separator)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hand out a temporary file beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Raises
    ------
    FileNotFoundError
        The folder does not exist.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "note.txt")) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('note.txt', 'whole')]
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; make it first")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _as_polars(frame: Any) -> Any:
    """Return a frame or a list of plain rows as a polars frame; a pandas frame goes without its index."""
    import polars as pl

    if isinstance(frame, pl.DataFrame | list):
        return pl.DataFrame(frame)
    return pl.DataFrame({name: pl.Series(frame[name].to_numpy()) for name in frame.columns})


def _iso(column: Any) -> Any:
    """Return a column as it is, but time stamps as text."""
    import polars as pl

    if not isinstance(column.dtype, pl.Datetime):
        return column
    return column.dt.strftime("%Y-%m-%d %H:%M:%S%.f" + ("%:z" if column.dtype.time_zone else ""))


def _existing_table(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return a table's path and suffix, if there is such a file."""
    path = Path(path)
    suffix = table_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    return path, suffix


def _failures() -> tuple[type[Exception], ...]:
    """Return what reading a damaged file, or one that is no table, may raise."""
    import polars as pl

    return pl.exceptions.PolarsError, UnicodeDecodeError, EOFError, OSError, zlib.error


def _unreadable(path: Path, error: Exception, where: str = "") -> ValueError:
    what = "the file is empty" if path.stat().st_size == 0 else str(error).strip().split("\n")[0] + where
    return ValueError(f"{path} cannot be read as {table_suffix(path)[1:]}: {what}")


def _no_rows(path: Path, columns: list[str]) -> ValueError:
    return ValueError(f"{path} has no rows, only the columns {columns}")


def _text_columns(schema: Any, id_column: str) -> list[str]:
    """Return the columns of text, but the ids."""
    import polars as pl

    return [name for name, dtype in schema.items() if dtype == pl.String and name != id_column]


def _parquet_batches(path: Path, rows: int, time_column: str, id_column: str) -> Iterator[Any]:
    """Hand out the rows of a parquet file, its columns of text parsed."""
    import polars as pl

    n_rows = 0
    try:
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        names = _text_columns(schema, id_column)
        words = {name: Words(name, path, must_be_dates=name == time_column) for name in names}
        if words:
            for batch in table.select(names).collect_batches(chunk_size=rows, maintain_order=True):
                for name in names:
                    words[name].look(batch[name], n_rows)
                n_rows += batch.height
            n_rows = 0
        for batch in table.collect_batches(chunk_size=rows, maintain_order=True):
            n_rows += batch.height
            if batch.height:
                yield batch.with_columns(words[name].parse(batch[name]) for name in names)
    except _failures() as error:
        raise _unreadable(path, error, f", after row {n_rows - 1}" if n_rows else "") from error
    if n_rows == 0:
        raise _no_rows(path, schema.names())


def _text_batches(path: Path, rows: int, time_column: str, id_column: str) -> Iterator[Any]:
    """Hand out the rows of a text file: first its columns are looked at, batch by batch, then they are parsed."""
    import polars as pl

    columns: dict[str, Words] = {}
    for start, batch in _raw_batches(path, rows, schema_overrides={id_column: pl.String}, infer_schema_length=None):
        if not columns:
            columns = {name: Words(name, path, must_be_dates=name == time_column) for name in batch.columns}
        for name in columns.keys() - {id_column}:
            columns[name].look(batch[name], start)
    schema = {name: pl.String if name == id_column else words.dtype for name, words in columns.items()}
    names = _text_columns(schema, id_column)
    for _, batch in _raw_batches(path, rows, schema_overrides=schema, infer_schema=False):
        yield batch.with_columns(columns[name].parse(batch[name]) for name in names)


def _raw_batches(path: Path, rows: int, **options: Any) -> Iterator[tuple[int, Any]]:
    """Hand out the parts of a text file as polars reads them, each with the number of its first row."""
    import polars as pl

    start, unread, separator, names = 0, b"", ",", []
    try:
        separator = separator_of(path)
        for part in text_parts(path, rows):
            unread = part
            batch = pl.read_csv(part, separator=separator, **options)
            names, unread = batch.columns, b""
            if batch.height:
                yield start, batch
            start += batch.height
    except _failures() as error:
        raise _unreadable(path, error, place_of(unread, start, separator)) from error
    if start == 0:
        raise _no_rows(path, names)
