"""The index of a wide pandas frame is its time axis, or says nothing, or must be parsed first."""

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from frames.cases import long

from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel
from titans_ts.frames.write import (
    Backtest,
    Forecast,
    backtest_frame,
    forecast_container,
    future_container,
    row_values_container,
)

WHOLE = {
    "from 1000": pd.RangeIndex(1000, 1006),
    "every second": pd.RangeIndex(0, 12, 2),
    "years": pd.Index(range(1960, 1966), name="year"),
    "narrow": pd.Index(range(5, 35, 5), dtype="int16"),
    "unsigned": pd.Index(range(7, 13), dtype="uint8"),
    "nullable": pd.Index(pd.array(range(3, 9), "Int64"), name="n"),
    "of Arrow": pd.Index(range(3, 9), dtype="int32[pyarrow]"),
    "below zero": pd.RangeIndex(-6, 0),
    "named from 0": pd.Index(range(6), name="step"),
}


def table(index, **columns):
    return pd.DataFrame(columns or {"a": np.arange(len(index)) * 1.0}, index=index)


def after(panel, rows=2):
    return forecast_container(panel.layout, {s.id: Forecast(np.zeros((rows, 1)), s.times[-1]) for s in panel})


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_go_on(kind):
    index = WHOLE[kind]
    for X in (table(index[:4]), table(index[:4])["a"]):
        panel = read_panel(X)
        assert panel.layout.frequency == index[1] - index[0]
        pd.testing.assert_index_equal(after(panel).index, index[4:], exact="equiv")
    with pytest.raises(ValueError, match=rf"{index[3]}\) is not after the last absorbed time stamp {index[3]}; pass only"):
        read_panel(table(index[3:]), like=panel.layout, follow={None: panel[None].times[-1]})
    new = read_panel(table(index[4:]), like=panel.layout, follow={None: panel[None].times[-1]})
    assert new[None].times.tolist() == index[4:].tolist()


def test_whole_numbers_that_are_left_out_are_missing_rows():
    with pytest.warns(UserWarning, match=r"2 missing rows .* freq=1; the first gap: 2 before 1003 \(row 2\)"):
        panel = read_panel(table([999, 1000, 1003, 1004]))
    np.testing.assert_array_equal(panel[None].values[:, 0], [0, 1, np.nan, np.nan, 2, 3])
    with pytest.raises(ValueError, match=r"1003 .* is no whole number of steps of 2 after 1000"):
        read_panel(table([1000, 1002, 1003]), freq=2)
    with pytest.raises(ValueError, match=r"freq='D': the time stamps are integers"):
        read_panel(table([1000, 1002, 1003]), freq="D")
    with pytest.raises(
        ValueError, match=r"1 \(row 2\) repeats 1 \(row 1\); drop one.*X.reset_index\(drop=True\) if its index"
    ):
        read_panel(table([0, 1, 1, 2]))


def test_the_default_index_says_nothing_of_time():
    for index in (pd.RangeIndex(4), pd.Index([0, 1, 2, 3]), pd.Index([0, 1, 2, 3], dtype="Int32")):
        assert not read_panel(table(index)).layout.has_times
    assert not read_panel(long()[["unique_id", "y"]].set_axis(range(7, 13))).layout.has_times  # rows of a long frame


LABELS = {
    "text": (
        ["2024-01-01", "2024-01-02"],
        r"text in its index \('2024-01-01' in row 0\).*X.index = pd.to_datetime\(X.index\)",
    ),
    "dates": (
        [dt.date(2024, 1, 1), dt.date(2024, 1, 2)],
        r"dates kept as objects .*datetime.date\(2024, 1, 1\) in row 0.*pd.to_datetime\(X.index\)",
    ),
    "times": (pd.Index([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2)], dtype=object), "dates kept as objects .*to_dat"),
    "named": (pd.Index(["x", "y"], name="well"), r"text in its index 'well' \('x' in row 0\).*X.reset_index\(drop=True\)"),
    "fractions": ([1960.0, 1961.0], r"fractions in its index .*X.index = X.index.astype\(int\)"),
    "objects": (pd.Index([1960, 1961], dtype=object), r"numbers kept as objects .*X.index.astype\(int\)"),
    "spans": (pd.to_timedelta([0, 1], "s"), r"spans of time .*X.index = pd.Timestamp\(...\) \+ X.index"),
    "intervals": (pd.interval_range(0, 2), r"intervals .*X.index = X.index.left"),
    "categories": (pd.CategoricalIndex([1960, 1961]), r"categories .*X.index.astype\(X.index.categories.dtype\)"),
    "truth": (pd.Index([True, False]), r"values of dtype bool .*X.reset_index\(drop=True\)"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_refused_with_what_makes_a_time_axis_of_them(kind):
    index, message = LABELS[kind]
    for X in (table(index), table(index)["a"], table(index, unique_id=["a", "b"], y=1.0)):
        with pytest.raises(ValueError, match=f"X has {message}"):
            read_panel(X)
        assert read_panel(X.reset_index(drop=True)).rows == 2
    frame = table(index, ds=[7, 8], a=1.0)
    assert read_panel(frame)[None].times.tolist() == [7, 8]  # the column says when


def test_an_index_with_the_name_of_the_time_column_or_of_another_column():
    panel = read_panel(table(pd.Index([0, 1, 2], name="when")), time_column="when")
    assert (panel[None].times.tolist(), panel.layout.time_in_index) == ([0, 1, 2], True)
    out = after(read_panel(table(pd.Index([5, 6], name="a"))))
    assert (list(out), out.index.name, out.index.tolist()) == (["a"], "a", [7, 8])


# ---------------------------------------------------------------- rows for a model that was fitted on the default index


def test_slices_of_one_frame_follow_one_another():
    frame = table(pd.RangeIndex(10))
    like = read_panel(frame[:6]).layout
    follow = {None: 5}
    for rows in (frame[6:], frame[6:].reset_index(drop=True), frame["a"][6:].to_numpy()):
        assert read_panel(rows, like=like, follow=follow)[None].times.tolist() == [6, 7, 8, 9]
    with pytest.warns(UserWarning, match=r"8 \(row 1\) comes after 9; they were sorted by its index"):
        assert read_panel(frame[:5:-1], like=like, follow=follow)[None].values[:, 0].tolist() == [6, 7, 8, 9]
    with pytest.warns(UserWarning, match="2 missing rows"):
        assert len(read_panel(frame[8:], like=like, follow=follow)[None]) == 4
    with pytest.raises(ValueError, match=r"row 0 \(4\) is not after the last absorbed time stamp 5"):
        read_panel(frame[4:], like=like, follow=follow)
    with pytest.raises(ValueError, match=r"X has -4 in its index, but .* counted from 0; pass X.reset_index\(drop=True\)"):
        read_panel(table(pd.RangeIndex(-4, 0)), like=like, follow={})
    with pytest.raises(ValueError, match=r"2 apart, but the model was fitted without .*X.reset_index\(drop=True\)"):
        read_panel(frame[6::2], like=like, follow=follow)


def test_another_frame_stands_for_itself():
    like = read_panel(table(pd.RangeIndex(6))).layout
    assert after(read_panel(table(pd.RangeIndex(100, 104)), like=like)).index.tolist() == [104, 105]
    years = read_panel(table(pd.Index(range(1960, 1970), name="year"))).layout
    panel = read_panel(table(pd.RangeIndex(4)), like=years)
    assert panel[None].times.tolist() == [0, 1, 2, 3]
    assert after(panel).index.tolist() == [4, 5]
    with pytest.raises(ValueError, match=r"row 0 \(0\) is not after the last absorbed time stamp 1969"):
        read_panel(table(pd.RangeIndex(4)), like=years, follow={None: 1969})


# ---------------------------------------------------------------- ids and time stamps in a MultiIndex


def panel_of(times, names=("item_id", "timestamp"), ids=("b", "a"), columns=("target",)):
    index = pd.MultiIndex.from_product([ids, times], names=names)
    values = np.arange(len(index) * len(columns), dtype=float).reshape(-1, len(columns))
    return pd.DataFrame(values, index=index, columns=list(columns))


TIMES = {
    "dates": pd.date_range("2024-01-30", periods=6, tz="America/New_York"),
    "periods": pd.period_range("2024-01", periods=6, freq="M"),
    "numbers": pd.RangeIndex(6),
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("names", [("item_id", "timestamp"), ("instances", None), (None, None), ("target", "y")])
@pytest.mark.parametrize("ids", [("b", "a"), (7, 3)])
def test_a_panel_in_a_multiindex_goes_on_in_one(times, names, ids):
    frame = panel_of(times, names, ids)
    rows = frame.index.get_level_values(1) < times[4]
    panel = read_panel(frame[rows])
    assert [one.id for one in panel] == list(ids)
    out = after(panel)
    assert list(out) == ["target"]
    pd.testing.assert_index_equal(out.index, frame[~rows].index, exact="equiv")
    layout = Layout.from_dict(json.loads(json.dumps(panel.layout.to_dict())))
    assert layout == panel.layout
    mixed = read_panel(frame[rows].sample(frac=1, random_state=0), like=layout)
    for one in panel:
        np.testing.assert_array_equal(mixed[one.id].values, one.values)
    new = read_panel(frame[~rows], like=layout, follow={one.id: one.times[-1] for one in panel})
    assert new.rows == 4
    series = after(read_panel(frame["target"][rows]))
    pd.testing.assert_series_equal(series, out["target"])
    values = row_values_container(panel.layout, panel, {one.id: one.values for one in panel})
    pd.testing.assert_frame_equal(values, frame[rows], check_index_type=False)


def test_levels_above_the_time_make_tuples_of_ids():
    days = pd.date_range("2024-01-01", periods=4)
    index = pd.MultiIndex.from_product([["north", "south"], [1, 2], days], names=["region", "shop", "day"])
    frame = pd.DataFrame({"y": np.arange(16.0), "price": 1.0}, index=index)
    rows = index.get_level_values("day") < days[2]
    panel = read_panel(frame[rows])
    assert [one.id for one in panel] == [("north", 1), ("north", 2), ("south", 1), ("south", 2)]
    assert panel.layout.target_columns == ("y",)
    pd.testing.assert_index_equal(after(panel).index, index[~rows])
    two = {one.id: Backtest(one.times[:1], np.zeros((1, 1, 2)), np.zeros((1, 1, 2))) for one in panel}
    assert backtest_frame(replace(panel.layout, target_columns=("y", "price")), two)["unique_id"][0] == "north/1/y"


def test_the_target_of_a_panel_in_a_multiindex():
    def targets(*columns, **arguments):
        return read_panel(panel_of(TIMES["dates"], columns=columns), **arguments).layout.target_columns

    assert targets("price", "target") == ("target",)  # as AutoGluon calls it
    assert targets("y", "target") == ("y",)
    assert targets("a", "b") == ("a", "b")
    assert targets("a", "target", target_columns="a") == ("a",)
    assert targets("a", "target", target_columns="target", past_covariates="a") == ("target",)


def test_columns_of_the_same_names_serve_where_a_multiindex_was_fitted_and_the_reverse():
    frame = panel_of(TIMES["dates"])
    like, follow = read_panel(frame).layout, {}
    panel = read_panel(frame.reset_index(), like=like, follow=follow)
    assert (panel["a"].values[:, 0].tolist(), panel.layout.index_names) == ([6, 7, 8, 9, 10, 11], ())
    like = read_panel(frame.reset_index(), id_column="item_id", time_column="timestamp").layout
    assert read_panel(frame, like=like, follow=follow)["a"].values[:, 0].tolist() == [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (panel_of(TIMES["dates"]).swaplevel(), r"time stamps in the first level .*, not the last: X.swaplevel\(\)"),
        (panel_of(TIMES["dates"], ids=(1, 2)).swaplevel(), r"time stamps in the first level .*: X.swaplevel\(\)"),
        (
            panel_of(["2024-01-01", "2024-01-02"]),
            r"'2024-01-01' in row 0 of the last level .*pandas.to_datetime, after X.res",
        ),
        (panel_of([1.5, 2.5]), r"1.5 in row 0 of the last level .*dtype float64"),
        (panel_of(TIMES["dates"], ids=("a", None)), r"no id in row 6 of level 0 of its index \['item_id', 'timestamp'\]"),
        (panel_of(TIMES["dates"][[0, 1, 1]]), r"\(row 2, id 'b'\) repeats .*\(row 1, id 'b'\); drop one"),
        (panel_of(pd.DatetimeIndex(["2024", None])), r"no time stamp .* in row 1 of the index 'timestamp'"),
    ],
)
def test_refused_multiindexes(frame, message):
    with pytest.raises(ValueError, match=message):
        read_panel(frame)


def test_covariates_ahead_in_a_multiindex():
    frame = panel_of(TIMES["dates"], columns=("price", "target"))
    rows = frame.index.get_level_values(1) < TIMES["dates"][4]
    panel = read_panel(frame[rows], future_covariates="price")
    last = {one.id: one.times[-1] for one in panel}
    empty = future_container(panel.layout, last, 2)
    pd.testing.assert_index_equal(empty.index, frame[~rows].index)
    for future in (frame[~rows], frame[::-1], frame.reset_index(), empty.assign(price=frame["price"])):
        found = read_future(future, panel.layout, last, 2)
        assert {name: x[:, 0].tolist() for name, x in found.items()} == {"b": [8, 10], "a": [20, 22]}


def test_covariates_ahead_are_found_by_the_numbers_of_rows():
    frame = table(pd.RangeIndex(10), a=np.arange(10.0), x=np.arange(10.0))
    layout = read_panel(frame[:6], future_covariates="x").layout
    for future in (frame[6:8].reset_index(drop=True), frame[6:], frame[:3:-1]):
        assert read_future(future, layout, {None: 5}, 2)[None][:, 0].tolist() == [6, 7]
    with pytest.raises(ValueError, match="future lacks 2 of the 2 rows to forecast; the first missing is 6"):
        read_future(frame[8:], layout, {None: 5}, 2)
