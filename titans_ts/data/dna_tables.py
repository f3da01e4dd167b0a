"""Frames about bases: single-base changes and what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mutation_frame(
    *,
    positions_1based: np.ndarray,
    refs: Sequence[str],
    alternatives: Sequence[str],
    effects: Mapping[str, np.ndarray],
) -> Any:
    """Return a row a change, as a pandas frame.

    Parameters
    ----------
    positions_1based : ndarray (n,)
        Where the change is.
    refs, alternatives : sequence of str, n
        What stood there, and what stands there instead.
    effects : mapping of str to ndarray (n,)
        What it does, a column each.

    Examples
    --------
    >>> mutation_frame(
    ...     positions_1based=np.array([1]), refs=["A"], alternatives=["C"], effects={"effect": np.array([0.5])}
    ... ).columns.tolist()
    ['position_1based', 'ref', 'alt', 'effect']
    """
    import pandas as pd

    return pd.DataFrame({"position_1based": positions_1based, "ref": list(refs), "alt": list(alternatives), **effects})
