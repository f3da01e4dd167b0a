"""Whether the memory's correction is used: only where validation shows its gain beyond chance."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats
from torch import Tensor

OVERLAP = 0.25
"""Correlation of the mean errors of neighbouring blocks: origins k rows apart share ``1 - k / horizon`` of their rows, which
integrates to 2/3 within a block and to 1/6 between neighbours."""


@dataclass(frozen=True)
class MemoryGain:
    """What the memory's correction takes off the error of the direct path on validation rows, and how sure that is.

    Attributes
    ----------
    share : float
        Of the direct path's error; negative where the correction harms.
    p_value : float
        Of the one-sided paired test over blocks; 1 where fewer than two blocks leave nothing to test.
    blocks : int
        Validation blocks as long as the horizon, over all series.
    used : bool
        Whether the correction is part of the forecast.
    """

    share: float
    p_value: float
    blocks: int
    used: bool


def memory_gain(direct: Tensor, corrected: Tensor, *, significance: float) -> MemoryGain:
    """Test whether corrected forecasts are better than the direct path's, block by block.

    The least error on a few blocks that lie in one season is easily luck: on exchange rates, choosing by it alone lost up to
    a half on the rows that followed (``benchmarks/recipe.py``). Errors of neighbouring origins are alike, since their
    horizons overlap; over blocks as long as the horizon what is left of that is :data:`OVERLAP`, and the variance is
    corrected for it, as if all blocks were neighbours.

    Parameters
    ----------
    direct, corrected : Tensor
        ``(blocks,)`` each: mean absolute error of each block.
    significance : float
        Largest p-value at which the correction is used; 1 asks for a lower error alone.

    References
    ----------
    Diebold, Mariano: Comparing Predictive Accuracy, 1995, with block means in place of a long-run variance.

    Examples
    --------
    >>> import torch
    >>> gain = memory_gain(torch.tensor([1.0, 1.2, 1.1]), torch.tensor([0.9, 1.1, 1.0]), significance=0.01)
    >>> round(gain.share, 3), gain.blocks, gain.used
    (0.091, 3, True)
    """
    difference = (direct - corrected).double()
    mean = float(difference.mean()) if len(difference) else 0.0
    share = mean / float(direct.double().mean().clamp_min(1e-300)) if len(difference) else 0.0
    p_value = 1.0
    if len(difference) > 1:
        n = len(difference)
        shrunk, grown = 1 - 2 * OVERLAP / n, 1 + 2 * OVERLAP * (n - 1) / n  # variance in the sample, and of its mean
        spread = float(difference.std()) * (grown / shrunk / n) ** 0.5
        p_value = float(stats.t.sf(mean / max(spread, 1e-12 * abs(mean), 1e-300), n - 1))
    used = mean > 0 and p_value <= significance
    return MemoryGain(share, p_value, len(difference), used)
