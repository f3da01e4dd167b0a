"""Regular time axes: infer a frequency, count steps between time stamps, and continue them.

Time stamps are datetime64[ns], in UTC when there is a time zone, or int64. Steps shorter than a day are a fixed span
of time. Days, weeks, months and other calendar steps are counted on the wall clock of the zone, so that "every day at
09:00" stays at 09:00 when the clocks change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from titans_ts.frames.panel import Layout

DAY = 86_400_000_000_000  # ns
_CLOCK_CHANGE = DAY // 12  # days in a time zone differ by an hour or two
_MEAN_MONTH = 30.4375  # days
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def parse_frequency(freq: Any, integer_times: bool) -> str | int:
    """Return `freq` as a pandas alias, or as a positive integer for integer times; refuse any other."""
    if integer_times:
        if isinstance(freq, (int, np.integer)) and not isinstance(freq, bool) and freq > 0:
            return int(freq)
        raise ValueError(f"freq={freq!r}: the time stamps are integers, so freq must be a positive integer or None")
    if isinstance(freq, (int, np.integer)):
        raise ValueError(f"freq={freq!r}: the time stamps are dates, so freq must be an alias such as 'h', 'D' or 'MS'")
    return _alias_of_text(freq) if isinstance(freq, str) else _alias(freq)


def _alias(freq: Any) -> str:
    """Return a frequency of dates as a pandas alias that makes it again, or refuse it."""
    from pandas.tseries import frequencies, offsets

    try:
        offset = frequencies.to_offset(freq)
        alias = offset.freqstr
        restored = frequencies.to_offset(alias)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"freq={freq!r} is not a pandas frequency; use one such as 'h', '30min', 'D', 'MS'") from error
    if offset != restored or isinstance(offset, (offsets.BusinessHour, offsets.CustomBusinessHour)):
        raise ValueError(f"freq={freq!r} is not supported (business hours, custom holidays); use 'h', 'D', 'B' or the like")
    if offset.n <= 0:
        raise ValueError(f"freq={freq!r} must step forward; use a positive multiple")
    return alias


_alias_of_text = lru_cache(_alias)  # the same one at every row


@lru_cache
def _offset_of(alias: str) -> Any:
    """Return what pandas moves by, of an alias."""
    from pandas.tseries.frequencies import to_offset

    return to_offset(alias)


@dataclass(frozen=True)
class Clock:
    """Counts steps of one frequency along the time axis."""

    frequency: str | int  # a pandas alias, or the step of integer times
    time_zone: str | None = None  # whose wall clock counts days and months; the stamps themselves are in UTC

    @cached_property
    def _offset(self) -> Any:
        return None if isinstance(self.frequency, int) else _offset_of(self.frequency)

    @cached_property
    def _span(self) -> int | None:
        """Length of one step in ns (in the unit of integer times); None for calendar steps, whose length varies."""
        if isinstance(self.frequency, int):
            return self.frequency
        from pandas.tseries.offsets import Day, Tick

        if isinstance(self._offset, Day):
            return self._offset.n * DAY
        return self._offset.nanos if isinstance(self._offset, Tick) else None

    @cached_property
    def _on_wall(self) -> bool:
        """Whether steps are counted on the wall clock of the zone."""
        from pandas.tseries.offsets import Day

        return self.time_zone is not None and (self._span is None or isinstance(self._offset, Day))

    def advance(self, origins: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the time stamps `steps` steps after `origins`, both (n,); refuse those off the calendar or past 2261."""
        wall = to_wall(origins, self.time_zone) if self._on_wall else origins
        if self._span is not None:
            moved = wall + (steps * self._span).astype("m8[ns]" if wall.dtype.kind == "M" else np.int64)
        else:
            moved = self._advance_calendar(wall, steps)
        _refuse_overflow(moved < wall, steps, self.frequency)
        return from_wall(moved, self.time_zone) if self._on_wall else moved

    def position(self, origins: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of steps from `origins` to `times`, and whether each time lies on the grid; all (n,)."""
        if self._on_wall:
            wall_origins, wall = to_wall(origins, self.time_zone), to_wall(times, self.time_zone)
        else:
            wall_origins, wall = origins, times
        if self._span is None:
            grid = self._calendar(min(wall_origins.min(), wall.min()), max(wall_origins.max(), wall.max()))
            (start, start_ok), (index, ok) = _lookup(grid, wall_origins), _lookup(grid, wall)
            steps, rest = np.divmod(index - start, self._offset.n)
            return steps, start_ok & ok & (rest == 0) & (_time_of_day(wall) == _time_of_day(wall_origins))
        steps, rest = np.divmod((wall - wall_origins).astype(np.int64), self._span)
        _refuse_overflow(wall < wall_origins, steps, self.frequency)
        on_grid = rest == 0
        if self._on_wall and not on_grid.all():  # a wall-clock time that the change of clocks skips is moved forward
            moved = ~on_grid
            on_grid[moved] = self.advance(origins[moved], steps[moved]) == times[moved]
        return steps, on_grid

    def _calendar(self, first: np.datetime64, last: np.datetime64 | None = None, count: int | None = None) -> np.ndarray:
        """Return the dates of single steps (datetime64[ns]) from `first` to `last`, or `count` of them."""
        import pandas as pd

        start, end = pd.Timestamp(first).normalize(), None if last is None else pd.Timestamp(last).normalize()
        return pd.date_range(start, end, periods=count, freq=self._offset.base).to_numpy().astype("M8[ns]")

    def _advance_calendar(self, wall: np.ndarray, steps: np.ndarray) -> np.ndarray:
        first = wall.min()
        start, ok = _lookup(self._calendar(first, wall.max()), wall)
        if not ok.all():
            raise ValueError(
                f"the time stamp {show_time(wall[~ok][0], None)} is not on the calendar of freq={self.frequency!r}"
            )
        index = start + steps * self._offset.n
        return self._calendar(first, count=int(index.max()) + 1)[index] + _time_of_day(wall)


def infer_frequency(steps: np.ndarray, times: np.ndarray, time_zone: str | None) -> str | int | None:
    """Return the frequency that the most common step suggests; None without a step.

    ``steps`` (n,), int64, lie between neighbouring stamps of each series (ns for dates); ``times`` (m,) are all stamps.
    """
    if not steps.size:
        return None
    step = int(_most_common(steps))
    if times.dtype.kind != "M":
        return step
    import pandas as pd

    days = round(step / DAY)
    if time_zone is not None and days and abs(step - days * DAY) <= _CLOCK_CHANGE:
        step = days * DAY
    if step % DAY:
        return pd.tseries.frequencies.to_offset(pd.Timedelta(step, "ns")).freqstr
    wall = to_wall(times, time_zone)
    dates = np.unique(wall.astype("M8[D]")).astype("M8[ns]")
    for alias in _calendar_candidates(step // DAY, bool((steps == 3 * DAY).any()), pd.Timestamp(dates[0])):
        if _lookup(Clock(alias)._calendar(dates[0], dates[-1]), dates)[1].all():
            return alias
    return "D" if step == DAY else f"{step // DAY}D"


def _calendar_candidates(days: int, skips_weekends: bool, first: Any) -> tuple[str, ...]:
    """Return the calendar aliases to try for a step of `days` days."""
    if days == 1:
        return ("B",) if skips_weekends else ()
    if days == 7:
        return (f"W-{_WEEKDAYS[first.weekday()]}",)
    months = round(days / _MEAN_MONTH)
    if months < 1 or abs(days - months * _MEAN_MONTH) > 3:
        return ()
    if months == 1:
        return "MS", "ME", "BMS", "BME"
    if months in (3, 12):
        letter, month = "Q" if months == 3 else "Y", _MONTHS[first.month - 1]
        return f"{letter}S-{month}", f"{letter}E-{month}"
    return f"{months}MS", f"{months}ME"


def _most_common(steps: np.ndarray) -> np.integer:
    if (steps == steps[0]).all():
        return steps[0]
    values, counts = np.unique(steps, return_counts=True)
    return values[counts.argmax()]


def _lookup(grid: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each time's date in `grid` and whether it is there."""
    dates = times.astype("M8[D]").astype("M8[ns]")
    index = np.searchsorted(grid, dates)
    if not grid.size:
        return index, np.zeros(len(times), bool)
    return index, grid[np.minimum(index, len(grid) - 1)] == dates


def _refuse_overflow(backward: np.ndarray, steps: np.ndarray, frequency: str | int) -> None:
    """Refuse steps whose sign is not that of the time that passed: the integers have wrapped around."""
    if (backward != (steps < 0)).any():
        longest = int(np.abs(steps).max())
        raise OverflowError(f"{longest} steps of {frequency!r} are too long for time stamps in ns (292 years, up to 2262)")


def _time_of_day(times: np.ndarray) -> np.ndarray:
    return times - times.astype("M8[D]").astype("M8[ns]")


def to_wall(times: np.ndarray, time_zone: str | None) -> np.ndarray:
    """Return UTC time stamps as the wall clock of the zone shows them (unchanged without a zone)."""
    if time_zone is None:
        return times
    import pandas as pd

    return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(time_zone).tz_localize(None).to_numpy()


def from_wall(wall: np.ndarray, time_zone: str | None) -> np.ndarray:
    """Return wall-clock times in UTC: one that occurs twice is the first, one that is skipped moves forward."""
    if time_zone is None:
        return wall
    import pandas as pd

    local = pd.DatetimeIndex(wall).tz_localize(time_zone, ambiguous=np.ones(len(wall), bool), nonexistent="shift_forward")
    return local.tz_convert("UTC").tz_localize(None).to_numpy()


def show_time(time: Any, time_zone: str | None) -> str:
    """Return one time stamp as text for a message, in its zone."""
    if isinstance(time, (int, np.integer)):
        return str(int(time))
    import pandas as pd

    stamp = pd.Timestamp(time)
    return str(stamp if time_zone is None else stamp.tz_localize("UTC").tz_convert(time_zone))


def continue_times(layout: Layout, last_times: Sequence[Any], horizon: int) -> np.ndarray:
    """Return the `horizon` time stamps after each of n last ones, (n, horizon).

    A last one is a time stamp (UTC when there is a zone); without a time axis it is the last row's number, None before any
    row.
    """
    if not layout.has_times:
        last = np.array([-1 if time is None else time for time in last_times], np.int64)
        return last[:, None] + np.arange(1, horizon + 1)
    if layout.frequency is None:
        raise ValueError("freq=None: one row does not show the frequency of the time stamps; pass freq=... to continue them")
    last = np.array(last_times, np.int64 if layout.integer_times else "M8[ns]")
    steps = np.tile(np.arange(1, horizon + 1), len(last))
    clock = Clock(layout.frequency, layout.time_zone)
    return clock.advance(np.repeat(last, horizon), steps).reshape(len(last), horizon)


def season_of(frequency: str | int | None) -> int:
    """Return the rows of a season: of a day for shorter steps, else of a week or a year; 1 where the frequency tells none.

    >>> [season_of(x) for x in ("h", "15min", "D", "B", "W-SUN", "MS", "3MS", "QE-DEC", "YS-JAN", "7h", 5, None)]
    [24, 96, 7, 5, 52, 12, 4, 4, 1, 1, 1, 1]
    """
    if not isinstance(frequency, str):
        return 1
    from pandas.tseries.frequencies import to_offset
    from pandas.tseries.offsets import Day, Tick

    offset: Any = to_offset(frequency)
    steps = {"B": 5, "W": 52, "MS": 12, "ME": 12, "BMS": 12, "BME": 12, "SMS": 24, "SME": 24}
    steps |= {"QS": 4, "QE": 4, "BQS": 4, "BQE": 4}
    if isinstance(offset, Day):
        whole, length = (7, offset.n) if offset.n < 7 else (52, offset.n / 7)
    elif isinstance(offset, Tick):
        whole, length = DAY, offset.nanos
        whole, length = (whole, length) if length < DAY else (7, length / DAY)
    else:
        whole, length = steps.get(offset.base.freqstr.partition("-")[0], 1), offset.n
    return int(whole / length) if whole % length == 0 else 1
