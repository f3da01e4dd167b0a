"""Pictures hold the numbers they were given: the lines, bands and labels that matplotlib was told to draw."""

import builtins
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

pytest.importorskip("matplotlib", reason="drawing needs matplotlib: pip install 'titans-ts[plot]'")
from matplotlib.collections import PolyCollection
from matplotlib.dates import date2num, num2date
from matplotlib.figure import Figure

from titans_ts.frames.read import read_panel
from titans_ts.frames.write import Backtest, Forecast, backtest_frame, forecast_container
from titans_ts.plots import plot_backtest, plot_forecast, plot_surprise

HISTORY, ACTUAL = np.arange(200.0) ** 1.5, np.arange(200.0, 224.0)
POINT = np.arange(24.0)[:, None]
BOUNDS = {80: (POINT - 4, POINT + 5), 50: (POINT - 1, POINT + 2)}
DAYS = pd.date_range("2024-01-01", periods=224, freq="D")


def forecast_of(history, *, point=POINT, bounds=BOUNDS):
    """Return what predict gives, made by the same function."""
    panel = read_panel(history)
    last = {s.id: s.times[-1] if s.times is not None else len(s) - 1 for s in panel}
    return forecast_container(panel.layout, {id_: Forecast(point, time, bounds) for id_, time in last.items()})


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def y_of(axes, label):
    return np.asarray(lines(axes)[label].get_ydata(), float)


def band_of(axes, label):
    """Return positions, lower and upper ends of a band, read back from its polygon."""
    polygons = {each.get_label(): each for each in axes.collections if isinstance(each, PolyCollection)}
    corners = polygons[label].get_paths()[0].vertices
    x = np.unique(corners[:, 0])
    ends = [corners[corners[:, 0] == each, 1] for each in x]
    return x, np.array([each.min() for each in ends]), np.array([each.max() for each in ends])


def test_arrays_follow_one_another_by_row():
    axes = plot_forecast(HISTORY, POINT, actual=ACTUAL, last=50, title="pump")
    drawn = lines(axes)
    assert drawn["history"].get_xdata().tolist() == list(range(150, 200))
    assert y_of(axes, "history").tolist() == HISTORY[150:].tolist()
    assert drawn["forecast"].get_xdata().tolist() == list(range(200, 224)) == drawn["actual"].get_xdata().tolist()
    assert y_of(axes, "forecast").tolist() == POINT[:, 0].tolist()
    assert y_of(axes, "actual").tolist() == ACTUAL.tolist()
    assert axes.get_title(loc="left") == "pump"


def test_the_default_tail_is_three_horizons_but_at_least_48_rows():
    assert len(y_of(plot_forecast(HISTORY, POINT), "history")) == 72
    assert len(y_of(plot_forecast(HISTORY, POINT[:1]), "history")) == 48
    assert len(y_of(plot_forecast(HISTORY[:10], POINT), "history")) == 10


def test_what_came_is_drawn_from_the_first_row_that_was_forecast():
    frame = pd.DataFrame({"ds": DAYS, "load": np.r_[HISTORY, ACTUAL]})
    found = forecast_of(frame[:200])
    axes = plot_forecast(frame[:190], found, actual=frame[190:])
    assert (lines(axes)["actual"].get_xdata() == DAYS[200:].to_numpy()).all()


@pytest.mark.parametrize("kind", ["pandas", "polars", "index", "series"])
def test_frames_are_drawn_at_their_dates_with_their_bands(kind):
    frame = pd.DataFrame({"ds": DAYS[:200], "load": HISTORY})
    actual = pd.DataFrame({"ds": DAYS[200:], "load": ACTUAL})
    if kind == "polars":
        frame, actual = pl.from_pandas(frame), pl.from_pandas(actual)
    elif kind != "pandas":
        frame, actual = frame.set_index("ds"), actual.set_index("ds")
        frame, actual = (frame["load"], actual["load"]) if kind == "series" else (frame, actual)
    axes = plot_forecast(frame, forecast_of(frame), actual=actual)
    drawn = lines(axes)
    assert drawn["history"].get_xdata()[-1] == np.datetime64(DAYS[199])
    assert (drawn["forecast"].get_xdata() == DAYS[200:].to_numpy()).all()
    assert (drawn["actual"].get_xdata() == DAYS[200:].to_numpy()).all()
    x, low, high = band_of(axes, "80 % interval")
    assert x.tolist() == date2num(DAYS[200:]).tolist()
    assert (low.tolist(), high.tolist()) == ((POINT[:, 0] - 4).tolist(), (POINT[:, 0] + 5).tolist())
    assert band_of(axes, "50 % interval")[1].tolist() == (POINT[:, 0] - 1).tolist()
    assert axes.get_ylabel() == "load"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["history", "forecast", "80 % interval", "50 % interval", "actual"]


def test_levels_are_chosen_and_refused_by_name():
    frame = pd.DataFrame({"ds": DAYS[:200], "load": HISTORY})
    forecast = forecast_of(frame)
    axes = plot_forecast(frame, forecast, level=50)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["history", "forecast", "50 % interval"]
    with pytest.raises(ValueError, match=r"level=90: the forecast has the levels 80.0, 50.0 .* pass level=\[90\]"):
        plot_forecast(frame, forecast, level=90)
    with pytest.raises(ValueError, match="has no intervals"):
        plot_forecast(HISTORY, POINT, level=[80])


def test_columns_are_chosen_by_name_or_index():
    frame = pd.DataFrame({"ds": DAYS[:200], "load": HISTORY, "heat": -HISTORY})
    both = np.hstack([POINT, POINT + 100])
    forecast = forecast_of(frame, point=both, bounds={80: (both - 1, both + 1)})
    for column in ("heat", 1):
        axes = plot_forecast(frame, forecast, column=column)
        assert y_of(axes, "forecast").tolist() == both[:, 1].tolist()
        assert y_of(axes, "history")[-1] == -HISTORY[-1]
        assert band_of(axes, "80 % interval")[1].tolist() == (both[:, 1] - 1).tolist()
    arrays = plot_forecast(frame[["load", "heat"]].to_numpy(), both, column=1)
    assert y_of(arrays, "history")[-1] == -HISTORY[-1]
    with pytest.raises(ValueError, match="column='cold' is not in forecast, which has 'load', 'heat'"):
        plot_forecast(frame, forecast, column="cold")
    with pytest.raises(ValueError, match="column=2 is not in forecast, which has 0, 1"):
        plot_forecast(both, both, column=2)


def test_an_array_with_intervals_meets_its_long_frame():
    two = np.stack([HISTORY, -HISTORY], axis=1)
    both = np.hstack([POINT, -POINT])
    forecast = forecast_of(two, point=both, bounds={80: (both - 1, both + 1)})
    axes = plot_forecast(two[-60:], forecast, column="y1")  # the last rows alone still end where the forecast begins
    assert lines(axes)["history"].get_xdata()[-1] == 199
    assert lines(axes)["forecast"].get_xdata()[0] == 200
    assert y_of(axes, "history")[-1] == -HISTORY[-1]
    assert y_of(axes, "forecast").tolist() == (-POINT[:, 0]).tolist()


def test_one_series_of_many_is_drawn():
    long = pd.concat(
        pd.DataFrame({"shop": shop, "day": DAYS[:200], "y": HISTORY * sign}) for shop, sign in (("a", 1), ("b", -1))
    )
    forecast = pd.DataFrame({"shop": ["a"] * 24 + ["b"] * 24, "day": [*DAYS[200:]] * 2, "y": np.arange(48.0)})
    names = {"id_column": "shop", "time_column": "day"}
    assert y_of(plot_forecast(long, forecast, **names), "forecast")[0] == 0
    axes = plot_forecast(long, forecast, unique_id="b", **names)
    assert y_of(axes, "forecast")[0] == 24
    assert y_of(axes, "history")[-1] == -HISTORY[-1]
    with pytest.raises(ValueError, match="unique_id='c' is not there; the series are 'a', 'b'"):
        plot_forecast(long, forecast, unique_id="c", **names)
    axes = plot_forecast([HISTORY, -HISTORY], [POINT, POINT + 7], unique_id=1)
    assert (y_of(axes, "history")[-1], y_of(axes, "forecast")[0]) == (-HISTORY[-1], 7)


def test_dates_without_a_partner_are_refused():
    frame = pd.DataFrame({"ds": DAYS[:200], "load": HISTORY})
    with pytest.raises(ValueError, match="forecast has dates and history has none"):
        plot_forecast(HISTORY, forecast_of(frame))


def test_missing_rows_break_the_line_in_silence(recwarn):
    frame = pd.DataFrame({"ds": DAYS[:200], "load": HISTORY}).drop(index=195)
    axes = plot_forecast(frame, forecast_of(pd.DataFrame({"ds": DAYS[:200], "load": HISTORY})))
    assert np.isnan(y_of(axes, "history")[-5])
    assert len(recwarn) == 0


def test_a_time_zone_is_shown_as_it_is():
    local = pd.date_range("2024-01-01", periods=200, freq="h", tz="Asia/Tokyo")
    frame = pd.DataFrame({"ds": local, "load": HISTORY})
    axes = plot_forecast(frame, forecast_of(frame), last=24)
    axes.figure.draw_without_rendering()
    assert str(axes.xaxis.get_major_formatter()._tz) == "Asia/Tokyo"
    hours = {num2date(x, tz="Asia/Tokyo").hour for x in axes.get_xticks()}
    assert hours <= {0, 6, 12, 18}, "ticks lie on round hours of local time"


def test_a_given_axes_is_drawn_on_and_given_back():
    axes = Figure().subplots()
    assert plot_forecast(HISTORY, POINT, ax=axes) is axes
    assert len(axes.lines) == 2


def test_surprise_lies_under_its_series():
    values = np.abs(np.sin(np.arange(200.0)))
    figure = plot_surprise(HISTORY, values[:, None], threshold=0.9, last=100, title="drift")
    upper, lower = figure.axes
    assert upper.lines[0].get_ydata().tolist() == HISTORY[100:].tolist()
    assert lower.lines[0].get_ydata().tolist() == values[100:].tolist()
    assert lower.lines[0].get_xdata().tolist() == list(range(100, 200)) == upper.lines[0].get_xdata().tolist()
    marked = np.asarray(upper.lines[1].get_ydata())
    assert (np.isfinite(marked) == (values[100:] > 0.9)).all()
    assert lower.lines[1].get_ydata() == [0.9, 0.9]
    with pytest.raises(ValueError, match="surprise has 10 rows and series 200"):
        plot_surprise(HISTORY, values[:10])


def test_surprise_of_same_column_of_a_frame():
    frame = pl.DataFrame({"ds": DAYS[:200].to_numpy(), "load": HISTORY, "heat": -HISTORY})
    each = pl.DataFrame({"ds": DAYS[:200].to_numpy(), "load": HISTORY + 1, "heat": HISTORY + 2})
    shared = pl.DataFrame({"ds": DAYS[:200].to_numpy(), "surprise": HISTORY + 3})
    for surprise, expected in ((each, 2), (shared, 3)):
        upper, lower = plot_surprise(frame, surprise, column="heat").axes
        assert upper.lines[0].get_ydata()[-1] == -HISTORY[-1]
        assert lower.lines[0].get_ydata()[-1] == HISTORY[-1] + expected


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_backtests_overlay_every_origin_on_what_came(backend):
    truth = np.arange(100.0)
    frame = pd.DataFrame({"ds": DAYS[:100], "load": truth})
    if backend != "pandas":
        frame = pl.from_pandas(frame)
        frame = frame.to_arrow() if backend == "pyarrow" else frame
    cutoffs = np.array([49, 52, 70])
    actual = np.stack([truth[c + 1 : c + 6] for c in cutoffs])[..., None]
    result = Backtest(DAYS.to_numpy()[cutoffs], actual, actual + 0.5, {80: (actual - 1, actual + 1)})
    axes = plot_backtest(backtest_frame(read_panel(frame).layout, {None: result}))
    forecasts = [line for line in axes.lines if line.get_label() != "actual"]
    assert [line.get_ydata().tolist() for line in forecasts] == (actual[..., 0] + 0.5).tolist()
    x, y = lines(axes)["actual"].get_xdata(), y_of(axes, "actual")
    assert y[np.isfinite(y)].tolist() == [*range(50, 58), *range(71, 76)], "rows seen twice are drawn once"
    assert np.flatnonzero(np.isnan(y)).tolist() == [8], "the line breaks where no forecast reached"
    assert (x[:8] == DAYS[50:58].to_numpy()).all()
    assert len(plot_backtest(backtest_frame(read_panel(frame).layout, {None: result}), last=1).lines) == 2


def test_backtest_of_one_series_of_many():
    panel = read_panel([HISTORY, -HISTORY])
    results = {i: Backtest(np.array([10, 20]), np.full((2, 3, 1), i), np.full((2, 3, 1), i + 5.0)) for i in (0, 1)}
    frame = backtest_frame(panel.layout, results)
    assert plot_backtest(frame, unique_id=1).lines[0].get_ydata().tolist() == [6, 6, 6]
    with pytest.raises(ValueError, match="unique_id=2 is not in forecasts, which has 0, 1"):
        plot_backtest(frame, unique_id=2)


def test_a_horizon_of_one_row_is_seen():
    frame = pd.DataFrame({"ds": DAYS[:200], "load": HISTORY})
    axes = plot_forecast(frame, forecast_of(frame, point=POINT[:1], bounds={80: (POINT[:1] - 4, POINT[:1] + 5)}))
    assert lines(axes)["forecast"].get_marker() == "o"
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 1].tolist() == [-4, 5]


def test_no_picture_reaches_pyplot():
    code = (
        "import sys, numpy as np, titans_ts.plots as p; p.plot_forecast(np.arange(9.), np.arange(3.)); "
        "p.plot_surprise(np.arange(9.), np.arange(9.)); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_matplotlib_is_asked_for_by_its_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'titans-ts\[plot\]'"):
        plot_forecast(HISTORY, POINT)
