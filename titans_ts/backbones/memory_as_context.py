"""MAC: what the memory recalls becomes context for attention, and what attention makes of it is written back."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.memory_only import build_memory
from titans_ts.blocks.convolution import CausalConvolution
from titans_ts.blocks.gating import NormalisedGate
from titans_ts.blocks.norm import join_heads, split_heads
from titans_ts.blocks.persistent import PersistentTokens
from titans_ts.memory.neural_memory import MemoryCarry


class ContextCarry(NamedTuple):
    """What MAC carries.

    Attributes
    ----------
    memory : MemoryCarry
        The memory, written up to the last token.
    recalled_from : tuple of Tensor
        Its weights at the segment's start, from which the whole segment recalls.
    tail : Tensor
        The last tokens that the convolution has still to mix.
    seen : Tensor
        ``(b, 4, h, window, k)``: keys and values of what was recalled and of the segment's own tokens, those not yet
        seen zero.
    """

    memory: MemoryCarry
    recalled_from: tuple[Tensor, ...]
    tail: Tensor
    seen: Tensor


class MemoryAsContext(nn.Module):
    """Attention over ``[persistent | h | S]``, segment by segment, and a memory that is written with its result.

    For each token of segment ``S``, ``h = M*(S W_Q)`` is read from the memory as it was when the segment began (eq 21);
    token i sees all persistent tokens, and ``h_j`` and ``S_j`` for ``j <= i`` only, since ``h_j`` is made from ``S_j``
    (eqs 22, 23); the memory writes the attention's output ``y`` (eq 24); and ``o = y (x) M*(y)``, read as of that token
    (eq 25). Segments count from position 0 of the sequence, whatever the cut. The token itself is added to what it
    attended to, in ``y``: without it, the memory is given averages of a segment, which resemble one another.

    References
    ----------
    arXiv 2501.00663, equations 21 to 25; section 4.4 for residual connections, which they leave out.
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
        self.gate = NormalisedGate(width)

    def initial_state(self, batch: int) -> ContextCarry:
        """Return the carry before the first token."""
        memory = self.memory.initial_state(batch)
        head_width = self.attended.in_features // self.heads
        seen = self.attended.weight.new_zeros(batch, 4, self.heads, self.window, head_width)
        return ContextCarry(memory, memory.store.weights, self.convolution.initial_tail(batch), seen)

    def forward(self, sequence: Tensor, state: ContextCarry) -> tuple[Tensor, ContextCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        mixed, tail = self.convolution(self.project(sequence), state.tail)
        state = state._replace(tail=tail)
        outputs = []
        cuts = self._cuts(state.memory.store.position, sequence.shape[1])
        for tokens, segment in zip(sequence.split(cuts, dim=1), mixed.split(cuts, dim=1), strict=True):
            output, state = self._segment(tokens, segment, state)
            outputs.append(output)
        return (torch.cat(outputs, dim=1) if outputs else sequence), state

    def _cuts(self, position: int, length: int) -> list[int]:
        """Return the sizes of the pieces of a call that each lie in one segment."""
        first = min(self.window - position % self.window, length)
        rest = length - first
        return [size for size in (first, *[self.window] * (rest // self.window), rest % self.window) if size]

    def _segment(self, tokens: Tensor, mixed: Tensor, state: ContextCarry) -> tuple[Tensor, ContextCarry]:
        """Run tokens ``(b, t, d)`` that lie in one segment, projected and mixed ``(b, t, 4 d)`` besides."""
        position = state.memory.store.position
        done = position % self.window
        if done == 0:
            state = state._replace(recalled_from=state.memory.store.weights)
        query, *own = mixed.chunk(4, dim=-1)
        recalled = self.recalled(self.memory.read(query, state.recalled_from, position=position)).chunk(2, dim=-1)
        q, k, v = (split_heads(x, self.heads) for x in own)
        fresh = torch.stack([*(split_heads(x, self.heads) for x in recalled), k, v], dim=1)
        seen = torch.cat([state.seen[..., :done, :].to(fresh.dtype), fresh], dim=-2)
        attended = tokens + self.attended(join_heads(self._attend(q, seen, done)))
        written, memory = self.memory(self.norm(attended), state.memory)
        padded = F.pad(seen, (0, 0, 0, self.window - seen.shape[-2]))
        return self.gate(attended, written), state._replace(memory=memory, seen=padded)

    def _attend(self, q: Tensor, seen: Tensor, done: int) -> Tensor:
        """Attend to persistent tokens, to what was recalled and to the segment so far."""
        recalled_keys, recalled_values, keys, values = seen.unbind(1)
        always_keys, always_values = (x.to(q.dtype) for x in self.persistent(q.shape[0]))
        causal = torch.ones(q.shape[2], seen.shape[-2], dtype=torch.bool, device=q.device).tril(done)
        visible = F.pad(torch.cat([causal, causal], dim=1), (always_keys.shape[2], 0), value=True)
        return F.scaled_dot_product_attention(
            q,
            torch.cat([always_keys, recalled_keys, keys], dim=2),
            torch.cat([always_values, recalled_values, values], dim=2),
            attn_mask=visible,
        )
