"""The neural memory as a layer: it learns while it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.convolution import CausalConvolution
from titans_ts.blocks.norm import HeadNorm, join_heads, split_heads, unit_length
from titans_ts.blocks.rotations import rotate
from titans_ts.memory.gates import TokenGates
from titans_ts.memory.presets import find_preset
from titans_ts.memory.stores import Store
from titans_ts.ops import StoreNorm, StoreState, fresh_state, memory_chunked, read_store

TOKENS_AT_ONCE = 4096
"""Tokens of a sequence that are projected and mixed at once; bounds what a long call without gradients holds."""


class MemoryCarry(NamedTuple):
    """What a memory layer carries: the store, and the last tokens that its convolution has still to mix."""

    store: StoreState
    tail: Tensor


class NeuralMemory(nn.Module):
    """Write every token into a memory by one step of gradient descent, and read it back with the token's query.

    Queries, keys and values each go through a causal convolution and SiLU, queries and keys through what the memory asks
    of them (unit length, for Titans). What is read is normalised head by head, gated by the token and projected.

    Parameters
    ----------
    width : int
        Model width ``d``, a multiple of ``heads``.
    heads : int, default=4
        Separate memories, each of ``d / heads``.
    memory : str, default="titans"
        Which memory, by its name in :data:`titans_ts.memory.presets.PRESETS`.
    depth : int, default=2
        Layers of the store, for memories that leave it open.
    expansion : float, default=2.0
        Inner width of a deep store as a multiple of the head's width.
    refresh_every : int, default=16
        Tokens that share one reading of the memory for their gradients, for memories that allow it.
    convolution : int, default=4
        Kernel of the convolution; 1 switches it off.
    momentum, forgetting, output_gate : bool, default=True
        Switch parts off, where the memory has them.
    write_bound : float or None, optional
        Replaces the preset's bound on a write; ``float("inf")`` is unclipped.
    chunk_size : int, default=64
        Tokens worked on at once; never changes an answer.

    Attributes
    ----------
    observer : callable or None
        Called with the surprise ``(layers of the store, b, h, tokens)`` of everything written, when set.

    References
    ----------
    arXiv 2501.00663, section 3; appendix C for the family.

    Examples
    --------
    >>> memory = NeuralMemory(16, heads=2)
    >>> y, state = memory(torch.randn(3, 50, 16), memory.initial_state(3))
    >>> y.shape, state.store.position
    (torch.Size([3, 50, 16]), 50)
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 4,
        memory: str = "titans",
        depth: int = 2,
        expansion: float = 2.0,
        refresh_every: int = 16,
        convolution: int = 4,
        momentum: bool = True,
        forgetting: bool = True,
        output_gate: bool = True,
        write_bound: float | None = None,
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        self.preset = preset = find_preset(memory)
        head_width = width // heads
        bound = preset.rule.write_bound if write_bound is None else write_bound
        self.rule = replace(
            preset.rule,
            refresh_every=refresh_every if preset.anchored else 1,
            write_bound=None if bound == float("inf") else bound,
        )
        self.heads, self.chunk_size = heads, chunk_size
        self.observer: Callable[[Tensor], None] | None = None
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.convolution = CausalConvolution(3 * width, kernel=convolution)
        self.gates = TokenGates(
            width,
            heads,
            step=preset.step,
            retention=preset.retention if forgetting else None,
            momentum=preset.momentum and momentum,
        )
        self.store = Store(
            heads,
            head_width,
            head_width + preset.normaliser,
            depth=depth if preset.depth is None else preset.depth,
            expansion=expansion,
            learned=preset.learned_start,
        )
        self.store_norm = (
            nn.ParameterList([torch.ones(heads, head_width), torch.zeros(heads, head_width)]) if preset.norm else None
        )
        self.norm = HeadNorm(heads, head_width)
        self.output_gate = nn.Linear(width, width) if preset.output_gate and output_gate else None
        if self.output_gate is not None:
            nn.init.ones_(self.output_gate.bias)  # open, or training does not hear what the memory says
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int) -> MemoryCarry:
        """Return the carry before the first token: the learned memory, for every sequence of a batch."""
        store = fresh_state(self.store(), batch=batch, momentum=self.gates.momentum)
        return MemoryCarry(store, self.convolution.initial_tail(batch))

    def forward(self, sequence: Tensor, state: MemoryCarry) -> tuple[Tensor, MemoryCarry]:
        """Write and read tokens ``(b, t, d)``; returns ``(b, t, d)``, each token as read after its own write."""
        outputs = []
        for part in sequence.split(TOKENS_AT_ONCE, dim=1):
            output, state = self._read_part(part, state)
            outputs.append(output)
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), state

    def _read_part(self, sequence: Tensor, state: MemoryCarry) -> tuple[Tensor, MemoryCarry]:
        mixed, tail = self.convolution(self.project(sequence), state.tail)
        q, k, v = (split_heads(x, self.heads) for x in mixed.chunk(3, dim=-1))
        position = state.store.position
        with torch.autocast(sequence.device.type, enabled=False):  # a memory kept in bfloat16 forgets
            q, k, v = (self._precise(x) for x in (self._query(q, position), self._key(k, position), v))
            read, store = memory_chunked(
                q,
                k,
                nn.functional.pad(v, (0, 1), value=1.0) if self.preset.normaliser else v,
                self.gates(self._precise(sequence)),
                self.rule,
                state.store,
                initial=self.store(),
                norm=self._store_norm(),
                chunk_size=max(self.chunk_size, self.rule.refresh_every),
                observe=self.observer,
            )
            read = self._normalised(read)
        return self._finish(read.to(mixed.dtype), sequence), MemoryCarry(store, tail)

    def read(self, queries: Tensor, weights: Sequence[Tensor], *, position: int) -> Tensor:
        """Read given weights with ready queries ``(b, t, d)`` at a position, writing nothing; normalised ``(b, t, d)``."""
        with torch.autocast(queries.device.type, enabled=False):
            asked = self._query(split_heads(queries, self.heads), position).to(weights[0].dtype)
            found = self._normalised(read_store(weights, asked, self._store_norm()))
        return join_heads(self.norm(found.to(queries.dtype)))

    def _query(self, x: Tensor, position: int) -> Tensor:
        """Return queries ``(b, h, t, k)`` in the form that the memory asks for."""
        return self._key(x / x.shape[-1] ** 0.5 if self.preset.features == "plain" else x, position)

    def _key(self, x: Tensor, position: int) -> Tensor:
        if self.preset.features == "unit":
            x = unit_length(x)
        elif self.preset.features == "elu":
            x = nn.functional.elu(x) + 1
        return rotate(x, position) if self.preset.rotations else x

    def _precise(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else x.float()

    def _store_norm(self) -> StoreNorm | None:
        return None if self.store_norm is None else StoreNorm(*self.store_norm)

    def _normalised(self, read: Tensor) -> Tensor:
        """Divide what was read by the sum of its weights, which were written beside the values."""
        if not self.preset.normaliser:
            return read
        values, total = read.split([read.shape[-1] - 1, 1], dim=-1)
        return values / total.clamp_min(1e-6)

    def _finish(self, read: Tensor, sequence: Tensor) -> Tensor:
        found = join_heads(self.norm(read))
        if self.output_gate is not None:
            found = found * nn.functional.silu(self.output_gate(sequence))
        return self.output(found)
