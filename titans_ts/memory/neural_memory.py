"""The neural memory as a layer: it learns while it reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.convolution import CausalConvolution
from titans_ts.blocks.layers import HeadNorm, join_heads, rotate, split_heads, unit_length, up_to_squares
from titans_ts.blocks.switches import OfThisThread
from titans_ts.memory.gates import Store, TokenGates
from titans_ts.memory.presets import check_key_degree, find_preset
from titans_ts.memory.slots import BLOCK, ExactSlots, SlotsCarry
from titans_ts.memory.written import Observation
from titans_ts.ops import StoreNorm, StoreState, fresh_state, read_store
from titans_ts.ops.chunked import PendingReads, close_memory, most_pending, open_memory, read_memory, write_memory
from titans_ts.ops.dual import OpenMemory

TOKENS_AT_ONCE = 4096
"""Tokens of a sequence that are projected and mixed at once; bounds what a long call without gradients holds."""


class MemoryCarry(NamedTuple):
    """What a memory layer carries from call to call."""

    store: StoreState
    tail: Tensor  # the last tokens that its convolution has still to mix
    slots: SlotsCarry | None = None


class OpenCarry(NamedTuple):
    """What a memory layer carries between the parts of a call."""

    store: OpenMemory
    tail: Tensor
    slots: SlotsCarry | None


class PendingAnswer(NamedTuple):
    """Tokens that are written and not yet answered."""

    reads: list[PendingReads]
    found: Tensor | None  # what they found in the slots, (b, h, t, v)


class NeuralMemory(nn.Module):
    """Write every token into a memory by one step of gradient descent, and read it back with the token's query.

    ``heads`` memories of ``width / heads`` each. ``memory`` is a name in :data:`titans_ts.memory.presets.PRESETS`; the other
    settings count where it leaves them open. A deep store of ``depth`` layers is ``expansion`` times as wide inside.
    ``refresh_every`` tokens share one reading of the memory for their gradients; with ``damping`` they share the step where
    their keys are alike. With ``key_degree=2`` queries and keys are unit vectors of their entries and of all products of two
    (arXiv 2505.23735, section 3.1). ``convolution=1`` switches the convolution off. ``write_bound`` replaces the preset's;
    ``float("inf")`` is unclipped. ``slots`` pairs a head are kept as they are and read beside the store. ``chunk_size``
    tokens are worked on at once, which never changes an answer. (arXiv 2501.00663, section 3; appendix C for the family.)
    """

    observer = OfThisThread(default=None)  # called with an Observation of every piece that is written
    silent = OfThisThread(default=False)  # whether it answers zeros; it is written and recalled from all the same

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
        damping: bool = False,
        key_degree: int = 1,
        write_bound: float | None = None,
        slots: int = 0,
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        self.preset = preset = find_preset(memory)
        check_key_degree(key_degree, preset, memory)
        head_width = width // heads
        bound = preset.rule.write_bound if write_bound is None else write_bound
        self.rule = replace(
            preset.rule,
            refresh_every=refresh_every if preset.anchored else 1,
            write_bound=None if bound == float("inf") else bound,
            damping=damping and preset.anchored,
        )
        self.heads, self.key_degree, self.chunk_size = heads, key_degree, chunk_size
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.convolution = CausalConvolution(3 * width, kernel=convolution)
        self.gates = TokenGates(
            width,
            heads,
            step=preset.step,
            retention=preset.retention if forgetting else None,
            momentum=preset.momentum and momentum,
            penalty=preset.rule.objective == "ridge",
        )
        self.store = Store(
            heads,
            head_width + (key_degree - 1) * head_width * (head_width + 1) // 2,
            head_width + preset.normaliser,
            inner_width=max(int(head_width * expansion), 1),
            depth=depth if preset.depth is None else preset.depth,
            learned=preset.learned_start,
        )
        self.store_norm = (
            nn.ParameterList([torch.ones(heads, head_width), torch.zeros(heads, head_width)]) if preset.norm else None
        )
        block = self.rule.refresh_every if self.rule.refresh_every > 1 else BLOCK
        self.slots = ExactSlots(heads, head_width, slots=slots, block=block) if slots else None
        self.norm = HeadNorm(heads, head_width)
        self.output_gate = nn.Linear(width, width) if preset.output_gate and output_gate else None
        if self.output_gate is not None:
            nn.init.ones_(self.output_gate.bias)  # open, or training hears nothing of the memory
        self.output = nn.Linear(width, width, bias=False)
        self._start_associating()

    @torch.no_grad()
    def _start_associating(self) -> None:
        """Start keys like queries, those of the later half of the heads one token back.

        A token then finds what followed upon its like. With unlike keys and queries, or keys of the value's own token,
        training must find that first, and waits for it for hundreds of steps.
        """
        width = self.output.in_features
        self.project.weight[width : 2 * width] = self.project.weight[:width]
        lagging = slice(width + self.heads // 2 * (width // self.heads), 2 * width)
        last_taps = self.convolution.filters[-2:, lagging]
        last_taps.copy_(last_taps.flip(0))

    def initial_state(self, batch: int) -> MemoryCarry:
        """Return the carry before the first token: the learned memory, for every sequence of a batch."""
        store = fresh_state(
            self.store(),
            batch=batch,
            momentum=self.gates.momentum,
            damping=self.rule.damping,
            ridge=self.rule.objective == "ridge",
            window=self.rule.window,
        )
        slots = None if self.slots is None else self.slots.initial_state(batch)
        return MemoryCarry(store, self.convolution.initial_tail(batch), slots)

    def forward(self, sequence: Tensor, state: MemoryCarry) -> tuple[Tensor, MemoryCarry]:
        """Write and read tokens ``(b, t, d)``; returns ``(b, t, d)``, each token as read after its own write."""
        memory = self.opened(state)
        outputs = []
        for part in sequence.split(self.tokens_at_once(memory), dim=1):
            pending, memory = self.write(part, memory)
            outputs.append(self.answer(pending, part, memory))
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), self.closed(memory)

    def opened(self, state: MemoryCarry) -> OpenCarry:
        """Begin a call in parts: each is written by :meth:`write` and read by :meth:`answer`, then or later."""
        store = open_memory(
            state.store,
            self.rule,
            initial=self.store() if self.gates.forgetting or self.rule.objective == "ridge" else None,
            norm=self._store_norm(),
            chunk_size=max(self.chunk_size, self.rule.refresh_every),
        )
        return OpenCarry(store, state.tail, state.slots)

    def tokens_at_once(self, memory: OpenCarry) -> int:
        """Return how many tokens may be written before they are answered."""
        return min(TOKENS_AT_ONCE, most_pending(memory.store))

    def write(self, sequence: Tensor, memory: OpenCarry) -> tuple[list[PendingAnswer], OpenCarry]:
        """Write tokens ``(b, t, d)``; returns what is still to be read."""
        mixed, tail = self.convolution(self.project(sequence), memory.tail)
        q, k, v = (split_heads(x, self.heads) for x in mixed.chunk(3, dim=-1))
        position, slots, found = memory.store.position, memory.slots, None
        with in_full_precision(sequence):
            asked, named, told = (self._precise(x) for x in (q, k, v))
            q, k, v = (self._precise(x) for x in (self._query(q, position), self._key(k, position), v))
            if self.preset.normaliser:
                v = nn.functional.pad(v, (0, 1), value=1.0)
            gates, surprise = self.gates(self._precise(sequence)), list[Tensor]()
            observe = None if self.observer is None else surprise.append
            pending, after, scores = write_memory(q, k, v, gates, memory.store, observe=observe)
            if self.slots is not None and slots is not None:
                found, slots = self.slots(asked, named, told, scores, position, slots)
        if self.observer is not None and surprise:
            before, norms = close_memory(memory.store), torch.cat(surprise, dim=-1)
            self.observer(Observation(k, v, gates, norms, before, self.store(), self._store_norm(), self.rule))
        return [PendingAnswer(pending, found)] if pending else [], OpenCarry(after, tail, slots)

    def answer(self, pending: Sequence[PendingAnswer], sequence: Tensor, memory: OpenCarry) -> Tensor:
        """Return what written tokens ``(b, t, d)`` read: ``(b, t, d)``."""
        if self.silent or not pending:
            return torch.zeros_like(sequence)
        with in_full_precision(sequence):
            read = self._normalised(read_memory([piece for one in pending for piece in one.reads], memory.store))
            found_in_slots = [one.found for one in pending if one.found is not None]
            if found_in_slots:
                read = read + torch.cat(found_in_slots, dim=2)
        found = join_heads(self.norm(read.to(sequence.dtype)))
        if self.output_gate is not None:
            found = found * nn.functional.silu(self.output_gate(sequence))
        return self.output(found)

    def closed(self, memory: OpenCarry) -> MemoryCarry:
        """End a call in parts."""
        return MemoryCarry(close_memory(memory.store), memory.tail, memory.slots)

    def read(self, asked: Tensor, position: int, weights: Sequence[Tensor], slots: SlotsCarry | None = None) -> Tensor:
        """Return what tokens ``(b, h, t, k)`` from a position on find in weights and slots, normalised ``(b, t, d)``."""
        with in_full_precision(asked):
            queries = self._query(asked, position).to(weights[0].dtype)
            found = self._normalised(read_store(weights, queries, self._store_norm()))
            if self.slots is not None and slots is not None:
                found = found + self.slots.recall(self._precise(asked), slots)
        return join_heads(self.norm(found.to(asked.dtype)))

    def _query(self, x: Tensor, position: int) -> Tensor:
        return self._key(x / x.shape[-1] ** 0.5 if self.preset.features == "plain" else x, position)

    def _key(self, x: Tensor, position: int) -> Tensor:
        if self.preset.features == "unit":
            x = unit_length(x)
        elif self.preset.features == "elu":
            x = nn.functional.elu(x) + 1
        x = rotate(x, position) if self.preset.rotations else x
        return x if self.key_degree == 1 else up_to_squares(x)

    def _precise(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else x.float()

    def _store_norm(self) -> StoreNorm | None:
        return None if self.store_norm is None else StoreNorm(*self.store_norm)

    def _normalised(self, read: Tensor) -> Tensor:
        """Divide what was read by the sum of its weights, which was written beside the values."""
        if not self.preset.normaliser:
            return read
        values, total = read.split([read.shape[-1] - 1, 1], dim=-1)
        return values / total.clamp_min(1e-6)


def in_full_precision(x: Tensor) -> AbstractContextManager[None]:
    """Switch autocast off where it is on: a memory kept in bfloat16 forgets."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
