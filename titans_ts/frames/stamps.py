"""A user's column or index of time stamps as an array."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from titans_ts.frames.clock import infer_frequency

_OF_A_PACKAGE = re.compile(r"datetime64\[(\w+), (dateutil|pytz|zoneinfo)/(.+)\]")


@dataclass(frozen=True)
class Stamps:
    """Time stamps and what is needed to write them back."""

    times: np.ndarray  # (t,), datetime64[ns] (in UTC when `zone` is given) or int64
    dtype: str  # as the backend spells it
    zone: str | None = None  # name of the time zone, or its fixed offset: "UTC+05:30"
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
        return _read_periods(native, name)
    pandas = column.implementation.is_pandas()
    spelled = str(native.dtype) if pandas else _spell(dtype)
    if pandas and _zone_of(native.dtype) is not None:
        return _read_zoned(native, name)
    if dtype.is_integer():
        return Stamps(_whole_numbers(column.to_numpy(), name), spelled)
    if dtype == nw.Date:
        return Stamps(_nanoseconds(column.cast(nw.Datetime("us")).to_numpy(), name), spelled)
    if dtype == nw.Datetime:
        zone = dtype.time_zone
        if zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return Stamps(_nanoseconds(column.to_numpy(), name), spelled, None if zone is None else zone_name(zone) or zone)
    _refuse_mixed_zones(column, name)
    raise ValueError(
        f"X: {name} has dtype {dtype}, value {column[0]!r} in row 0; parse it to dates first, "
        "for example with pandas.to_datetime, or pass integers"
    )


def index_stamps(index: Any) -> Stamps:
    """Return a pandas index as stamps, with the frequency that it carries."""
    import narwhals as nw
    import pandas as pd

    name = "the index" if index.name is None else f"the index {index.name!r}"
    if (
        isinstance(index, pd.DatetimeIndex) and index.tz is None and not index.hasnans
    ):  # most are, and narwhals takes its time
        return Stamps(_nanoseconds(index.to_numpy(), name), str(index.dtype), None, index.freqstr)
    stamps = read_stamps(nw.from_native(pd.Series(index), series_only=True), name)
    frequency = getattr(index, "freqstr", None) if isinstance(index, pd.DatetimeIndex) else stamps.frequency
    return Stamps(stamps.times, stamps.dtype, stamps.zone, frequency)


def zone_name(zone: Any) -> str | None:
    """Return a time zone's IANA name, or its offset if that is fixed, as pandas takes it: None where it has neither.

    >>> import datetime, zoneinfo
    >>> zone_name(zoneinfo.ZoneInfo("America/New_York")), zone_name(datetime.timezone(datetime.timedelta(hours=5.5)))
    ('America/New_York', 'UTC+05:30')
    """
    if isinstance(zone, str):
        if zone[:1] in ("+", "-"):  # as Arrow spells it
            return f"UTC{zone}"
        known: str | None = zone
    else:
        file = getattr(zone, "_filename", None)  # dateutil keeps no name but that
        known = getattr(zone, "key", None) or getattr(zone, "zone", None)  # of zoneinfo, of pytz
        known = known or (None if file is None else str(file).partition("zoneinfo/")[2] or str(file))
    if known is not None:
        return known if _is_known(known) else None
    offset = zone.utcoffset(None)
    if offset is None or offset % timedelta(minutes=1):
        return None
    minutes = offset // timedelta(minutes=1)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "UTC"


@lru_cache
def zoned_dtype(spelled: str) -> Any:
    """Return the pandas dtype that `Stamps.dtype` spells, its time zone made by the package that made it."""
    import pandas as pd

    found = _OF_A_PACKAGE.fullmatch(spelled)
    if found is None:
        return pd.api.types.pandas_dtype(spelled)
    unit, package, zone = found.groups()
    try:
        return pd.DatetimeTZDtype(unit, _made_by(package, zone))
    except ImportError:  # a model file from elsewhere: the zone is the same
        return pd.DatetimeTZDtype(unit, zone)


def _made_by(package: str, zone: str) -> Any:
    """Return the object that a package has for a time zone's name or fixed offset."""
    if package == "zoneinfo":
        return ZoneInfo(zone)
    module = importlib.import_module("dateutil.tz" if package == "dateutil" else package)
    if zone[3:4] not in ("+", "-"):
        return module.gettz(zone) if package == "dateutil" else module.timezone(zone)
    minutes = int(f"{zone[3]}1") * (60 * int(zone[4:6]) + int(zone[7:9]))
    return module.tzoffset(None, 60 * minutes) if package == "dateutil" else module.FixedOffset(minutes)


def _is_known(zone: str) -> bool:
    try:
        return bool(ZoneInfo(zone))
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return False


def _zone_of(dtype: Any) -> Any:
    """Return the time zone of a pandas dtype, also of Arrow's; None without one."""
    return getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None)


def _read_zoned(native: Any, name: str) -> Stamps:
    """Read a pandas series of local times; narwhals knows only zones with plain letters in their names."""
    import pandas as pd

    dtype, zone = native.dtype, _zone_of(native.dtype)
    known = zone_name(zone)
    if known is None:
        raise ValueError(f"X: {name} has dtype {dtype}; convert it to a zone with an IANA name, such as 'Europe/Paris'")
    times = _nanoseconds(native.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), name)
    if isinstance(zone, str):
        return Stamps(times, str(dtype), known)
    plain = pd.DatetimeTZDtype(dtype.unit, known)
    package = type(zone).__module__.partition(".")[0]
    return Stamps(times, str(plain) if plain == dtype else f"datetime64[{dtype.unit}, {package}/{known}]", known)


def _whole_numbers(numbers: np.ndarray, name: str) -> np.ndarray:
    """Return integers of any size as int64, if they fit."""
    large = np.flatnonzero(numbers > np.iinfo(np.int64).max)  # of unsigned ones
    if large.size:
        row = int(large[0])
        raise ValueError(f"X: {name} has {numbers[row]} in row {row}; time stamps in whole numbers must be below 2**63")
    return numbers.astype(np.int64)


def _read_periods(native: Any, name: str) -> Stamps:
    """Read pandas periods as the time stamps of their starts."""
    import pandas as pd

    index = pd.PeriodIndex(native)
    far = np.flatnonzero((index.year < 1678) | (index.year > 2261))
    if far.size:
        row = int(far[0])
        raise ValueError(f"X: {name} has {index[row]} in row {row}; time stamps must lie in the years 1678 to 2261")
    starts = _nanoseconds(index.to_timestamp().to_numpy(), name)
    some = pd.period_range(index[0], periods=8, freq=index.freq).to_timestamp().to_numpy().astype("M8[ns]")
    frequency = infer_frequency(np.diff(some).astype(np.int64), some, None)
    return Stamps(starts, str(native.dtype), None, frequency)


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
