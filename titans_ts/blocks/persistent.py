"""Persistent memory: learned tokens that hold what was known before the data (arXiv 2501.00663, eq 19)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PersistentTokens(nn.Module):
    """Learned keys and values that attention always sees, whatever has been read.

    Parameters
    ----------
    count : int
        Number of tokens ``N_p``; 0 switches them off.
    heads, head_width : int
        The attention they stand beside.
    """

    def __init__(self, count: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(heads, count, head_width) * 0.02)
        self.values = nn.Parameter(torch.randn(heads, count, head_width) * 0.02)

    def forward(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return keys and values, ``(b, h, m, k)`` each."""
        return self.keys.expand(batch, -1, -1, -1), self.values.expand(batch, -1, -1, -1)
