"""How the learning rate moves: a short warm-up, then a cosine down to nothing."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, total: int, *, warm_up: int = 20) -> float:
    """Return the factor on the learning rate at a step, counted from 0.

    References
    ----------
    arXiv 1608.03983.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 100, warm_up=10), 2) for step in (0, 9, 50, 99)]
    [0.1, 0.98, 0.5, 0.0]
    """
    warmed = min(1.0, (step + 1) / max(warm_up, 1))
    return warmed * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))
