"""Sliding-window attention as a layer that can be cut anywhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.convolution import CausalConvolution
from titans_ts.blocks.layers import PersistentTokens, join_heads, split_heads
from titans_ts.ops import causal_attention, windowed_attention


class AttentionCarry(NamedTuple):
    """What windowed attention carries: the convolution's tail and the window's keys and values, ``(b, h, t, k)``."""

    tail: Tensor
    keys: Tensor
    values: Tensor


class WindowAttention(nn.Module):
    """Causal multi-head attention to the last ``window`` tokens, itself included, and to persistent tokens.

    A short convolution of ``convolution`` steps carries the order. ``window=None`` sees all since the start: the carry then
    grows by two vectors a token, and reading costs the square of the length. (arXiv 2501.00663, equations 26 to 31.)
    """

    def __init__(
        self, width: int, heads: int, *, window: int | None, persistent_tokens: int = 0, convolution: int = 4
    ) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.convolution = CausalConvolution(3 * width, kernel=convolution)
        self.persistent = PersistentTokens(persistent_tokens, heads, width // heads)
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int) -> AttentionCarry:
        """Return the carry before the first token."""
        empty = self.output.weight.new_zeros(batch, self.heads, 0, self.output.in_features // self.heads)
        return AttentionCarry(self.convolution.initial_tail(batch), empty, empty)

    def forward(self, sequence: Tensor, state: AttentionCarry) -> tuple[Tensor, AttentionCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)`` and return what the next call needs."""
        mixed, tail = self.convolution(self.project(sequence), state.tail)
        q, k, v = (split_heads(x, self.heads) for x in mixed.chunk(3, dim=-1))
        k = torch.cat([state.keys.to(k.dtype), k], dim=2)
        v = torch.cat([state.values.to(v.dtype), v], dim=2)
        always = tuple(x.to(k.dtype) for x in self.persistent(len(sequence)))
        if self.window is None:
            attended = causal_attention(q, *(torch.cat(pair, dim=2) for pair in zip(always, (k, v), strict=True)))
            return self.output(join_heads(attended)), AttentionCarry(tail, k, v)
        attended = windowed_attention(q, k, v, window=self.window, always=(always[0], always[1]))
        keep = max(k.shape[2] - (self.window - 1), 0)
        return self.output(join_heads(attended)), AttentionCarry(tail, k[:, :, keep:], v[:, :, keep:])
