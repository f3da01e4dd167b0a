"""Two paths that answer about a whole sequence on their own, and how much each counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone
from titans_ts.heads.sequence import Pooled, SequenceHead

TOKENS_AT_ONCE = 16_384
"""Tokens read in one call; bounds what a long sequence holds and changes no answer."""


class TwoPaths(nn.Module):
    """``(1 - share) linear + share memory``: a linear path, and a stem whose tokens a backbone reads.

    How much each counts is chosen when both are trained.

    Parameters
    ----------
    stem : nn.Module
        Turns a part of a sequence into tokens, as :class:`titans_ts.inputs.motifs.MotifStem` does.
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
