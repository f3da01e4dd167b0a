"""Bases as numbers: one-hot strands, alone and in batches, and their reverse complement.

A strand is ``(b, 4, t)``, A C G T along its second axis; N, and whatever lies past the end of a shorter sequence of a batch,
is four zeros. Everything here is linear or smooth in it, so that gradients reach every base.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.dna.bases import BASES, Codes, N
from titans_ts.learn.two_paths import Answering


def averaged(answer: Answering) -> Answering:
    """Return the mean of an answer to a strand and to its reverse complement: the same for either."""

    def from_both(strand: Tensor, lengths: Tensor) -> Tensor:
        return (answer(strand, lengths) + answer(reverse_complement_one_hot(strand, lengths), lengths)) / 2

    return from_both


def one_hot(codes: Tensor) -> Tensor:
    """Turn codes ``(b, t)``, A C G T N = 0 ... 4, into ``(b, 4, t)``; N is four zeros."""
    return F.one_hot(codes.long(), BASES + 1)[..., :BASES].transpose(1, 2).to(torch.get_default_dtype())


def reverse_complement_one_hot(strand: Tensor, lengths: Tensor) -> Tensor:
    """Read strands ``(b, 4, t)`` from the other side; what lies past an end stays there."""
    return reverse_each(strand.flip(1), lengths)


def either_strand(strand: Tensor, lengths: Tensor, chance: np.random.Generator) -> Tensor:
    """Read each sequence of a batch from one strand or the other, by chance."""
    turned = torch.from_numpy(chance.random(len(strand)) < 0.5).to(strand.device)
    return torch.where(turned[:, None, None], reverse_complement_one_hot(strand, lengths), strand)


def reverse_complement_codes(codes: Tensor, lengths: Tensor) -> Tensor:
    """Read codes ``(b, t)`` from the other strand; what lies past an end stays there."""
    complement = torch.tensor([3, 2, 1, 0, N], dtype=codes.dtype, device=codes.device)
    return reverse_each(complement[codes.long()][:, None], lengths)[:, 0]


def reverse_each(x: Tensor, lengths: Tensor) -> Tensor:
    """Turn the first ``lengths`` entries of ``(b, c, t)`` round and leave the rest where it is."""
    steps = torch.arange(x.shape[-1], device=x.device)
    places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(-1, places[:, None].expand_as(x))


def as_strands(codes: Sequence[Codes], *, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return sequences as one batch of strands ``(b, 4, t)``, and their lengths ``(b,)``."""
    padded, lengths = as_codes(codes, device)
    return one_hot(padded).to(dtype), lengths


def as_codes(codes: Sequence[Codes], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sequences as one batch ``(b, t)``, N past their ends, and their lengths ``(b,)``."""
    lengths = [len(one) for one in codes]
    padded = np.full((len(codes), max(lengths)), N, dtype=np.uint8)
    for row, one in zip(padded, codes, strict=True):
        row[: len(one)] = one
    return torch.from_numpy(padded).to(device), torch.tensor(lengths, device=device)
