"""Tables of series in plain files, CSV and parquet, in and out."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_YEAR_FIRST = r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


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

    path = Path(path)
    suffix = table_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path)
        else:
            options: dict[str, Any] = {"separator": _separator(path), "infer_schema_length": None}
            frame = pl.read_csv(path, schema_overrides={id_column: pl.String}, **options)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, EOFError, OSError) as error:
        what = "the file is empty" if path.stat().st_size == 0 else str(error).strip().split("\n")[0]
        raise ValueError(f"{path} cannot be read as {suffix[1:]}: {what}") from error
    if frame.height == 0:
        raise ValueError(f"{path} has no rows, only the columns {frame.columns}")
    return frame.with_columns(
        _parsed(column, path, must_be_dates=column.name == time_column)
        for column in frame.iter_columns()
        if column.dtype == pl.String and column.name != id_column
    )


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


def _separator(path: Path) -> str:
    """Return the separator of a CSV file: the most frequent candidate in its header."""
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def _parsed(column: Any, path: Path, *, must_be_dates: bool) -> Any:
    """Return a column of text as numbers or dates, where every word is one or means missing; else as it is."""
    import polars as pl

    plain = column.str.strip_chars()
    plain = plain.set(plain.str.to_lowercase().is_in(_MISSING), None)
    numbers = plain.cast(pl.Float64, strict=False)
    if not must_be_dates and numbers.null_count() == plain.null_count():
        return numbers
    if plain.str.contains(_YEAR_FIRST).all():
        with suppress(pl.exceptions.PolarsError):
            return plain.str.to_date() if (plain.str.len_chars().max() or 0) <= 10 else plain.str.to_datetime(time_unit="us")
    if not must_be_dates:
        return column
    raise ValueError(
        f"{path}: the time column {column.name!r} holds text that is no date, {column[0]!r} in its first row; write "
        "time stamps as 2024-01-31 or 2024-01-31 13:30:00, or as integers"
    )
