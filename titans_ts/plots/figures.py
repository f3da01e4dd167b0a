"""Colours, figures and axes that all pictures share."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from titans_ts.files.replacing import replacing
from titans_ts.plots.tracks import Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Slate, brick, ink and amber: apart for the colour-blind, and in grey by their lightness.
HISTORY, FORECAST, ACTUAL, ALERT = "#5b7083", "#c8452f", "#17202a", "#e8a33d"
DASHES = (0, (4, 1.5))
_DATES: dict[str, Any] = {  # by step between ticks: years, months, days, hours, minutes, seconds
    "formats": ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
    "zero_formats": ["", "%b", "%d %b", "%d %b", "%H:%M", "%H:%M"],
    "offset_formats": ["", "%Y", "%Y", "%Y", "%d %b %Y", "%d %b %Y"],
}


def save_figure(drawn: Axes | Figure, path: str | Path) -> None:
    """Write a figure, or that of some axes, to a picture file.

    The file is written whole or not at all; an older one is left as it was where writing fails.

    Parameters
    ----------
    drawn : matplotlib.axes.Axes or matplotlib.figure.Figure
        What one of the functions of this module returned.
    path : str or Path
        Where to; the suffix says which kind of picture: ``.png``, ``.pdf``, ``.svg``.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        If matplotlib does not know the suffix.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from titans_ts.plots import plot_logo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "logo.png")
    ...     save_figure(plot_logo(np.eye(4)), path)
    ...     os.path.getsize(path) > 1000
    True
    """
    kind = Path(path).suffix.removeprefix(".") or "without a suffix"
    with replacing(path) as temporary:
        cast("Figure", drawn.figure or drawn).savefig(temporary, format=kind, dpi=150)


def free_figure(height: float) -> Figure:
    """Return a wide figure that ``pyplot`` does not know."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib; `pip install 'titans-ts[plot]'`") from error
    return Figure(figsize=(10, height), dpi=150, layout="constrained")


def dress_over_time(axes: Axes, track: Track, *, label: Hashable, title: str | None) -> None:
    """Give the axes dates to be read, a light grid, and a legend that covers nothing."""
    if track.times.dtype.kind == "M":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(tz=track.layout.time_zone, minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=track.layout.time_zone, **_DATES))
    else:
        axes.locator_params(axis="x", integer=True)
    axes.margins(x=0.01)
    axes.grid(color="#d5dbe1", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(label if isinstance(label, str) else "")
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.2}
        axes.legend(ncols=len(handles), frameon=False, fontsize="small", handlelength=1.8, columnspacing=1.6, **place)
    if title:
        axes.set_title(title, loc="left", fontweight="bold", pad=24 if handles else 6)
