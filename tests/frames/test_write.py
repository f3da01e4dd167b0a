"""Containers out: the same kind comes back, and time goes on."""

import datetime as dt
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frames.cases import long

from titans_ts.frames.read import read_panel
from titans_ts.frames.write import (
    Backtest,
    Forecast,
    backtest_frame,
    forecast_container,
    row_values_container,
)

KEYS = ["unique_id", "ds", "y"]
POINT = np.array([[1.0, 10.0], [2.0, 20.0]])


def forecasts(panel, point=POINT, level=None):
    """The same forecast for every series, after its last row; bounds are one below and one above."""
    bounds = {} if level is None else {level: (point - 1, point + 1)}
    return {s.id: Forecast(point, len(s) - 1 if s.times is None else s.times[-1], bounds) for s in panel}


def go_on(X, point=POINT, level=None, **arguments):
    panel = read_panel(X, **arguments)
    return forecast_container(panel.layout, forecasts(panel, point, level))


# ---------------------------------------------------------------- arrays


def test_arrays_and_lists():
    out = go_on(np.ones((5, 2), "f4"))
    np.testing.assert_array_equal(out, POINT)
    assert out.dtype == np.float32
    assert go_on(np.ones(5), POINT[:, :1]).shape == (2, 1)
    out = go_on([np.ones((5, 2)), np.ones((3, 2))])
    assert isinstance(out, list)
    np.testing.assert_array_equal(out[1], POINT)


def test_arrays_with_levels_become_a_long_frame():
    out = go_on(np.ones((5, 2)), level=80)
    assert list(out) == ["unique_id", "ds", "y0", "y0-lo-80", "y0-hi-80", "y1", "y1-lo-80", "y1-hi-80"]
    assert out["ds"].tolist() == [5, 6]
    np.testing.assert_array_equal(out["y1-hi-80"], [11, 21])
    out = go_on([np.ones(5), np.ones(3)], POINT[:, :1], level=97.5)
    assert list(out) == ["unique_id", "ds", "y", "y-lo-97.5", "y-hi-97.5"]
    assert out["unique_id"].tolist() == [0, 0, 1, 1]
    assert out["ds"].tolist() == [5, 6, 3, 4]


# ---------------------------------------------------------------- wide frames


def test_wide_pandas_index_goes_on():
    index = pd.date_range("2024-03-29", periods=3, freq="h", tz="Europe/Paris", name="when").as_unit("ms")
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": 1.0}, index=index)
    out = go_on(frame, level=80)
    assert list(out) == ["a", "a-lo-80", "a-hi-80", "b", "b-lo-80", "b-hi-80"]
    expected = pd.date_range("2024-03-29 03:00", periods=2, freq="h", tz="Europe/Paris", name="when").as_unit("ms")
    pd.testing.assert_index_equal(out.index, expected, exact=True)
    assert out.index.freq == index.freq
    assert pd.concat([frame, go_on(frame)]).index.dtype == index.dtype


@pytest.mark.parametrize(
    "index",
    [
        pd.period_range("2024-11", periods=4, freq="M", name="month"),
        pd.date_range("2023-11-30", periods=4, freq="ME"),
        pd.date_range("2024-03-28 09:00", periods=4, freq="D", tz="Europe/Paris"),
        pd.date_range("2024-10-26 22:00", periods=4, freq="h", tz="Europe/Paris"),
        pd.date_range("2024-01-03", periods=4, freq="B"),
        pd.date_range("2024-01-03", periods=4, freq="15min").astype("timestamp[us][pyarrow]"),
        pd.RangeIndex(4),
    ],
    ids=lambda index: str(getattr(index, "freq", index.dtype)),
)
def test_the_end_of_an_index_is_foretold_from_its_start(index):
    freq = {"freq": "B"} if getattr(index, "freqstr", None) == "B" else {}
    out = go_on(pd.DataFrame({"a": [1.0, 2], "b": 1.0}, index=index[:2]), **freq)
    pd.testing.assert_index_equal(out.index, index[2:], exact="equiv")


def test_wide_columns_of_integers_and_series():
    out = go_on(pd.DataFrame(np.ones((4, 2))), level=80)
    assert list(out) == [0, "0-lo-80", "0-hi-80", 1, "1-lo-80", "1-hi-80"]
    assert out.index.tolist() == [4, 5]
    out = go_on(pd.Series([1.0, 2], index=pd.date_range("2024", periods=2), name="load"), POINT[:, :1])
    assert isinstance(out, pd.Series)
    assert (out.name, out.index[0]) == ("load", pd.Timestamp("2024-01-03"))
    out = go_on(pl.Series("load", [1.0, 2]), POINT[:, :1])
    assert isinstance(out, pl.Series)
    assert out.to_list() == [1, 2]


@pytest.mark.parametrize(
    "times",
    [
        pl.datetime_range(dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 5), "1h", time_unit="ms", eager=True),
        pl.datetime_range(dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 5), "1h", time_zone="Asia/Tokyo", eager=True),
        pl.date_range(dt.date(2024, 2, 27), dt.date(2024, 3, 3), "1d", eager=True),
        pl.date_range(dt.date(2024, 1, 1), dt.date(2024, 6, 1), "1mo", eager=True),
        pl.Series([3, 5, 7, 9, 11, 13], dtype=pl.Int32),
    ],
    ids=str,
)
@pytest.mark.parametrize("backend", ["polars", "pyarrow"])
def test_polars_and_pyarrow_time_columns_keep_their_dtype(times, backend):
    frame = pl.DataFrame({"ds": times, "a": np.ones(6, "f4"), "b": np.ones(6, "f4")})
    frame = frame if backend == "polars" else frame.to_arrow()
    out = go_on(frame[:4])
    assert isinstance(out, type(frame))
    if backend == "pyarrow":
        assert out.schema == frame.schema
        out, frame = pl.from_arrow(out), pl.from_arrow(frame)
    assert out.schema == frame.schema
    assert out["ds"].to_list() == frame["ds"][4:].to_list()
    assert out["b"].to_list() == [10, 20]


# ---------------------------------------------------------------- long frames


@pytest.mark.parametrize("ids", [("b", "a") * 3, (7, 3) * 3])
def test_long_frames(library, ids):
    out = library.to_pandas(go_on(library.frame(long(ids)[KEYS]), POINT[:, :1], level=80))
    assert list(out) == ["unique_id", "ds", "y", "y-lo-80", "y-hi-80"]
    assert out["unique_id"].tolist() == [ids[0]] * 2 + [ids[1]] * 2
    assert out["ds"].tolist() == [pd.Timestamp("2024-01-01 03:00"), pd.Timestamp("2024-01-01 04:00")] * 2
    np.testing.assert_array_equal(out["y-lo-80"], [0, 1, 0, 1])


def test_id_dtypes_come_back():
    frame = long()[KEYS]
    for dtype in ("category", "object", "str", "string"):
        assert go_on(frame.astype({"unique_id": dtype}), POINT[:, :1])["unique_id"].dtype.name == dtype
    for dtype in (pl.Categorical, pl.String):
        polars = pl.from_pandas(frame).with_columns(pl.col("unique_id").cast(dtype))
        assert go_on(polars, POINT[:, :1]).schema["unique_id"] == dtype
    polars = pl.from_pandas(long((7, 3) * 3)[KEYS]).with_columns(pl.col("unique_id").cast(pl.Int16))
    assert go_on(polars, POINT[:, :1]).schema == polars.schema


def test_long_frame_keeps_column_names_and_pandas_index():
    frame = long()[KEYS].rename(columns={"unique_id": "well", "ds": "when", "y": "level"})
    out = go_on(frame, POINT[:, :1], id_column="well", time_column="when")
    assert list(out) == ["well", "when", "level"]
    out = go_on(frame.set_index("when"), POINT[:, :1], id_column="well")
    assert (list(out), out.index.name) == (["well", "level"], "when")


def test_series_that_end_apart_go_on_from_their_own_end():
    frame = long()[KEYS].drop(index=5)
    out = go_on(frame, POINT[:, :1])
    assert out["ds"].dt.hour.tolist() == [3, 4, 2, 3]


def test_forecasts_must_be_alike():
    layout = read_panel([np.ones(3), np.ones(3)]).layout
    with pytest.raises(ValueError, match=r"forecasts\[1\] has shape \(3, 1\)"):
        forecast_container(layout, {0: Forecast(np.ones((2, 1))), 1: Forecast(np.ones((3, 1)))})


# ---------------------------------------------------------------- per-row values


def test_row_values_line_up_with_what_came_in():
    panel = read_panel(np.ones((4, 2)))
    assert row_values_container(panel.layout, panel, {None: np.ones((4, 2))}).shape == (4, 2)
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": 1.0}, index=pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-04"]))
    with pytest.warns(UserWarning, match=r"1 missing"):
        panel = read_panel(frame)
    score = np.arange(8.0).reshape(4, 2)
    out = row_values_container(panel.layout, panel, {None: score})
    pd.testing.assert_index_equal(out.index, frame.index)
    np.testing.assert_array_equal(out, score[[0, 1, 3]])
    out = row_values_container(panel.layout, panel, {None: score[:, :1]}, columns=["surprise"])
    assert list(out) == ["surprise"]
    with pytest.raises(ValueError, match=r"values\[None\] has shape \(3, 2\); expected \(4, 2\)"):
        row_values_container(panel.layout, panel, {None: score[:3]})


@pytest.mark.filterwarnings("ignore:X. its rows:UserWarning", "ignore:X. 1 missing:UserWarning")
def test_row_values_of_rows_in_another_order_stay_beside_them(library):
    when = pd.to_datetime(["2024-01-04", "2024-01-01", "2024-01-05", "2024-01-02"])
    frame = pd.DataFrame({"ds": when, "a": [3.0, 0.0, 4.0, 1.0]})
    panel = read_panel(library.frame(frame))
    out = library.to_pandas(row_values_container(panel.layout, panel, {None: panel[None].values}))
    assert (out["ds"] == when).all()
    assert out["a"].tolist() == [3, 0, 4, 1]
    frame = frame.set_index("ds")
    panel = read_panel(frame)
    pd.testing.assert_frame_equal(row_values_container(panel.layout, panel, {None: panel[None].values}), frame)


def test_row_values_of_polars():
    frame = pl.from_pandas(long()[KEYS])
    panel = read_panel(frame)
    out = row_values_container(panel.layout, panel, {s.id: s.values for s in panel})
    assert out.equals(frame.sort("unique_id", descending=True, maintain_order=True))
    panel = read_panel(frame.drop("ds"))
    assert row_values_container(panel.layout, panel, {s.id: s.values for s in panel}).columns == ["unique_id", "y"]


# ---------------------------------------------------------------- backtests


def backtest(cutoffs, channels):
    steps = np.arange(2 * 3 * channels, dtype=float).reshape(2, 3, channels)
    return Backtest(cutoffs, steps, steps + 0.5, {80: (steps - 1, steps + 1)})


def test_backtest_of_a_wide_frame():
    panel = read_panel(pl.DataFrame({"ds": pl.date_range(dt.date(2024, 1, 1), dt.date(2024, 1, 9), eager=True),
                                     "a": range(9), "b": range(9)}))  # fmt: skip
    out = backtest_frame(panel.layout, {None: backtest(panel[None].times[[2, 5]], 2)})
    assert out.columns == ["unique_id", "ds", "cutoff", "y", "forecast", "forecast-lo-80", "forecast-hi-80"]
    assert out.shape == (12, 7)
    row = out.filter(unique_id="b", cutoff=dt.date(2024, 1, 6), ds=dt.date(2024, 1, 8)).row(0, named=True)
    assert (row["y"], row["forecast"], row["forecast-hi-80"]) == (9.0, 9.5, 10.0)


def test_backtest_ids():
    def ids(X, channels, **arguments):
        panel = read_panel(X, **arguments)
        cut = {s.id: np.array([0, 1]) if s.times is None else s.times[:2] for s in panel}
        frame = backtest_frame(panel.layout, {id_: backtest(c, channels) for id_, c in cut.items()})
        return list(dict.fromkeys(frame["unique_id"]))

    assert ids(np.ones(4), 1) == ["y"]
    assert ids(np.ones((4, 2)), 2) == ["y0", "y1"]
    assert ids([np.ones(4), np.ones(4)], 1) == [0, 1]
    assert ids(long()[KEYS], 1) == ["b", "a"]
    assert ids(long()[KEYS].assign(x=1.0), 2, target_columns=["y", "x"]) == ["b/y", "b/x", "a/y", "a/x"]


def test_backtests_must_be_alike():
    layout = read_panel([np.ones(3), np.ones(3)]).layout
    with pytest.raises(ValueError, match=r"results\[1\] differs"):
        backtest_frame(layout, {0: backtest(np.array([0, 1]), 1), 1: backtest(np.array([0]), 1)})


@pytest.mark.skipif("TITANS_TS_DATA" not in os.environ, reason="TITANS_TS_DATA is not set")
def test_etth1_goes_on_as_it_did():
    frame = pd.read_csv(Path(os.environ["TITANS_TS_DATA"]) / "series" / "ETTh1.csv", parse_dates=["date"], index_col="date")
    out = go_on(frame[:17_000], frame.to_numpy()[17_000:])
    pd.testing.assert_frame_equal(out, frame[17_000:], check_freq=False)
