"""Time stamps of every kind are read, and written back with the dtype that they had."""

import datetime as dt
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dateutil import tz

from titans_ts.frames.read import read_panel
from titans_ts.frames.write import Forecast, forecast_container

HOURS = pd.date_range("2024-03-30 22:00", periods=6, freq="h", tz="UTC")
FIXED = [
    dt.timezone(dt.timedelta(hours=5.5)),
    dt.timezone(dt.timedelta(hours=-3)),
    dt.timezone(dt.timedelta(hours=1), "local"),
    dt.UTC,
]
DATEUTIL = [tz.gettz("Europe/Paris"), tz.tzoffset(None, 3600), tz.tzoffset("west", -5400), tz.tzutc()]


def foretold(frame):
    """Return a forecast of two rows, and what the frame was read as."""
    panel = read_panel(frame)
    point = np.zeros((2, len(panel.layout.target_columns)))
    return forecast_container(panel.layout, {one.id: Forecast(point, one.times[-1]) for one in panel}), panel


@pytest.mark.parametrize(
    "zones",
    [
        [zoneinfo.ZoneInfo(name) for name in sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})],
        FIXED,
        DATEUTIL,
    ],
    ids=["IANA", "fixed", "dateutil"],
)
def test_an_index_in_any_time_zone_goes_on_in_it(zones):
    assert len(zones) >= 4
    for zone in zones:
        index = HOURS.tz_convert(zone)
        out, panel = foretold(pd.DataFrame({"a": 1.0}, index=index[:4]))
        np.testing.assert_array_equal(panel[None].times, HOURS[:4].tz_localize(None).to_numpy())
        assert out.index.dtype == index.dtype, zone
        assert (out.index == index[4:]).all(), zone


@pytest.mark.parametrize("zone", ["America/New_York", "Etc/GMT+5", "+05:30", "-03:00"])
def test_time_zones_of_arrow_come_back_in_tables_and_in_pandas(zone):
    stamps = pa.array(HOURS.tz_localize(None).to_numpy().astype("M8[us]")).cast(pa.timestamp("us", zone))
    table = pa.table({"ds": stamps, "a": np.ones(6)})
    out, _ = foretold(table[:4])
    assert out["ds"].equals(table["ds"][4:])
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    out, _ = foretold(frame[:4])
    pd.testing.assert_series_equal(out["ds"], frame["ds"][4:].reset_index(drop=True))


def test_both_hours_of_a_change_of_clocks_are_kept_apart():
    quarters = pd.date_range("2024-10-26 22:00", periods=40, freq="15min", tz="UTC").tz_convert("Europe/Paris")
    assert quarters.tz_localize(None).duplicated().sum() == 4
    out, panel = foretold(pd.DataFrame({"a": np.arange(10.0)}, index=quarters[:10]))  # ends in the first of both hours
    assert (np.diff(panel[None].times) == np.timedelta64(15, "m")).all()
    pd.testing.assert_index_equal(out.index, quarters[10:12])
    with pytest.raises(ValueError, match=r"2024-10-27 02:00:00 .*; give local times their time zone"):
        read_panel(pd.DataFrame({"a": 1.0}, index=quarters.tz_localize(None)))


@pytest.mark.parametrize(
    "freq", ["Y", "Y-JUN", "Q", "Q-MAR", "M", "2M", "W", "W-WED", "2W", "D", "3D", "h", "15min", "s", "ms", "us", "ns"]
)
def test_periods_of_every_length_go_on(freq):
    periods = pd.period_range("2023-11-30", periods=8, freq=freq)
    out, _ = foretold(pd.DataFrame({"a": 1.0}, index=periods[:6]))
    pd.testing.assert_index_equal(out.index, periods[6:])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "America/Sao_Paulo"])
def test_leap_days_and_ends_of_months_in_every_unit(unit, zone):
    for freq in ("D", "ME"):
        index = pd.date_range("2023-12-31", periods=70, freq=freq, tz=zone, name="when").as_unit(unit)
        for last in (3, 60, 68):
            out, _ = foretold(pd.DataFrame({"a": 1.0}, index=index[:last]))
            pd.testing.assert_index_equal(out.index, index[last : last + 2])


def test_time_stamps_that_no_array_can_hold_are_refused_by_row():
    for far in ("1500-01-01", "2500-01-01"):
        index = pd.date_range(far, periods=3, freq="YS", unit="us")
        with pytest.raises(ValueError, match=rf"the index has {far}.* in row 0; .*1678 to 2261"):
            read_panel(pd.DataFrame({"a": 1.0}, index=index))
        with pytest.raises(ValueError, match=rf"the index has {far[:4]} in row 0; .*1678 to 2261"):
            read_panel(pd.DataFrame({"a": 1.0}, index=pd.period_range(far, periods=3, freq="Y")))
    with pytest.raises(ValueError, match=r"column 'ds' has 18446744073709551615 in row 1; .*below 2\*\*63"):
        read_panel(pd.DataFrame({"ds": np.array([1, 2**64 - 1], np.uint64), "a": 1.0}))


def test_a_step_that_no_time_axis_has_is_refused():
    for X, what in ((np.ones(4), "an array"), ([np.ones(4)] * 2, "an array"), (pd.DataFrame({"a": np.ones(4)}), "a frame")):
        for freq in ("D", "nonsense", 7, True):
            with pytest.raises(ValueError, match=rf"freq={freq!r}: X is {what} without time stamps"):
                read_panel(X, freq=freq)
        assert read_panel(X, freq=1).rows >= 4
