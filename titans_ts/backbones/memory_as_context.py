"""MAC: attention sees what the memory recalls, and the memory writes what attention returns."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.memory_beside import build_memory
from titans_ts.blocks.convolution import CausalConvolution
from titans_ts.blocks.layers import NormalisedGate, PersistentTokens, join_heads, split_heads
from titans_ts.memory.neural_memory import MemoryCarry, OpenCarry, PendingAnswer
from titans_ts.memory.slots import SlotsCarry


class ContextCarry(NamedTuple):
    """What MAC carries."""

    memory: MemoryCarry  # written up to the last token
    recalled_from: tuple[Tensor, ...]  # its weights at the segment's start, from which the whole segment recalls
    tail: Tensor  # the last tokens that the convolution has still to mix
    seen: Tensor  # (b, 4, h, window, k): recalled keys and values, the segment's own; zero where not yet seen
    slots: SlotsCarry | None = None  # the memory's at the segment's start, from which it recalls too


class MemoryAsContext(nn.Module):
    """Attention over ``[persistent | h | S]``, segment by segment, and a memory that is written with its result.

    For each token of segment ``S``, ``h = M*(S W_Q)`` is read from the memory as it was when the segment began (arXiv
    2501.00663, eq 21). Token i sees all persistent tokens, and ``h_j`` and ``S_j`` for ``j <= i`` only (eqs 22, 23). The
    memory writes the attention's output ``y`` (eq 24); and ``o = y (x) M*(y)`` is read as of that token (eq 25). Segments
    count from position 0, whatever the cut. A residual adds the token to ``y`` (section 4.4), since averages of a segment
    resemble one another.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.heads, self.window = heads, config.window
        self.project = nn.Linear(width, 4 * width, bias=False)
        self.convolution = CausalConvolution(4 * width, kernel=config.convolution)
        self.recalled = nn.Linear(width, 2 * width, bias=False)
        self.persistent = PersistentTokens(config.persistent_tokens, heads, width // heads)
        self.attended = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.memory = build_memory(config)
        self.gate = NormalisedGate(width, passes=config.passes)
        with torch.no_grad():  # a segment asks as the memory does
            self.project.weight[:width] = self.memory.project.weight[:width]

    def initial_state(self, batch: int) -> ContextCarry:
        """Return the carry before the first token."""
        memory = self.memory.initial_state(batch)
        head_width = self.attended.in_features // self.heads
        seen = self.attended.weight.new_zeros(batch, 4, self.heads, self.window, head_width)
        return ContextCarry(memory, memory.store.weights, self.convolution.initial_tail(batch), seen, memory.slots)

    def forward(self, sequence: Tensor, state: ContextCarry) -> tuple[Tensor, ContextCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        mixed, tail = self.convolution(self.project(sequence), state.tail)
        position = state.memory.store.position
        heads = tuple(split_heads(x, self.heads) for x in mixed.chunk(4, dim=-1))
        memory = self.memory.opened(state.memory)
        segment = _Segment(memory, state.recalled_from, state.seen[..., : position % self.window, :], state.slots)
        groups = self._groups(position, sequence.shape[1], self.memory.tokens_at_once(memory))
        sizes, outputs = [sum(cuts) for cuts in groups], []
        parts = zip(*(x.split(sizes, dim=2) for x in heads), strict=True)
        for cuts, tokens, part in zip(groups, sequence.split(sizes, dim=1), parts, strict=True):
            attended, pending, segment = self._write(tokens, part, cuts, segment)
            outputs.append(self.gate(attended, self.memory.answer(pending, self.norm(attended), segment.memory)))
        memory, recalled_from, seen, slots = segment
        padded = F.pad(seen, (0, 0, 0, self.window - seen.shape[-2]))
        return (
            torch.cat(outputs, dim=1) if outputs else sequence,
            ContextCarry(self.memory.closed(memory), recalled_from, tail, padded, slots),
        )

    def _groups(self, position: int, length: int, tokens_at_once: int) -> list[list[int]]:
        """Return the sizes of pieces that each lie in one segment, in groups that are answered at once."""
        first = min(self.window - position % self.window, length)
        rest = length - first
        cuts = [size for size in (first, *[self.window] * (rest // self.window), rest % self.window) if size]
        together = max(tokens_at_once // self.window, 1)
        return [cuts[i : i + together] for i in range(0, len(cuts), together)]

    def _write(
        self, tokens: Tensor, heads: Sequence[Tensor], cuts: list[int], segment: _Segment
    ) -> tuple[Tensor, list[PendingAnswer], _Segment]:
        """Attend to tokens ``(b, t, d)`` and write the results, segment by segment; they are read later."""
        attended, pending = [], []
        always = [x.to(tokens.dtype) for x in self.persistent(len(tokens))]
        visible = functools.cache(functools.partial(_visible, persistent=always[0].shape[2], like=tokens))
        pieces = zip(*(x.split(cuts, dim=2) for x in heads), strict=True)
        for piece, (query, q, k, v) in zip(tokens.split(cuts, dim=1), pieces, strict=True):
            memory, recalled_from, seen, slots = segment
            position = memory.store.position
            done = position % self.window
            if done == 0:
                recalled_from, seen, slots = memory.store.weights, seen[..., :0, :], memory.slots
            recalled = self.recalled(self.memory.read(query, position, recalled_from, slots)).chunk(2, dim=-1)
            fresh = torch.stack([*(split_heads(x, self.heads) for x in recalled), k, v], dim=1)
            seen = torch.cat([seen.to(fresh.dtype), fresh], dim=-2) if done else fresh
            recalled_keys, recalled_values, keys, values = seen.unbind(1)
            found = F.scaled_dot_product_attention(
                q,
                torch.cat([always[0], recalled_keys, keys], dim=2),
                torch.cat([always[1], recalled_values, values], dim=2),
                attn_mask=visible(q.shape[2], done),
            )
            attended.append(piece + self.attended(join_heads(found)))
            written, memory = self.memory.write(self.norm(attended[-1]), memory)
            pending += written
            segment = _Segment(memory, recalled_from, seen, slots)
        return torch.cat(attended, dim=1), pending, segment


class _Segment(NamedTuple):
    """Where a call in parts stands; fields as in :class:`ContextCarry`, ``seen`` without what is not yet seen."""

    memory: OpenCarry
    recalled_from: tuple[Tensor, ...]
    seen: Tensor
    slots: SlotsCarry | None


def _visible(queries: int, done: int, *, persistent: int, like: Tensor) -> Tensor:
    """Return what is added to the scores ``(t, keys)`` of tokens that come after ``done`` others of their segment."""
    hidden = torch.full((queries, done + queries), -torch.inf, dtype=like.dtype, device=like.device).triu(done + 1)
    return F.pad(torch.cat([hidden, hidden], dim=1), (persistent, 0))
