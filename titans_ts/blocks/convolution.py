"""A short causal convolution, one filter a channel, that can be cut anywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CausalConvolution(nn.Module):
    """Mix each channel with its own last few tokens, then SiLU.

    Parameters
    ----------
    width : int
        Channels, each with its own filter.
    kernel : int, default=4
        Tokens seen, the present one included; 1 switches mixing off and leaves SiLU.

    Notes
    -----
    The filter starts as the identity on the present token plus small noise, so that a fresh layer passes tokens through.
    It runs as ``kernel`` shifted products: on CPU that is faster, backwards too, than a grouped ``conv1d``.

    Examples
    --------
    >>> conv = CausalConvolution(3)
    >>> y, tail = conv(torch.zeros(2, 5, 3), conv.initial_tail(2))
    >>> y.shape, tail.shape
    (torch.Size([2, 5, 3]), torch.Size([2, 3, 3]))
    """

    def __init__(self, width: int, *, kernel: int = 4) -> None:
        super().__init__()
        if kernel < 1:
            raise ValueError(f"kernel must be 1 or more tokens, got {kernel}")
        self.kernel = kernel
        filters = torch.randn(kernel, width) * 0.1 / kernel**0.5
        filters[-1] += 1.0
        self.filters = nn.Parameter(filters)

    def initial_tail(self, batch: int) -> Tensor:
        """Return the tail before the first token, ``(b, kernel - 1, d)`` of zeros."""
        return self.filters.new_zeros(batch, self.kernel - 1, self.filters.shape[1])

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve ``(b, t, d)``; the tail is the ``kernel - 1`` tokens before it, and comes back for the next call."""
        t = x.shape[1]
        extended = torch.cat([tail.to(x.dtype), x], dim=1)
        out = extended[:, :t] * self.filters[0]
        for j in range(1, self.kernel):
            out = torch.addcmul(out, extended[:, j : j + t], self.filters[j].to(x.dtype))
        return nn.functional.silu(out), extended[:, t:]
