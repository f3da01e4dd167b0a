"""Rotary positions that a stream without an end can have."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
