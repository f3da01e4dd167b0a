"""Gaps are filled and counted, and time stamps that cannot be read are refused by name."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frames.cases import DAYS, long, wide

from titans_ts.frames.read import read_panel


def test_gaps_are_filled_with_missing_rows_and_counted():
    frame = wide(pd.date_range("2024-01-01", periods=6, freq="h")[[0, 1, 2, 5]], a=[1.0, 2, 3, 4])
    with pytest.warns(UserWarning, match=r"2 missing rows.*freq='h'; the first gap: 2 before 2024-01-01 05.*row 3"):
        series = read_panel(frame)[None]
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, 3, np.nan, np.nan, 4])
    np.testing.assert_array_equal(series.given, [True, True, True, False, False, True])
    np.testing.assert_array_equal(np.diff(series.times).astype(int), 3_600_000_000_000)


def test_gaps_of_a_long_frame_and_a_business_calendar():
    frame = long().drop(index=3)  # id "a" lacks 01:00
    with pytest.warns(UserWarning, match=r"1 missing rows.*row 4, id 'a'"):
        panel = read_panel(frame, freq="h")
    np.testing.assert_array_equal(panel["a"].values[:, 0], [1, np.nan, 3])
    assert panel["b"].given is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_panel(wide(pd.bdate_range("2024-01-01", periods=20), a=1.0))[None]) == 20
    with pytest.warns(UserWarning, match=r"6 missing rows"):
        assert len(read_panel(wide(pd.bdate_range("2024-01-01", periods=20), a=1.0), freq="D")[None]) == 26


def test_static_covariates_survive_gaps_and_future_ones_refuse_them():
    frame = long().drop(index=3).assign(s=[5, 1, 5, 5, 1])
    with pytest.warns(UserWarning, match=r"1 missing"):
        assert read_panel(frame, freq="h", static_covariates="s")["a"].static.tolist() == [1]
    with pytest.raises(ValueError, match=r"future covariates \['x'\] must be known at every step.*id 'a'"):
        read_panel(frame, freq="h", future_covariates="x")


STAMPS = [
    (
        ["2024-01-01", "2024-01-03", "2024-01-02"],
        {"first_row": 100},
        r"2024-01-02 00:00:00 \(row 2\) goes back from 2024-01-03.*sort it by time",
    ),
    (["2024-01-01", "2024-01-02", "2024-01-02"], {}, r"2024-01-02 00:00:00 \(row 2\) repeats .*\(row 1\); drop one"),
    (["2024-01-02", "2024-01-01", "2024-01-02"], {}, r"2024-01-02 00:00:00 \(row 2\) repeats .*\(row 0\); drop one"),
    (["2024-01-01", None, "2024-01-02"], {}, r"no time stamp \(NaT or null\) in row 1 of column 'ds'"),
    (
        ["2024-01-01", "2024-01-02", "2024-01-03 01:00"],
        {},
        r"2024-01-03 01:00:00 \(row 2\) is no whole number.*'D'.*freq",
    ),
    (["2024-01-01", "2024-01-02", "2024-01-03"], {"freq": "MS"}, r"2024-01-02 00:00:00 \(row 1\).*'MS'"),
    (["2024-01-02", "2024-01-03", "2024-01-04"], {"freq": "MS"}, r"row 0.*'MS'"),
    (
        ["1900-01-01 00:00", "1900-01-01 01:00", "2020-01-01"],
        {},
        "are missing for a regular time axis.*row 2.*pass freq",
    ),
    (["2024-01-01", "2024-01-02", "2024-01-03"], {"freq": "nonsense"}, "freq='nonsense' is not a pandas frequency"),
    (["2024-01-01", "2024-01-02", "2024-01-03"], {"freq": 3}, "freq=3: the time stamps are dates"),
    (["2024-01-01", "2024-01-02", "2024-01-03"], {"freq": "-1D"}, "must step forward"),
    (["2024-01-01", "2024-01-02", "2024-01-03"], {"freq": "bh"}, "not supported"),
]


@pytest.mark.parametrize(("stamps", "arguments", "match"), STAMPS)
def test_refused_time_stamps(stamps, arguments, match):
    with pytest.raises(ValueError, match=match):
        read_panel(wide(pd.to_datetime(stamps, format="mixed"), a=1.0), **arguments)


def test_refused_time_columns():
    with pytest.raises(ValueError, match=r"column 'ds' has dtype String.*pandas.to_datetime"):
        read_panel(wide(["2024-01-01", "2024-01-02"], a=1.0))
    mixed = [pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-02", tz="Asia/Tokyo")]
    with pytest.raises(ValueError, match=r"mixes time zones: row 0 is in UTC, row 1.*Asia/Tokyo"):
        read_panel(wide(pd.Series(mixed, dtype=object), a=1.0))
    with pytest.raises(ValueError, match=r"zone with an IANA name"):
        read_panel(wide(DAYS.tz_localize(dt.timezone(dt.timedelta(seconds=3630))), a=1.0))
    with pytest.raises(ValueError, match=r"dtype Float64"):
        read_panel(wide([0.0, 1.0], a=1.0))
    with pytest.raises(ValueError, match=r"years 1678 to 2261"):
        read_panel(pl.DataFrame({"ds": [dt.date(2024, 1, 1), dt.date(3000, 1, 1)], "a": [1.0, 2.0]}))
    with pytest.raises(ValueError, match=r"freq='h': the time stamps are integers"):
        read_panel(wide([1, 2, 3], a=1.0), freq="h")
    with pytest.raises(ValueError, match=r"2 \(row 3, id 'a'\) goes back from 3 \(row 1, id 'a'\)"):
        read_panel(pd.DataFrame({"unique_id": list("baba"), "ds": [1, 3, 2, 2], "y": 1.0}), first_row=0)


def test_rows_in_any_order_are_read_in_order_of_time(library):
    frame = pd.concat(
        [long().assign(s=[5.0, 1.0] * 3), long().iloc[:2].assign(ds=pd.Timestamp("2024-01-01 03:00"), s=[5, 1])]
    )
    frame = frame.assign(x=np.arange(8.0)).reset_index(drop=True)
    columns = {"future_covariates": "x", "static_covariates": "s"}
    whole = read_panel(library.frame(frame), **columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing need be said of a long frame
        for seed in range(5):
            mixed = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
            panel = read_panel(library.frame(mixed), **columns)
            assert panel.layout == whole.layout
            for one in panel:
                for part in ("values", "times", "future", "static"):
                    np.testing.assert_array_equal(getattr(one, part), getattr(whole[one.id], part))


def test_a_wide_frame_upside_down_is_sorted_with_one_warning(library):
    frame = wide(pd.date_range("2024-01-01", periods=6)[[5, 4, 3, 1, 0]])
    with pytest.warns(UserWarning, match="X: ") as told:
        panel = read_panel(library.frame(frame))
    messages = [str(each.message) for each in told]
    assert len(messages) == 2  # the other one is of the gap
    assert "2024-01-05 00:00:00 (row 1) comes after 2024-01-06 00:00:00; they were sorted by its column 'ds'" in messages[0]
    np.testing.assert_array_equal(panel[None].values[:, 0], [4, 3, np.nan, 2, 1, 0])
    np.testing.assert_array_equal(panel.order, [4, 3, 2, 1, 0])


def test_rows_that_were_mixed_give_series_by_id_and_rows_in_time_alone_leave_them():
    days = pd.date_range("2024-01-01", periods=5)
    frame = pd.DataFrame({"unique_id": ["b"] * 5 + ["a"] * 5, "ds": [*days, *days], "y": np.arange(10.0)})
    for seed in range(3):
        mixed = read_panel(frame.sample(frac=1, random_state=seed))
        assert [one.id for one in mixed] == ["a", "b"]
        assert [one.values[:, 0].tolist() for one in mixed] == [[5, 6, 7, 8, 9], [0, 1, 2, 3, 4]]
    assert [one.id for one in read_panel(frame[::-1])] == ["a", "b"], "upside down, series after series: as they come"
    assert [one.id for one in read_panel(frame.sort_values("ds", kind="stable"))] == ["b", "a"], (
        "in order of time: as they come"
    )
