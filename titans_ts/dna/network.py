"""The network of the classifier and the regressor: a whole sequence of bases in, an answer about it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.chance import Dropout
from titans_ts.blocks.motifs import MotifStem, strongest
from titans_ts.dna.bases import BASES, Codes, N
from titans_ts.dna.language import LanguageCarry, LanguageConfig, LanguageNetwork
from titans_ts.dna.paths import PlacePath, WordPath
from titans_ts.dna.strands import as_strands, reverse_complement_one_hot
from titans_ts.files.facts import require
from titans_ts.learn.two_paths import TwoPaths

LONGEST_WORD = 8
"""Bases: of words of so many there are 65,536."""


@dataclass(frozen=True)
class SequenceConfig:
    """Everything that is needed to build the network of a DNA classifier or regressor again."""

    outputs: int  # numbers answered about a sequence
    word_sizes: tuple[int, ...] = (3, 4, 5, 6)  # lengths of the words that the linear path counts; empty for none
    kernel: int = 11  # bases seen by a motif
    patch_length: int = 8  # bases of a token
    both_strands: bool = False  # whether every answer is made from both strands, and so the same for either
    words_of_both: bool = False  # whether the words of both strands are counted, in any case
    places: tuple[int, int] = (0, 0)  # from start and end, at which the linear path sees single bases
    language: LanguageConfig | None = None  # of a language model that reads the bases in the place of motifs
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SequenceConfig:
        """Return the configuration of a model file."""
        values = {**values, "word_sizes": tuple(values["word_sizes"]), "places": tuple(values["places"])}
        known = all(size in range(1, LONGEST_WORD + 1) for size in values["word_sizes"])
        require(known, f"word_sizes must be from 1 to {LONGEST_WORD}")
        language = values["language"]
        values["language"] = None if language is None else LanguageConfig.from_dict(language)
        return cls(**{**values, "backbone": BackboneConfig.from_dict(values["backbone"])})


class LanguageStem(nn.Module):
    """One token ``(b, n, d)`` for every ``patch_length`` bases, from what a language model holds after reading them.

    The language model is trained on with the rest.
    """

    def __init__(self, language: LanguageNetwork, width: int, *, patch_length: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.language, self.patch_length = language, patch_length
        self.project = nn.Linear(language.config.backbone.width, width)
        self.dropout = Dropout(dropout)

    def initial_state(self, batch: int) -> LanguageCarry:
        """Return what the language model carries before the first base."""
        return self.language.initial_state(batch)

    def forward(
        self, strand: Tensor, lengths: Tensor, state: LanguageCarry, *, first: int = 0, end: int | None = None
    ) -> tuple[Tensor, Tensor, LanguageCarry]:
        """Return the tokens of some bases, as :meth:`titans_ts.blocks.motifs.MotifStem.forward` does."""
        part = strand[..., first:end]
        codes = torch.where(part.detach().sum(1) > 0, part.detach().argmax(1), N).to(torch.uint8)
        _, hidden, state = self.language.read(codes, self.language.follow(state, codes[:, :1]), strand=part)
        inside = (torch.arange(part.shape[-1], device=part.device) < (lengths - first)[:, None])[..., None]
        pooled = strongest(hidden, inside, self.patch_length)
        counts = -(-(lengths - first).clamp(0, part.shape[-1]) // self.patch_length)
        return self.dropout(self.project(pooled)), counts, state


class SequenceNetwork(TwoPaths):
    """Words and places of DNA by a linear path, motifs by a backbone."""

    linear_parts = ("words", "places")

    def __init__(self, config: SequenceConfig) -> None:
        width, dropout = config.backbone.width, config.backbone.dropout
        super().__init__(
            MotifStem(BASES, width, kernel=config.kernel, patch_length=config.patch_length, dropout=dropout)
            if config.language is None
            else LanguageStem(LanguageNetwork(config.language), width, patch_length=config.patch_length, dropout=dropout),
            config.backbone,
            config.outputs,
        )
        self.config = config
        self.words = WordPath(config.outputs, sizes=config.word_sizes)
        self.places = PlacePath(config.outputs, from_start=config.places[0], from_end=config.places[1])

    def batch(self, items: Sequence[Codes]) -> tuple[Tensor, Tensor]:
        """Return sequences as one batch of strands ``(b, 4, t)``, and their lengths ``(b,)``."""
        return as_strands(items, device=self.device, dtype=self.dtype)

    def linear_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what words and places alone say, ``(b, outputs)``."""
        words: Tensor = self.words(inputs, lengths)
        places: Tensor = self.places(inputs, lengths)
        if not (self.config.both_strands or self.config.words_of_both):
            return words + places
        turned = reverse_complement_one_hot(inputs, lengths)
        words = (words + self.words(turned, lengths)) / 2
        if self.config.both_strands:
            places = (places + self.places(turned, lengths)) / 2
        return words + places

    def features(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the head reads of each sequence, from one strand or from both, ``(b, 3 d)``."""
        there = super().features(inputs, lengths)
        if not self.config.both_strands:
            return there
        return (there + super().features(reverse_complement_one_hot(inputs, lengths), lengths)) / 2
