"""Two branches joined by a product: what was attended, gated by what was remembered."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormalisedGate(nn.Module):
    """``W_out (norm(y) * silu(norm(m) + b))``: each branch normalised by a learned vector, one through a non-linearity.

    The gate starts open, at ``b = 1``: around 0 the product hides what either branch says from training.

    Parameters
    ----------
    width : int
        Model width ``d``.

    References
    ----------
    arXiv 2501.00663, equations 25 and 28 and the text below each, which leaves the form of the gate open.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attended_norm = nn.RMSNorm(width, eps=1e-6)
        self.remembered_norm = nn.RMSNorm(width, eps=1e-6)
        self.opening = nn.Parameter(torch.ones(width))
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, attended: Tensor, remembered: Tensor) -> Tensor:
        """Join two ``(b, t, d)``."""
        gate = nn.functional.silu(self.remembered_norm(remembered) + self.opening)
        return self.output(self.attended_norm(attended) * gate)
