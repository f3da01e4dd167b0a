"""Root-mean-square normalisation, head by head. For whole tokens use :class:`torch.nn.RMSNorm`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HeadNorm(nn.Module):
    """Bring each head's vector to root mean square 1 and scale it by a learned weight of its own.

    Parameters
    ----------
    heads : int
        Number of heads.
    head_width : int
        Entries of one head's vector.

    Examples
    --------
    >>> HeadNorm(2, 4)(torch.full((1, 2, 3, 4), 5.0)).max().item()
    1.0
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, 1, head_width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(b, h, t, v)`` over its last axis."""
        return nn.functional.rms_norm(x, x.shape[-1:], eps=1e-6) * self.weight


def unit_length(x: Tensor) -> Tensor:
    """Scale vectors along the last axis to length 1; a zero vector stays zero."""
    return nn.functional.normalize(x, dim=-1, eps=1e-6)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Turn ``(b, t, d)`` into ``(b, h, t, d / h)``."""
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Turn ``(b, h, t, v)`` into ``(b, t, h v)``."""
    return x.transpose(1, 2).flatten(2)
