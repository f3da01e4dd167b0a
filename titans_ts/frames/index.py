"""The index of a pandas object: a time axis, numbers of rows, or labels that must be parsed first."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    first = f" ({index[0]!r} in row 0)" if len(index) else ""
    return (
        f"X has {what} in {name}{first}, which is no time axis: {remedy}; or, if its rows simply follow one another, pass "
        "X.reset_index(drop=True)"
    )
