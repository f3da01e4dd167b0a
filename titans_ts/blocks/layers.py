"""Small layers that a network is put together from: norms, heads, feed-forward, a gate, persistent tokens, rotations.

For a norm over whole tokens use :class:`torch.nn.RMSNorm`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from titans_ts.blocks.chance import Dropout


class HeadNorm(nn.Module):
    """Bring each head's vector ``(b, h, t, v)`` to root mean square 1 and scale it by a learned weight of its own."""

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, 1, head_width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(b, h, t, v)`` over its last axis."""
        return nn.functional.rms_norm(x, x.shape[-1:], eps=1e-6) * self.weight


def unit_length(x: Tensor) -> Tensor:
    """Scale vectors along the last axis to length 1; a zero vector stays zero."""
    return nn.functional.normalize(x, dim=-1, eps=1e-6)


def up_to_squares(x: Tensor) -> Tensor:
    """Return unit vectors ``(..., k)`` and all products of two of their entries, ``(..., k + k (k + 1) / 2)``, of length 1.

    Products of unlike entries count twice, so that two answers have the inner product ``(x . y + (x . y)^2) / 2``.
    """
    x = unit_length(x)
    first, second = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    counts = (2 - (first == second).to(x.dtype)).sqrt()
    return torch.cat([x, x[..., first] * x[..., second] * counts], dim=-1) / 2**0.5


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Turn ``(b, t, d)`` into ``(b, h, t, d / h)``."""
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Turn ``(b, h, t, v)`` into ``(b, t, h v)``."""
    return x.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202), token by token: ``W_out (silu(W_gate x) * W_in x)``.

    Its inner width is ``expansion`` times the model width; dropout acts on the inner entries.
    """

    def __init__(self, width: int, *, expansion: float = 2.0, dropout: float = 0.0) -> None:
        super().__init__()
        inner = max(int(width * expansion), 1)
        self.expand = nn.Linear(width, 2 * inner, bias=False)
        self.dropout = Dropout(dropout)
        self.contract = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        gate, inner = self.expand(x).chunk(2, dim=-1)
        return self.contract(self.dropout(nn.functional.silu(gate) * inner))


class NormalisedGate(nn.Module):
    """Join attention and memory: ``W_out (norm(y) * silu(norm(m) + b) + norm(m))``, each norm with a learned vector.

    The paper leaves the form of the gate open (arXiv 2501.00663, below equations 25 and 28). This one starts open, at
    ``b = 1``, and lets the memory pass beside it: a product hides from training what either branch says. ``passes=False`` is
    the product alone.
    """

    def __init__(self, width: int, *, passes: bool = True) -> None:
        super().__init__()
        self.passes = passes
        self.attended_norm = nn.RMSNorm(width, eps=1e-6)
        self.remembered_norm = nn.RMSNorm(width, eps=1e-6)
        self.opening = nn.Parameter(torch.ones(width))
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, attended: Tensor, remembered: Tensor) -> Tensor:
        """Join two ``(b, t, d)``."""
        remembered = self.remembered_norm(remembered)
        gated = self.attended_norm(attended) * nn.functional.silu(remembered + self.opening)
        return self.output(gated + remembered if self.passes else gated)


class PersistentTokens(nn.Module):
    """Learned keys and values that attention always sees; ``count=0`` switches them off."""

    def __init__(self, count: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(heads, count, head_width) * 0.02)
        self.values = nn.Parameter(torch.randn(heads, count, head_width) * 0.02)

    def forward(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return keys and values, ``(b, h, m, k)`` each."""
        return self.keys.expand(batch, -1, -1, -1), self.values.expand(batch, -1, -1, -1)


BASE = 10_000.0


def rotate(x: Tensor, position: int) -> Tensor:
    """Turn pairs of entries of ``(b, h, t, k)`` by angles that grow with the position, so that products see distances only.

    ``position`` is that of the first token. The last entry of an odd width stays as it is. Angles are made in float64, so
    that the millionth token is as exact as the first. (arXiv 2104.09864, section 3.2; without xPos' growing scale.)
    """
    pairs = x.shape[-1] // 2
    places = torch.arange(position, position + x.shape[-2], dtype=torch.float64, device=x.device)
    frequencies = BASE ** (-torch.arange(pairs, dtype=torch.float64, device=x.device) / max(pairs, 1))
    angles = (places[:, None] * frequencies) % (2 * math.pi)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second, rest = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine, rest], dim=-1)
