"""The index of a wide pandas frame is its time axis, or says nothing, or must be parsed first."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from frames.cases import long

from titans_ts.frames.read import read_panel
from titans_ts.frames.write import Forecast, forecast_container

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
