"""Pictures of bases: letters as tall as their contribution, and the effect of every single-base change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from titans_ts.dna.bases import LETTERS, N, encode
from titans_ts.plots.figures import ACTUAL, ALERT, FORECAST, HISTORY, free_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_COLORS = dict(zip(LETTERS, ("#3a8f5c", HISTORY, ALERT, FORECAST, ACTUAL), strict=True))


def plot_logo(
    attribution: ArrayLike,
    sequence: str | None = None,
    *,
    ax: Axes | None = None,
    start_1based: int = 1,
    title: str | None = None,
) -> Axes:
    """Draw a letter at each position, as tall as its contribution; a negative one hangs below the line.

    Parameters
    ----------
    attribution : array-like (t, 4)
        Contribution of A, C, G, T at each position, as ``attribute`` of a DNA estimator gives them.
    sequence : str, optional
        The bases that are there: only they are drawn. By default all four are, those of one sign stacked.
    ax : Axes, optional
        Where to draw; by default a new figure.
    start_1based : int, default=1
        Position of the first base.
    title : str, optional
        Above the picture.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the attribution is not (t, 4), or the sequence of another length.

    Examples
    --------
    >>> axes = plot_logo(np.eye(4), "ACGT")
    >>> len(axes.patches)
    4
    """
    values = np.asarray(attribution, float)
    if values.ndim != 2 or values.shape[1] != N:
        raise ValueError(f"attribution has shape {values.shape}; expected (t, 4): one column each for A, C, G and T")
    if sequence is not None:
        codes = encode(sequence)
        if len(codes) != len(values):
            raise ValueError(f"sequence has {len(codes)} bases, attribution {len(values)} rows; give one row a base")
        values = np.where(np.arange(N) == codes[:, None], values, 0.0)
    axes = free_figure(2.2).subplots() if ax is None else ax
    for position, row in enumerate(values, start=start_1based):
        for sign in (1, -1):
            foot = 0.0
            for i in sorted(np.flatnonzero(row * sign > 0), key=lambda i: abs(row[i])):
                _draw_letter(axes, LETTERS[i], position, foot, row[i])
                foot += row[i]
    axes.axhline(0, color=ACTUAL, lw=0.8)
    axes.set_xlim(start_1based - 0.6, start_1based + len(values) - 0.4)
    heights = [np.minimum(values, 0).sum(1).min(initial=0), np.maximum(values, 0).sum(1).max(initial=0)]
    axes.set_ylim(*(heights if heights[0] < heights[1] else (-1.0, 1.0)))
    return _dress(axes, "contribution", title)


def plot_mutagenesis(effects: Any, *, column: str | None = None, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw the effect of every single-base change: a column a position, a row a base, red where the answer rises.

    Parameters
    ----------
    effects : pandas.DataFrame
        As ``mutagenesis`` of a DNA estimator gives it.
    column : str, optional
        Which effect, where there are several.
    ax : Axes, optional
        Where to draw; by default a new figure.
    title : str, optional
        Above the picture.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there are several effects and none is named, or there is none of that name.

    Examples
    --------
    >>> import pandas as pd
    >>> effects = pd.DataFrame({"position_1based": [1], "ref": ["A"], "alt": ["C"], "effect": [0.5]})
    >>> plot_mutagenesis(effects).get_ylabel()
    'changed to'
    """
    known = [name for name in effects.columns if str(name).startswith("effect")]
    if column is None and len(known) == 1:
        column = known[0]
    if column not in known:
        raise ValueError(f"column={column!r}: name an effect, one of {', '.join(map(repr, known))}")
    positions = effects["position_1based"].to_numpy()
    first = positions.min()
    grid = np.full((N, positions.max() - first + 1), np.nan)
    grid[[LETTERS.index(base) for base in effects["alt"]], positions - first] = effects[column].to_numpy()
    axes = free_figure(2.2).subplots() if ax is None else ax
    most = np.nanmax(np.abs(grid)) or 1.0
    extent = (first - 0.5, positions.max() + 0.5, N - 0.5, -0.5)
    image = axes.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", extent=extent, interpolation="nearest")
    axes.set_yticks(range(N), list(LETTERS[:N]))
    axes.figure.colorbar(image, ax=axes, pad=0.01, label=column)
    return _dress(axes, "changed to", title)


def _draw_letter(axes: Axes, letter: str, position: int, foot: float, height: float) -> None:
    """Draw a letter into a box of width 1 about a position, upside down where its height is negative."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    fitted = (
        Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, height / box.height).translate(position - 0.46, foot)
    )
    axes.add_patch(PathPatch(path.transformed(fitted), color=_COLORS[letter], lw=0))


def _dress(axes: Axes, label: str, title: str | None) -> Axes:
    """Give the axes labels and a title."""
    axes.set_xlabel("position")
    axes.set_ylabel(label)
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontweight="bold")
    return axes
