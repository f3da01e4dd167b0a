"""A store of one layer, whose errors one unit-triangular system gives for several refreshes, exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.chunked_deep import Held, Start, anchor_of
from titans_ts.ops.decay import Decays, chunk_decays
from titans_ts.ops.dual import Writes, linear_after_writes, linear_writes, narrow_first
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


def _matrix(layer: Tensor, held: Held) -> Tensor:
    """Return ``(b h, narrow, wide)`` of a store of one layer as ``(b h, k, v)``."""
    return narrow_first(layer, held.narrow_in[0])


Found = tuple[Tensor, Held, Tensor]
"""What was read, ``(b h, n, v)``, the state after it, and the surprise ``(1, b h, n)``."""


def one_refresh(piece: Tokens, decays: Decays, held: Held, start: Start, rule: WriteRule) -> Found:
    """Run tokens that read one anchor, each after its own forgetting."""
    if held.position % rule.refresh_every == 0:
        held = held._replace(anchor=anchor_of(held.parts, start))
    retention = piece.gates.log_retention
    assert retention is not None  # else `walk` does it
    kept = retention.exp()[..., None] * (piece.keys @ _matrix(held.anchor[0], held))
    if start is not None:
        kept = kept - torch.expm1(retention)[..., None] * (piece.keys @ _matrix(start[0], held))
    error = -piece.values if rule.objective == "dot" else rule.loss_factor * (kept - piece.values)
    writes = linear_writes(piece.keys, error, piece.step, rule)
    output, moved = linear_after_writes(piece.queries, writes, decays, held.parts[0], start)
    after = held._replace(parts=(moved,), position=held.position + piece.keys.shape[1])
    return output, after, torch.stack(writes.norms)


def many_refreshes(piece: Tokens, decays: Decays, held: Held, start: Start, rule: WriteRule) -> Found | None:
    """Run several whole refreshes by one solve; None where a write would be clipped, which later errors depend on."""
    length = piece.keys.shape[1]
    writes = _solved_writes(piece, decays, rule, held, start)
    if rule.write_bound is not None and bool((writes.norms[0] > rule.write_bound).any()):
        return None
    output, moved = linear_after_writes(piece.queries, writes, decays, held.parts[0], start)
    anchor = _anchor_at(length - 1 - (length - 1) % rule.refresh_every, writes, piece.gates, held, start)
    after = Held((moved,), anchor, held.position + length, held.narrow_in)
    return output, after, torch.stack(writes.norms)


def _anchor_at(token: int, writes: Writes, gates: Gates, held: Held, start: Start) -> tuple[Tensor, ...]:
    """Return the memory that the refresh beginning at ``token`` reads."""
    if token == 0:
        return anchor_of(held.parts, start)
    decays = chunk_decays(gates.changed(lambda gate: gate[:, :token]))
    parts = (decays.carried[:, 0, :, None, None] * held.parts[0]).sum(1)
    written = (decays.leaving[..., :1] * writes.inputs[0][:, :token]).mT @ writes.rows[0][:, :token]
    return anchor_of([(parts + _matrix(written, held))[:, None]], start)


def _solved_writes(piece: Tokens, decays: Decays, rule: WriteRule, held: Held, start: Start) -> Writes:
    """Return the writes of a linear store over several refreshes, from one unit-triangular system (unclipped).

    Row t of ``R`` is row r(t) of ``C``, where r(t) is the last write before t's refresh began.
    """
    _, k, v, step, gates = piece
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
    predicted = sum(
        entering[..., part, None] * (k @ _matrix(held.parts[0][:, part], held)) for part in range(entering.shape[2])
    )
    if start is not None:
        predicted = predicted + k @ _matrix(start[0], held)
    system = writes_seen * (k @ k.mT) * (rule.loss_factor * step[..., None, :])
    error = torch.linalg.solve_triangular(system, predicted - v, upper=False, unitriangular=True)
    return linear_writes(k, rule.loss_factor * error, step, rule)
