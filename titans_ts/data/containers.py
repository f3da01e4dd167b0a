"""Columns, ids and time stamps put together as a frame of the backend they came from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from titans_ts.data.panel import Column, Layout


def build_frame(layout: Layout, columns: Mapping[Column, Any], index: Any = None) -> Any:
    """Return a frame of the layout's backend (pandas for arrays).

    Parameters
    ----------
    layout : Layout
        Its backend is used.
    columns : mapping of name to ndarray or native series (r,)
        The columns, in order.
    index : pandas.Index or None
        For pandas only.

    Returns
    -------
    pandas.DataFrame, polars.DataFrame or pyarrow.Table

    Examples
    --------
    >>> build_frame(Layout("wide", "polars", ("y",)), {"y": np.array([1.0, 2.0])}).shape
    (2, 1)
    """
    if layout.backend in ("numpy", "pandas"):
        import pandas as pd

        frame = pd.DataFrame(dict(columns))
        return frame if index is None else frame.set_axis(index, axis=0)
    import narwhals as nw

    backend: Any = layout.backend
    native: dict[Any, Any] = {
        name: nw.new_series(str(name), values, backend=backend).to_native() if isinstance(values, np.ndarray) else values
        for name, values in columns.items()
    }
    return nw.from_dict(native, backend=backend).to_native()


def id_column(layout: Layout, ids: Sequence[Hashable], repeats: Any) -> Any:
    """Return each id repeated, as a native series with the dtype that the ids had.

    Examples
    --------
    >>> layout = Layout("long", "pandas", ("y",), id_column="unique_id", id_dtype="category")
    >>> id_column(layout, ["a", "b"], 2).tolist()
    ['a', 'a', 'b', 'b']
    """
    if layout.backend in ("numpy", "pandas"):
        import pandas as pd

        values = pd.Series(list(ids)) if layout.id_dtype is None else pd.Series(list(ids)).astype(layout.id_dtype)
        return values.iloc[np.repeat(np.arange(len(values)), repeats)].reset_index(drop=True)
    import narwhals as nw

    backend: Any = layout.backend
    values = nw.new_series("id", list(ids), backend=backend)
    dtype = getattr(nw, layout.id_dtype or "", None)  # an Enum is not named by its dtype alone: it comes back as text
    if dtype is not None:
        values = values.cast(dtype)
    column = values[np.repeat(np.arange(len(values)), repeats)].to_native()
    return column.cast("large_string") if layout.id_dtype == "LargeString" else column


def time_column(layout: Layout, times: np.ndarray) -> Any:
    """Return time stamps as a native series with the dtype and zone that the user's had.

    Parameters
    ----------
    layout : Layout
        Its `time_dtype` and `time_zone` are used; without a time axis the integers stay as they are.
    times : ndarray (r,)
        datetime64[ns], UTC when there is a zone, or int64.

    Examples
    --------
    >>> layout = Layout("long", "polars", ("y",), time_dtype="date", frequency="D")
    >>> str(time_column(layout, np.array(["2024-02-29"], "M8[ns]")).dtype)
    'Date'
    """
    if layout.backend in ("numpy", "pandas"):
        import pandas as pd

        return pd.Series(time_index(layout, times)) if layout.has_times else pd.Series(times)
    import narwhals as nw

    backend: Any = layout.backend
    column = nw.new_series("time", times, backend=backend)
    if not layout.has_times:
        return column.to_native()
    if layout.time_zone is not None:
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(layout.time_zone)
    spelled: Any = layout.time_dtype
    if spelled.startswith("datetime["):
        return column.cast(nw.Datetime(spelled[9:-1], layout.time_zone)).to_native()
    names: dict[str, Any] = {"date": nw.Date, "int64": nw.Int64, "int32": nw.Int32, "int16": nw.Int16, "int8": nw.Int8}
    names |= {"uint64": nw.UInt64, "uint32": nw.UInt32, "uint16": nw.UInt16, "uint8": nw.UInt8}
    return column.cast(names[spelled]).to_native()


def time_index(layout: Layout, times: np.ndarray) -> Any:
    """Return time stamps as a pandas index: dates (zone, unit, frequency kept), periods, integers or row numbers.

    Examples
    --------
    >>> layout = Layout("wide", "pandas", ("y",), time_dtype="period[M]", time_in_index=True, frequency="MS")
    >>> time_index(layout, np.array(["2024-02-01"], "M8[ns]"))
    PeriodIndex(['2024-02'], dtype='period[M]')
    """
    import pandas as pd

    name = layout.time_column if layout.time_in_index else None
    if not layout.has_times:
        return pd.RangeIndex(int(times[0]), int(times[-1]) + 1)
    if layout.integer_times:
        return pd.Index(times, dtype=layout.time_dtype, name=name)
    index = pd.DatetimeIndex(times, name=name)
    spelled = layout.time_dtype or ""
    if spelled.startswith("period["):
        return index.to_period(spelled[7:-1])
    if layout.time_zone is not None:
        index = index.tz_localize("UTC").tz_convert(layout.time_zone)
    if "pyarrow" in spelled:
        return pd.Index(index.to_series().astype(spelled), name=name)
    index = index.astype(spelled)
    if layout.time_in_index and layout.kind == "wide":
        with suppress(ValueError):  # the clocks change, and pandas counts otherwise
            index.freq = layout.frequency
    return index
