"""Columns and time stamps that a picture needs, out of any container, and out of the frame of a watched memory."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.frames.read import read_panel
from titans_ts.plots.tracks import (
    NAMES,
    aligned,
    find_bands,
    find_target,
    read_track,
    read_tracks,
    read_watched,
    same_column,
)
from titans_ts.series.watching import holdings_frame, watched_frame

DAYS = pd.date_range("2024-01-30", periods=4, freq="D")
LOCAL_DAYS = pd.date_range("2024-03-01", periods=12, freq="D", tz="Europe/Paris")


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
    assert same_column(pd.DataFrame({"load": [1.0], "heat": [2.0]}), "heat", 0, "history") == "heat"
    assert same_column(pd.Series([1.0], name="pump"), "y", 0, "history") == "pump"
    assert same_column(np.zeros((3, 2)), "y1", 1, "history") == 1
    assert same_column(np.zeros((3, 1)), "y1", 1, "surprise") == 0
    with pytest.raises(ValueError, match="column='y' is not in history, which has 'load', 'heat'; pass column="):
        same_column(pd.DataFrame({"load": [1.0], "heat": [2.0]}), "y", 0, "history")


def test_every_series_of_a_list_is_read():
    tracks = read_tracks([np.arange(3.0), np.arange(5.0)], [0])
    assert [(track.id, len(track.values)) for track in tracks] == [(0, 3), (1, 5)]
    assert tracks[1].numbered(10).tail(2).times.tolist() == [13, 14]
    with pytest.raises(ValueError, match="unique_id=9 is not there; the series are 0, 1"):
        read_track([np.arange(3.0), np.arange(5.0)], [0], 9)


# --- frames of watched memories -----------------------------------------------------------------------------------------

ROWS = np.array([3, 7])
SEEN = np.arange(8.0).reshape(2, 2, 2)  # streams, layers, patches


def wide(backend="pandas"):
    frame = pd.DataFrame({"ds": LOCAL_DAYS, "a": 1.0, "b": 2.0})
    return frame if backend == "pandas" else pl.from_pandas(frame)


def of_two():
    """Return what two series of a list were seen to do, of one stream and different length."""
    panel = read_panel([np.zeros(12), np.zeros(5)])
    found = {0: {"surprise": SEEN[:1], "distance": -SEEN[:1]}, 1: {"surprise": SEEN[1:, :, :1], "distance": SEEN[1:, :, :1]}}
    return watched_frame(panel, {0: ROWS, 1: ROWS[:1]}, found)


def test_rows_go_by_series_channel_layer_and_time():
    frame = of_two()
    assert list(frame) == ["unique_id", "row", "layer", "surprise", "distance"]
    assert frame["unique_id"].tolist() == [0] * 4 + [1] * 2
    assert frame["row"].tolist() == [3, 7, 3, 7, 3, 3]
    assert frame["layer"].tolist() == [0, 0, 1, 1, 0, 1]
    assert frame["surprise"].tolist() == [0, 1, 2, 3, 4, 6]
    panel = read_panel(wide())
    frame = watched_frame(panel, {None: ROWS}, {None: {"surprise": SEEN}})
    assert frame["channel"].tolist() == ["a"] * 4 + ["b"] * 4
    assert frame["ds"].tolist() == LOCAL_DAYS[[3, 7] * 4].tolist()
    assert frame["surprise"].tolist() == list(range(8))


def test_numbers_keep_the_kind_of_the_targets():
    panel = read_panel(np.zeros((12, 2), "f4"))
    assert watched_frame(panel, {None: ROWS}, {None: {"surprise": SEEN}})["surprise"].dtype == np.float32
    frame = holdings_frame(panel.layout, {None: {"distance": SEEN}})
    assert frame["distance"].dtype == np.float32
    assert frame["head"].tolist() == [0, 1] * 4


def test_columns_named_as_ours_do_not_meet():
    """A long frame may call its ids and its targets as it likes."""
    long = pd.DataFrame({"channel": ["x"] * 12, "layer": LOCAL_DAYS, "y": 1.0, "z": 2.0})
    panel = read_panel(long, id_column="channel", time_column="layer", target_columns=["y", "z"])
    frame = watched_frame(panel, {"x": ROWS}, {"x": {"surprise": SEEN}})
    assert list(frame) == ["unique_id", "ds", "channel", "layer", "surprise"]
    assert frame["unique_id"].tolist() == ["x"] * 8
    assert frame["channel"].tolist() == ["y"] * 4 + ["z"] * 4


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_a_stream_is_read_back(backend):
    X = wide() if backend == "pandas" else wide("polars")
    frame = watched_frame(read_panel(X.to_arrow() if backend == "pyarrow" else X), {None: ROWS}, {None: {"distance": SEEN}})
    for channel, first in ((None, 0), ("a", 0), ("b", 4)):
        tracks = read_watched(frame, ["distance"], channel=channel)
        assert list(tracks) == [0, 1]
        assert tracks[1].values[:, 0].tolist() == [first + 2, first + 3]
        assert (tracks[1].times == LOCAL_DAYS[ROWS].tz_convert("UTC").tz_localize(None).to_numpy()).all()
        assert tracks[1].layout.time_zone == "Europe/Paris"


def test_one_series_of_many_is_read_back():
    for one, expected in ((None, [2, 3]), (0, [2, 3]), (1, [6])):
        track = read_watched(of_two(), ["surprise"], unique_id=one)[1]
        assert track.values[:, 0].tolist() == expected
        assert track.id == (one or 0)


def test_what_is_not_there_is_named():
    frame = of_two()
    with pytest.raises(ValueError, match="unique_id=5 is not in watched, which has 0, 1"):
        read_watched(frame, ["surprise"], unique_id=5)
    with pytest.raises(ValueError, match="channel='y1': watched has no column 'channel'; leave channel at None"):
        read_watched(frame, ["surprise"], channel="y1")
    with pytest.raises(ValueError, match="watched has no column 'momentum'; it has 'unique_id', 'row', 'layer'"):
        read_watched(frame, ["surprise", "momentum"])
    with pytest.raises(ValueError, match="watched has no column 'row', 'layer', 'surprise'; it has 'y'"):
        read_watched(pd.DataFrame({"y": [1.0]}), ["surprise"])
    with pytest.raises(TypeError, match=r"watched is a ndarray; expected the frame that watch\(X\) returned"):
        read_watched(np.zeros(3), ["surprise"])
    with pytest.raises(ValueError, match="watched has no rows: nothing was written"):
        read_watched(frame[:0], ["surprise"])
