"""Losses: of forecasts, which know what was observed, and of answers about whole sequences."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Objective = Literal["binary", "classes", "numbers"]
"""What is asked of a sequence: one of two classes, one of several, or numbers."""


def masked_absolute_error(point: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted absolute error, averaged over observed targets.

    Parameters
    ----------
    point, target : Tensor
        Of one shape; NaN in ``target`` is left out.
    weight : Tensor
        Broadcasts against them.

    Examples
    --------
    >>> nan = float("nan")
    >>> masked_absolute_error(torch.zeros(3), torch.tensor([1.0, nan, -3.0]), torch.tensor(2.0)).item()
    4.0
    """
    observed = ~target.isnan()
    error = torch.where(observed, point - target.nan_to_num(), 0).abs() * weight
    return error.sum() / observed.sum().clamp_min(1)


def masked_pinball(quantiles: Tensor, target: Tensor, weight: Tensor, levels: Tensor) -> Tensor:
    """Return the weighted pinball loss, averaged over observed targets and levels.

    Parameters
    ----------
    quantiles : Tensor
        ``(..., q)``.
    target, weight : Tensor
        ``(...)``; NaN in ``target`` is left out.
    levels : Tensor
        ``(q,)``, inside (0, 1).

    References
    ----------
    Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).

    Examples
    --------
    >>> masked_pinball(torch.zeros(1, 1), torch.tensor([2.0]), torch.ones(1), torch.tensor([0.9])).item()
    1.7999999523162842
    """
    observed = ~target.isnan()
    error = torch.where(observed[..., None], target.nan_to_num()[..., None] - quantiles, 0)
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1) * weight
    return loss.sum() / observed.sum().clamp_min(1)


def sequence_loss(objective: Objective, answers: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each sequence, ``(n,)``: cross-entropy in nats, or the squared error averaged over outputs.

    Parameters
    ----------
    objective : {"binary", "classes", "numbers"}
        Two classes by one log-odds, several by one logit each, or numbers.
    answers : Tensor
        ``(n, outputs)``.
    targets : Tensor
        ``(n,)`` class indices, or ``(n, outputs)`` numbers.

    Examples
    --------
    >>> round(sequence_loss("binary", torch.zeros(1, 1), torch.tensor([1])).item(), 4)
    0.6931
    """
    if objective == "binary":
        return F.binary_cross_entropy_with_logits(answers[:, 0], targets.to(answers.dtype), reduction="none")
    if objective == "classes":
        return F.cross_entropy(answers, targets, reduction="none")
    return (answers - targets).square().mean(1)
