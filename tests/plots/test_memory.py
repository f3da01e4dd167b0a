"""A picture of a memory holds the numbers that were watched, and no peak of many is lost."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

pytest.importorskip("matplotlib", reason="drawing needs matplotlib: pip install 'titans-ts[plot]'")
from matplotlib.figure import Figure

from titans_ts.plots import plot_memory
from titans_ts.plots.memory import MOST_POINTS, PANELS, thinned

COUNT = 50


def watched(rows=COUNT, layers=(0, 1), **columns):
    """Return what `watch` gives of one stream: in every column other numbers, of every layer its own."""
    chance = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {**columns, "row": 16 * np.arange(1, rows + 1) - 1, "layer": layer, "retention": 0.9}
            | {name: 1 + number + layer / 10 + chance.random(rows) for number, name in enumerate(PANELS)}
        )
        for layer in layers
    ]
    return pd.concat(parts, ignore_index=True)


def of_layer(frame, layer, name):
    return frame.loc[frame["layer"] == layer, name].tolist()


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_every_panel_draws_its_column_of_every_layer(backend):
    frame = watched()
    given = frame if backend == "pandas" else pl.from_pandas(frame)
    figure = plot_memory(given.to_arrow() if backend == "pyarrow" else given, title="heart")
    assert len(figure.axes) == len(PANELS) == 5
    for axes, (name, label) in zip(figure.axes, PANELS.items(), strict=True):
        assert axes.get_ylabel() == label
        for layer, line in enumerate(axes.lines):
            assert line.get_ydata().tolist() == of_layer(frame, layer, name)
            assert line.get_xdata().tolist() == list(range(15, 800, 16))
    top, half_lives = figure.axes[:2]
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["layer 0", "layer 1"]
    assert top.get_title(loc="left") == "heart"
    assert half_lives.get_yscale() == "log"
    assert all(axes.get_yscale() == "linear" for axes in figure.axes if axes is not half_lives)
    assert figure.axes[0].get_ylim()[0] == figure.axes[-1].get_ylim()[0] == 0
    figure.draw_without_rendering()


def test_half_lives_are_named_by_plain_numbers():
    near, far = watched(), watched()
    near["half_life"] = np.linspace(380, 560, len(near))
    far["half_life"] = np.geomspace(10, 60_000, len(far))
    for frame, expected in ((near, {"400", "450", "500", "550"}), (far, {"10", "100", "1,000", "10,000"})):
        figure = plot_memory(frame)
        figure.draw_without_rendering()
        assert expected <= {text.get_text() for text in figure.axes[1].get_yticklabels()}


def test_a_layer_is_chosen_and_keeps_its_colour():
    frame = watched(layers=(0, 1, 2))
    every, one = plot_memory(frame), plot_memory(frame, layer=2)
    assert [len(axes.lines) for axes in one.axes] == [1] * 5
    assert one.axes[4].lines[0].get_ydata().tolist() == of_layer(frame, 2, "distance")
    colours = [line.get_color() for line in every.axes[0].lines]
    assert len(set(colours)) == 3
    assert one.axes[0].lines[0].get_color() == colours[2]
    with pytest.raises(ValueError, match="layer=3 is not in watched, which has 0, 1, 2"):
        plot_memory(frame, layer=3)


def test_many_layers_can_be_told_apart():
    lines = plot_memory(watched(layers=range(9))).axes[0].lines
    assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == 9


def test_a_series_and_a_channel_are_chosen():
    parts = {(one, name): watched(unique_id=one, channel=name) for one in ("west", "east") for name in ("load", "heat")}
    for number, part in enumerate(parts.values()):
        part["distance"] += 10 * number
    frame = pd.concat(parts.values(), ignore_index=True)
    for (one, name), part in parts.items():
        drawn = plot_memory(frame, unique_id=one, channel=name).axes[4].lines
        assert drawn[1].get_ydata().tolist() == of_layer(part, 1, "distance")
    first = plot_memory(frame).axes[4].lines[0]
    assert first.get_ydata().tolist() == of_layer(parts["west", "load"], 0, "distance")
    with pytest.raises(ValueError, match="channel='cold' is not in watched, which has 'load', 'heat'"):
        plot_memory(frame, channel="cold")


def test_a_peak_among_many_rows_is_drawn():
    rows = 200_000
    frame = watched(rows, layers=(0,))
    frame.loc[123_456, "surprise"], frame.loc[76_543, "distance"] = 99.0, -99.0
    figure = plot_memory(frame)
    for axes in figure.axes:
        (line,) = axes.lines
        assert len(line.get_ydata()) <= MOST_POINTS
        assert (np.diff(line.get_xdata()) > 0).all()
        assert line.get_xdata()[[0, -1]].tolist() == [15, 16 * rows - 1]
    surprise, distance = figure.axes[0].lines[0], figure.axes[4].lines[0]
    assert surprise.get_xdata()[surprise.get_ydata().argmax()] == frame.loc[123_456, "row"]
    assert distance.get_xdata()[distance.get_ydata().argmin()] == frame.loc[76_543, "row"]


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 150, 1000])
def test_thinning_keeps_ends_extremes_and_order(count):
    values = np.random.default_rng(count).normal(size=count)
    times, kept = thinned(np.arange(count), values, most=100)
    assert len(kept) == (count if count <= 100 else len(kept)) <= 100
    assert (values[times] == kept).all()
    assert (np.diff(times) > 0).all()
    assert (times[0], times[-1]) == (0, count - 1)
    assert (kept.min(), kept.max()) == (values.min(), values.max())


def test_a_memory_that_keeps_everything_is_said_to():
    figure = plot_memory(watched().assign(half_life=np.inf, momentum=0.0))
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.axes[1].texts] == ["nothing is forgotten"]


def test_dates_are_shown_as_they_are():
    frame = watched(layers=(0,))
    frame["row"] = pd.date_range("2024-01-01", periods=COUNT, freq="h", tz="Asia/Tokyo")
    figure = plot_memory(frame.rename(columns={"row": "ds"}))
    figure.draw_without_rendering()
    assert str(figure.axes[4].xaxis.get_major_formatter()._tz) == "Asia/Tokyo"
    assert figure.axes[4].lines[0].get_xdata()[0] == np.datetime64("2023-12-31T15:00")


def test_given_axes_are_drawn_on():
    figure = Figure()
    axes = figure.subplots(5, 1)
    assert plot_memory(watched(), axes=axes) is figure
    assert [len(one.lines) for one in axes] == [2] * 5
    with pytest.raises(ValueError, match="axes has 2 axes; expected 5: 'surprise', 'half_life'"):
        plot_memory(watched(), axes=axes[:2])


def test_one_patch_is_a_point():
    assert plot_memory(watched(1)).axes[0].lines[0].get_marker() == "o"
