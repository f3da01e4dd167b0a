"""Holidays as numbers: how many lie in a row's step, in the step before it and in the one after it.

They follow from the time stamps alone, and so are known in advance. A row of a day or less has the holidays of its date on
the wall clock of its zone. A longer step has those of its dates, from its stamp to the next; where stamps are ends of months
or the like, from after the one before. The neighbours stand beside it, since people shop before a holiday and rest after it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from titans_ts.frames.clock import DAY, to_wall
from titans_ts.frames.numbers import shown
from titans_ts.frames.panel import HOLIDAY_COLUMNS, Holidays, Layout, Panel

_CODE = re.compile(r"[A-Za-z]{2,}(-[A-Za-z0-9]+)?")
_AHEAD = 30  # years after this one, for which days are taken out of a calendar that cannot be named
_EARLIEST = 1950
_EXPECTED = (
    "expected a code such as 'DE' or 'US-CA', a list of codes, days such as ['2024-12-24'], a dict of name to days, or a "
    "calendar of the package holidays"
)


def read_holidays(argument: Any) -> tuple[Holidays, ...]:
    """Return the holidays that are asked for; each makes columns of its own."""
    if argument is None:
        return ()
    if _is_calendar(argument):
        return (_of_calendar("holidays", argument),)
    if isinstance(argument, Mapping):
        if not argument:
            raise ValueError(f"holidays={{}} names none; use None, or {_EXPECTED}")
        return tuple(_named(str(name), days) for name, days in argument.items())
    if isinstance(argument, str):
        return (_named("holidays", argument),)
    items = _items(argument)
    if all(isinstance(item, str) and _CODE.fullmatch(item) for item in items):
        return tuple(_named(item, item) for item in items)
    return (_named("holidays", items),)


def plain_holidays(argument: Any) -> Any:
    """Return the argument as JSON can hold it, so that it means the same."""
    if argument is None or isinstance(argument, str):
        return argument
    found = read_holidays(argument)
    values: dict[str, Any] = {one.name: list(one.days) if one.code is None else one.code for one in found}
    if isinstance(argument, Mapping) and not _is_calendar(argument):
        return values
    return list(values) if found[0].code is not None else values["holidays"]


def check_dates(holidays: tuple[Holidays, ...], layout: Layout) -> None:
    """Refuse holidays beside a time axis that has no dates."""
    if holidays and (not layout.has_times or layout.integer_times):
        what = f"the time stamps of X are {layout.time_dtype}" if layout.has_times else "X has no time stamps"
        raise ValueError(
            f"holidays={_spelled(holidays)}: {what}, and holidays need dates; give X such a column, or leave holidays out"
        )


def with_holidays(panel: Panel, layout: Layout) -> Panel:
    """Return a panel with the holidays of a layout beside its future covariates."""
    if not layout.holidays:
        return panel
    times = []
    for one in panel:
        if one.times is None:
            raise ValueError(
                f"X is {'an array' if panel.layout.backend == 'numpy' else 'a frame'} without time stamps, but the model "
                f"knows holidays ({_spelled(layout.holidays)}), which need dates; pass a frame with them"
            )
        times.append(one.times)
    found = holiday_columns(np.concatenate(times), layout, panel.layout.frequency or layout.frequency)
    columns = np.split(found, np.cumsum([len(own) for own in times])[:-1])
    series = [
        replace(one, future=np.concatenate([one.future, own], axis=1)) for one, own in zip(panel, columns, strict=True)
    ]
    return replace(panel, series=tuple(series), layout=replace(panel.layout, holidays=layout.holidays))


def holiday_columns(times: np.ndarray, layout: Layout, frequency: str | int | None = None) -> np.ndarray:
    """Return the columns of all holidays of a layout at some time stamps, ``(t, k)``."""
    if not layout.holidays or not len(times):
        return np.zeros((len(times), HOLIDAY_COLUMNS * len(layout.holidays)))
    edges = _edges(to_wall(times, layout.time_zone), layout.frequency if frequency is None else frequency)
    years = [int(str(edge.astype("M8[Y]"))) for edge in (min(map(np.min, edges)), max(map(np.max, edges)))]
    columns = []
    for one in layout.holidays:
        days = _days(one.code, years[0] // 10 * 10, years[1] // 10 * 10 + 9) if one.code else np.array(one.days, "M8[D]")
        before = [np.searchsorted(days, edge) for edge in edges]
        columns += [late - early for early, late in pairwise(before)]
    return np.stack(columns, axis=1).astype(np.float64)


def _edges(wall: np.ndarray, frequency: str | int | None) -> list[np.ndarray]:
    """Return the first dates of the step before, the step, the one after, and the one after that, each ``(t,)``."""
    import pandas as pd
    from pandas.tseries.offsets import BusinessDay, Day, Tick

    step = pd.tseries.frequencies.to_offset(frequency or "D")
    short = isinstance(step, BusinessDay) or (isinstance(step, Day) and step.n == 1)
    if short or (isinstance(step, Tick) and not isinstance(step, Day) and step.nanos <= DAY):
        dates = wall.astype("M8[D]")
        return [dates + shift for shift in (-1, 0, 1, 2)]
    stamps = pd.DatetimeIndex(wall)
    ends = step.name.split("-")[0].endswith("E")  # ME, QE, YE, BME: a stamp is the last day of its step
    shifts, first = ((-2, -1, 0, 1), 1) if ends else ((-1, 0, 1, 2), 0)
    moved = [stamps + shift * step if shift else stamps for shift in shifts]
    return [edge.to_numpy().astype("M8[D]") + first for edge in moved]


@lru_cache(maxsize=64)
def _days(code: str, first: int, last: int) -> np.ndarray:
    """Return the holidays of a code in some years, increasing."""
    found = _calendar(code, range(first, last + 1))
    return np.array(sorted(found), dtype="M8[D]")


def _calendar(code: str, years: Iterable[int]) -> Any:
    """Return the calendar of a code, of the package holidays."""
    try:
        import holidays
    except ImportError:
        raise ImportError(
            f"holidays={code!r} needs the package holidays: pip install 'titans-ts[holidays]'; days of your own need none"
        ) from None
    country, _, part = code.upper().partition("-")
    try:
        return holidays.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as error:
        if not part:
            try:
                return holidays.financial_holidays(country, years=years)
            except NotImplementedError:
                pass
        raise ValueError(f"holidays={code!r} is not known to the package holidays: {error}; {_EXPECTED}") from None


def _named(name: str, days: Any) -> Holidays:
    """Return holidays of one name: a code, a calendar, or days."""
    if _is_calendar(days):
        return _of_calendar(name, days)
    if isinstance(days, str):
        if not _CODE.fullmatch(days):
            raise ValueError(f"holidays={days!r} is no code of a country; {_EXPECTED}")
        _calendar(days, ())
        return Holidays(name if name != "holidays" else days.upper(), days.upper())
    return Holidays(name, None, tuple(sorted({_iso(day) for day in _items(days)})))


def _items(days: Any) -> list[Any]:
    """Return what is listed, in an array or a column too."""
    if isinstance(days, bytes) or not isinstance(days, Iterable):
        raise TypeError(f"holidays={shown(days)} is a {type(days).__name__}; {_EXPECTED}")
    items = list(days)
    if not items:
        raise ValueError(f"holidays={shown(days)} holds no day; use None, or {_EXPECTED}")
    return items


def _iso(day: Any) -> str:
    """Return a day as an ISO date; the date of a time stamp is that on its own clock."""
    try:
        if isinstance(day, date | str):  # time stamps of pandas and of the standard library are dates too
            return np.datetime64(day[:10] if isinstance(day, str) else day.strftime("%Y-%m-%d"), "D").item().isoformat()
        if isinstance(day, np.datetime64) and not np.isnat(day):
            return str(day.astype("M8[D]"))
    except (ValueError, AttributeError):
        pass
    raise ValueError(f"holidays holds {shown(day)}, which is no day; {_EXPECTED}")


def _is_calendar(argument: Any) -> bool:
    """Say whether something is a calendar of the package holidays, without importing it."""
    return any(kind.__name__ == "HolidayBase" for kind in type(argument).__mro__)


def _of_calendar(name: str, calendar: Any) -> Holidays:
    """Take the days out of a calendar, which stays as it is: one that was changed, or joined, has no code."""
    own = copy.deepcopy(calendar)
    first, last = date(_EARLIEST, 1, 1).toordinal(), date(date.today().year + _AHEAD, 12, 31).toordinal()
    known = {date.fromordinal(day) for day in range(first, last + 1) if date.fromordinal(day) in own}
    days = tuple(day.isoformat() for day in sorted(known | set(own)))
    if not days:
        raise ValueError(f"holidays={shown(calendar)} holds no day; use None, or {_EXPECTED}")
    return Holidays(name, None, days)


def _spelled(holidays: tuple[Holidays, ...]) -> str:
    return shown(holidays[0].code or holidays[0].name) if len(holidays) == 1 else shown([one.name for one in holidays])
