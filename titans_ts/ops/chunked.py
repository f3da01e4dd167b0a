"""The fast form: chunks of tokens at once, equal to the reference.

``chunk_size`` is how the work is cut and never changes an answer; ``refresh_every`` belongs to the rule and does. A
chunk is split at refresh boundaries, which are counted from position 0 of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.chunked_reads import linear_after_writes, narrow_first
from titans_ts.ops.chunked_walk import Held, anchor_of, walk
from titans_ts.ops.chunked_writes import Writes, linear_writes
from titans_ts.ops.decay import Decays, chunk_decays
from titans_ts.ops.rule import Gates, Initial, StoreNorm, StoreState, WriteRule, check_arguments, effective_step

RUN_TOKENS = 4096
"""Tokens, about, in one run of equal pieces; their decays are made at once."""


def memory_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    rule: WriteRule,
    state: StoreState,
    *,
    initial: Initial = None,
    norm: StoreNorm | None = None,
    chunk_size: int = 64,
    observe: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, StoreState]:
    """Write and read a memory chunk by chunk: what :func:`~titans_ts.ops.recurrent.memory_recurrent` computes, fast.

    A linear store solves one unit-triangular system a chunk, whatever ``refresh_every``. A deeper store walks from
    refresh to refresh, all tokens of one at once; with ``refresh_every=1`` that is one token at a time.

    Parameters
    ----------
    q, k : Tensor
        Queries and keys, ``(b, h, t, k)``; ``t`` need not divide by anything.
    v : Tensor
        Values, ``(b, h, t, v)``.
    gates : Gates
        Logarithms of step size, retention and momentum, ``(b, h, t)`` each.
    rule : WriteRule
        Which memory this is.
    state : StoreState
        Where an earlier call stopped, or :func:`~titans_ts.ops.rule.fresh_state`.
    initial : sequence of Tensor, optional
        ``M_0``, needed when ``rule.forget_towards == "initial"`` and something is forgotten.
    norm : StoreNorm, optional
        For a store with a normalised residual around its layers; it is run refresh by refresh.
    chunk_size : int, default=64
        Tokens worked on at once.
    observe : callable, optional
        Called, piece by piece in order, with the surprise ``(layers, b, h, tokens)``: the norms ``|x||g|`` of the
        writes before clipping.

    Returns
    -------
    output : Tensor
        ``(b, h, t, v)``, what each token read after its own write.
    state : StoreState
        To hand to the next call.

    Raises
    ------
    ValueError
        If shapes do not fit, the rule refuses the store, or ``chunk_size`` is below 1.

    Notes
    -----
    A chunk of a linear store in which a write would be clipped is run refresh by refresh instead, since later errors
    depend on the earlier clipped ones.

    References
    ----------
    arXiv 2501.00663, equations 16 to 18; 2406.06484 for the triangular form of the delta rule.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.ops import fresh_state, memory_recurrent
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 1, 2, 50, 4, dtype=torch.float64)
    >>> gates = Gates(torch.full((1, 2, 50), -3.0, dtype=torch.float64))
    >>> start = fresh_state([torch.zeros(2, 4, 4, dtype=torch.float64)], batch=1, momentum=False)
    >>> fast, _ = memory_chunked(q, k, v, gates, WriteRule(), start)
    >>> true, _ = memory_recurrent(q, k, v, gates, WriteRule(), start)
    >>> bool((fast - true).abs().max() < 1e-12)
    True
    """
    check_arguments(q, k, v, gates, rule, state, initial, norm)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or more tokens, got {chunk_size}")
    gates = gates.floored()
    narrow_in = tuple(w.shape[2] <= w.shape[3] for w in state.weights)
    returns = rule.forget_towards == "initial" and gates.log_retention is not None
    start = _narrow_first([w.expand(k.shape[0], *w.shape[-3:]) for w in initial], narrow_in) if initial and returns else None
    tokens = _Tokens(_flat(q), _flat(k), _flat(v), _flat(effective_step(gates, k, rule)), gates.changed(_flat))
    several = len(narrow_in) == 1 and norm is None
    sizes = list(_piece_sizes(state.position, k.shape[2], rule.refresh_every, chunk_size, several=several))

    def report(norms: Tensor) -> None:
        if observe is not None:
            observe(norms.unflatten(1, k.shape[:2]))

    flat_norm = None if norm is None else StoreNorm(*(x.repeat(k.shape[0], 1) for x in norm))
    output, held = _run(tokens, sizes, rule, _held(state, start, narrow_in), start, report, flat_norm)
    read = output.unflatten(0, k.shape[:2])
    return (read if norm is None else norm(read, q)), _state(held, start, k.shape[:2])


class _Tokens(NamedTuple):
    """Tokens of a call, batch and head as one axis: ``(b h, n, ...)``."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    step: Tensor
    gates: Gates

    def split(self, sizes: int | list[int]) -> list[_Tokens]:
        """Cut the tokens; the gradient of a split is one ``cat``."""
        parts = [x.split(sizes, dim=1) for x in self[:4]]
        gates: list[Any] = [[None] * len(parts[0]) if x is None else x.split(sizes, dim=1) for x in self.gates]
        return [_Tokens._make((*part, Gates(*gate))) for *part, gate in zip(*parts, zip(*gates, strict=True), strict=True)]


Start = Sequence[Tensor] | None
Report = Callable[[Tensor], None]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _narrow_first(weights: Sequence[Tensor], narrow_in: Sequence[bool]) -> list[Tensor]:
    """Return matrices ``(b, h, k, v)`` as ``(b h, narrow, wide)``."""
    return [narrow_first(_flat(w), narrow).contiguous() for w, narrow in zip(weights, narrow_in, strict=True)]


def _held(state: StoreState, start: Start, narrow_in: tuple[bool, ...]) -> Held:
    """Return a state as it is inside a call, where the memory is its distance from ``M_0``."""
    memory = _narrow_first(state.weights, narrow_in)
    if start is not None:
        memory = list(map(torch.sub, memory, start))
    columns = [memory] if state.momentum is None else [memory, _narrow_first(state.momentum, narrow_in)]
    parts = tuple(torch.stack(layer, dim=1) for layer in zip(*columns, strict=True))
    return Held(parts, tuple(_narrow_first(state.anchor, narrow_in)), state.position, narrow_in)


def _state(held: Held, start: Start, batch_and_heads: Sequence[int]) -> StoreState:
    """Return what :func:`_held` was given, as it now is."""

    def matrices(layers: Iterable[Tensor]) -> tuple[Tensor, ...]:
        turned = (narrow_first(x, narrow) for x, narrow in zip(layers, held.narrow_in, strict=True))
        return tuple(x.contiguous().unflatten(0, batch_and_heads) for x in turned)

    momentum = matrices(part[:, 1] for part in held.parts) if held.parts[0].shape[1] == 2 else None
    return StoreState(matrices(anchor_of(held.parts, start)), momentum, matrices(held.anchor), held.position)


def _piece_sizes(position: int, length: int, refresh_every: int, chunk_size: int, *, several: bool) -> Iterator[int]:
    """Cut a call at refresh boundaries; only a linear store can take ``several`` at once."""
    whole = chunk_size - chunk_size % refresh_every if several else refresh_every
    while length > 0:
        into = position % refresh_every
        if into or chunk_size < refresh_every:
            size = min(refresh_every - into, chunk_size, length)
        else:
            size = min(whole, length)
        yield size
        position, length = position + size, length - size


def _runs(tokens: _Tokens, sizes: list[int]) -> Iterator[tuple[_Tokens, Decays]]:
    """Cut tokens into runs of equal pieces, with the decays ``(b h, p, ...)`` of each."""
    counts: list[tuple[int, int]] = []
    for size, same in groupby(sizes):
        left, most = len(list(same)), max(RUN_TOKENS // size, 1)
        counts += [(size, min(most, left - first)) for first in range(0, left, most)]
    for (size, count), run in zip(counts, tokens.split([size * count for size, count in counts]), strict=True):
        cut = (None if gate is None else gate.unflatten(1, (count, size)) for gate in run.gates)
        yield run, chunk_decays(Gates._make(cut))


def _run(
    tokens: _Tokens,
    sizes: list[int],
    rule: WriteRule,
    held: Held,
    start: Start,
    report: Report,
    norm: StoreNorm | None = None,
) -> tuple[Tensor, Held]:
    """Go from run to run: several chunks as one walk, or a linear store piece by piece."""
    outputs = []
    for run, decays in _runs(tokens, sizes):
        size = decays.write.shape[2]
        one_anchor = held.position % rule.refresh_every + size <= rule.refresh_every
        if one_anchor and not _reads_decayed(rule, run.gates):
            output, held, norms = walk(*run[:4], decays, held, start, rule, norm)
            report(norms)
            outputs.append(output)
            continue
        for piece, *shares in zip(run.split(size), *(x.unbind(1) for x in decays), strict=True):
            one_by_one = _one_refresh if one_anchor else _many_refreshes
            output, held = one_by_one(piece, Decays(*shares), rule, held, start, report)
            outputs.append(output)
    return (torch.cat(outputs, dim=1) if outputs else tokens.values), held


def _reads_decayed(rule: WriteRule, gates: Gates) -> bool:
    return rule.read_from == "decayed" and gates.log_retention is not None


def _matrix(layer: Tensor, held: Held) -> Tensor:
    """Return ``(b h, narrow, wide)`` of a store of one layer as ``(b h, k, v)``."""
    return narrow_first(layer, held.narrow_in[0])


def _one_refresh(
    piece: _Tokens, decays: Decays, rule: WriteRule, held: Held, start: Start, report: Report
) -> tuple[Tensor, Held]:
    """Run tokens of a linear store that read one anchor, each after its own forgetting."""
    if held.position % rule.refresh_every == 0:
        held = held._replace(anchor=anchor_of(held.parts, start))
    retention = piece.gates.log_retention
    assert retention is not None  # else `walk` does it
    kept = retention.exp()[..., None] * (piece.keys @ _matrix(held.anchor[0], held))
    if start is not None:
        kept = kept - torch.expm1(retention)[..., None] * (piece.keys @ _matrix(start[0], held))
    error = -piece.values if rule.objective == "dot" else rule.loss_factor * (kept - piece.values)
    writes = linear_writes(piece.keys, error, piece.step, rule)
    report(torch.stack(writes.norms))
    output, moved = linear_after_writes(piece.queries, writes, decays, held.parts[0], start)
    return output, held._replace(parts=(moved,), position=held.position + piece.keys.shape[1])


def _many_refreshes(
    piece: _Tokens, decays: Decays, rule: WriteRule, held: Held, start: Start, report: Report
) -> tuple[Tensor, Held]:
    """Run several whole refreshes of a linear store by one solve, or one by one where a write would be clipped."""
    length, refresh = piece.keys.shape[1], rule.refresh_every
    writes = _solved_writes(piece, decays, rule, held, start)
    if rule.write_bound is not None and bool((writes.norms[0] > rule.write_bound).any()):
        sizes = list(_piece_sizes(0, length, refresh, refresh, several=False))
        return _run(piece, sizes, rule, held, start, report)
    report(torch.stack(writes.norms))
    output, moved = linear_after_writes(piece.queries, writes, decays, held.parts[0], start)
    anchor = _anchor_at(length - 1 - (length - 1) % refresh, writes, piece.gates, held, start)
    return output, Held((moved,), anchor, held.position + length, held.narrow_in)


def _anchor_at(token: int, writes: Writes, gates: Gates, held: Held, start: Start) -> tuple[Tensor, ...]:
    """Return the memory that the refresh beginning at ``token`` reads."""
    if token == 0:
        return anchor_of(held.parts, start)
    decays = chunk_decays(gates.changed(lambda gate: gate[:, :token]))
    parts = (decays.carried[:, 0, :, None, None] * held.parts[0]).sum(1)
    written = (decays.leaving[..., :1] * writes.inputs[0][:, :token]).mT @ writes.rows[0][:, :token]
    return anchor_of([(parts + _matrix(written, held))[:, None]], start)


def _solved_writes(piece: _Tokens, decays: Decays, rule: WriteRule, held: Held, start: Start) -> Writes:
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
    if _reads_decayed(rule, gates) and gates.log_retention is not None:
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
