"""Future covariates are found by time stamp, and what is missing is named."""

import numpy as np
import pandas as pd
import pytest
from frames.cases import long

from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel


def future_layout():
    panel = read_panel(long(), future_covariates="x")
    return panel.layout, {series.id: series.times[-1] for series in panel}


def test_future_rows_are_found_by_time_stamp(library):
    layout, last = future_layout()
    hours = pd.date_range("2024-01-01", periods=8, freq="h")  # more rows than needed
    frame = pd.DataFrame({"unique_id": ["a"] * 8 + ["b"] * 8, "ds": [*hours] * 2, "x": np.arange(16.0)})
    found = read_future(library.frame(frame), layout, last, horizon=2)
    assert {id_: x[:, 0].tolist() for id_, x in found.items()} == {"b": [11, 12], "a": [3, 4]}


def test_future_rows_may_come_in_any_order(library):
    layout, last = future_layout()
    hours = pd.date_range("2024-01-01", periods=8, freq="h")
    frame = pd.DataFrame({"unique_id": ["a"] * 8 + ["b"] * 8, "ds": [*hours] * 2, "x": np.arange(16.0)})
    for mixed in (frame[::-1], frame.sample(frac=1, random_state=0)):
        found = read_future(library.frame(mixed.reset_index(drop=True)), layout, last, horizon=2)
        assert {id_: x[:, 0].tolist() for id_, x in found.items()} == {"b": [11, 12], "a": [3, 4]}


def test_refused_future():
    layout, last = future_layout()
    hours = pd.date_range("2024-01-01 03:00", periods=2, freq="h")
    frame = pd.DataFrame({"unique_id": ["a", "a", "b", "b"], "ds": [*hours] * 2, "x": [1.0, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"future=None: the model needs the future covariates \['x'\]"):
        read_future(None, layout, last, 2)
    with pytest.raises(ValueError, match=r"no rows for the series 'b'"):
        read_future(frame[:2], layout, last, 2)
    with pytest.raises(ValueError, match=r"future lacks 1 of the 2 rows to forecast, id 'b'; .* 2024-01-01 04:00:00"):
        read_future(frame[:3], layout, last, 2)
    with pytest.raises(ValueError, match=r"future_covariates names \['x'\], which future does not have"):
        read_future(frame.rename(columns={"x": "z"}), layout, last, 2)
    with pytest.raises(ValueError, match=r"future has nan in row 3, id 'b', column 'x'"):
        read_future(frame.assign(x=[1, 2, 3, np.nan]), layout, last, 2)
    with pytest.raises(ValueError, match=r"future: the time stamp .*\(row 4, id 'a'\) repeats .*\(row 0, id 'a'\)"):
        read_future(frame.iloc[[0, 1, 2, 3, 0]], layout, last, 2)
    with pytest.raises(ValueError, match=r"future has time stamps of .* in time zone UTC; expected"):
        read_future(frame.assign(ds=frame["ds"].dt.tz_localize("UTC")), layout, last, 2)
    with pytest.raises(ValueError, match=r"future has no time stamps; give it those of the rows .*in column 'ds'"):
        read_future(frame.drop(columns="ds"), layout, last, 2)
    with pytest.raises(ValueError, match=r"fitted without future covariates"):
        read_future(frame, read_panel(long()).layout, last, 2)
    array = Layout("array", "numpy", (0,), future_columns=(1,))
    with pytest.raises(ValueError, match=r"future has 3 rows; expected horizon=2"):
        read_future(np.ones((3, 1)), array, {None: 9}, 2)
    with pytest.raises(ValueError, match=r"future has 2 columns; expected 1"):
        read_future(np.ones((2, 2)), array, {None: 9}, 2)
