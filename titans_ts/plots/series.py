"""Pictures of forecasts, surprise and backtests."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from titans_ts.frames.panel import Column
from titans_ts.plots.figures import ACTUAL, ALERT, DASHES, FORECAST, HISTORY, dress_over_time, free_figure
from titans_ts.plots.tracks import (
    Band,
    Track,
    aligned,
    find_bands,
    find_target,
    read_track,
    read_tracks,
    same_column,
    some_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_forecast(
    history: Any,
    forecast: Any,
    *,
    ax: Axes | None = None,
    level: float | Sequence[float] | None = None,
    column: Column | None = None,
    unique_id: Hashable = None,
    actual: Any = None,
    title: str | None = None,
    last: int | None = None,
    id_column: str = "unique_id",
    time_column: str = "ds",
) -> Axes:
    """Draw the end of a series, its forecast with intervals, and what came, if that is known.

    Parameters
    ----------
    history : array-like (t,) or (t, c), list of them, or frame
        What the forecast was made from.
    forecast : as ``TitansForecaster.predict`` gives it
        Its columns ``<target>-lo-80`` and ``<target>-hi-80`` are drawn as a band. Without time stamps it begins right
        after the history.
    ax : matplotlib.axes.Axes, optional
        Where to draw; None makes a figure.
    level : float, sequence or None
        Levels of the bands, in percent; None draws all that the forecast has.
    column : str, int or None
        The target to draw, by name (index for arrays); None takes the first.
    unique_id : hashable or None
        The series to draw (the item number for a list); None takes the first of the forecast.
    actual : like ``history``, optional
        The rows that came, from the first one forecast; those after the forecast's end are not drawn.
    title : str, optional
        A title.
    last : int or None
        Rows of history to draw; None takes three times the rows forecast, but no fewer than 48.
    id_column, time_column : str
        As the forecaster was given them.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        A column, series or level is not there; the message lists those that are.

    Examples
    --------
    >>> tide = np.sin(np.arange(224) / 4)
    >>> axes = plot_forecast(tide[:200], tide[200:], title="tide")
    >>> [line.get_label() for line in axes.lines]
    ['history', 'forecast']
    """
    axes = free_figure(4.2).subplots() if ax is None else ax
    names = (id_column, time_column)
    ahead_column, place = find_target(forecast, column, names, "forecast")
    past_column = same_column(history, ahead_column, place, "history", names)
    bands = find_bands(forecast, ahead_column, level)
    ahead = read_track(forecast, [ahead_column, *_edges(bands)], unique_id, names)
    past = read_track(history, [past_column], ahead.id, names)
    past, ahead = aligned(past, ahead)
    shown = past.tail(max(3 * len(ahead.times), 48) if last is None else last)
    axes.plot(shown.times, shown.values[:, 0], color=HISTORY, lw=1.1, label="history")
    _draw_forecast(axes, ahead, bands)
    if actual is not None:
        came = read_track(actual, [same_column(actual, past_column, place, "actual", names)], ahead.id, names)
        came = came.after(past)
        came = came.where((ahead.times[0] <= came.times) & (came.times <= ahead.times[-1]))
        axes.plot(came.times, came.values[:, 0], color=ACTUAL, lw=1.2, ls=DASHES, label="actual", zorder=4)
    dress_over_time(axes, past, label=past_column, title=title)
    return axes


def plot_surprise(
    series: Any,
    surprise: Any,
    *,
    ax: Sequence[Axes] | None = None,
    column: Column | None = None,
    unique_id: Hashable = None,
    threshold: float | None = None,
    title: str | None = None,
    last: int | None = None,
    id_column: str = "unique_id",
    time_column: str = "ds",
) -> Figure:
    """Draw a series above, and below how much each of its rows surprised the memory.

    Parameters
    ----------
    series : array-like (t,) or (t, c), list of them, or frame
        What was read.
    surprise : as ``TitansForecaster.surprise`` gives it
        One value a row, or one a row and target.
    ax : two matplotlib.axes.Axes, optional
        Where to draw the series and the surprise; None makes a figure.
    column, unique_id, title, last, id_column, time_column
        As in :func:`plot_forecast`.
    threshold : float, optional
        Rows with more surprise than this are marked in both panels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError, ValueError
        As in :func:`plot_forecast`; or the two differ in length.

    Examples
    --------
    >>> series = np.sin(np.arange(100) / 4)
    >>> surprise = np.where(np.arange(100) == 60, 3.0, 0.2)  # as forecaster.surprise(series) gives it
    >>> figure = plot_surprise(series, surprise, threshold=1.0)
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['', 'surprise']
    """
    upper, lower = free_figure(5.4).subplots(2, 1, sharex=True, height_ratios=(2, 1)) if ax is None else ax
    names = (id_column, time_column)
    series_column, place = find_target(series, column, names, "series")
    track = read_track(series, [series_column], unique_id, names).numbered()
    found = read_track(surprise, [same_column(surprise, series_column, place, "surprise", names)], track.id, names)
    if len(found.values) != len(track.values):
        raise ValueError(
            f"surprise has {len(found.values)} rows and series {len(track.values)}; pass what surprise(series) returned"
        )
    track = track.tail(last)
    values = found.values[-len(track.values) :, 0]
    upper.plot(track.times, track.values[:, 0], color=HISTORY, lw=1.1)
    lower.plot(track.times, values, color=FORECAST, lw=1.1)
    lower.fill_between(track.times, 0, values, color=FORECAST, alpha=0.2, lw=0)
    if threshold is not None:
        marked = np.where(values > threshold, track.values[:, 0], np.nan)
        upper.plot(track.times, marked, color=ALERT, lw=2.6, marker="o", ms=3.2, label=f"surprise above {threshold:g}")
        lower.axhline(threshold, color=ALERT, lw=1.2, ls=DASHES)
    lower.set_ylim(bottom=0)
    dress_over_time(upper, track, label=series_column, title=title)
    dress_over_time(lower, track, label="surprise", title=None)
    return cast("Figure", lower.figure)


def plot_backtest(
    forecasts: Any,
    *,
    ax: Axes | None = None,
    level: float | Sequence[float] | None = None,
    unique_id: Hashable = None,
    title: str | None = None,
    last: int | None = None,
) -> Axes:
    """Draw what came, and over it the forecast from every origin.

    Parameters
    ----------
    forecasts : frame
        What ``TitansForecaster.backtest`` gives first: ``unique_id, ds, cutoff, y, forecast`` and bounds.
    ax, level, title
        As in :func:`plot_forecast`.
    unique_id : hashable or None
        The series to draw; None takes the first.
    last : int or None
        Origins to draw, counted from the last; None draws all.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, ValueError
        As in :func:`plot_forecast`.

    Examples
    --------
    >>> import pandas as pd
    >>> origins = {"unique_id": "pump", "ds": [3, 4, 4, 5], "cutoff": [2, 2, 3, 3]}  # as forecaster.backtest(X) gives them
    >>> forecasts = pd.DataFrame(origins | {"y": [1.0, 2.0, 2.0, 3.0], "forecast": [1.1, 2.0, 2.2, 3.0]})
    >>> len(plot_backtest(forecasts).lines)  # two forecasts, and what came
    3
    """
    axes = free_figure(4.2).subplots() if ax is None else ax
    bands = find_bands(forecasts, "forecast", level)
    ids = np.asarray(forecasts["unique_id"])
    chosen = ids[0] if unique_id is None else unique_id
    if not (ids == chosen).any():
        raise ValueError(f"unique_id={chosen!r} is not in forecasts, which has {some_of(dict.fromkeys(ids.tolist()))}")
    rows = forecasts[ids == chosen] if hasattr(forecasts, "iloc") else forecasts.filter(ids == chosen)
    columns: list[Column] = ["forecast", *_edges(bands), "y"]
    tracks = read_tracks(rows, columns, ("cutoff", "ds"))[-(last or 0) :]
    times, actual = _joined(tracks)
    for number, track in enumerate(tracks):
        _draw_forecast(axes, track, bands, label=number == 0, thin=len(tracks) > 1)
    axes.plot(times, actual, color=ACTUAL, lw=1.2, label="actual", zorder=4)
    dress_over_time(axes, tracks[0], label=chosen, title=title)
    return axes


def _joined(tracks: list[Track]) -> tuple[np.ndarray, np.ndarray]:
    """Return time stamps and last column of overlapping tracks, every row once, with NaN between tracks that do not meet."""
    times, first = np.unique(np.concatenate([track.times for track in tracks]), return_index=True)
    values = np.concatenate([track.values[:, -1] for track in tracks])[first]
    steps = np.concatenate([np.diff(track.times) for track in tracks])
    gaps = np.flatnonzero(np.diff(times) > steps.max()) + 1 if len(steps) else np.zeros(0, int)
    return np.insert(times, gaps, times[gaps]), np.insert(values, gaps, np.nan)


def _edges(bands: list[Band]) -> list[str]:
    """Return the columns of both ends of each band."""
    return [edge for band in bands for edge in (band.low, band.high)]


def _draw_forecast(axes: Axes, track: Track, bands: list[Band], *, label: bool = True, thin: bool = False) -> None:
    """Draw a forecast, the first column of its track, over its bands, the pairs of columns that follow."""
    alone = len(track.times) == 1  # one point makes no line and no area
    width = 1.2 if thin else 1.8
    style: dict[str, Any] = {"color": FORECAST, "lw": width, "zorder": 3, "marker": "o" if alone else None, "ms": 4}
    axes.plot(track.times, track.values[:, 0], label="forecast" if label else None, **style)
    for number, (percent, *_) in enumerate(bands):
        low, high = track.values[:, 1 + 2 * number], track.values[:, 2 + 2 * number]
        band: dict[str, Any] = {"color": FORECAST, "alpha": 0.18 + 0.1 * number}
        band["label"] = f"{percent:g} % interval" if label else None
        if alone:
            axes.vlines(track.times, low, high, lw=5, **band)
        else:
            axes.fill_between(track.times, low, high, lw=0, **band)
