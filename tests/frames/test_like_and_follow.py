"""New rows for a fitted model: its columns, its time axis, its series."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.frames.read import read_panel

DAYS = pd.date_range("2024-01-01", periods=4, freq="D")


def wide(times=DAYS, **columns):
    return pd.DataFrame({"ds": times, **(columns or {"a": np.arange(len(times)) * 1.0, "b": 2.0})})


def long():
    """Two interleaved series, "b" first, with hourly stamps."""
    hours = pd.date_range("2024-01-01", periods=3, freq="h")
    return pd.DataFrame(
        {"unique_id": ["b", "a"] * 3, "ds": np.repeat(hours, 2), "y": [10.0, 1.0, 20.0, 2.0, 30.0, 3.0], "x": 1.0}
    )


def test_like_reorders_columns_and_names_the_difference():
    layout = read_panel(wide()).layout
    np.testing.assert_array_equal(read_panel(wide()[["b", "ds", "a"]], like=layout)[None].values[3], [3, 2])
    with pytest.raises(ValueError, match=r"expected \['a', 'b'\], got \['a'\]; missing \['b'\]"):
        read_panel(wide().drop(columns="b"), like=layout)
    with pytest.raises(ValueError, match=r"not seen at fit \['c'\]"):
        read_panel(wide().assign(c=1.0), like=layout)
    with pytest.raises(ValueError, match=r"X has 3 columns; expected 2"):
        read_panel(np.ones((4, 3)), like=layout)
    panel = read_panel(np.ones((4, 2)), like=layout)
    assert (panel.layout.kind, panel.layout.target_columns) == ("array", ("a", "b"))
    panel = read_panel(pl.from_pandas(wide()), like=layout)
    assert (panel.layout.backend, panel.layout.time_dtype) == ("polars", "datetime[us]")


def test_like_of_arrays():
    layout = read_panel(np.ones((4, 3)), past_covariates=2).layout
    assert read_panel([np.ones((4, 3))] * 2, like=layout)[1].past.shape == (4, 1)
    with pytest.raises(ValueError, match=r"X has 2 columns; expected 3"):
        read_panel(np.ones((4, 2)), like=layout)
    with pytest.raises(ValueError, match=r"X is a frame.*covariates \[2\]"):
        read_panel(wide(), like=layout)
    layout = read_panel(np.ones((4, 2))).layout
    assert read_panel(wide(), like=layout).layout.target_columns == ("a", "b")
    with pytest.raises(ValueError, match=r"X has 1 columns \['a'\]; expected 2"):
        read_panel(wide()[["ds", "a"]], like=layout)


def test_like_holds_time_stamps_to_their_kind():
    zoned = read_panel(wide(DAYS.tz_localize("UTC"), a=1.0)).layout
    with pytest.raises(ValueError, match=r"in time zone None, but the model was fitted on .* in time zone UTC"):
        read_panel(wide(DAYS, a=1.0), like=zoned)
    with pytest.raises(ValueError, match=r"X has no time stamps.*column 'ds'"):
        read_panel(pd.DataFrame({"a": [1.0]}), like=zoned)
    with pytest.raises(ValueError, match=r"X has time stamps of int64"):
        read_panel(wide([1, 2], a=1.0), like=zoned)
    one = read_panel(wide(DAYS[:1].tz_localize("UTC"), a=1.0), like=zoned)
    assert one.layout.frequency == "D"
    assert read_panel(wide(DAYS[:1], a=1.0)).layout.frequency is None


def test_follow_continues_fills_and_refuses_overlap():
    panel = read_panel(wide(a=1.0))
    follow = {None: panel[None].times[-1]}  # 2024-01-04
    after = pd.date_range("2024-01-05", periods=3, freq="D")
    new = read_panel(wide(after, a=1.0), like=panel.layout, follow=follow)
    np.testing.assert_array_equal(new[None].times, after.to_numpy())
    with pytest.warns(UserWarning, match=r"1 missing rows.*the first gap: 1 before 2024-01-06.*row 0"):
        new = read_panel(wide(after[1:], a=1.0), like=panel.layout, follow=follow)
    np.testing.assert_array_equal(new[None].values[:, 0], [np.nan, 1, 1])
    np.testing.assert_array_equal(new[None].times, after.to_numpy())
    with pytest.raises(ValueError, match=r"row 0 \(2024-01-04.*\) is not after the last absorbed time stamp 2024-01-04"):
        read_panel(wide(after - pd.Timedelta(days=1), a=1.0), like=panel.layout, follow=follow)
    with pytest.raises(ValueError, match=r"no whole number of steps of 'D'"):
        read_panel(wide(after + pd.Timedelta(hours=1), a=1.0), like=panel.layout, follow=follow)
    np.testing.assert_array_equal(read_panel(np.ones(3), like=panel.layout, follow=follow)[None].times, after.to_numpy())


def test_follow_of_a_panel_names_the_id_and_starts_new_series():
    panel = read_panel(long())
    follow = {series.id: series.times[-1] for series in panel}
    new = long().assign(ds=long()["ds"] + pd.Timedelta(hours=3))
    new.loc[new["unique_id"] == "b", "unique_id"] = "new"
    assert [series.id for series in read_panel(new, like=panel.layout, follow=follow)] == ["new", "a"]
    with pytest.raises(ValueError, match=r"row 1, id 'a' \(2024-01-01 00:00:00\) is not after"):
        read_panel(long(), like=panel.layout, follow={"a": follow["a"]})
    with pytest.raises(ValueError, match=r"of kind 'array', but the model was fitted on kind 'long'.*'unique_id'"):
        read_panel(np.ones(3), like=panel.layout, follow=follow)


def test_array_cannot_follow_without_a_frequency():
    panel = read_panel(wide(DAYS[:1], a=1.0))
    with pytest.raises(ValueError, match=r"carries no time stamps and freq=None is unknown"):
        read_panel(np.ones(2), like=panel.layout, follow={None: panel[None].times[-1]})
