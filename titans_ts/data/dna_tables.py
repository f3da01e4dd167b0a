"""Frames about bases: single-base changes, variants, and what they do."""

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


def variant_frame(columns: Mapping[str, Any]) -> Any:
    """Return a row a variant, as a pandas frame.

    Examples
    --------
    >>> variant_frame({"contig": ["I"], "log_likelihood_ratio": [0.5]}).shape
    (1, 2)
    """
    import pandas as pd

    return pd.DataFrame(dict(columns))


def score_frame(ids: Sequence[str], bases: Sequence[int], means: Sequence[float]) -> Any:
    """Return a row a record, as a pandas frame: its bases, log-likelihood a base in nats, and bits a base.

    Examples
    --------
    >>> score_frame(["I"], [4], [-np.log(4)])["bits_per_base"].tolist()
    [2.0]
    """
    import pandas as pd

    values = np.asarray(means, float)
    return pd.DataFrame(
        {"id": list(ids), "bases": list(bases), "log_likelihood_per_base": values, "bits_per_base": -values / np.log(2)}
    )
