"""Series that cannot be used: all are named in one error, or left out as if they had never been there."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from titans_ts.frames.faults import Faults, SkippedSeries
from titans_ts.frames.read import read_panel

HOURS = pd.date_range("2024-01-01", periods=6, freq="h")


def long(**series):
    """A long frame of series, each given as its rows' values or as a frame."""
    parts = [
        (x if isinstance(x, pd.DataFrame) else pd.DataFrame({"ds": HOURS, "y": np.asarray(x, float)})).assign(unique_id=name)
        for name, x in series.items()
    ]
    return pd.concat(parts, ignore_index=True)


GOOD = np.arange(6.0)
AGO = pd.DataFrame({"ds": [HOURS[0], *HOURS[:5]], "y": GOOD})
LATE = pd.DataFrame({"ds": HOURS + pd.to_timedelta([0, 0, 0, 7, 0, 0], "min"), "y": GOOD})
FAR = pd.DataFrame({"ds": [*HOURS[:5], pd.Timestamp("2030-01-01")], "y": GOOD})
HOPELESS = {
    "infinite": (np.where(GOOD == 3, np.inf, GOOD), "X has inf in row 3, id 'bad', column 'y'"),
    "never seen": (np.full(6, np.nan), "column 'y', id 'bad' has no observed value in any of its 6 rows"),
    "a stamp twice": (AGO, "row 1, id 'bad'. repeats"),
    "off the grid": (LATE, "03:07:00 .row 3, id 'bad'. is no whole number"),
    "a gap of years": (FAR, "X has 6 rows, id 'bad', but [0-9]+ more are missing"),
}


def read(frame, **arguments):
    faults = Faults(skip=True)
    return read_panel(frame, require_observed=True, faults=faults, **arguments), faults


def same(panel, other):
    assert panel.layout == other.layout
    assert [one.id for one in panel] == [one.id for one in other]
    for one, two in zip(panel, other, strict=True):
        for name in ("values", "times", "past", "future", "static"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("order", [("bad", "a", "b"), ("a", "bad", "b"), ("a", "b", "bad")])
@pytest.mark.parametrize("kind", HOPELESS)
def test_a_hopeless_series_is_left_out_as_if_it_had_never_been_there(kind, order):
    rows, reason = HOPELESS[kind]
    parts = {"a": GOOD, "b": GOOD[::-1], "bad": rows}
    expected = read_panel(long(**{name: parts[name] for name in order if name != "bad"}))
    row = 6 * order.index("bad")  # rows of the frame, not of the series
    reason = re.sub(r"row (\d)", lambda found: f"row {row + int(found[1])}", reason)
    found, faults = read(long(**{name: parts[name] for name in order}))
    same(found, expected)
    assert list(faults.reasons) == ["bad"]
    with pytest.raises(ValueError, match=f'(?:{reason}).*on_error="skip" leaves such series out'):
        read_panel(long(**{name: parts[name] for name in order}), require_observed=True)


def test_the_error_names_all_of_them_with_their_reasons():
    frame = long(**{kind: rows for kind, (rows, _) in HOPELESS.items()}, good=GOOD)
    with pytest.raises(ValueError, match="5 series cannot be used") as caught:
        read_panel(frame, require_observed=True)
    for kind in HOPELESS:
        assert repr(kind) in str(caught.value)


def test_many_are_counted():
    with pytest.raises(ValueError, match="12 series cannot be used.*\n.*\n.*\n.*\n.*\n.*\n  and 7 more\n"):
        read_panel(long(**{f"s{i}": HOPELESS["infinite"][0] for i in range(12)}, good=GOOD))


def test_a_hopeless_series_does_not_choose_the_frequency():
    quarters = pd.DataFrame({"ds": pd.date_range("2024", periods=60, freq="15min"), "y": np.nan})
    found, _ = read(long(bad=quarters, good=GOOD))
    assert found.layout.frequency == "h"


def test_if_all_are_hopeless_it_is_an_error():
    with pytest.raises(ValueError, match="2 series cannot be used; no other is left") as caught:
        read(long(a=HOPELESS["infinite"][0], b=AGO))
    assert "on_error" not in str(caught.value)


def test_a_series_alone_is_refused():
    with pytest.raises(ValueError, match="X has inf in row 1, column 0; .*missing$"):
        read(np.array([1.0, np.inf]))


def test_items_of_a_list_keep_their_numbers():
    items = [GOOD, np.array([]), np.where(GOOD == 3, np.inf, GOOD), np.array(["x"], dtype=object), GOOD + 1]
    found, faults = read(items)
    assert [one.id for one in found] == [0, 4]
    assert list(faults.reasons) == [1, 3, 2]
    assert "item 1 of X is empty" in faults.reasons[1]


def test_covariates_of_one_series():
    good = pd.DataFrame({"ds": HOURS, "y": GOOD, "ahead": 1.0, "site": 2.0})
    bad = {
        "varies": good.assign(site=GOOD),
        "unknown": good.assign(ahead=np.where(GOOD == 2, np.nan, 1)),
        "holes": good.drop(index=3),
    }
    columns = {"future_covariates": "ahead", "static_covariates": "site"}
    found, faults = read(long(good=good, **bad), **columns)
    same(found, read_panel(long(good=good), **columns))
    assert faults.reasons.keys() == bad.keys()
    assert "lacks 1 rows" in faults.reasons["holes"]


def test_rows_already_read():
    follow = {"a": HOURS[-1].to_datetime64(), "b": HOURS[0].to_datetime64()}
    later = pd.DataFrame({"ds": HOURS[1:], "y": GOOD[1:]})
    layout = read_panel(long(a=GOOD)).layout
    found, faults = read(long(a=later, b=later), like=layout, follow=follow)
    assert [one.id for one in found] == ["b"]
    assert "is not after the last absorbed time stamp" in faults.reasons["a"]


def test_one_warning_tells_of_them_at_the_line_that_called():
    faults = Faults(skip=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        faults.tell()
    for i in range(7):
        faults.note(i, f"why {i}")
    faults.note(0, "another reason")
    with pytest.warns(SkippedSeries, match="left out 7 series that cannot be used:\n  0: why 0\n.*\n") as caught:
        faults.tell()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert caught[0].message.skipped == {i: f"why {i}" for i in range(7)}
