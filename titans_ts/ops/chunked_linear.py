"""A store of one layer, whose errors one unit-triangular system gives for several refreshes, exactly.

With ``r(t)`` the last write before t's refresh began and ``R[t,s] = C[r(t),s]``, the errors solve
``e_t + sum_{s<t} R[t,s] (k_t . k_s) theta_s e_s = A_r k_t M + B_r k_t S - v_t``; for ``decayed`` all that stands beside
``e_t`` and ``v_t`` is multiplied by ``a_t``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.decay import Decays, chunk_decays
from titans_ts.ops.dual import OpenMemory, Writes, anchor_of, narrow_first
from titans_ts.ops.dual_gradients import linear_after_writes, linear_writes
from titans_ts.ops.rule import Gates, WriteRule


class Tokens(NamedTuple):
    """Tokens of a call, batch and head as one axis: ``(b h, n, ...)``."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    step: Tensor
    gates: Gates

    def split(self, sizes: int | list[int]) -> list[Tokens]:
        """Cut the tokens; the gradient of a split is one ``cat``."""
        parts = [x.split(sizes, dim=1) for x in self[:4]]
        gates: list[Any] = [[None] * len(parts[0]) if x is None else x.split(sizes, dim=1) for x in self.gates]
        return [Tokens._make((*part, Gates(*gate))) for *part, gate in zip(*parts, zip(*gates, strict=True), strict=True)]


def reads_decayed(rule: WriteRule, gates: Gates) -> bool:
    """Tell whether a token's forgetting comes before its error."""
    return rule.read_from == "decayed" and gates.log_retention is not None


def one_refresh(piece: Tokens, decays: Decays, memory: OpenMemory) -> tuple[Tensor, OpenMemory, Tensor]:
    """Run tokens that read one anchor, each after its own forgetting.

    Returns the output ``(b h, n, v)``, the memory after it and the norms of :class:`Writes`, ``(2, b h, n)``.
    """
    rule, start = memory.rule, memory.start
    if memory.position % rule.refresh_every == 0:
        memory = memory._replace(anchor=anchor_of(memory.parts, start))
    retention = piece.gates.log_retention
    assert retention is not None  # else `walk` does it
    kept = retention.exp()[..., None] * (piece.keys @ _matrix(memory.anchor[0], memory))
    if start is not None:
        kept = kept - torch.expm1(retention)[..., None] * (piece.keys @ _matrix(start[0], memory))
    error = -piece.values if rule.objective == "dot" else rule.loss_factor * (kept - piece.values)
    return _after(piece, linear_writes(piece.keys, error, piece.step, rule), decays, memory)


def many_refreshes(piece: Tokens, decays: Decays, memory: OpenMemory) -> tuple[Tensor, OpenMemory, Tensor] | None:
    """Run several whole refreshes by one solve; None where a write would be clipped, which later errors depend on."""
    length, rule = piece.keys.shape[1], memory.rule
    writes = _solved_writes(piece, decays, memory)
    if rule.write_bound is not None and bool((writes.norms[0] > rule.write_bound).any()):
        return None
    output, after, norms = _after(piece, writes, decays, memory)
    anchor = _anchor_at(length - 1 - (length - 1) % rule.refresh_every, writes, piece.gates, memory)
    return output, after._replace(anchor=anchor), norms


def _after(piece: Tokens, writes: Writes, decays: Decays, memory: OpenMemory) -> tuple[Tensor, OpenMemory, Tensor]:
    """Read after known writes, and move the memory on."""
    output, moved = linear_after_writes(piece.queries, writes, decays, memory.parts[0], memory.start)
    after = memory._replace(parts=(moved,), position=memory.position + piece.keys.shape[1])
    return output, after, torch.stack(writes.norms)


def _matrix(layer: Tensor, memory: OpenMemory) -> Tensor:
    """Return ``(b h, narrow, wide)`` of a store of one layer as ``(b h, k, v)``, or the other way round."""
    return narrow_first(layer, memory.narrow_in[0])


def _anchor_at(token: int, writes: Writes, gates: Gates, memory: OpenMemory) -> tuple[Tensor, ...]:
    """Return the memory that the refresh beginning at ``token`` reads."""
    if token == 0:
        return anchor_of(memory.parts, memory.start)
    decays = chunk_decays(gates.changed(lambda gate: gate[:, :token]))
    kept = (decays.carried[:, 0, :, None, None] * memory.parts[0]).sum(1)
    written = (decays.leaving[..., :1] * writes.inputs[0][:, :token]).mT @ writes.rows[0][:, :token]
    return anchor_of([(kept + _matrix(written, memory))[:, None]], memory.start)


def _solved_writes(piece: Tokens, decays: Decays, memory: OpenMemory) -> Writes:
    """Return the writes over several refreshes from one unit-triangular system, unclipped."""
    _, k, v, step, gates = piece
    rule = memory.rule
    if rule.objective == "dot":
        return linear_writes(k, -v, step, rule)
    seen = torch.arange(k.shape[1], device=k.device)
    seen = seen - seen % rule.refresh_every  # how many writes of the piece a token's read has seen
    whole = torch.eye(1, decays.entering.shape[2], dtype=k.dtype, device=k.device).expand(len(k), 1, -1)  # at the start
    entering = torch.cat([whole, decays.entering], dim=1)[:, seen]
    writes_seen = F.pad(decays.write, (0, 0, 1, 0))[:, seen]
    if reads_decayed(rule, gates) and gates.log_retention is not None:
        own = gates.log_retention.exp()[..., None]
        entering, writes_seen = own * entering, own * writes_seen
    part = memory.parts[0]
    predicted = sum(entering[..., i, None] * (k @ _matrix(part[:, i], memory)) for i in range(part.shape[1]))
    if memory.start is not None:
        predicted = predicted + k @ _matrix(memory.start[0], memory)
    system = writes_seen * (k @ k.mT) * (rule.loss_factor * step[..., None, :])
    error = torch.linalg.solve_triangular(system, predicted - v, upper=False, unitriangular=True)
    return linear_writes(k, rule.loss_factor * error, step, rule)
