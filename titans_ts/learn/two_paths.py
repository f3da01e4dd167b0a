"""Two paths that answer about a whole sequence on their own, and how much each counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone


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


TOKENS_AT_ONCE = 16_384
"""Tokens read in one call; bounds what a long sequence holds and changes no answer."""


class TwoPaths(nn.Module):
    """``(1 - share) linear + share memory``: a linear path, and a stem whose tokens a backbone reads.

    How much each counts is chosen when both are trained.

    Parameters
    ----------
    stem : nn.Module
        Turns a part of a sequence into tokens, as :class:`titans_ts.blocks.motifs.MotifStem` does.
    backbone : BackboneConfig
        Reads the tokens; without layers the linear path answers alone.
    outputs : int
        Numbers answered about a sequence.

    Attributes
    ----------
    share : Tensor
        How far the answer goes from the linear path alone, 0, to the balance of both, 1.
    balance : Tensor
        ``(2,)``: weights of the linear path and of the memory there.
    linear_parts : tuple of str
        Names of the modules that make up the linear path.
    """

    share: Tensor
    balance: Tensor
    linear_parts: tuple[str, ...] = ()

    def __init__(self, stem: nn.Module, backbone: BackboneConfig, outputs: int) -> None:
        super().__init__()
        self.stem: Any = stem
        self.backbone = Backbone(backbone)
        self.head = SequenceHead(backbone.width, outputs, dropout=backbone.dropout)
        self.outputs = outputs
        self.register_buffer("share", torch.ones(()))
        self.register_buffer("balance", torch.tensor([0.0, 1.0]))

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number that the network computes in."""
        return self.head.output.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.head.output.weight.device

    @property
    def is_linear(self) -> bool:
        """Whether there is no memory to answer beside the linear path."""
        return not self.backbone.config.layers

    def batch(self, items: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return sequences as one batch ``(b, c, t)``, padded, and their lengths ``(b,)``."""
        raise NotImplementedError

    def linear_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear path alone says, ``(b, outputs)``."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Answer ``(b, c, t)``, of which the first ``lengths`` steps count, with ``(b, outputs)``."""
        linear = self.linear_answer(inputs, lengths)
        if self.is_linear:
            return linear
        return self.mixed(linear, self.memory_answer(inputs, lengths))

    def mixed(self, linear: Tensor, memory: Tensor) -> Tensor:
        """Go from the linear answer towards the balance of both, as far as the share says."""
        best = self.balance[0] * linear + self.balance[1] * memory
        return linear + self.share * (best - linear)

    def memory_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the memory alone says, ``(b, outputs)``."""
        answers: Tensor = self.head(self.features(inputs, lengths))
        return answers

    def features(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the head reads of each sequence, ``(b, 3 d)``.

        Tokens are read in parts, so that a sequence of any length is read in a state of fixed size.
        """
        state, read = self.backbone.initial_state(len(inputs)), self.stem.initial_state(len(inputs))
        pooled = Pooled.nothing(inputs.new_zeros(len(inputs), self.backbone.config.width))
        step = TOKENS_AT_ONCE * self.stem.patch_length
        for first in range(0, inputs.shape[-1], step):
            tokens, counts, read = self.stem(inputs, lengths, read, first=first, end=first + step)
            hidden, state = self.backbone(tokens, state)
            pooled = pooled.add(hidden, counts)
        return pooled.features()
