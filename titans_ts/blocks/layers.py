"""Root-mean-square normalisation, head by head. For whole tokens use :class:`torch.nn.RMSNorm`."""

from __future__ import annotations

import math

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


class FeedForward(nn.Module):
    """SwiGLU: ``W_out (silu(W_gate x) * W_in x)``, token by token.

    Parameters
    ----------
    width : int
        Model width ``d``.
    expansion : float, default=2.0
        Inner width as a multiple of ``d``.
    dropout : float, default=0.0
        Share of inner entries set to zero in training.

    References
    ----------
    arXiv 2002.05202.
    """

    def __init__(self, width: int, *, expansion: float = 2.0, dropout: float = 0.0) -> None:
        super().__init__()
        inner = max(int(width * expansion), 1)
        self.expand = nn.Linear(width, 2 * inner, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        gate, inner = self.expand(x).chunk(2, dim=-1)
        return self.contract(self.dropout(nn.functional.silu(gate) * inner))


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


BASE = 10_000.0


def rotate(x: Tensor, position: int) -> Tensor:
    """Turn pairs of entries by angles that grow with the token's position, so that products know distances only.

    Parameters
    ----------
    x : Tensor
        ``(b, h, t, k)``; of an odd width the last entry stays as it is.
    position : int
        Position of the first token. Angles are made in float64, so that the millionth token is as exact as the first.

    Returns
    -------
    Tensor
        ``(b, h, t, k)``.

    References
    ----------
    arXiv 2104.09864, section 3.2; without the growing scale of xPos (2212.10554).

    Examples
    --------
    >>> x = torch.ones(1, 1, 2, 2)
    >>> [round(float(y), 3) for y in rotate(x, 0).flatten()]
    [1.0, 1.0, -0.301, 1.382]
    """
    pairs = x.shape[-1] // 2
    places = torch.arange(position, position + x.shape[-2], dtype=torch.float64, device=x.device)
    frequencies = BASE ** (-torch.arange(pairs, dtype=torch.float64, device=x.device) / max(pairs, 1))
    angles = (places[:, None] * frequencies) % (2 * math.pi)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second, rest = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine, rest], dim=-1)
