"""Losses: of forecasts, which know what was observed, and of answers about whole sequences."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Objective = Literal["binary", "classes", "numbers"]
"""What is asked of a sequence: one of two classes, one of several, or numbers."""


def masked_absolute_error(point: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted absolute error, averaged over observed targets, which are those that are not NaN."""
    observed = ~target.isnan()
    error = torch.where(observed, point - target.nan_to_num(), 0).abs() * weight
    return error.sum() / observed.sum().clamp_min(1)


def sequence_loss(objective: Objective, answers: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of answers ``(n, outputs)``, ``(n,)``: cross-entropy in nats, or the mean squared error.

    Targets are class indices ``(n,)`` or numbers ``(n, outputs)``; two classes are answered by one log-odds.
    """
    if objective == "binary":
        return F.binary_cross_entropy_with_logits(answers[:, 0], targets.to(answers.dtype), reduction="none")
    if objective == "classes":
        return F.cross_entropy(answers, targets, reduction="none")
    return (answers - targets).square().mean(1)
