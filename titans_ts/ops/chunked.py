"""The fast form: chunks of tokens at once, equal to the reference.

``chunk_size`` is how the work is cut and never changes an answer; ``refresh_every`` belongs to the rule and does. A
chunk is split at refresh boundaries, which are counted from position 0 of the sequence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.chunked_deep import ChunkWrites, walk_reads, walk_writes
from titans_ts.ops.chunked_linear import Tokens, many_refreshes, one_refresh, reads_decayed
from titans_ts.ops.decay import Decays, chunk_decays, damped_step, windowed
from titans_ts.ops.dual import OpenMemory, narrow_first
from titans_ts.ops.dual_gradients import walk
from titans_ts.ops.ridge import write_ridge
from titans_ts.ops.rule import Gates, Initial, StoreNorm, StoreState, WriteRule, check_arguments, effective_step

RUN_TOKENS = 4096
"""Tokens, about, in one run of equal pieces; their decays are made at once."""

PENDING_FLOATS = 2**24
"""Numbers of states, about, that wait for reading when no gradients are asked for."""


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
    initial = initial if gates.log_retention is not None or rule.objective == "ridge" else None  # nothing is forgotten
    memory = open_memory(state, rule, initial=initial, norm=norm, chunk_size=chunk_size)
    outputs, most = [], most_pending(memory)
    for first in range(0, k.shape[2], most):
        here = slice(first, first + most)
        now = gates.changed(lambda gate: gate[:, :, here])  # noqa: B023
        pending, memory, _ = write_memory(q[:, :, here], k[:, :, here], v[:, :, here], now, memory, observe=observe)
        outputs.append(read_memory(pending, memory))
    if len(outputs) != 1:
        return (torch.cat(outputs, dim=2) if outputs else v), close_memory(memory)
    return outputs[0], close_memory(memory)


# --- a call in parts --------------------------------------------------------------------------------------------------


class PendingReads(NamedTuple):
    """Tokens that are written and not yet read, ``(b h, p n, ...)``, or what they read where that is known already."""

    queries: Tensor
    written: ChunkWrites | Tensor


def open_memory(
    state: StoreState,
    rule: WriteRule,
    *,
    initial: Initial = None,
    norm: StoreNorm | None = None,
    chunk_size: int = 64,
) -> OpenMemory:
    """Begin a call; arguments as those of :func:`memory_chunked`, ``initial`` only where something is forgotten."""
    batch, heads = state.weights[0].shape[:2]
    narrow_in = tuple(w.shape[2] <= w.shape[3] for w in state.weights)
    start = None
    if initial and rule.forget_towards == "initial":
        start = _narrow_first([w.expand(batch, *w.shape[-3:]) for w in initial], narrow_in)
    weights = _narrow_first(state.weights, narrow_in)
    if start is not None:
        weights = list(map(torch.sub, weights, start))
    columns = [weights] if state.momentum is None else [weights, _narrow_first(state.momentum, narrow_in)]
    parts = tuple(torch.stack(layer, dim=1) for layer in zip(*columns, strict=True))
    anchor = tuple(_narrow_first(state.anchor, narrow_in)) if state.anchor else ()
    sums, recent = (x and tuple(map(_flat, x)) for x in (state.sums, state.recent))
    kept = (state.crowd, sums, recent)
    return OpenMemory(parts, anchor, state.position, start, narrow_in, rule, norm, chunk_size, (batch, heads), *kept)


def write_memory(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    memory: OpenMemory,
    *,
    observe: Callable[[Tensor], None] | None = None,
) -> tuple[list[PendingReads], OpenMemory, Tensor]:
    """Write tokens, arguments as those of :func:`memory_chunked`.

    Returns what is to be read, the memory after it, and for each token its step size times ``|g|`` at the store's output,
    before clipping, ``(b, h, t)``.
    """
    gates, rule = gates.floored(), memory.rule
    step, crowd = effective_step(gates, k, rule), memory.crowd
    if rule.damping and crowd is not None:
        step, crowd = damped_step(step, gates, k, rule, crowd, memory.position)
    tokens = Tokens(_flat(q), _flat(k), _flat(v), _flat(step), gates.changed(_flat))
    surprise: list[Tensor] = []
    if rule.objective == "ridge" and k.shape[2]:
        output, memory, norms = write_ridge(tokens, memory)
        pending, surprise = [PendingReads(tokens.queries, output)], [norms]
    else:
        several = len(memory.parts) == 1 and memory.norm is None and rule.window == 1
        sizes = list(_piece_sizes(memory.position, k.shape[2], rule.refresh_every, memory.chunk_size, several=several))
        pending, memory = _run(tokens, sizes, memory, surprise)
        if memory.recent is not None:
            last = zip(memory.recent, tokens[1:4], strict=True)
            memory = memory._replace(recent=tuple(torch.cat(x, dim=1)[:, 1 - rule.window :] for x in last))
    if observe is not None:
        for norms in surprise:
            observe(norms[:-1].unflatten(1, memory.batch_and_heads))
    errors = torch.cat([norms[-1] for norms in surprise], dim=-1) if surprise else tokens.step
    return pending, memory._replace(crowd=crowd), (tokens.step * errors).detach().unflatten(0, memory.batch_and_heads)


def read_memory(pending: Sequence[PendingReads], memory: OpenMemory) -> Tensor:
    """Return what each token reads after its own write, ``(b, h, t, v)``."""
    outputs = []
    for _, same in groupby(pending, key=_chunk_length):
        queries, written = _joined(list(same))
        outputs.append(written if isinstance(written, Tensor) else walk_reads(queries, written, memory.start))
    read = (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)).unflatten(0, memory.batch_and_heads)
    if memory.norm is None:
        return read
    return memory.norm(read, torch.cat([piece.queries for piece in pending], dim=1).unflatten(0, memory.batch_and_heads))


def close_memory(memory: OpenMemory) -> StoreState:
    """Return the state to hand to the next call."""
    momentum = None
    if memory.parts[0].shape[1] == 2:
        momentum = memory.matrices([part[:, 1] for part in memory.parts])
    anchor = memory.matrices(memory.anchor) if memory.anchor else ()
    sums, recent = (
        x and tuple(part.unflatten(0, memory.batch_and_heads) for part in x) for x in (memory.sums, memory.recent)
    )
    return StoreState(memory.weights, momentum, anchor, memory.position, memory.crowd, sums, recent)


def most_pending(memory: OpenMemory) -> int:
    """Return how many tokens may wait to be read: without gradients, what reading asks for stays below a bound."""
    if torch.is_grad_enabled():
        return sys.maxsize
    floats = sum(part.numel() for part in memory.parts)
    return max(PENDING_FLOATS // floats, 1) * memory.rule.refresh_every


def _flat(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _narrow_first(weights: Sequence[Tensor], narrow_in: Sequence[bool]) -> list[Tensor]:
    """Return matrices ``(b, h, k, v)`` as ``(b h, narrow, wide)``."""
    return [narrow_first(_flat(w), narrow).contiguous() for w, narrow in zip(weights, narrow_in, strict=True)]


def _chunk_length(pending: PendingReads) -> int:
    """Return the tokens of a piece's chunks, 0 where it is read already."""
    return 0 if isinstance(pending.written, Tensor) else pending.written.decays.write.shape[2]


def _joined(pieces: Sequence[PendingReads]) -> PendingReads:
    """Return pieces of equal chunks as one."""
    if len(pieces) == 1:
        return pieces[0]

    def cat(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], Tensor):
            return torch.cat(list(parts), dim=1)
        joined = [cat(part) for part in zip(*parts, strict=True)]
        return type(parts[0])(*joined) if hasattr(parts[0], "_fields") else tuple(joined)

    found: PendingReads = cat(pieces)
    return found


# --- how tokens are cut -----------------------------------------------------------------------------------------------


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


def _runs(tokens: Tokens, sizes: list[int], recent: Sequence[Tensor] | None) -> Iterator[tuple[Tokens, Decays]]:
    """Cut tokens into runs of equal pieces, with the decays ``(b h, p, ...)`` of each.

    Where the last tokens before them are given, keys, values and steps of every piece begin with those before it.
    """
    counts: list[tuple[int, int]] = []
    for size, same in groupby(sizes):
        left, most = len(list(same)), max(RUN_TOKENS // size, 1)
        counts += [(size, min(most, left - first)) for first in range(0, left, most)]
    for (size, count), run in zip(counts, tokens.split([size * count for size, count in counts]), strict=True):
        cut = (None if gate is None else gate.unflatten(1, (count, size)) for gate in run.gates)
        decays = chunk_decays(Gates._make(cut))
        if recent is None:
            yield run, decays
            continue
        before = recent[0].shape[1]
        joined = [torch.cat(x, dim=1) for x in zip(recent, run[1:4], strict=True)]
        recent = [x[:, -before:] for x in joined]
        pieces = (x.unfold(1, before + size, size) for x in joined)  # b h, p, (k,) w + n
        keys, values, step = ((x.mT if x.ndim > 3 else x).flatten(1, 2) for x in pieces)
        yield run._replace(keys=keys, values=values, step=step), windowed(decays, before + 1)


def _run(
    tokens: Tokens, sizes: list[int], memory: OpenMemory, surprise: list[Tensor]
) -> tuple[list[PendingReads], OpenMemory]:
    """Go from run to run, several chunks as one walk, or a linear store piece by piece; their norms are added to a list."""
    pending: list[PendingReads] = []
    rule, (batch, _) = memory.rule, memory.batch_and_heads
    norm = None if memory.norm is None else StoreNorm(*(x.repeat(batch, 1) for x in memory.norm))
    for run, decays in _runs(tokens, sizes, memory.recent):
        size = decays.write.shape[2]
        one_anchor = memory.position % rule.refresh_every + size <= rule.refresh_every
        if one_anchor and not reads_decayed(rule, run.gates):
            written: Tensor | ChunkWrites
            if torch.is_grad_enabled():
                written, memory, norms = walk(*run[:4], decays, memory, norm)
            else:
                written, memory, norms = walk_writes(*run[1:4], decays, memory, norm)
            pending.append(PendingReads(run.queries, written))
            surprise.append(norms.unflatten(2, (-1, decays.write.shape[3]))[..., -size:].flatten(2))  # each token's own
            continue
        for piece, *shares in zip(run.split(size), *(x.unbind(1) for x in decays), strict=True):
            found = (one_refresh if one_anchor else many_refreshes)(piece, Decays(*shares), memory)
            if found is None:  # a write would be clipped
                one_by_one = list(_piece_sizes(0, size, rule.refresh_every, rule.refresh_every, several=False))
                again, memory = _run(piece, one_by_one, memory, surprise)
                pending += again
                continue
            output, memory, norms = found
            pending.append(PendingReads(piece.queries, output))
            surprise.append(norms)
    return pending, memory
