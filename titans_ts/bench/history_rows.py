"""What the history bench measured, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHOLE = "all"
"""Length of a history that is not cut."""


@dataclass(frozen=True)
class Row:
    """What one model made of one length of history.

    Attributes
    ----------
    setting, data : str
        What was run.
    lag : int
        For ``recurring``, how long ago what is asked was last seen; 0 for other data.
    model : str
        A name of :data:`titans_ts.bench.history_setting.MODELS`.
    seed : int
        Of the fit, and of generated data.
    length : str
        Rows that a cut history keeps, or ``"all"``.
    rows : int
        Rows read before a forecast; of the whole history the mean.
    origins : int
        Forecasts.
    share, recollected : float
        Of what the memory adds to the direct path, and recollection to that, how much validation let through when the
        model was fitted.
    mse, mae : float
        On the standardised scale, over origins, steps and channels.
    seconds_per_step : float
        To absorb a row of one such history, averaged over all of them.
    seconds_per_forecast : float
        Of one forecast after it.
    state_bytes : int
        Size of the state after it.
    resident_mib : float
        Memory of the process that holds this state and the network, in MiB.
    blocks : str
        ``mse/mae`` of each block of neighbouring origins, a space between two.
    """

    setting: str
    data: str
    lag: int
    model: str
    seed: int
    length: str
    rows: int
    origins: int
    share: float
    recollected: float
    mse: float
    mae: float
    seconds_per_step: float
    seconds_per_forecast: float
    state_bytes: int
    resident_mib: float
    blocks: str

    @property
    def block_errors(self) -> NDArray[np.float64]:
        """Squared and absolute error of each block, ``(blocks, 2)``.

        Examples
        --------
        >>> from dataclasses import fields
        >>> values = {field.name: 0 for field in fields(Row)} | {"blocks": "0.5/0.25 0.75/0.5"}
        >>> Row(**values).block_errors.tolist()
        [[0.5, 0.25], [0.75, 0.5]]
        """
        return np.array([[float(x) for x in block.split("/")] for block in self.blocks.split()]).reshape(-1, 2)


def block_text(errors: NDArray[np.float64]) -> str:
    """Return squared and absolute errors of blocks ``(blocks, 2)`` as a row keeps them, to six digits.

    Examples
    --------
    >>> block_text(np.array([[0.5, 0.25], [0.75, 0.5]]))
    '0.5/0.25 0.75/0.5'
    """
    return " ".join(f"{squared:.6g}/{absolute:.6g}" for squared, absolute in errors)


def lengths_in_order(rows: Sequence[Row]) -> list[str]:
    """Return the lengths that rows have, the shortest first and the whole history last."""
    return sorted({row.length for row in rows}, key=lambda length: float("inf") if length == WHOLE else int(length))
