"""The learned start of a memory: a matrix, or an MLP with SiLU between its layers."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

LAST_LAYER = 0.1
"""Size of the last layer's first weights beside the others': what was never written to answers little, and the first writes
show against it."""


class Store(nn.Module):
    """Initial weights ``M_0`` of a memory, one set a head, learned like any other parameter.

    Parameters
    ----------
    heads : int
        Number of heads.
    key_width, value_width : int
        What a key and a value measure.
    depth : int, default=2
        Layers: 1 is a matrix.
    expansion : float, default=2.0
        Inner width as a multiple of the key width.
    learned : bool, default=True
        Whether the start is learned; it is zero otherwise.

    Examples
    --------
    >>> [tuple(w.shape) for w in Store(2, 4, 4, depth=2).layers]
    [(2, 4, 8), (2, 8, 4)]
    """

    zero: Tensor

    def __init__(
        self,
        heads: int,
        key_width: int,
        value_width: int,
        *,
        depth: int = 2,
        expansion: float = 2.0,
        learned: bool = True,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be 1 or more layers, got {depth}")
        inner = max(int(key_width * expansion), 1)
        sizes = [key_width, *[inner] * (depth - 1), value_width]
        shapes = [(heads, rows, columns) for rows, columns in pairwise(sizes)]
        self.layers = nn.ParameterList(torch.randn(shape) / shape[1] ** 0.5 for shape in shapes) if learned else None
        if self.layers is not None:
            with torch.no_grad():
                self.layers[-1].mul_(LAST_LAYER)
        self.shapes = shapes
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self) -> tuple[Tensor, ...]:
        """Return ``M_0``, one ``(h, k, v)`` a layer."""
        return tuple(self.zero.expand(shape) for shape in self.shapes) if self.layers is None else tuple(self.layers)
