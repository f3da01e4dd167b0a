"""A picture of a memory at work: its surprise, its gates, and how far it moved from its start."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from titans_ts.frames.panel import Column
from titans_ts.plots.figures import ACTUAL, ALERT, FORECAST, HISTORY, dress_over_time, free_figure
from titans_ts.plots.tracks import Track, read_watched, some_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PANELS = {
    "surprise": "surprise",
    "half_life": "half-life, rows",
    "step_size": "step size",
    "momentum": "momentum",
    "distance": "|M − M₀|",
}
"""Columns of what was watched, from the top down, and their labels."""

MOST_POINTS = 4000  # of a line: more than a wide picture has dots across

_COLORS = (FORECAST, HISTORY, ALERT, ACTUAL)
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)))


def plot_memory(
    watched: Any,
    *,
    axes: Sequence[Axes] | None = None,
    layer: int | None = None,
    unique_id: Hashable = None,
    channel: Column | None = None,
    title: str | None = None,
) -> Figure:
    """Draw surprise, gates and what has been learned, panel by panel over one time axis.

    The gates are the half-life in rows on a logarithmic scale, the step size and the momentum, means over heads. Of a line
    with more than 4,000 points the least and the largest value of each short stretch are drawn, so that no peak is lost.

    Parameters
    ----------
    watched : frame
        What ``TitansForecaster.watch`` returned.
    axes : five matplotlib.axes.Axes, optional
        Where to draw, in the order of :data:`PANELS`; None makes a figure.
    layer : int, optional
        The layer to draw, from 0; None draws all of them.
    unique_id : hashable, optional
        The series to draw; None takes the first.
    channel : str or int, optional
        The channel to draw, by its name; None takes the first.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        It is not what ``watch`` returned, or a layer, series or channel is not there; the message lists those that are.

    Examples
    --------
    >>> import pandas as pd
    >>> watched = pd.DataFrame({"row": range(9), "layer": 0} | dict.fromkeys(PANELS, 0.5))  # as forecaster.watch(X) gives it
    >>> [axes.get_ylabel() for axes in plot_memory(watched).axes]
    ['surprise', 'half-life, rows', 'step size', 'momentum', '|M − M₀|']
    """
    tracks = read_watched(watched, list(PANELS), unique_id=unique_id, channel=channel)
    if layer is not None and layer not in tracks:
        raise ValueError(f"layer={layer!r} is not in watched, which has {some_of(tracks)}")
    panels = free_figure(8.5).subplots(len(PANELS), 1, sharex=True) if axes is None else list(axes)
    if len(panels) != len(PANELS):
        raise ValueError(f"axes has {len(panels)} axes; expected {len(PANELS)}: {some_of(PANELS)}")
    shown = tracks if layer is None else {layer: tracks[layer]}
    for place, (name, label) in enumerate(PANELS.items()):
        for number, track in shown.items():
            style = {"color": _COLORS[number % 4], "ls": _DASHES[number // 4 % 3]}
            _draw(panels[place], track, place, label=f"layer {number}" if place == 0 else None, **style)
        if name == "half_life":
            _as_half_lives(panels[place], np.concatenate([track.values[:, place] for track in shown.values()]))
        elif name in ("surprise", "distance"):
            panels[place].set_ylim(bottom=0)
        dress_over_time(panels[place], next(iter(shown.values())), label=label, title=title if place == 0 else None)
    figure = cast("Figure", panels[0].figure)
    figure.align_ylabels(panels)
    return figure


def _draw(axes: Axes, track: Track, place: int, *, label: str | None, **style: Any) -> None:
    """Draw one column of a track."""
    times, values = thinned(track.times, track.values[:, place])
    axes.plot(times, values, lw=1.0, alpha=0.85, marker="o" if len(values) == 1 else None, ms=4, label=label, **style)


def _as_half_lives(axes: Axes, values: np.ndarray) -> None:
    """Give half-lives a logarithmic scale with plain numbers, or say that there are none."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    there = values[np.isfinite(values)]
    if not len(there):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing is forgotten", transform=axes.transAxes, ha="center", va="center", color=HISTORY)
        return
    axes.set_yscale("log")
    if there.max() < 10 * there.min():  # no two powers of ten to name
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,g}")


def thinned(times: np.ndarray, values: np.ndarray, *, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most so many points of a line ``(t,)``: its ends, and the least and the largest of each short stretch."""
    if len(values) <= most:
        return times, values
    edges = np.linspace(0, len(values), most // 2).astype(int)  # one stretch less than half of the points
    kept = {0, len(values) - 1}
    for first, end in pairwise(edges):
        stretch = values[first:end]
        kept |= {first + int(stretch.argmin()), first + int(stretch.argmax())}
    rows = np.sort(np.fromiter(kept, int))
    return times[rows], values[rows]
