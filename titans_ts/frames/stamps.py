"""A user's column or index of time stamps as an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from titans_ts.frames.clock import infer_frequency


@dataclass(frozen=True)
class Stamps:
    """Time stamps and what is needed to write them back."""

    times: np.ndarray  # (t,), datetime64[ns] (in UTC when `zone` is given) or int64
    dtype: str  # as the backend spells it
    zone: str | None = None  # name of the time zone
    frequency: str | int | None = None  # what the index itself says


def read_stamps(column: Any, name: str) -> Stamps:
    """Return a narwhals Series of dates, times or integers as an array; `name` is what errors call it."""
    import narwhals as nw

    missing = column.is_null()
    if missing.any():
        row = int(np.flatnonzero(missing.to_numpy())[0])
        raise ValueError(f"X has no time stamp (NaT or null) in row {row} of {name}; drop such rows or fill them in")
    dtype, native = column.dtype, column.to_native()
    if str(getattr(native, "dtype", "")).startswith("period["):
        return _read_periods(native)
    spelled = str(native.dtype) if column.implementation.is_pandas() else _spell(dtype)
    if dtype.is_integer():
        return Stamps(column.to_numpy().astype(np.int64), spelled)
    if dtype == nw.Date:
        return Stamps(_nanoseconds(column.cast(nw.Datetime("us")).to_numpy(), name), spelled)
    if dtype == nw.Datetime:
        zone = dtype.time_zone
        if zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return Stamps(_nanoseconds(column.to_numpy(), name), spelled, zone)
    _refuse_mixed_zones(column, name)
    if spelled.startswith("datetime64"):
        raise ValueError(f"X: {name} has dtype {spelled}; convert it to a zone with an IANA name, such as 'Europe/Paris'")
    raise ValueError(
        f"X: {name} has dtype {dtype}, value {column[0]!r} in row 0; parse it to dates first, "
        "for example with pandas.to_datetime, or pass integers"
    )


def index_stamps(index: Any) -> Stamps:
    """Return a pandas index as stamps, with the frequency that it carries."""
    import narwhals as nw
    import pandas as pd

    name = "the index" if index.name is None else f"the index {index.name!r}"
    stamps = read_stamps(nw.from_native(pd.Series(index), series_only=True), name)
    frequency = getattr(index, "freqstr", None) if isinstance(index, pd.DatetimeIndex) else stamps.frequency
    return Stamps(stamps.times, stamps.dtype, stamps.zone, frequency)


def _read_periods(native: Any) -> Stamps:
    """Read pandas periods as the time stamps of their starts."""
    import pandas as pd

    index = pd.PeriodIndex(native)
    some = pd.period_range(index[0], periods=8, freq=index.freq).to_timestamp().to_numpy().astype("M8[ns]")
    frequency = infer_frequency(np.diff(some).astype(np.int64), some, None)
    return Stamps(index.to_timestamp().to_numpy().astype("M8[ns]"), str(native.dtype), None, frequency)


def _spell(dtype: Any) -> str:
    unit = getattr(dtype, "time_unit", None)
    return f"datetime[{unit}]" if unit else str(dtype).lower()


def _nanoseconds(times: np.ndarray, name: str) -> np.ndarray:
    exact = times.astype("M8[ns]")
    wrong = np.flatnonzero(exact.astype(times.dtype) != times)
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(f"X: {name} has {times[row]} in row {row}; time stamps must lie in the years 1678 to 2261")
    return exact


def _refuse_mixed_zones(column: Any, name: str) -> None:
    first = None
    for row, value in enumerate(column.to_list()):
        if not hasattr(value, "tzinfo"):
            return
        zone = str(value.tzinfo)
        first = zone if row == 0 else first
        if zone != first:
            raise ValueError(
                f"X: {name} mixes time zones: row 0 is in {first}, row {row} ({value}) in {zone}; "
                "convert all to one, for example with pandas.to_datetime(..., utc=True)"
            )
