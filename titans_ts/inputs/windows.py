"""Sequences of numbers as one batch: standardised channels beside a mask of what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.inputs.series import Scale, long_run_scale, on_long_run_scale


def common_scale(values: Sequence[NDArray[np.float64]]) -> Scale:
    """Return level and spread of every channel over all steps of some sequences ``(t, c)``, ``(1, c)`` each.

    Examples
    --------
    >>> common_scale([np.array([[1.0]]), np.array([[3.0], [np.nan]])]).level.tolist()
    [[2.0]]
    """
    return long_run_scale(torch.from_numpy(np.concatenate(values).T.copy())[None])


def as_windows(
    values: Sequence[NDArray[np.float64]], scale: Scale, *, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return sequences ``(t, c)`` as one batch ``(b, 2 c, t)``, and their lengths ``(b,)``.

    Parameters
    ----------
    values : sequence of ndarray (t, c)
        NaN where missing.
    scale : Scale
        Level and spread of every channel, ``(1, c)``.
    device : torch.device
        Where the batch shall lie.
    dtype : torch.dtype
        Of the batch; differences from the level are taken in float64.

    Returns
    -------
    inputs : Tensor
        ``(b, 2 c, t)``: each channel in spreads from its level, 0 where missing, and a 1 for each channel where it is
        missing; zeros past the end of a shorter sequence.
    lengths : Tensor
        ``(b,)``.

    Examples
    --------
    >>> scale = Scale(torch.ones(1, 1).double(), 2 * torch.ones(1, 1).double())
    >>> inputs, lengths = as_windows(
    ...     [np.array([[3.0], [np.nan]]), np.array([[1.0]])], scale, device=torch.device("cpu"), dtype=torch.float32
    ... )
    >>> inputs.tolist(), lengths.tolist()
    ([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]], [2, 1])
    """
    lengths = torch.tensor([len(one) for one in values])
    padded = torch.zeros(len(values), values[0].shape[1], int(lengths.max()), dtype=torch.float64)
    padded += scale.level.cpu()[..., None]
    for row, one in zip(padded, values, strict=True):
        row[:, : len(one)] = torch.from_numpy(one.T.copy())
    near = on_long_run_scale(padded, Scale(scale.level.cpu(), scale.spread.cpu()))
    inputs = torch.cat([near.nan_to_num(0.0), near.isnan().double()], dim=1)
    return inputs.to(device=device, dtype=dtype), lengths.to(device)
