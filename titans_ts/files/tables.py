"""Tables of series in plain files, CSV and parquet, in and out.

Polars scans both. A text file is scanned as text and its columns are typed here: the type of a column is known only
when all of it was seen, and polars takes the whole file into memory to find it.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from titans_ts.files.replacing import replacing

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
LONGEST_FIELD = 2**24
"""Bytes: polars would take the rest of the file into memory to find the end of a quote that is not closed."""

_TABLE_ROWS = 2**18  # rows at once when a whole file is read
_SEPARATORS = ",;\t|"
_KINDS = ("boolean", "integer", "number", "comma", "date", "datetime")  # the first that fits every word of a column is taken
_COMMA = r"^[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?$"  # a number with a decimal comma
_YEAR_FIRST = r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_MISSING = r"(?i)^(|na|n/a|nan|null|none|\?)$"


def table_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix, one of `SUFFIXES`, that says how a table is stored."""
    name = Path(path).name.lower()
    found = max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default=None)
    if found is None:
        raise ValueError(f"{os.fspath(path)} has an unknown suffix; name it with one of {', '.join(SUFFIXES)}")
    return found


@dataclass(frozen=True)
class TextForm:
    """How a text file separates columns and writes decimals; None is what its header and its numbers say."""

    separator: str | None = None
    decimal: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and (len(self.separator.encode()) != 1 or self.separator in '"\r\n'):
            raise ValueError(f"separator={self.separator!r} must be one ASCII character, such as ; or a tab")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"decimal={self.decimal!r} must be . or ,")


ANY_FORM = TextForm()


def text_form(path: str | os.PathLike[str], form: TextForm = ANY_FORM) -> TextForm:
    r"""Return the form of a text file with what was None found in its first rows, to write another like it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "load.csv")
    ...     _ = path.write_text("ds;load\n2024-01-01;1,5\n")
    ...     text_form(path)
    TextForm(separator=';', decimal=',')
    """
    path, suffix = _existing_table(path)
    if suffix == ".parquet":
        return form
    try:
        separator = _check_text(path, form.separator, whole=False)
        if form.decimal is not None:
            return TextForm(separator, form.decimal)
        with _open(path) as file:
            records = csv.reader((line.decode() for line in islice(file, 1000)), delimiter=separator)
            words = {word.strip() for record in islice(records, 1, None) for word in record}
    except _failures() as error:
        raise _unreadable(path, error) from error
    has_comma = separator == ";" and any("," in word and re.match(_COMMA, word) for word in words)
    return TextForm(separator, "," if has_comma else ".")


def read_table(
    path: str | os.PathLike[str], *, time_column: str = "ds", id_column: str = "unique_id", form: TextForm = ANY_FORM
) -> Any:
    """Read a file of rows, CSV or parquet by its suffix, or a folder of parquet files, as a polars frame.

    Commas, semicolons, tabs or bars separate columns; beside semicolons a column may have decimal commas. Ids stay text.
    Time stamps put the year first: 01/02/2024 is two days, and nobody can tell which. Elsewhere NA, NaN, null, none and ?
    mean missing. Errors count rows from 0, the first after the header.
    """
    import polars as pl

    batches = read_table_batches(path, rows=_TABLE_ROWS, time_column=time_column, id_column=id_column, form=form)
    return pl.concat(batches, rechunk=True)


def read_table_batches(
    path: str | os.PathLike[str],
    *,
    rows: int,
    time_column: str = "ds",
    id_column: str = "unique_id",
    form: TextForm = ANY_FORM,
) -> Iterator[Any]:
    """Read what `read_table` reads in frames of at most `rows` rows, so that memory does not grow with the file.

    The file is read twice: first to type its columns, then to hand out its rows. Damage is found before the first frame.
    Polars reads some 300 MB ahead in a long text file, and a row group of parquet as a whole.
    """
    if rows < 1:
        raise ValueError(f"rows={rows!r} must be at least 1")
    return _typed_batches(*_existing_table(path), rows, time_column, id_column, form)


def plan_batches(plan: Any, rows: int) -> Iterator[Any]:
    """Carry out a lazy frame of polars and hand out its rows, at most `rows` at once and never none."""
    for batch in plan.collect_batches(chunk_size=rows, maintain_order=True):
        yield from batch.iter_slices(rows)


def count_rows(path: str | os.PathLike[str]) -> int | None:
    """Return how many rows a parquet file holds; None for text, which would have to be read for that."""
    import polars as pl

    path, suffix = _existing_table(path)
    if suffix != ".parquet":
        return None
    try:
        return int(_scan(path).select(pl.len()).collect().item())
    except _failures() as error:
        raise _unreadable(path, error) from error


def date_columns(frame: Any) -> list[str]:
    """Return the columns of a polars frame that hold dates or times of day and date."""
    import polars as pl

    return [name for name, dtype in frame.schema.items() if dtype == pl.Date or isinstance(dtype, pl.Datetime)]


def write_table(frame: Any, path: str | os.PathLike[str], *, form: TextForm = ANY_FORM) -> None:
    """Write a frame (pandas, without its index, or polars) to a file, whole or not at all; its suffix says how.

    What the form leaves open is a point for decimals, and a comma between columns, a tab in a file called .tsv.
    """
    suffix, frame = table_suffix(path), _as_polars(frame)
    with replacing(path) as temporary:
        if suffix == ".parquet":
            frame.write_parquet(temporary)
        else:
            table = frame.with_columns(_iso(column) for column in frame.iter_columns())
            separator = form.separator or ("\t" if suffix.startswith(".tsv") else ",")
            comma = form.decimal == "," and separator != ","  # or a number would be two
            content = table.write_csv(separator=separator, decimal_comma=comma).encode()
            temporary.write_bytes(gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content)


def write_parts(frame: Any, path: str | os.PathLike[str], column: str) -> None:
    """Write a frame to a folder of parquet files, one a value of a column (``id=west/0.parquet``), whole or not at all.

    A folder that is there is replaced.
    """
    path = Path(path)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        _as_polars(frame).write_parquet(new, partition_by=[column])
        if path.exists():
            path.rename(old)
        new.rename(path)


def _as_polars(frame: Any) -> Any:
    import polars as pl

    if isinstance(frame, pl.DataFrame):
        return frame
    return pl.DataFrame({name: pl.Series(frame[name].to_numpy()) for name in frame.columns})


def _iso(column: Any) -> Any:
    """Return a column as it is, but time stamps as text in ISO 8601."""
    import polars as pl

    if not isinstance(column.dtype, pl.Datetime):
        return column
    return column.dt.strftime("%Y-%m-%d %H:%M:%S%.f" + ("%:z" if column.dtype.time_zone else ""))


def _existing_table(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return a table's path and suffix, if there is such a file."""
    path = Path(path)
    if path.is_dir():
        if not _parts(path):
            raise FileNotFoundError(f"{path}: is a folder in which there are no parquet files")
        return path, ".parquet"
    suffix = table_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return path, suffix


def _parts(path: Path) -> list[Path]:
    """Return the parquet files of a folder and its folders, whose names may hold columns: ``id=west/part-0.parquet``."""
    return sorted(one for one in path.rglob("*.parquet") if one.is_file())


def _scan(path: Path) -> Any:
    """Return the lazy frame of a parquet file, or of a folder of such files."""
    import polars as pl

    if path.is_dir():
        return pl.scan_parquet(_parts(path), glob=False, hive_partitioning=True)
    return pl.scan_parquet(path, glob=False)


def _typed_batches(path: Path, suffix: str, rows: int, time_column: str, id_column: str, form: TextForm) -> Iterator[Any]:
    """Type the columns of text in a first pass through the file, and hand out its rows in a second."""
    import polars as pl

    is_text, start, separator = suffix != ".parquet", 0, ","
    try:
        if is_text:
            separator = _check_text(path, form.separator)
            plan = pl.scan_csv(path, separator=separator, infer_schema=False, glob=False)
        else:
            plan = _scan(path)
        schema = plan.collect_schema()
        names = [name for name, dtype in schema.items() if dtype == pl.String and name != id_column]
        decimals = form.decimal or (".," if separator == ";" else ".")
        columns = [TextColumn(name, path, name == time_column, not is_text, decimals) for name in names]
        if is_text or names:  # of text all columns are read: polars overlooks long lines where it reads but some
            for batch in plan_batches(plan if is_text else plan.select(names), rows):
                for column in columns:
                    column.look(batch[column.name], start)
                start += batch.height
            start = 0
        for batch in plan_batches(plan, rows):
            yield batch.with_columns(column.parse(batch[column.name]) for column in columns)
            start += batch.height
    except _failures() as error:
        where = _place(path, separator) if is_text else f", after row {start - 1}" if start else ""
        raise _unreadable(path, error, where) from error
    if start == 0:
        raise ValueError(f"{path} has no rows, only the columns {schema.names()}")


def _open(path: Path) -> Any:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _check_text(path: Path, separator: str | None = None, *, whole: bool = True) -> str:
    """Return the separator, by default the header's most frequent; refuse a header or a quote that polars reads amiss."""
    with _open(path) as file:
        header = file.readline().decode().lstrip("\ufeff")
        is_open = header.count('"') % 2 == 1
        while whole and (chunk := file.read(LONGEST_FIELD)):
            n_quotes = chunk.count(b'"')
            if is_open and not n_quotes and len(chunk) == LONGEST_FIELD:
                raise EOFError(f"a quoted field does not end within {LONGEST_FIELD} bytes (is a closing quote missing?)")
            is_open ^= n_quotes % 2 == 1
    found = max(_SEPARATORS, key=header.count)
    names = next(csv.reader([header], delimiter=separator or found), [])
    if separator is not None and len(names) == 1 and found in header:
        raise csv.Error(f"between its columns stands {found!r}, not {separator!r}: it has one column, {names[0]!r}")
    twice = [name for k, name in enumerate(names) if name in names[:k]]
    if twice and header.count('"') % 2 == 0:
        raise csv.Error(f"two columns are called {twice[0]!r}; rename one")
    return separator or found


def _place(path: Path, separator: str) -> str:
    """Return where a text file cannot be read: the first row with too many fields, or from which row on."""
    row = -1
    try:
        with _open(path) as file:
            records = csv.reader((line.decode() for line in file), delimiter=separator, strict=True)
            n_names = len(next(filter(None, records), []))
            for row, record in enumerate(records):
                if len(record) > n_names:
                    return f", row {row} (counted from 0): {len(record)} fields under {n_names} names"
    except _failures():
        return f", in row {row + 1} (counted from 0) or after it"
    return ""


def _failures() -> tuple[type[Exception], ...]:
    """Return what reading a damaged file, or one that is no table, may raise."""
    import polars as pl

    return pl.exceptions.PolarsError, csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error


def _unreadable(path: Path, error: Exception, where: str = "") -> ValueError:
    what = "the file is empty" if path.stat().st_size == 0 else str(error).strip().split("\n")[0] + where
    if isinstance(error, UnicodeDecodeError):
        what = f"it is no UTF-8 text (byte 0x{error.object[error.start]:02x}){where}; save it as UTF-8"
    kind = "parquet" if path.is_dir() else table_suffix(path)[1:]
    return ValueError(f"{path} cannot be read as {kind}: {what}")


@dataclass
class TextColumn:
    """What a column of text holds as far as it was seen, so that a batch is parsed as the whole column would be."""

    name: str
    path: Path
    is_time: bool
    is_typed: bool  # its file says that it is text: whole numbers and truth values in it are none
    decimals: str = "."  # what may stand before the decimals of a number
    kinds: set[str] = field(default_factory=lambda: set(_KINDS))  # what every word so far can be read as
    longest: int = 0  # letters of the longest word
    first: Any = None  # the first word (1,), which decides how dates are written
    fault: tuple[int, str] | None = None  # row and word of the first that is no date

    def __post_init__(self) -> None:
        if self.is_typed:
            self.kinds -= {"boolean", "integer", "number"} if self.is_time else {"boolean", "integer"}
        self.kinds -= {kind for kind, mark in (("number", "."), ("comma", ",")) if mark not in self.decimals}

    def look(self, column: Any, start: int) -> None:
        """Take in a batch that begins at row `start`."""
        if not self.kinds:  # other text, which stays as it is
            return
        words = _words(column)
        if words.null_count() < len(words):
            self.first = words.drop_nulls().head(1) if self.first is None else self.first
            self.longest = max(self.longest, words.str.len_chars().max())
        self.kinds = {kind for kind in self.kinds if self._read(column, words, kind) is not None}
        if self.is_time and self.fault is None and not self.kinds & {"date", "datetime"}:
            dates = self._read(column, words.set(~words.str.contains(_YEAR_FIRST), None), "datetime", strict=False)
            wrong = words.is_not_null() if dates is None else words.is_not_null() & dates.is_null()
            row = wrong.arg_max()
            self.fault = start + row, str(column[row])
        if self.is_time and not self.kinds:
            raise self._no_date()

    def parse(self, column: Any) -> Any:
        """Return a batch as numbers or dates, where every word seen is one or means missing; else as it is."""
        if self.first is None:
            kind = "date" if self.is_time else "number"
        else:
            kind = next((kind for kind in _KINDS if kind in self.kinds), "text")
        if kind == "text":
            return column
        parsed = self._read(column, _words(column), kind)
        if parsed is None:
            raise ValueError(f"{self.path} changed while it was read, in column {self.name!r}; read it again")
        return parsed

    def _read(self, column: Any, words: Any, kind: str, *, strict: bool = True) -> Any:
        """Return a batch as what `kind` says; None where a word of it is none."""
        import polars as pl

        if kind == "boolean":
            truths = column.str.to_lowercase()
            return truths == "true" if truths.is_in(["true", "false"]).all() else None
        if kind == "comma":
            if self.is_time or not words.str.contains(_COMMA).all():  # a time stamp is no fraction
                return None
            return words.str.replace(",", ".", literal=True).cast(pl.Float64)
        if kind in ("integer", "number"):
            if kind == "integer" and not column.str.contains(r"^-?\d+$").all():
                return None
            known = column if self.is_time else words  # a time stamp that is missing is no number
            numbers = known.cast(pl.Int64 if kind == "integer" else pl.Float64, strict=False)
            return numbers if numbers.null_count() == known.null_count() else None
        if (kind == "date" and self.longest > 10) or not words.str.contains(_YEAR_FIRST).all():
            return None
        n_before = 0 if self.first is None else 1
        words = pl.concat([self.first, words]) if n_before else words
        with suppress(pl.exceptions.PolarsError):
            dates = words.str.to_date() if kind == "date" else words.str.to_datetime(time_unit="us", strict=strict)
            return dates.slice(n_before)
        return None

    def _no_date(self) -> ValueError:
        row, word = self.fault or (None, None)
        where = "" if row is None else f", {word!r} in " + ("its first row" if row == 0 else f"row {row} (counted from 0)")
        return ValueError(
            f"{self.path}: the time column {self.name!r} holds text that is no date{where}; write time stamps as "
            "2024-01-31 or 2024-01-31 13:30:00, or as integers"
        )


def _words(column: Any) -> Any:
    """Return a column of text without spaces around its words, and null where they mean missing."""
    words = column.str.strip_chars()
    return words.set(words.str.contains(_MISSING), None)
