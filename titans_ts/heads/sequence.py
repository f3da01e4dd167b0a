"""Answers about whole sequences: what the tokens say together, how often each short word occurs, which base stands where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.inputs.dna import BASES, reverse_in_place

WORDS_AT_ONCE = 65_536
"""Places at which words are counted in one go; bounds what a long sequence holds and changes no count."""


class Pooled(NamedTuple):
    """What is kept of tokens read so far, part by part: of fixed size, whatever their number.

    Attributes
    ----------
    total, greatest, last : Tensor
        ``(b, d)``: sum, maximum and last of the tokens.
    tokens : Tensor
        ``(b,)``: how many.
    """

    total: Tensor
    greatest: Tensor
    last: Tensor
    tokens: Tensor

    @classmethod
    def nothing(cls, like: Tensor) -> Pooled:
        """Return what is kept before the first token, for ``(b, d)``."""
        zeros = torch.zeros_like(like)
        return cls(zeros, zeros - torch.inf, zeros, zeros[:, 0].long())

    def add(self, tokens: Tensor, counts: Tensor) -> Pooled:
        """Take in ``(b, n, d)``, of which the first ``counts`` of each row count."""
        outside = (torch.arange(tokens.shape[1], device=tokens.device) >= counts[:, None])[..., None]
        end = tokens[torch.arange(len(tokens), device=tokens.device), (counts - 1).clamp_min(0)]
        return Pooled(
            self.total + tokens.masked_fill(outside, 0).sum(1),
            torch.maximum(self.greatest, tokens.masked_fill(outside, -torch.inf).amax(1)),
            torch.where((counts > 0)[:, None], end, self.last),
            self.tokens + counts,
        )

    def features(self) -> Tensor:
        """Return mean, maximum and last, ``(b, 3 d)``."""
        return torch.cat([self.total / self.tokens[:, None], self.greatest, self.last], dim=1)


class SequenceHead(nn.Module):
    """Mean, maximum and last of a sequence's tokens to its outputs; starts at zero.

    Parameters
    ----------
    width : int
        Model width ``d``.
    outputs : int
        Numbers answered.
    dropout : float, default=0.0
        Share of the pooled entries set to zero in training.

    Examples
    --------
    >>> head = SequenceHead(8, 2)
    >>> pooled = Pooled.nothing(torch.zeros(3, 8)).add(torch.randn(3, 5, 8), torch.tensor([5, 1, 3]))
    >>> head(pooled.features()).tolist()
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """

    def __init__(self, width: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3 * width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(3 * width, outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(b, 3 d)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.dropout(self.norm(pooled)))
        return answers


class SilentLinear(nn.Linear):
    """A linear layer that starts at zero; it may have no inputs."""

    def reset_parameters(self) -> None:
        """Set everything to zero."""
        with torch.no_grad():
            for x in self.parameters():
                x.zero_()


class WordPath(nn.Module):
    """A linear function of how often each word of a few bases occurs: the floor that a memory must improve on.

    Words with an N are not counted. What is counted is ``sum_t prod_i strand[word_i, t + i]``, which is linear in each
    base, so that gradients say what every possible base would have done.

    Parameters
    ----------
    outputs : int
        Numbers answered.
    sizes : sequence of int
        Lengths of words; none leaves a constant.

    Examples
    --------
    >>> from titans_ts.inputs.dna import one_hot
    >>> path = WordPath(1, sizes=(1,))
    >>> path.densities(one_hot(torch.tensor([[0, 0, 3, 4]])), torch.tensor([4])).tolist()
    [[0.5, 0.0, 0.0, 0.25]]
    """

    def __init__(self, outputs: int, *, sizes: Sequence[int] = (3, 4, 5, 6)) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.output = SilentLinear(sum(4**size for size in self.sizes), outputs)

    def densities(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return the share of places at which each word stands, ``(b, words)``, words of one size side by side."""
        found = []
        for size in self.sizes:
            counted = strand.new_zeros(len(strand), 4**size)
            for first in range(0, strand.shape[-1] - size + 1, WORDS_AT_ONCE):
                part = strand[..., first : first + WORDS_AT_ONCE + size - 1]
                halves = _words(part, 0, size // 2, size), _words(part, size // 2, size, size)
                counted = counted + torch.einsum("bit,bjt->bij", *halves).flatten(1)
            found.append(counted / (lengths[:, None] - size + 1).clamp_min(1))
        return torch.cat(found, dim=1) if found else strand.new_zeros(len(strand), 0)

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, 4, t)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.densities(strand, lengths))
        return answers


class PlacePath(nn.Module):
    """A linear function of which base stands where, counted from the start and from the end.

    Parameters
    ----------
    outputs : int
        Numbers answered.
    from_start, from_end : int
        Places counted; a place that a sequence does not reach says nothing.

    Examples
    --------
    >>> from titans_ts.inputs.dna import one_hot
    >>> path = PlacePath(1, from_start=1, from_end=1)
    >>> path.indicators(one_hot(torch.tensor([[0, 2, 4]])), torch.tensor([2])).tolist()  # A first, G last
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(self, outputs: int, *, from_start: int, from_end: int) -> None:
        super().__init__()
        self.from_start, self.from_end = from_start, from_end
        self.output = SilentLinear(BASES * (from_start + from_end), outputs, bias=False)

    def indicators(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return the bases of each place, ``(b, 4 (from_start + from_end))``, the four of a place side by side."""
        found = []
        for x, count in ((strand, self.from_start), (reverse_in_place(strand, lengths), self.from_end)):
            part = F.pad(x[..., :count], (0, max(count - x.shape[-1], 0)))
            found.append(part.transpose(1, 2).flatten(1))
        return torch.cat(found, dim=1)

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, 4, t)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.indicators(strand, lengths))
        return answers


def _words(strand: Tensor, first: int, end: int, size: int) -> Tensor:
    """Return products over the bases ``first`` to ``end`` of every window, ``(b, 4 ** (end - first), windows)``."""
    windows = strand.shape[-1] - size + 1
    found = strand.new_ones(len(strand), 1, windows)
    for i in range(first, end):
        found = torch.einsum("bit,bjt->bijt", found, strand[..., i : i + windows]).flatten(1, 2)
    return found
