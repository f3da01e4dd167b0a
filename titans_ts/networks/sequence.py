"""A whole sequence of bases in, an answer about it out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone
from titans_ts.heads.sequence import Pooled, SequenceHead, WordPath
from titans_ts.inputs.dna import MotifStem, reverse_complement

TOKENS_AT_ONCE = 16_384
"""Tokens read in one call; bounds what a long sequence holds and changes no answer."""


@dataclass(frozen=True)
class SequenceConfig:
    """Everything that is needed to build the network of a DNA classifier or regressor again.

    Parameters
    ----------
    outputs : int
        Numbers answered about a sequence.
    word_sizes : tuple of int
        Lengths of the words that the direct path counts; empty for none.
    kernel, patch_length : int
        Bases seen by a motif, bases of a token.
    both_strands : bool
        Whether every answer is made from both strands, and so the same for either.
    backbone : BackboneConfig
        The middle of the network.
    """

    outputs: int
    word_sizes: tuple[int, ...] = (3, 4, 5, 6)
    kernel: int = 11
    patch_length: int = 8
    both_strands: bool = False
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SequenceConfig:
        """Return the configuration of a model file."""
        values = {**values, "word_sizes": tuple(values["word_sizes"])}
        return cls(**{**values, "backbone": BackboneConfig(**values["backbone"])})


class SequenceNetwork(nn.Module):
    """``(1 - share) words + share memory``: a linear path of words, and the head of a backbone that reads motifs.

    Both answer on their own; how much each counts is a buffer, set when both are trained.

    Parameters
    ----------
    config : SequenceConfig
        Settings.

    Attributes
    ----------
    share : Tensor
        Of the memory in the answer, 0 to 1.

    Examples
    --------
    >>> from titans_ts.inputs.dna import one_hot
    >>> network = SequenceNetwork(SequenceConfig(outputs=2, backbone=BackboneConfig(width=16, heads=2, layers=1)))
    >>> network(one_hot(torch.tensor([[0, 1, 2, 3, 4]])), torch.tensor([5])).shape
    torch.Size([1, 2])
    """

    share: Tensor

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        width, dropout = config.backbone.width, config.backbone.dropout
        self.words = WordPath(config.outputs, sizes=config.word_sizes)
        self.stem = MotifStem(width, kernel=config.kernel, patch_length=config.patch_length, dropout=dropout)
        self.backbone = Backbone(config.backbone)
        self.head = SequenceHead(width, config.outputs, dropout=dropout)
        self.register_buffer("share", torch.ones(()))

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number that the network computes in."""
        return self.words.output.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.words.output.weight.device

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Answer ``(b, 4, t)`` strands, of which the first ``lengths`` bases count, with ``(b, outputs)``."""
        words = self.words_answer(strand, lengths)
        if not self.config.backbone.layers:
            return words
        return words + self.share * (self.memory_answer(strand, lengths) - words)

    def words_answer(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return what the words alone say, ``(b, outputs)``."""
        answers: Tensor = self.words(strand, lengths)
        if self.config.both_strands:
            answers = (answers + self.words(reverse_complement(strand, lengths), lengths)) / 2
        return answers

    def memory_answer(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return what the memory alone says, ``(b, outputs)``."""
        answers: Tensor = self.head(self.features(strand, lengths))
        return answers

    def features(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return what the head reads of each sequence, ``(b, 3 d)``."""
        if not self.config.both_strands:
            return self._one_strand(strand, lengths)
        there = self._one_strand(strand, lengths)
        back = self._one_strand(reverse_complement(strand, lengths), lengths)
        return (there + back) / 2

    def _one_strand(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Read tokens in parts, so that a sequence of any length is read in a state of fixed size."""
        state = self.backbone.initial_state(len(strand))
        pooled = Pooled.nothing(strand.new_zeros(len(strand), self.config.backbone.width))
        step = TOKENS_AT_ONCE * self.config.patch_length
        for first in range(0, strand.shape[-1], step):
            tokens, counts = self.stem(strand, lengths, first=first, end=first + step)
            hidden, state = self.backbone(tokens, state)
            pooled = pooled.add(hidden, counts)
        return pooled.features()
