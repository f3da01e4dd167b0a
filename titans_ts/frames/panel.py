"""What a user's container becomes once it is read: series, and the layout that leads back to the container."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np

Column = str | int
_COLUMN_FIELDS = ("target_columns", "past_columns", "future_columns", "static_columns", "ignored_columns")


@dataclass(frozen=True, eq=False)
class Series:
    """One series, read and checked: arrays on a regular time axis.

    Attributes
    ----------
    id : hashable
        None for a single array or a wide frame, the item number in a list, the id in a long frame.
    values : ndarray (t, c), float64
        Targets; NaN where missing, never infinite. May share memory with the user's array: do not write to it.
    times : ndarray (t,) or None
        datetime64[ns] (UTC where the user's stamps carry a time zone) or int64; None without a time axis.
    past : ndarray (t, p), float64
        Covariates known up to now; NaN where missing.
    future : ndarray (t, q), float64
        Covariates known in advance; always finite.
    static : ndarray (s,), float64
        Covariates that are constant within the series; always finite.
    given : ndarray (t,), bool, or None
        False in rows that were made to fill a gap in the time axis; None when there are no such rows.
    """

    id: Hashable
    values: np.ndarray
    times: np.ndarray | None
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    given: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Layout:
    """What is needed to give the same kind of container back; plain enough to be saved as JSON.

    Attributes
    ----------
    kind : "array", "list", "wide" or "long"
        One array, a list of arrays, a frame with a column a channel, a frame with an id column.
    backend : "numpy", "pandas", "polars" or "pyarrow"
        Whose container it was.
    target_columns, past_columns, future_columns, static_columns, ignored_columns : tuple of str or int
        Column names (indices for arrays) by role; ignored columns were there at fit and are not used.
    id_column, time_column : str or None
        `time_column` is the index's name when `time_in_index`.
    time_in_index : bool
        Whether the time stamps are the index of a pandas object.
    time_dtype, id_dtype : str or None
        As the backend spells it (pandas: "datetime64[us]", "period[M]"; else: "datetime[us]", "date", "int64").
        `time_dtype` is None when there is no time axis.
    time_zone : str or None
        Name of the zone of time stamps that carry one.
    frequency : str, int or None
        A pandas alias ("h", "30min", "D", "MS"), or the step of integer times; None when unknown.
    value_dtype : str
        "float32" when every target was that, else "float64"; forecasts come back in it.
    was_1d : bool
        Whether it was a 1-D array or a Series rather than a table.

    Examples
    --------
    >>> layout = Layout("wide", "pandas", target_columns=("load",), time_column="ds", frequency="h")
    >>> Layout.from_dict(layout.to_dict()) == layout
    True
    """

    kind: Literal["array", "list", "wide", "long"]
    backend: Literal["numpy", "pandas", "polars", "pyarrow"]
    target_columns: tuple[Column, ...]
    past_columns: tuple[Column, ...] = ()
    future_columns: tuple[Column, ...] = ()
    static_columns: tuple[Column, ...] = ()
    ignored_columns: tuple[Column, ...] = ()
    id_column: str | None = None
    time_column: str | None = None
    time_in_index: bool = False
    time_dtype: str | None = None
    id_dtype: str | None = None
    time_zone: str | None = None
    frequency: str | int | None = None
    value_dtype: str = "float64"
    was_1d: bool = False

    @property
    def has_times(self) -> bool:
        """Whether the rows carry time stamps (dates or integers)."""
        return self.time_dtype is not None

    @property
    def integer_times(self) -> bool:
        """Whether the time stamps are integers."""
        return self.time_dtype is not None and self.time_dtype.lower().startswith(("int", "uint"))

    @property
    def is_single(self) -> bool:
        """Whether the container holds one series, whose id is None."""
        return self.kind in ("array", "wide")

    @property
    def covariates(self) -> tuple[Column, ...]:
        """All covariate columns: past, future, static."""
        return self.past_columns + self.future_columns + self.static_columns

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """Build a layout from what `to_dict` returned.

        Raises
        ------
        ValueError
            A key is unknown, or one without a default is missing.
        """
        known = {f.name for f in fields(cls)}
        wrong = sorted(set(values) - known) or sorted({"kind", "backend", "target_columns"} - set(values))
        if wrong:
            raise ValueError(f"layout: unknown or missing keys {wrong}; was it written by another version of titans_ts?")
        plain: dict[str, Any] = {k: tuple(v) if k in _COLUMN_FIELDS else v for k, v in values.items()}
        return cls(**plain)


@dataclass(frozen=True, eq=False)
class Panel:
    """All series of one container, and its layout.

    Attributes
    ----------
    series : tuple of Series
        In order of first appearance.
    layout : Layout
        Leads back to the user's kind of container.
    index : pandas.Index or None
        The index of a wide pandas frame, so that per-row results line up with it.

    Examples
    --------
    >>> from titans_ts.frames.read import read_panel
    >>> panel = read_panel([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> len(panel), panel.rows, panel[None].values.shape
    (1, 3, (3, 2))
    """

    series: tuple[Series, ...]
    layout: Layout
    index: Any = field(default=None, repr=False)

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
    """Rows of all series, one series after the other.

    Attributes
    ----------
    layout : Layout
        Where they come from.
    ids : list
        One id a series.
    bounds : ndarray (n + 1,)
        Series i holds the rows ``bounds[i]:bounds[i + 1]``.
    values, past, future, static : ndarray (r, .), float64
        Columns by role.
    times : ndarray (r,) or None
        Time stamps.
    rows : ndarray (r,) or None
        Row numbers as the user counts them; None when a series' rows count from 0.
    given : ndarray (r,), bool, or None
        False in rows made to fill a gap.
    index : pandas.Index or None
        Index of a wide pandas frame.
    """

    layout: Layout
    ids: list[Hashable]
    bounds: np.ndarray
    values: np.ndarray
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    times: np.ndarray | None = None
    rows: np.ndarray | None = None
    given: np.ndarray | None = None
    index: Any = None

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series, (n,)."""
        return np.diff(self.bounds)

    def spread(self, per_series: np.ndarray) -> np.ndarray:
        """Repeat one value a series (n,) over its rows (r,)."""
        return np.repeat(per_series, self.lengths)

    def where(self, k: int) -> str:
        """Say where row `k` of the table is in the user's container."""
        i = int(np.searchsorted(self.bounds, k, side="right")) - 1
        row = int(k - self.bounds[i] if self.rows is None else self.rows[k])
        return f"row {row}{self.whose(i)}"

    def whose(self, i: int) -> str:
        """Name series `i`, for a message; empty for a single series."""
        if self.layout.is_single:
            return ""
        return f", {'item' if self.layout.kind == 'list' else 'id'} {self.ids[i]!r}"
