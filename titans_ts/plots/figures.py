"""Figures and colours that all pictures share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from titans_ts.files.tables import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Slate, brick, ink and amber: apart for the colour-blind, and in grey by their lightness.
HISTORY, FORECAST, ACTUAL, ALERT = "#5b7083", "#c8452f", "#17202a", "#e8a33d"


def save_figure(drawn: Axes | Figure, path: str | Path) -> None:
    """Write a figure, or that of some axes, to a picture file, whole or not at all; the suffix says which kind."""
    with replacing(path) as temporary:
        cast("Figure", drawn.figure or drawn).savefig(temporary, dpi=150)


def free_figure(height: float) -> Figure:
    """Return a wide figure that ``pyplot`` does not know."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib; `pip install 'titans-ts[plot]'`") from error
    return Figure(figsize=(10, height), dpi=150, layout="constrained")
