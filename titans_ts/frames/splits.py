"""Cross-validation of many series at once: folds that are cut in time, the same instants for every series.

scikit-learn's ``TimeSeriesSplit`` cuts a long frame by rows: it trains on one series' future to test on another's past.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator

from titans_ts.frames.clock import show_time
from titans_ts.frames.columns import Request
from titans_ts.frames.index import without_labels
from titans_ts.frames.panel import Column, Layout, Table
from titans_ts.frames.read import is_frame, read_frame_table
from titans_ts.frames.write import build_frame

Size = int | np.timedelta64
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
Part = tuple[int, int]  # what is after the one edge, up to and with the other

_BEFORE_ALL = int(np.iinfo(np.int64).min)
_ID_COLUMN, _TIME_COLUMN = "unique_id", "ds"
_LONGEST = np.timedelta64(106_751, "D")
_NOT_A_SPAN = ("Y", "M", "generic")  # numpy's units without a length of their own


class PanelTimeSeriesSplit(BaseCrossValidator):
    """Split many series in time for cross-validation: a fold trains on no row, of any series, from its test period or later.

    The time stamps of all series together are cut as scikit-learn's ``TimeSeriesSplit`` cuts rows: the last ``n_splits``
    periods are tested one after the other, each after training on what lies before it, in every series.

    Parameters
    ----------
    n_splits : int, default=5
        Test periods, 1 or more.
    test_size : int or timedelta, optional
        Length of a test period: a number of distinct time stamps, all series taken together, or a span of time
        (``datetime.timedelta``, ``pandas.Timedelta`` or ``numpy.timedelta64``; a day is 24 hours). By default the time
        stamps divided by ``n_splits + 1``.
    gap : int or timedelta, default=0
        What is left out between the training part and the test period.
    max_train_size : int or timedelta, optional
        Longest training part: older rows are left out. By default there is no limit.
    id_column, time_column : str, default="unique_id", "ds"
        A frame with ``id_column`` is a long one, of many series. A date index serves as time column too.

    See Also
    --------
    titans_ts.TitansForecaster.backtest : Forecasts from many origins, one fit for all or one for each.

    Notes
    -----
    *What is cut.* Long frames by their time stamps; arrays (t,) and (t, c) and wide frames as one series, by their time
    stamps, also whole numbers in the index, or else by their rows. scikit-learn picks items of X by number, and so cannot
    cut the inside of an item: a list of arrays and a 3-D array are refused, unless ``groups`` says which series each item
    was cut from, or ``times`` when it was. Series of their own in a list become a long frame first, with ids and time
    stamps.

    *Without time stamps* the k-th sample of every series is taken to be of the same time.

    *Windows that overlap* share rows with their neighbours, and so would training and test without a ``gap``: for windows of
    ``length`` rows, one every ``step`` rows, ``gap=ceil(length / step) - 1``. As ``times`` give the end of each window.

    *Uneven series.* A series may be missing from a test period, or from a training part when it begins later; a test
    period without any row is refused. The rows of a fold come series by series, each in order of time, in whatever order
    the rows of X are: what is picked from a shuffled frame can be fitted. (A search that refits does so on X as it is.)

    *A forecaster in* ``GridSearchCV`` is fitted on a training part, and scored by its ``score``: it forecasts the rows that
    follow a series' own last training row, a horizon at a time, to the end of the test period. Rows of a ``gap`` are missing
    ones there, and a warning counts them; a series that the training part lacks is refused. A function given as ``scoring``
    may compare the rows of the test period with ``forecaster.predict()`` instead, by id and time stamp: to reach the end
    of it, ``horizon`` must be at least ``gap + test_size``.

    References
    ----------
    Time splits that know of groups: scikit-learn issue 14257.

    Examples
    --------
    >>> import pandas as pd
    >>> days = pd.date_range("2024-01-01", periods=4, freq="D")
    >>> shops = pd.concat(
    ...     [pd.DataFrame({"unique_id": name, "ds": days[start:], "y": 1.0}) for name, start in (("a", 0), ("b", 1))],
    ...     ignore_index=True,
    ... )
    >>> for train, test in PanelTimeSeriesSplit(n_splits=2, test_size=1).split(shops):
    ...     print(train, shops["ds"][train].max().date(), test, shops["ds"][test].min().date())
    [0 1 4] 2024-01-02 [2 5] 2024-01-03
    [0 1 2 4 5] 2024-01-03 [3 6] 2024-01-04

    Windows of two recordings, in order of time within each:

    >>> windows = [np.zeros((10, 1))] * 3 + [np.zeros((8, 1))] * 3
    >>> folds = PanelTimeSeriesSplit(n_splits=2).split(windows, groups=["a", "a", "a", "b", "b", "b"])
    >>> [(train.tolist(), test.tolist()) for train, test in folds]
    [([0, 3], [1, 4]), ([0, 1, 3, 4], [2, 5])]
    """

    # With scikit-learn's metadata routing, `fit(X, y, groups=..., times=...)` of a search hands both on to `split`.
    __metadata_request__split = {"groups": True, "times": True}  # noqa: RUF012  scikit-learn reads it from the class

    def __init__(
        self,
        n_splits: int = 5,
        *,
        test_size: int | timedelta | np.timedelta64 | None = None,
        gap: int | timedelta | np.timedelta64 = 0,
        max_train_size: int | timedelta | np.timedelta64 | None = None,
        id_column: str = _ID_COLUMN,
        time_column: str = _TIME_COLUMN,
    ) -> None:
        self.n_splits = n_splits
        self.test_size = test_size
        self.gap = gap
        self.max_train_size = max_train_size
        self.id_column = id_column
        self.time_column = time_column

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, times: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups, times : any
            Ignored; they are there for scikit-learn.

        Returns
        -------
        int
            ``n_splits``.

        Raises
        ------
        ValueError
            If ``n_splits`` is not a whole number, 1 or more.
        """
        return _whole("n_splits", self.n_splits, least=1)

    def split(self, X: Any, y: Any = None, groups: Any = None, times: Any = None) -> Iterator[Fold]:
        """Return the rows of the training part and of the test period of every fold, earliest first.

        Parameters
        ----------
        X : long or wide frame, array (t,) or (t, c), or samples
            See the notes of the class. Samples are items of a list or array, or rows of a frame without ids.
        y : any
            Ignored; it is there for scikit-learn.
        groups : array-like (n,), optional
            For samples: the id of the series that each was cut from; by default all are of one series.
        times : array-like (n,), optional
            For samples: when each was, as dates or whole numbers. Without metadata routing scikit-learn does not hand it on:
            give a search ``cv=list(splitter.split(X, groups=..., times=...))`` then.

        Returns
        -------
        iterator of (train, test), both ndarray of int64
            Positions of rows (items of a list), series by series and each in order of time. What is picked by them keeps
            every training row of every series before every row of the test period.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range or does not fit X, an id or time stamp is missing or there twice, or there are too
            few time stamps; the message names it, the row, and the remedy.
        """
        n_splits = self.get_n_splits()
        sizes = {"gap": _size("gap", self.gap, least=0)}
        for name in ("test_size", "max_train_size"):
            if getattr(self, name) is not None:
                sizes[name] = _size(name, getattr(self, name), least=1)
        table = self._read(X, groups, times)
        assert table.times is not None
        if table.times.dtype.kind != "M":
            for name, size in sizes.items():
                if isinstance(size, np.timedelta64):
                    raise ValueError(
                        f"{name}={getattr(self, name)!r} is a span of time, but the time stamps of X are whole numbers; "
                        "give a number of time stamps, or dates"
                    )
        rows, instants = _in_order(table)
        stamps = np.unique(instants)
        sizes.setdefault("test_size", len(stamps) // (n_splits + 1))
        if sizes["test_size"] == 0:
            raise ValueError(
                f"n_splits={n_splits} needs {n_splits + 1} distinct time stamps or more, one to train on and one a test "
                f"period; X has {len(stamps)}: take fewer splits"
            )
        parts = _parts(stamps, n_splits, sizes)
        self._refuse_empty(parts, stamps, table)

        def picked(after: int, until: int) -> NDArray[np.int64]:
            return rows[(instants > after) & (instants <= until)]

        return ((picked(*train), picked(*test)) for train, test in parts)

    def _read(self, X: Any, groups: Any, times: Any) -> Table:
        """Return which sample is of which series and when, rows grouped by series."""
        if is_frame(X):
            request = Request(self.id_column, self.time_column)
            X = X if groups is None and times is None else without_labels(X)
            table = read_frame_table(X, request, None, target=False)
            self._check_columns(table.layout, groups, times)
            if groups is None and times is None and table.times is not None:
                return table
            count, times = len(table.values), table.times if times is None else times
        else:
            count = _count(X)
            if groups is None and times is None and _holds_arrays(X):
                raise ValueError(
                    "X holds arrays, whose inside cannot be cut in time: scikit-learn picks whole items. If they are "
                    "series, make one long frame of them, with ids and time stamps; if each is a sample (a window), pass "
                    "groups=, the series each was cut from, or times="
                )
        if groups is None and times is None:
            times = np.arange(count)
        asked = {"groups": groups, "times": times}
        columns: dict[Column, Any] = {
            name: _one_a_sample(name, values, count) for name, values in asked.items() if values is not None
        }
        frame = build_frame(Layout("long", "pandas", ()), columns)
        request = Request("groups", "times" if times is not None else _TIME_COLUMN)
        table = read_frame_table(frame, request, None, target=False)
        if table.times is None:
            return replace(table, times=np.arange(count) - table.spread(table.bounds[:-1]))
        return table

    def _check_columns(self, layout: Layout, groups: Any, times: Any) -> None:
        """Refuse a frame that lacks a column asked for, or that says twice what it says in a column."""
        long, others = layout.kind == "long", list(layout.ignored_columns)
        if not long and groups is None and self.id_column != _ID_COLUMN:
            raise ValueError(f"id_column={self.id_column!r} is not in X; its columns beside the time stamps: {others}")
        if long and groups is not None:
            raise ValueError(f"X has the ids in column {self.id_column!r}, and groups was given too; leave groups out")
        if layout.has_times and times is not None:
            raise ValueError(
                f"X has time stamps in {layout.time_column or 'its index'!r}, and times was given too; leave it out"
            )
        if long and not layout.has_times:
            raise ValueError(
                f"X has ids but no time stamps in column {self.time_column!r} to be cut by; its other columns: {others}; "
                "name their column in time_column, or add one"
            )

    def _refuse_empty(self, parts: list[tuple[Part, Part]], stamps: NDArray[np.int64], table: Table) -> None:
        """Refuse folds without a row to train on or to test."""

        def shown(instant: int) -> str:
            dated = table.times is not None and table.times.dtype.kind == "M"
            return show_time(np.datetime64(instant, "ns") if dated else instant, table.layout.time_zone)

        for k, (train, test) in enumerate(parts):
            if not _holds(stamps, train):
                raise ValueError(
                    f"n_splits={self.n_splits}, test_size={self.test_size!r}, gap={self.gap!r}: the {len(stamps)} distinct "
                    f"time stamps of X, {shown(int(stamps[0]))} to {shown(int(stamps[-1]))}, leave none to train on in fold "
                    f"{k}; take fewer splits, a smaller test_size or gap, or more rows"
                )
            if not _holds(stamps, test):
                raise ValueError(
                    f"test_size={self.test_size!r}: X has no row in the test period of fold {k}, after {shown(test[0])} and "
                    f"up to {shown(test[1])}; make it longer, or give a number of time stamps"
                )


def _parts(stamps: NDArray[np.int64], n_splits: int, sizes: dict[str, Size]) -> list[tuple[Part, Part]]:
    """Return training part and test period of every fold."""
    edges = [int(stamps[-1])]
    for _ in range(n_splits):
        edges.append(_back(stamps, edges[-1], sizes["test_size"]))
    parts = []
    for start, end in pairwise(reversed(edges)):
        until = _back(stamps, start, sizes["gap"])
        after = _back(stamps, until, sizes["max_train_size"]) if "max_train_size" in sizes else _BEFORE_ALL
        parts.append(((after, until), (start, end)))
    return parts


def _back(stamps: NDArray[np.int64], edge: int, size: Size) -> int:
    """Return the edge that lies `size` before another: so many time stamps, or a span of time."""
    if isinstance(size, np.timedelta64):
        return max(edge - int(size.astype(np.int64)), _BEFORE_ALL)
    if size == 0:
        return edge
    before = int(np.searchsorted(stamps, edge, side="right")) - size
    return int(stamps[before - 1]) if before > 0 else _BEFORE_ALL


def _holds(stamps: NDArray[np.int64], part: Part) -> bool:
    first, last = np.searchsorted(stamps, part, side="right")
    return bool(first < last)


def _in_order(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row numbers and time stamps, series by series and each in order of time; refuse a stamp that is there twice."""
    assert table.times is not None
    series = table.spread(np.arange(len(table.ids)))
    order = np.lexsort((table.times, series))
    times = table.times[order].astype(np.int64)
    twice = np.flatnonzero((np.diff(series) == 0) & (np.diff(times) == 0))  # `order` keeps each series in its place
    if twice.size:
        first, second = order[twice[0]], order[twice[0] + 1]
        advice = "drop one"
        if table.layout.is_single:
            advice += "; or, if X holds several series, name the column of their ids in id_column, or pass groups"
        raise ValueError(
            f"X has the time stamp {show_time(table.times[first], table.layout.time_zone)} twice, in {table.where(first)} "
            f"and {table.where(second)}; {advice}"
        )
    return order if table.rows is None else table.rows[order], times


def _count(X: Any) -> int:
    """Return the number of samples of an array or a list."""
    shape = getattr(X, "shape", None)
    if shape:
        return int(shape[0])
    if shape is not None or isinstance(X, (str, bytes)) or not hasattr(X, "__len__"):
        raise TypeError(f"X is a {type(X).__name__}; expected a long or wide frame, an array (t,) or (t, c), or samples")
    return len(X)


def _holds_arrays(X: Any) -> bool:
    """Say whether items of X are arrays, which could be series: in a list, an array of objects, or an array of 3 axes."""
    if getattr(X, "ndim", 1) > 1:
        return X.ndim > 2
    return any(getattr(item, "shape", ()) for item in X)


def _one_a_sample(name: str, values: Any, count: int) -> Any:
    """Return groups or times as a column."""
    column = np.asarray(values)
    if column.shape != (count,):
        raise ValueError(f"{name} has shape {column.shape}; expected ({count},), one for each sample of X")
    return column


def _whole(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise ValueError(f"{name}={value!r} must be a whole number, {least} or more")


def _size(name: str, value: Any, *, least: int) -> Size:
    """Return a number of time stamps, or a span of time in ns."""
    if not isinstance(value, (timedelta, np.timedelta64)):
        if isinstance(value, int | np.integer):
            return _whole(name, value, least=least)
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}; expected a number of time stamps, or a span of time as "
            "datetime.timedelta, pandas.Timedelta or numpy.timedelta64"
        )
    span = np.timedelta64(value)
    if np.datetime_data(span.dtype)[0] in _NOT_A_SPAN:
        raise ValueError(f"{name}={value!r} has no length of its own; give days or hours, or a number of time stamps")
    zero = np.timedelta64(0, "D")
    if not (span > zero or (span == zero and not least)):  # NaT is refused too
        raise ValueError(f"{name}={value!r} must be {'positive' if least else '0 or more'}")
    if span > _LONGEST:
        raise ValueError(f"{name}={value!r} is longer than 292 years, all that time stamps in ns can span")
    return span.astype("m8[ns]")
