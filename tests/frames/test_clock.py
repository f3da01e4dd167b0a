"""Time axes: frequencies are inferred and continued, also where the clocks change."""

import numpy as np
import pandas as pd
import pytest
from frames.cases import wide

from titans_ts.frames.clock import continue_times
from titans_ts.frames.read import read_panel

ZONES = (None, "UTC", "Europe/Paris")
CALENDAR = ("MS", "ME", "BMS", "BME", "QS-FEB", "QE-MAR", "YS-JAN", "YE-DEC", "W-WED", "B", "2MS", "10min", "14D")


@pytest.mark.parametrize(
    ("times", "frequency"),
    [
        *((pd.date_range("2024-01-31", periods=9, freq=f, tz=z), f) for f in ("h", "30min", "D", "2D") for z in ZONES),
        *((pd.date_range("2024-01-31", periods=9, freq=f), f) for f in CALENDAR),
        (pd.date_range("2024-03-30", periods=2, freq="D", tz="Europe/Paris"), "D"),  # 23 hours later
        (pd.date_range("2024-03-01", periods=3, freq="MS", tz="Europe/Paris"), "MS"),
        (pd.date_range("1700-01-01", periods=320, freq="YS"), "YS-JAN"),  # longer than an int64 of ns counts
        (np.arange(3, 30, 3), 3),
        (pd.period_range("2024-01", periods=5, freq="M"), "MS"),
    ],
)
def test_frequency_is_inferred(times, frequency):
    panel = read_panel(wide(pd.Series(times), a=np.arange(len(times))))
    assert panel.layout.frequency == frequency
    assert len(panel[None]) == len(times)


def test_daily_stamps_keep_the_wall_clock_across_dst():
    times = pd.date_range("2024-03-29 09:00", periods=5, freq="D", tz="Europe/Paris")
    panel = read_panel(wide(times, a=np.arange(5)))
    assert (panel.layout.frequency, panel.layout.time_zone) == ("D", "Europe/Paris")
    np.testing.assert_array_equal(panel[None].times, times.tz_convert("UTC").tz_localize(None).to_numpy())


def test_daily_stamp_that_the_clocks_skip():
    wall = pd.date_range("2024-03-29 02:30", periods=5, freq="D")
    times = wall.tz_localize("Europe/Paris", nonexistent="shift_forward")
    assert len(read_panel(wide(times, a=np.arange(5)))[None]) == 5


def test_hourly_stamps_across_dst(library):
    times = pd.date_range("2024-10-26 20:00", periods=12, freq="h", tz="Europe/Paris")  # 02:00 comes twice
    panel = read_panel(library.frame(wide(times, a=np.arange(12))))
    assert (panel.layout.frequency, panel.layout.time_zone, len(panel[None])) == ("h", "Europe/Paris", 12)


def test_continue_times():
    layout = read_panel(pd.DataFrame({"ds": [3, 6, 9], "y": 1.0})).layout
    assert continue_times(layout, [9], 2).tolist() == [[12, 15]]
    layout = read_panel(pd.DataFrame({"ds": [pd.Timestamp("2024-01-01")], "y": 1.0})).layout
    with pytest.raises(ValueError, match=r"freq=None: one row.*pass freq="):
        continue_times(layout, [np.datetime64("2024-01-01", "ns")], 2)
    layout = read_panel(pd.DataFrame({"ds": pd.date_range("2024", periods=3), "y": 1.0})).layout
    with pytest.raises(OverflowError, match=r"200000 steps of 'D'"):
        continue_times(layout, [np.datetime64("2024-01-03", "ns")], 200_000)
