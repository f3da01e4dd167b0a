"""The index of a pandas object: a time axis, numbers of rows, or labels that must be parsed first."""

from __future__ import annotations

from typing import Any

import numpy as np

from titans_ts.frames.numbers import shown
from titans_ts.frames.stamps import Stamps, index_stamps


def is_default(index: Any, first_row: int = 0) -> bool:
    """Say whether an index only numbers the rows, 0 ... n-1 or on from the first row of a piece: it says nothing of time."""
    import pandas as pd

    whole = index.name is None and pd.api.types.is_integer_dtype(index.dtype)
    numbers = np.arange(len(index))
    return bool(whole and not index.hasnans and ((index == numbers).all() or (index == numbers + first_row).all()))


def without_labels(X: Any) -> Any:
    """Return a pandas object with the default index, if its index holds no dates; anything else as it is."""
    return X if not hasattr(X, "iloc") or X.index.nlevels > 1 or _is_dated(X.index.dtype) else X.reset_index(drop=True)


def index_axis(index: Any, *, named: bool, numbered: bool, long: bool, first_row: int = 0) -> Stamps | None:
    """Return the time stamps that an index holds; None if it holds none, as the default one and the numbers of long frames.

    `named` says that its name is that of the time column, `numbered` that also the default index is a time axis.
    """
    import pandas as pd

    dtype = index.dtype
    if named or _is_dated(dtype):
        return index_stamps(index)
    if pd.api.types.is_integer_dtype(dtype):
        return None if long or (is_default(index, first_row) and not numbered) else index_stamps(index)
    raise ValueError(_refusal(index))


def take_levels(index: Any) -> tuple[Any, Stamps]:
    """Return the ids and the time stamps of a MultiIndex: its last level says when, those before it say of which series.

    The ids are an index, of tuples where several levels name a series.
    """
    import pandas as pd

    names = list(index.names)
    first, last = index.get_level_values(0), index.get_level_values(-1)
    if not _is_dated(last.dtype):
        apart = "X.reset_index(), and name the columns of ids and time stamps in id_column and time_column"
        if _is_dated(first.dtype):
            raise ValueError(f"X has its time stamps in the first level of its index {names}, not the last: X.swaplevel()")
        if not pd.api.types.is_integer_dtype(last.dtype):
            raise ValueError(
                f"X has {shown(_first(last))} in row 0 of the last level of its index {names}, which is no "
                f"time stamp, but of dtype {last.dtype}; parse it to dates, for example with pandas.to_datetime, after "
                f"{apart}"
            )
    for level in range(index.nlevels - 1):
        missing = index.get_level_values(level).isna()
        if missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise ValueError(f"X has no id in row {row} of level {level} of its index {names}; fill it in or drop the row")
    return index.droplevel(-1), index_stamps(last)


def _first(index: Any) -> Any:
    """Return the first value of an index, of Python's own type."""
    return index[:1].tolist()[0]


def _is_dated(dtype: Any) -> bool:
    return str(dtype).startswith(("datetime64", "period", "timestamp", "date32", "date64"))


def _refusal(index: Any) -> str:
    """Say what an index holds that is no time axis, and how it becomes one."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(index, skipna=True)
    parse = "parse it: X.index = pd.to_datetime(X.index)"
    numbers = "X.index = X.index.astype(int)"
    known = {
        "string": ("text", parse),
        "date": ("dates kept as objects", parse),
        "datetime": ("dates kept as objects", parse),
        "floating": ("fractions", f"make whole numbers of it: {numbers}, after X.index.round() if need be"),
        "integer": ("numbers kept as objects", numbers),
        "timedelta64": ("spans of time", "add the moment that they count from: X.index = pd.Timestamp(...) + X.index"),
        "timedelta": ("spans of time", "add the moment that they count from: X.index = pd.Timestamp(...) + X.index"),
        "interval": ("intervals", "take their starts: X.index = X.index.left"),
        "categorical": ("categories", "make plain values of it: X.index = X.index.astype(X.index.categories.dtype)"),
    }
    what, remedy = known.get(kind, (f"values of dtype {index.dtype}", parse))
    name = "its index" if index.name is None else f"its index {index.name!r}"
    first = f" ({shown(_first(index))} in row 0)" if len(index) else ""
    return (
        f"X has {what} in {name}{first}, which is no time axis: {remedy}; or, if its rows simply follow one another, pass "
        "X.reset_index(drop=True)"
    )
