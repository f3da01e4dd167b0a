"""Tables in plain files: CSV and parquet, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def read_table(path: str | Path, *, time_column: str = "ds") -> Any:
    """Return a polars frame from a file; text in the time column is read as time stamps.

    Parameters
    ----------
    path : str or Path
        A ``.csv``, ``.csv.gz`` or ``.parquet`` file.
    time_column : str, default="ds"
        Where the time stamps are, if there are any.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is not there, of another kind, empty or unreadable.
    """
    import polars as pl

    path = Path(path)
    kind = _kind(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        frame = pl.read_parquet(path) if kind == ".parquet" else pl.read_csv(path, try_parse_dates=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    if frame.height == 0:
        raise ValueError(f"{str(path)!r} has no rows")
    if time_column in frame.columns and frame[time_column].dtype == pl.String:
        try:
            frame = frame.with_columns(pl.col(time_column).str.to_datetime())
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{str(path)!r}: column {time_column!r} holds text that is no time stamp: {error}") from None
    return frame


def write_table(frame: Any, path: str | Path) -> None:
    """Write a polars or pandas frame beside its place and move it there."""
    import polars as pl

    path = Path(path)
    kind = _kind(path)
    frame = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if kind == ".parquet":
            frame.write_parquet(partial)
        else:
            frame.write_csv(partial, compression="gzip" if kind == ".csv.gz" else "uncompressed")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _kind(path: Path) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise ValueError(f"{str(path)!r}: expected a file ending in {', '.join(SUFFIXES)}")
