"""Holidays as numbers known in advance: by the date on the wall clock, or counted in longer steps."""

import datetime

import holidays as package
import numpy as np
import pandas as pd
import pytest

from titans_ts.frames.covariates.holidays import holiday_columns, plain_holidays, read_holidays
from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel

BEFORE, DAY, AFTER = 2, 1, 0  # columns: a holiday in the step before means that the row is after one


def columns(asked, times, freq, zone=None):
    layout = Layout("wide", "pandas", ("y",), time_dtype="x", time_zone=zone, frequency=freq, holidays=read_holidays(asked))
    return holiday_columns(np.asarray(times, "M8[ns]"), layout).astype(int).tolist()


def test_a_day_and_its_neighbours_are_told_of_a_country():
    days = pd.date_range("2024-12-23", "2024-12-27")
    assert columns("DE", days, "D") == [[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert columns("de", days, "D") == columns(["2024-12-25", "2024-12-26"], days, "D")
    assert columns("DE-BY", [np.datetime64("2024-01-06")], "D")[0][DAY] == 1  # Epiphany, in Bavaria alone
    assert columns("DE", [np.datetime64("2024-01-06")], "D")[0][DAY] == 0
    assert columns("XNYS", [np.datetime64("2024-03-29")], "D")[0][DAY] == 1  # Good Friday, on the stock exchange


def test_hours_have_the_date_of_their_own_zone():
    utc = pd.date_range("2024-12-24 22:00", periods=3, freq="h")  # 23:00 in Berlin, then Christmas
    assert [row[DAY] for row in columns("DE", utc, "h", "Europe/Berlin")] == [0, 1, 1]
    assert [row[DAY] for row in columns("DE", utc, "h", "UTC")] == [0, 0, 1]


@pytest.mark.parametrize(
    ("freq", "stamps", "counts"),
    [
        ("W-MON", ["2024-12-16", "2024-12-23", "2024-12-30"], [[0, 0, 2], [0, 2, 1], [2, 1, 0]]),
        ("MS", ["2024-11-01", "2024-12-01", "2025-01-01"], [[1, 0, 2], [0, 2, 1], [2, 1, 0]]),
        ("ME", ["2024-11-30", "2024-12-31", "2025-01-31"], [[1, 0, 2], [0, 2, 1], [2, 1, 0]]),
        ("QS-JAN", ["2024-10-01"], [[0, 3, 1 + 2]]),
        ("2D", ["2024-12-25"], [[0, 2, 0]]),
        ("B", ["2024-12-24", "2024-12-25"], [[0, 0, 1], [0, 1, 1]]),
    ],
)
def test_longer_steps_count_their_days(freq, stamps, counts):
    if freq == "QS-JAN":
        counts = [[0, 3, 1]]
    assert columns("DE", stamps, freq) == counts


def test_every_name_has_columns_of_its_own():
    asked = {"shut": ["2024-01-02"], "fair": [datetime.date(2024, 1, 3)], "land": "DE"}
    assert columns(asked, ["2024-01-02"], "D") == [[0, 1, 0, 0, 0, 1, 1, 0, 0]]
    assert columns(["DE", "FR"], ["2024-07-14"], "D") == [[0, 0, 0, 0, 1, 0]]


OWN_DAYS = {
    "text": ["2024-12-24"],
    "dates": [datetime.date(2024, 12, 24)],
    "time stamps": [pd.Timestamp("2024-12-24 09:00", tz="Asia/Tokyo")],
    "an index": pd.DatetimeIndex(["2024-12-24"]),
    "an array": np.array(["2024-12-24"], "M8[D]"),
    "a column": pd.Series(pd.to_datetime(["2024-12-24"])),
}


@pytest.mark.parametrize("kind", OWN_DAYS)
def test_own_days_need_no_package_and_are_kept_as_text(kind, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "holidays", None)
    (one,) = read_holidays(OWN_DAYS[kind])
    assert (one.code, one.days) == (None, ("2024-12-24",))
    assert plain_holidays(OWN_DAYS[kind]) == ["2024-12-24"]


def test_a_calendar_of_the_package_is_taken_with_what_was_changed_in_it():
    calendar = package.country_holidays("DE")
    calendar.append({"2026-06-01": "works outing"})
    before = dict(calendar)
    (one,) = read_holidays(calendar)
    assert {"2026-06-01", "2024-12-25", "2040-01-01"} <= set(one.days)
    assert dict(calendar) == before
    assert read_holidays(plain_holidays(calendar)) == (one,)


@pytest.mark.parametrize("asked", ["DE", ["DE", "US-CA"], {"a": "DE", "b": ["2024-01-01"]}, None])
def test_what_a_file_keeps_means_the_same(asked):
    assert read_holidays(plain_holidays(asked)) == read_holidays(asked)


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ("XX", ValueError, "holidays='XX' is not known to the package holidays: Country XX"),
        ("US-ZZ", ValueError, "holidays='US-ZZ' is not known .*subdivision ZZ"),
        ("2024-12-24", ValueError, "holidays='2024-12-24' is no code of a country; expected .*list of codes"),
        ([], ValueError, r"holidays=\[\] holds no day; use None"),
        ({}, ValueError, "names none; use None"),
        (["2024-13-45"], ValueError, "holidays holds '2024-13-45', which is no day"),
        (["2024-12-24", 7], ValueError, "holidays holds 7, which is no day"),
        ([np.datetime64("NaT")], ValueError, "which is no day"),
        (5, TypeError, "holidays=5 is a int; expected a code"),
    ],
)
def test_what_are_no_holidays_is_refused(asked, kind, message):
    with pytest.raises(kind, match=message):
        read_holidays(asked)


def test_without_the_package_the_command_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "holidays", None)
    with pytest.raises(ImportError, match=r"holidays='DE' needs the package holidays: pip install 'titans-ts\[holidays\]'"):
        read_holidays("DE")


def test_a_time_axis_without_dates_is_refused_by_name():
    asked = read_holidays("DE")
    for X, what in (
        (np.ones(5), "X has no time stamps"),
        (pd.DataFrame({"ds": range(5), "y": 1.0}), "stamps of X are int64"),
    ):
        with pytest.raises(ValueError, match=f"holidays='DE': .*{what}.*need dates"):
            read_panel(X, holidays=asked)


def test_holidays_follow_the_rows_of_gaps_of_the_history_and_of_the_horizon():
    X = pd.DataFrame({"ds": pd.to_datetime(["2024-12-23", "2024-12-24", "2024-12-26"]), "y": 1.0})
    with pytest.warns(UserWarning, match="1 missing rows"):
        panel = read_panel(X, holidays=read_holidays("DE"))
    assert panel[None].future[:, DAY].tolist() == [0, 0, 1, 1]
    (ahead,) = read_future(None, panel.layout, {None: np.datetime64("2024-12-30", "ns")}, 3).values()
    assert ahead[:, DAY].tolist() == [0, 1, 0]
    later = read_panel(X[:2], like=panel.layout)
    assert later[None].future.tolist() == panel[None].future[:2].tolist()
    with pytest.raises(
        ValueError, match="X is an array without time stamps, but the model knows holidays .'DE'.*pass a frame"
    ):
        read_panel(np.ones(5), like=panel.layout)


def test_each_series_of_a_panel_has_the_holidays_of_its_own_days():
    """Series of other lengths, and one far from the others in time, get what they get alone."""
    parts = {"a": ("2024-12-20", 9), "b": ("1999-12-28", 30), "c": ("2024-04-28", 5)}
    frames = [
        pd.DataFrame({"unique_id": k, "ds": pd.date_range(first, periods=n), "y": 1.0}) for k, (first, n) in parts.items()
    ]
    together = read_panel(pd.concat(frames), holidays=read_holidays(["DE", "US"]))
    for one, frame in zip(together, frames, strict=True):
        alone = read_panel(frame, holidays=read_holidays(["DE", "US"]))[one.id].future
        assert alone.any()
        np.testing.assert_array_equal(one.future, alone)
