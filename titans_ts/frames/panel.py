"""What a user's container becomes once it is read: series, and the layout that leads back to the container."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

Column = str | int
_COLUMN_FIELDS = ("target_columns", "past_columns", "future_columns", "static_columns", "ignored_columns", "index_names")


@dataclass(frozen=True, eq=False)
class Series:
    """One series, read and checked: arrays on a regular time axis."""

    id: Hashable  # None for a single array or wide frame, the item number in a list, the id in a long frame
    values: np.ndarray  # targets (t, c), float64: NaN where missing, never infinite; may be the user's memory, do not write
    times: np.ndarray | None  # (t,), datetime64[ns] (UTC where the user's carry a zone) or int64; None without a time axis
    past: np.ndarray  # covariates known up to now (t, p), NaN where missing
    future: np.ndarray  # covariates known in advance (t, q), always finite
    static: np.ndarray  # covariates constant within the series (s,), finite; NaN where a frame of their own is yet to say
    given: np.ndarray | None = None  # (t,), False in rows made to fill a gap in the time axis; None without such rows

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Categories:
    """What training rows say of a covariate that holds categories; it becomes ``width`` columns of numbers."""

    column: Column
    values: tuple[str, ...]  # with a column each
    rare: tuple[str, ...]  # that share the last column, if there are any
    shares: tuple[float, ...]  # of the training rows, for each column

    @property
    def width(self) -> int:
        """Columns of numbers."""
        return len(self.shares)


@dataclass(frozen=True)
class Holidays:
    """Holidays of a country, a part of one or a market by its code, or days of the user's own."""

    name: str
    code: str | None  # as the package `holidays` spells it: "DE", "US-CA", "XNYS"
    days: tuple[str, ...] = ()  # ISO dates, increasing


HOLIDAY_COLUMNS = 3
"""Columns of numbers that holidays become: how many lie in the step before, in the step itself, and in the one after."""


@dataclass(frozen=True)
class Layout:
    """What is needed to give the same kind of container back; plain enough to be saved as JSON."""

    kind: Literal["array", "list", "wide", "long"]
    backend: Literal["numpy", "pandas", "polars", "pyarrow"]
    target_columns: tuple[Column, ...]  # names, of arrays indices
    past_columns: tuple[Column, ...] = ()
    future_columns: tuple[Column, ...] = ()
    static_columns: tuple[Column, ...] = ()
    ignored_columns: tuple[Column, ...] = ()  # there at fit, and not used
    id_column: str | None = None
    time_column: str | None = None  # the name of the index, when `time_in_index`
    time_in_index: bool = False  # of a pandas object
    time_dtype: str | None = None  # as the backend spells it ("period[M]", "datetime[us]", "date"); None without a time axis
    id_dtype: str | None = None
    time_zone: str | None = None
    frequency: str | int | None = None  # a pandas alias ("h", "MS"), or the step of integer times; None when unknown
    value_dtype: str = "float64"  # of forecasts; "float32" when every target was that
    was_1d: bool = False  # an array of one axis, or a series of a frame library
    categories: tuple[Categories, ...] = ()  # covariates that are no numbers
    holidays: tuple[Holidays, ...] = ()  # known in advance beside the future columns
    static_apart: bool = False  # static columns come from a frame of their own, not from X
    index_names: tuple[str | int | None, ...] = ()  # of a pandas MultiIndex of ids and time stamps: names of its levels

    @property
    def has_times(self) -> bool:
        """Whether the rows carry time stamps (dates or integers)."""
        return self.time_dtype is not None

    @property
    def integer_times(self) -> bool:
        """Whether the time stamps are integers."""
        return self.time_dtype is not None and self.time_dtype.lower().startswith(("int", "uint"))

    @property
    def numbered_index(self) -> bool:
        """Whether the time stamps are whole numbers in the index of a pandas object."""
        return self.time_in_index and self.integer_times

    @property
    def stamped_column(self) -> str | None:
        """The column that frames with columns for ids and time stamps have these in; None where no name is known."""
        return None if self.time_in_index and not self.index_names else self.time_column

    @property
    def time_axis(self) -> str:
        """What the time stamps are, for a message."""
        if self.time_dtype is None or self.integer_times:
            return self.time_dtype or "no kind"
        return f"{self.time_dtype} in time zone {self.time_zone}"

    @property
    def is_single(self) -> bool:
        """Whether the container holds one series, whose id is None."""
        return self.kind in ("array", "wide")

    @property
    def covariates(self) -> tuple[Column, ...]:
        """All covariate columns: past, future, static."""
        return self.past_columns + self.future_columns + self.static_columns

    @property
    def n_past(self) -> int:
        """Numbers that a row's past covariates become."""
        return self._width(self.past_columns)

    @property
    def n_future(self) -> int:
        """Numbers that what is known of a row in advance becomes, holidays included."""
        return self._width(self.future_columns) + HOLIDAY_COLUMNS * len(self.holidays)

    @property
    def n_static(self) -> int:
        """Numbers that the static covariates of a series become."""
        return self._width(self.static_columns)

    def static_value(self, j: int, numbers: np.ndarray) -> tuple[Column, str]:
        """Return the static covariate that a number belongs to, and what it holds where the numbers are these."""
        known, place = {one.column: one for one in self.categories}, 0
        for column in self.static_columns:
            width = known[column].width if column in known else 1
            if j < place + width:
                break
            place += width
        if column not in known:
            return column, f"{numbers[j]:g}"
        own = numbers[place : place + width]
        whole = [value for value, number in zip(known[column].values, own, strict=False) if number == 1]
        return column, repr(whole[0]) if whole else "another category"

    def _width(self, columns: tuple[Column, ...]) -> int:
        widths = {one.column: one.width for one in self.categories}
        return sum(widths.get(name, 1) for name in columns)

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """Build a layout from what `to_dict` returned; refuse one with unknown or missing keys."""
        known = {f.name for f in fields(cls)}
        wrong = sorted(set(values) - known) or sorted({"kind", "backend", "target_columns"} - set(values))
        if wrong:
            raise ValueError(f"layout: unknown or missing keys {wrong}; was it written by another version of titans_ts?")
        plain: dict[str, Any] = {k: tuple(v) if k in _COLUMN_FIELDS else v for k, v in values.items()}
        kinds: dict[str, type[Any]] = {"categories": Categories, "holidays": Holidays}
        for key, kind in kinds.items():
            parts = [{k: tuple(v) if isinstance(v, list) else v for k, v in part.items()} for part in plain.get(key, ())]
            plain[key] = tuple(kind(**part) for part in parts)
        return cls(**plain)


@dataclass(frozen=True, eq=False)
class Panel:
    """All series of one container, in order of first appearance, and its layout."""

    series: tuple[Series, ...]
    layout: Layout
    index: Any = field(default=None, repr=False)  # of a wide pandas frame: results by row line up with it
    order: np.ndarray | None = field(default=None, repr=False)  # of a wide frame that had to be sorted: where each row was
    labels: Mapping[Column, Sequence[str]] = field(default_factory=dict)  # of categories that are still places among them
    unseen: Mapping[Column, Sequence[str]] = field(default_factory=dict)  # categories that training rows did not hold

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    @cached_property
    def _by_id(self) -> dict[Hashable, Series]:
        return {series.id: series for series in self.series}

    def __getitem__(self, id_: Hashable) -> Series:
        if id_ in self._by_id:
            return self._by_id[id_]
        raise KeyError(f"no series with id {id_!r}; the panel has {len(self)} series, the first is {self.series[0].id!r}")

    @property
    def rows(self) -> int:
        """Rows of all series together, those made to fill gaps included."""
        return sum(len(series) for series in self.series)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of all series, one series after the other; series i holds the rows ``bounds[i]:bounds[i + 1]``."""

    layout: Layout
    ids: list[Hashable]  # (n,)
    bounds: np.ndarray  # (n + 1,)
    values: np.ndarray  # this and the next three: columns by role (r, .), float64
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    times: np.ndarray | None = None  # (r,)
    rows: np.ndarray | None = None  # (r,), numbers as the user counts them; None when those of a series count from 0
    given: np.ndarray | None = None  # (r,), False in rows made to fill a gap
    index: Any = None  # of a wide pandas frame
    labels: Mapping[Column, Sequence[str]] = field(default_factory=dict)  # of categories, which stand as places among them

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series, (n,)."""
        return np.diff(self.bounds)

    def reordered(self, order: np.ndarray) -> Table:
        """Return the table with its rows (r,) in another order, which keeps each series in its place."""
        by_row = ("values", "past", "future", "static", "times", "rows")
        parts = {name: part[order] for name in by_row if (part := getattr(self, name)) is not None}
        return replace(self, **({"rows": order} | parts))

    def spread(self, per_series: np.ndarray) -> np.ndarray:
        """Repeat one value a series (n,) over its rows (r,)."""
        return np.repeat(per_series, self.lengths)

    def series_of(self, rows: Any) -> Any:
        """Return the number of the series that each row of the table belongs to."""
        return np.searchsorted(self.bounds, rows, side="right") - 1

    def only(self, kept: np.ndarray) -> Table:
        """Return the table with some of its series, (n,)."""
        rows = self.spread(kept)
        numbers = np.arange(len(rows)) - self.spread(self.bounds[:-1]) if self.rows is None else self.rows
        by_row = ("values", "past", "future", "static", "times", "given")
        parts = {name: part[rows] for name in by_row if (part := getattr(self, name)) is not None}
        ids = [name for name, keep in zip(self.ids, kept.tolist(), strict=True) if keep]
        bounds = np.concatenate([[0], np.cumsum(self.lengths[kept])])
        return replace(self, ids=ids, bounds=bounds, rows=numbers[rows], **parts)

    def where(self, k: int) -> str:
        """Say where row `k` of the table is in the user's container."""
        i = int(self.series_of(k))
        row = int(k - self.bounds[i] if self.rows is None else self.rows[k])
        return f"row {row}{self.whose(i)}"

    def whose(self, i: int) -> str:
        """Name series `i`, for a message; empty for a single series."""
        if self.layout.is_single:
            return ""
        return f", {'item' if self.layout.kind == 'list' else 'id'} {self.ids[i]!r}"
