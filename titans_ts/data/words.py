"""What a column of words holds: numbers, dates, or words, told from all of it though it is seen part by part."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
