"""Columns and time stamps that a picture needs, out of any container."""

import numpy as np
import pandas as pd
import pytest

from titans_ts.plots.tracks import NAMES, aligned, find_bands, find_target, one_column, read_track, read_tracks

DAYS = pd.date_range("2024-01-30", periods=4, freq="D")


def test_a_forecast_without_stamps_goes_on_in_calendar_time():
    past, ahead = aligned(read_track(pd.DataFrame({"ds": DAYS, "y": range(4)}), ["y"]), read_track([1.0, 2.0], [0]))
    assert ahead.times.astype("M8[D]").astype(str).tolist() == ["2024-02-03", "2024-02-04"]
    assert past.times.astype("M8[D]").astype(str).tolist()[-1] == "2024-02-02"


def test_a_history_without_stamps_ends_where_its_forecast_begins():
    forecast = read_track(pd.DataFrame({"ds": [7, 8], "y": [1.0, 2.0]}), ["y"])
    past, ahead = aligned(read_track(np.zeros(3), [0]), forecast)
    assert (past.times.tolist(), ahead.times.tolist()) == ([4, 5, 6], [7, 8])


def test_bounds_are_no_targets_but_columns_that_only_look_like_bounds_are():
    frame = pd.DataFrame({"ds": DAYS, "a": 0.0, "a-lo-80": 0.0, "a-hi-80": 0.0, "b-lo-80": 0.0})
    assert find_target(frame, None, NAMES, "forecast") == ("a", 0)
    assert find_target(frame, 1, NAMES, "forecast") == ("b-lo-80", 1)
    assert find_target(frame, -1, NAMES, "forecast") == ("b-lo-80", 1)


def test_levels_are_compared_as_numbers():
    frame = pd.DataFrame({"y": [0.0], "y-lo-99.5": [0.0], "y-hi-99.5": [0.0], "y-lo-80": [0.0], "y-hi-80": [0.0]})
    assert [band.level for band in find_bands(frame, "y", None)] == [99.5, 80.0], "the widest first"
    assert find_bands(frame, "y", 80)[0].low == "y-lo-80"
    assert find_bands(frame, "y", 99.5)[0].high == "y-hi-99.5"


def test_a_target_is_found_in_another_container():
    assert one_column(pd.DataFrame({"load": [1.0], "heat": [2.0]}), "heat", 0, "history") == "heat"
    assert one_column(pd.Series([1.0], name="pump"), "y", 0, "history") == "pump"
    assert one_column(np.zeros((3, 2)), "y1", 1, "history") == 1
    assert one_column(np.zeros((3, 1)), "y1", 1, "surprise") == 0
    with pytest.raises(ValueError, match="column='y' is not in history, which has 'load', 'heat'; pass column="):
        one_column(pd.DataFrame({"load": [1.0], "heat": [2.0]}), "y", 0, "history")


def test_every_series_of_a_list_is_read():
    tracks = read_tracks([np.arange(3.0), np.arange(5.0)], [0])
    assert [(track.id, len(track.values)) for track in tracks] == [(0, 3), (1, 5)]
    assert tracks[1].numbered(10).tail(2).times.tolist() == [13, 14]
    with pytest.raises(ValueError, match="unique_id=9 is not there; the series are 0, 1"):
        read_track([np.arange(3.0), np.arange(5.0)], [0], 9)
