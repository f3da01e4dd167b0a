"""What the memory is compared with: attention to everything, an LSTM, a modern Hopfield layer.

Attention to a window is :func:`titans_ts.backbones.memory_beside.build_attention`: MAG and MAL without their memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.attention import WindowAttention
from titans_ts.blocks.convolution import CausalConvolution
from titans_ts.blocks.layers import PersistentTokens, join_heads, split_heads
from titans_ts.memory.gates import LONGEST_HALF_LIFE
from titans_ts.ops.attention import windowed_association


def full_attention(config: BackboneConfig) -> WindowAttention:
    """Return a Transformer's attention to every token since the start (arXiv 1706.03762, section 3.2), without a window.

    **The state grows with what was read**, by two vectors a token, and reading costs the square of the length.
    """
    return WindowAttention(
        config.width,
        config.heads,
        window=None,
        persistent_tokens=config.persistent_tokens,
        convolution=config.convolution,
    )


class RecurrentCarry(NamedTuple):
    """What an LSTM carries: its output and its cell after the last token, ``(b, d)`` each."""

    hidden: Tensor
    cell: Tensor


class LongShortTermMemory(nn.Module):
    """torch's LSTM over the tokens, one layer of ``width`` units (Hochreiter, Schmidhuber 1997; Gers et al. 2000).

    Forget gates start at half-lives spread logarithmically over the units, from 1 to 4,096 tokens, input gates at one minus
    them: from torch's own start, training does not find how to hold a token over fifty others (arXiv 1804.11188, section 3).
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.lstm = nn.LSTM(width, width, batch_first=True)
        half_lives = torch.linspace(0.0, math.log(LONGEST_HALF_LIFE), width, dtype=torch.float64).exp()
        forget = torch.logit(torch.exp(-math.log(2) / half_lives))
        *_, bias, second_bias = self.lstm.all_weights[0]
        with torch.no_grad():
            bias[: 2 * width] = torch.cat([-forget, forget])  # torch's order: input gate, forget gate
            second_bias[: 2 * width] = 0.0

    def initial_state(self, batch: int) -> RecurrentCarry:
        """Return the carry before the first token."""
        zeros = self.lstm.all_weights[0][0].new_zeros(batch, self.lstm.hidden_size)
        return RecurrentCarry(zeros, zeros)

    def forward(self, sequence: Tensor, state: RecurrentCarry) -> tuple[Tensor, RecurrentCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        if sequence.shape[1] == 0:  # which nn.LSTM refuses
            return sequence, state
        with torch.autocast(sequence.device.type, enabled=False):  # a cell kept in bfloat16 forgets
            exact = self.lstm.all_weights[0][0].dtype
            hidden, cell = (x.to(exact)[None].contiguous() for x in state)
            output, (hidden, cell) = self.lstm(sequence.to(exact), (hidden, cell))
        return output.to(sequence.dtype), RecurrentCarry(hidden[0], cell[0])


class AssociationCarry(NamedTuple):
    """What a Hopfield layer carries."""

    tail: Tensor  # of the convolution
    stored: Tensor  # patterns of the window, (b, h, t, k)
    projected: Tensor  # what they stand for


class HopfieldAssociation(nn.Module):
    """The modern Hopfield network as a sequence layer: each token retrieves from the tokens of a window.

    It is the paper's ``Hopfield`` (arXiv 2008.02217, equations 2 and 3): the stored patterns are the last ``window`` tokens
    and ``persistent_tokens`` learned ones. A state is updated ``updates`` times; the last update reads the projections. A
    learned inverse temperature a head starts at attention's ``1 / sqrt(k)``, and decides whether it settles near one pattern
    or between a few: states and patterns are brought to mean 0 and length ``sqrt(k)``, as in the authors' ``hflayers``.
    """

    def __init__(self, config: BackboneConfig, *, updates: int = 3) -> None:
        super().__init__()
        if updates < 1:
            raise ValueError(f"updates must be 1 or more, got {updates}")
        width, heads = config.width, config.heads
        self.heads, self.window, self.updates = heads, config.window, updates
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.convolution = CausalConvolution(3 * width, kernel=config.convolution)
        self.learned = PersistentTokens(config.persistent_tokens, heads, width // heads)
        self.log_beta = nn.Parameter(torch.full((heads,), -0.5 * math.log(width // heads)))
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int) -> AssociationCarry:
        """Return the carry before the first token."""
        empty = self.output.weight.new_zeros(batch, self.heads, 0, self.output.in_features // self.heads)
        return AssociationCarry(self.convolution.initial_tail(batch), empty, empty)

    def forward(self, sequence: Tensor, state: AssociationCarry) -> tuple[Tensor, AssociationCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        mixed, tail = self.convolution(self.project(sequence), state.tail)
        states, fresh, projected = (split_heads(x, self.heads) for x in mixed.chunk(3, dim=-1))
        kind = projected.dtype
        stored = torch.cat([state.stored.to(kind), _normalised(fresh).to(kind)], dim=2)
        projected = torch.cat([state.projected.to(kind), projected], dim=2)
        patterns, projections = self.learned(len(sequence))
        found = windowed_association(
            _normalised(states).to(kind),
            stored,
            projected,
            beta=self.log_beta.exp().to(kind),
            window=self.window,
            updates=self.updates,
            always=(_normalised(patterns).to(kind), projections.to(kind)),
        )
        keep = max(stored.shape[2] - (self.window - 1), 0)
        return self.output(join_heads(found)), AssociationCarry(tail, stored[:, :, keep:], projected[:, :, keep:])


def _normalised(patterns: Tensor) -> Tensor:
    """Return patterns ``(b, h, t, k)`` with mean 0 and length ``sqrt(k)``."""
    return F.layer_norm(patterns, patterns.shape[-1:], eps=1e-6)
