"""The fast form: chunks of tokens at once, equal to the reference.

``chunk_size`` is how the work is cut and never changes an answer; ``refresh_every`` belongs to the rule and does. A
chunk is split at refresh boundaries, which are counted from position 0 of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.chunked_deep import Writes, anchored_writes, linear_writes
from titans_ts.ops.chunked_reads import read_after_writes, state_after_writes
from titans_ts.ops.decay import Decays, chunk_decays
from titans_ts.ops.rule import Gates, Initial, StoreState, WriteRule, check_arguments, effective_step

DECAY_TOKENS = 4096
"""Tokens whose decays are made at once; bounds what a long call without gradients holds."""


def memory_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    rule: WriteRule,
    state: StoreState,
    *,
    initial: Initial = None,
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
    check_arguments(q, k, v, gates, rule, state, initial)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or more tokens, got {chunk_size}")
    gates = gates.floored()
    b, _, length, _ = k.shape
    start = initial if rule.forget_towards == "initial" and gates.log_retention is not None else None
    flat_start = None if start is None else tuple(_flat(w.expand(b, *w.shape[-3:])) for w in start)
    tokens = _Tokens(_flat(q), _flat(k), _flat(v), _flat(effective_step(gates, k, rule)), gates.changed(_flat))
    sizes = list(_piece_sizes(state.position, length, rule.refresh_every, chunk_size, linear=len(state.weights) == 1))

    def report(norms: list[Tensor]) -> None:
        if observe is not None:
            observe(torch.stack(norms).unflatten(1, k.shape[:2]))

    before = _map_state(_flat, state)
    if flat_start is not None:  # within a call, weights are distances from M_0
        before = before._replace(weights=tuple(w - w0 for w, w0 in zip(before.weights, flat_start, strict=True)))
    output, flat_state = _run(tokens, sizes, rule, before, flat_start, report)
    flat_state = flat_state._replace(weights=_whole(flat_state.weights, flat_start))
    return output.unflatten(0, k.shape[:2]), _map_state(lambda x: x.unflatten(0, k.shape[:2]), flat_state)


class _Tokens(NamedTuple):
    """Tokens of a call, batch and head as one axis: ``(b h, n, ...)``."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    step: Tensor
    gates: Gates


Report = Callable[[list[Tensor]], None]


def _flat(x: Tensor | None) -> Any:
    return None if x is None else x.flatten(0, 1)


def _whole(distances: tuple[Tensor, ...], initial: Initial) -> tuple[Tensor, ...]:
    """Return the memory itself from its distance to ``M_0``."""
    return distances if initial is None else tuple(map(torch.add, distances, initial))


def _map_state(change: Callable[[Tensor], Tensor], state: StoreState) -> StoreState:
    weights, momentum, anchor = (
        None if part is None else tuple(map(change, part)) for part in (state.weights, state.momentum, state.anchor)
    )
    return StoreState(weights or (), momentum, anchor or (), state.position)


def _piece_sizes(position: int, length: int, refresh_every: int, chunk_size: int, *, linear: bool) -> Iterator[int]:
    """Cut a call at refresh boundaries; only a linear store can take several refreshes at once."""
    whole = chunk_size - chunk_size % refresh_every if linear else refresh_every
    while length > 0:
        into = position % refresh_every
        if into or chunk_size < refresh_every:
            size = min(refresh_every - into, chunk_size, length)
        else:
            size = min(whole, length)
        yield size
        position, length = position + size, length - size


def _cut(tokens: _Tokens, sizes: list[int]) -> Iterator[tuple[_Tokens, Decays]]:
    """Cut tokens into pieces, with the decays of each.

    By ``split``, whose gradient is one ``cat`` (that of a slice is as long as the whole); decays for many equal pieces at
    once, as many as hold about :data:`DECAY_TOKENS` tokens.
    """
    cut: list[Any] = [x.split(sizes, dim=1) for x in tokens[:4]]
    cut_gates: list[Any] = [[None] * len(sizes) if gate is None else gate.split(sizes, dim=1) for gate in tokens.gates]
    pieces = [
        _Tokens(q, k, v, step, Gates(*gates))
        for q, k, v, step, gates in zip(*cut, zip(*cut_gates, strict=True), strict=True)
    ]
    first = 0
    while first < len(sizes):
        size, last = sizes[first], first
        while last < len(sizes) and sizes[last] == size and (last - first) * size < DECAY_TOKENS:
            last += 1
        stacked: list[Any] = [torch.stack(gate[first:last]) if gate[0] is not None else None for gate in cut_gates]
        shares = [[None] * (last - first) if x is None else x.unbind(0) for x in chunk_decays(Gates(*stacked))]
        for piece, share in zip(pieces[first:last], zip(*shares, strict=True), strict=True):
            yield piece, Decays(*share)
        first = last


def _run(
    tokens: _Tokens, sizes: list[int], rule: WriteRule, state: StoreState, initial: Initial, report: Report
) -> tuple[Tensor, StoreState]:
    """Walk from piece to piece."""
    outputs = []
    for piece, decays in _cut(tokens, sizes):
        one = state.position % rule.refresh_every + piece.keys.shape[1] <= rule.refresh_every
        output, state = (_one_refresh if one else _many_refreshes)(piece, decays, rule, state, initial, report)
        outputs.append(output)
    return (torch.cat(outputs, dim=1) if outputs else tokens.values), state


def _one_refresh(
    piece: _Tokens, decays: Decays, rule: WriteRule, state: StoreState, initial: Initial, report: Report
) -> tuple[Tensor, StoreState]:
    """Run tokens that share one anchor: no system to solve, any depth."""
    if state.position % rule.refresh_every == 0:
        state = state._replace(anchor=_whole(state.weights, initial))
    if rule.read_from == "decayed" and piece.gates.log_retention is not None:
        writes = _decayed_writes(piece, piece.gates.log_retention, rule, state, initial)
    else:
        writes = anchored_writes(state.anchor, piece.keys, piece.values, piece.step, rule)
    report(writes.norms)
    output = read_after_writes(piece.queries, writes, decays, state, initial)
    return output, state_after_writes(writes, decays, state)


def _decayed_writes(piece: _Tokens, log_retention: Tensor, rule: WriteRule, state: StoreState, initial: Initial) -> Writes:
    """Return the writes of a linear store that reads the anchor after each token's own forgetting."""
    kept = log_retention.exp()[..., None] * (piece.keys @ state.anchor[0])
    if initial is not None:
        kept = kept - torch.expm1(log_retention)[..., None] * (piece.keys @ initial[0])
    error = -piece.values if rule.objective == "dot" else rule.loss_factor * (kept - piece.values)
    return linear_writes(piece.keys, error, piece.step, rule)


def _many_refreshes(
    piece: _Tokens, decays: Decays, rule: WriteRule, state: StoreState, initial: Initial, report: Report
) -> tuple[Tensor, StoreState]:
    """Run several whole refreshes of a linear store by one solve, or one by one where a write would be clipped."""
    length, refresh = piece.keys.shape[1], rule.refresh_every
    writes = _solved_writes(piece, decays, rule, state, initial)
    if rule.write_bound is not None and bool((writes.norms[0] > rule.write_bound).any()):
        sizes = list(_piece_sizes(0, length, refresh, refresh, linear=False))
        return _run(piece, sizes, rule, state, initial, report)
    report(writes.norms)
    output = read_after_writes(piece.queries, writes, decays, state, initial)
    anchor = _weights_before(length - 1 - (length - 1) % refresh, writes, piece.gates, state, initial)
    return output, state_after_writes(writes, decays, state)._replace(anchor=anchor)


def _weights_before(token: int, writes: Writes, gates: Gates, state: StoreState, initial: Initial) -> tuple[Tensor, ...]:
    """Return the memory that the refresh beginning at ``token`` reads."""
    part = Writes(*([x[:, :token] for x in field] for field in writes))
    before = gates.changed(lambda gate: gate[:, :token])
    return _whole(state_after_writes(part, chunk_decays(before), state).weights, initial)


def _solved_writes(piece: _Tokens, decays: Decays, rule: WriteRule, state: StoreState, initial: Initial) -> Writes:
    """Return the writes of a linear store over several refreshes, from one unit-triangular system (unclipped).

    Row t of ``R`` is row r(t) of ``C``, where r(t) is the last write before t's refresh began.
    """
    _, k, v, step, gates = piece
    if rule.objective == "dot":
        return linear_writes(k, -v, step, rule)
    seen = torch.arange(k.shape[1], device=k.device)
    seen = seen - seen % rule.refresh_every  # how many writes of the piece a token's read has seen

    def as_read(share: Tensor | None, before: float) -> Tensor | None:
        return None if share is None else F.pad(share, (1, 0), value=before)[..., seen]

    memory, momentum = as_read(decays.memory, 1.0), as_read(decays.momentum, 0.0)
    writes_seen = F.pad(decays.write, (0, 0, 1, 0))[..., seen, :]
    if rule.read_from == "decayed" and gates.log_retention is not None and memory is not None:
        own = gates.log_retention.exp()
        memory, writes_seen = own * memory, own[..., None] * writes_seen
        momentum = None if momentum is None else own * momentum
    predicted = k @ state.weights[0] if memory is None else memory[..., None] * (k @ state.weights[0])
    if initial is not None:
        predicted = predicted + k @ initial[0]
    if momentum is not None and state.momentum is not None:
        predicted = predicted + momentum[..., None] * (k @ state.momentum[0])
    system = writes_seen * (k @ k.mT) * (rule.loss_factor * step[..., None, :])
    error = torch.linalg.solve_triangular(system, predicted - v, upper=False, unitriangular=True)
    return linear_writes(k, rule.loss_factor * error, step, rule)
