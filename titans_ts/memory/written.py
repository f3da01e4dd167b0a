"""What a memory did with some tokens, for an observer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import starmap, zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops import Gates, StoreNorm, StoreState, WriteRule, memory_chunked
from titans_ts.ops.decay import damped_step
from titans_ts.ops.rule import LOG_FLOOR, effective_step, safe_norm

BEGINNINGS = 16
"""Most tokens of a piece whose beginnings are read side by side; changes no answer."""
NUMBERS_AT_ONCE = 2**22
"""Numbers, about, in the memories of those beginnings: wide memories, or many, are read fewer tokens at a time."""


class Factors(NamedTuple):
    """Gates as the memory uses them, ``(b, h, t)`` each: plain factors, not logarithms."""

    retention: Tensor  # share of what was learned that a token keeps, 0 .. 1; 1 where nothing is forgotten
    step_size: Tensor  # what multiplies a token's gradient, 0 or more; damped, and of an implicit step what it comes to
    momentum: Tensor  # share of past surprise that is carried on, 0 .. 1; 0 where there is none


class Observation(NamedTuple):
    """Some tokens that a memory has written: what it was given, by which rule, and how much they surprised it."""

    keys: Tensor  # (b, h, t, k), as the store was given them
    values: Tensor  # (b, h, t, v)
    gates: Gates  # logarithms, (b, h, t) each
    surprise: Tensor  # (layers of the store, b, h, t): the norms |x||g| of the writes before clipping
    before: StoreState  # the store before the first of the tokens
    initial: tuple[Tensor, ...]  # M_0, (h, k, v) a layer
    norm: StoreNorm | None
    rule: WriteRule

    def factors(self) -> Factors:
        """Return the gates as plain factors."""
        gates = self.gates.floored()
        step = effective_step(gates, self.keys, self.rule)
        if self.rule.damping and self.before.crowd is not None:
            step, _ = damped_step(step, gates, self.keys, self.rule, self.before.crowd, self.before.position)
        retention = torch.ones_like(step) if gates.log_retention is None else gates.log_retention.exp()
        momentum = torch.zeros_like(step) if gates.log_momentum is None else gates.log_momentum.exp()
        return Factors(retention, step, momentum)

    def distances(self) -> Tensor:
        """Return ``|M - M_0|`` after every token, ``(b, h, t)``: the root sum of squares over the layers of the store.

        The fast form makes no memory for a single token. So every beginning of a short piece is read again as a sequence of
        its own, all in one batch; the tokens after its end leave the memory as it was.
        """
        state, found = self.before, []
        for keys, values, gates in self._pieces():
            distances, state = self._read_beginnings(keys, values, gates, state)
            found.append(distances)
        return torch.cat(found, dim=-1)

    def _pieces(self) -> Iterator[tuple[Tensor, Tensor, Gates]]:
        numbers = sum(w.numel() for w in self.before.weights)
        most = BEGINNINGS if self.rule.window == 1 else 1  # what comes after a token's end would write it once more
        size = min(max(NUMBERS_AT_ONCE // max(numbers, 1), 1), most)
        cut = (() if gate is None else gate.split(size, dim=2) for gate in self.gates)
        gates = starmap(Gates, zip_longest(*cut))
        return zip(self.keys.split(size, dim=2), self.values.split(size, dim=2), gates, strict=True)

    def _read_beginnings(self, keys: Tensor, values: Tensor, gates: Gates, state: StoreState) -> tuple[Tensor, StoreState]:
        """Return the distances after each of ``n`` tokens, and the state after them all."""
        batch, _, n = gates.log_step.shape

        def repeated(x: Tensor) -> Tensor:
            return x.repeat_interleave(n, dim=0)

        keys, values, gates = repeated(keys), repeated(values), _beginnings(gates.changed(repeated), batch)
        queries = keys  # what they read is not wanted
        before = _changed(state, repeated)
        _, after = memory_chunked(queries, keys, values, gates, self.rule, before, initial=self.initial, norm=self.norm)
        after = _changed(after, lambda x: x.unflatten(0, (batch, n)))
        distances = distance_between(after.weights, self.initial)  # b, n, h
        return distances.movedim(1, 2), _changed(after, lambda x: x[:, -1])


def distance_between(weights: tuple[Tensor, ...], initial: tuple[Tensor, ...]) -> Tensor:
    """Return ``|M - M_0|``, ``(..., h)`` of weights ``(..., h, k, v)``: the root sum of squares over their layers."""
    layers = [safe_norm(now - first, axes=2) for now, first in zip(weights, initial, strict=True)]
    return safe_norm(torch.stack(layers, dim=-1))


def _changed(state: StoreState, change: Callable[[Tensor], Tensor]) -> StoreState:
    return StoreState(*(_changed_part(part, change) for part in state))


def _changed_part(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(part, tuple):
        return tuple(map(change, part))
    return change(part) if isinstance(part, Tensor) else part


def _beginnings(gates: Gates, batch: int) -> Gates:
    """Let the ``i``-th of ``n`` copies of each sequence end with token ``i``."""
    n = gates.log_step.shape[2]
    after = torch.ones(n, n, dtype=torch.bool, device=gates.log_step.device).triu(1).repeat(batch, 1)[:, None]
    step, retention, momentum, penalty = gates
    return Gates(
        step.masked_fill(after, LOG_FLOOR),
        None if retention is None else retention.masked_fill(after, 0.0),
        None if momentum is None else momentum.masked_fill(after, LOG_FLOOR),
        penalty,
    )
