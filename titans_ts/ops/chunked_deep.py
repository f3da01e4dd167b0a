"""From refresh to refresh: a run of equal chunks, each of which writes at one anchor.

With gradients a run is one node of autograd's graph, and goes chunk by chunk: they go from chunk to chunk in place, and only
what products have made is kept for them. Without, only the writes wait for each other, and all chunks are read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.decay import Decays
from titans_ts.ops.dual import (
    Writes,
    add_outer,
    after_writes_backward,
    anchored_writes,
    anchored_writes_again,
    anchored_writes_backward,
    narrow_first,
    read_after_writes,
    state_after_writes,
)
from titans_ts.ops.rule import StoreNorm, WriteRule


class Held(NamedTuple):
    """A state inside a call, narrow side first (see :mod:`titans_ts.ops.dual`).

    Attributes
    ----------
    parts : tuple of Tensor
        ``Delta`` and ``S`` of each layer, ``(b h, m, narrow, wide)``.
    anchor : tuple of Tensor
        ``(b h, narrow, wide)`` each.
    position : int
        Tokens read so far.
    narrow_in : tuple of bool
        Whether the narrow side of a layer is that of its keys.
    """

    parts: tuple[Tensor, ...]
    anchor: tuple[Tensor, ...]
    position: int
    narrow_in: tuple[bool, ...]


class Written(NamedTuple):
    """What ``p`` chunks of ``n`` tokens wrote, and the state that each of them found: all that reading asks for.

    Attributes
    ----------
    inputs, rows : tuple of Tensor
        Layer by layer, ``(b h, p n, .)``, as in :class:`~titans_ts.ops.dual.Writes`.
    entered : tuple of Tensor
        ``Delta`` and ``S`` before each chunk, ``(b h, p, m, narrow, wide)`` a layer.
    decays : Decays
        ``(b h, p, ...)``.
    """

    inputs: tuple[Tensor, ...]
    rows: tuple[Tensor, ...]
    entered: tuple[Tensor, ...]
    decays: Decays


Start = Sequence[Tensor] | None
"""``M_0``, one ``(b h, narrow, wide)`` a layer, where forgetting leads back to it."""


def anchor_of(parts: Sequence[Tensor], start: Start) -> tuple[Tensor, ...]:
    """Return the memory itself, to take gradients at."""
    if start is None:
        return tuple(part[:, 0] for part in parts)
    return tuple(part[:, 0] + first for part, first in zip(parts, start, strict=True))


def walk(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    step: Tensor,
    decays: Decays,
    held: Held,
    start: Start,
    rule: WriteRule,
    norm: StoreNorm | None,
) -> tuple[Tensor, Held, Tensor]:
    """Write and read tokens ``(b h, p n, .)`` in ``p`` chunks of ``n``, none of which crosses a refresh.

    Parameters
    ----------
    queries, keys, values, step : Tensor
        ``(b h, p n, .)``; the step size ``(b h, p n)``.
    decays : Decays
        Of each chunk, ``(b h, p, ...)``.
    held : Held
        The state before.
    start : sequence of Tensor or None
        ``M_0``.
    rule : WriteRule
        Which memory this is.
    norm : StoreNorm or None
        ``(b h, v)`` each. Errors pass through it; what is returned was read before it.

    Returns
    -------
    output : Tensor
        ``(b h, p n, v)``.
    held : Held
        The state after.
    norms : Tensor
        The surprise, ``(layers, b h, p n)``.
    """
    depth = len(held.parts)
    plan = _Plan(rule, held.position, held.narrow_in, start is not None, torch.is_grad_enabled())
    states = (*held.parts, *held.anchor, *(start or ()), *(norm or ()))
    found = _Walk.apply(plan, queries, keys, values, step, *decays, *states)
    output, norms, parts, anchor = found[0], found[1], found[2 : 2 + depth], found[2 + depth :]
    after = Held(parts, anchor or held.anchor, held.position + keys.shape[1], held.narrow_in)
    return output, after, norms


def walk_writes(
    keys: Tensor,
    values: Tensor,
    step: Tensor,
    decays: Decays,
    held: Held,
    start: Start,
    rule: WriteRule,
    norm: StoreNorm | None,
) -> tuple[Written, Held, Tensor]:
    """Write as :func:`walk` does, without gradients, and leave the reading to :func:`walk_reads`."""
    plan = _Plan(rule, held.position, held.narrow_in, start is not None, keep=False)
    parts, anchor = list(held.parts), held.anchor
    made, entered = [], []
    chunks = _chunks(decays, keys, values, step)
    for refresh, share, k, v, size in zip(plan.refreshes(decays.write), *chunks, strict=True):
        if refresh:
            anchor = anchor_of(parts, start)
        writes, _ = anchored_writes(plan.matrices(anchor), k, v, size, rule, norm)
        made.append(writes)
        entered.append(parts)
        parts = state_after_writes(writes, share, parts)
    inputs, rows, norms = (tuple(torch.cat(x, dim=1) for x in zip(*one, strict=True)) for one in zip(*made, strict=True))
    found = tuple(torch.stack(x, dim=1) for x in zip(*entered, strict=True))
    after = Held(tuple(parts), anchor, held.position + keys.shape[1], held.narrow_in)
    return Written(inputs, rows, found, decays), after, torch.stack(norms)


def walk_reads(queries: Tensor, written: Written, start: Start) -> Tensor:
    """Read with queries ``(b h, p n, k)`` what was written, each as of its own token: ``(b h, p n, v)``.

    The chunks are read as if each were a memory of its own.
    """
    size = written.decays.write.shape[2]

    def cut(x: Tensor) -> Tensor:
        return x.reshape(-1, size, x.shape[2])

    writes = Writes([cut(x) for x in written.inputs], [cut(x) for x in written.rows], [])
    decays = Decays(*(x.flatten(0, 1) for x in written.decays))
    out, _ = read_after_writes(cut(queries), writes, decays, [x.flatten(0, 1) for x in written.entered], start)
    return out.view(*queries.shape[:2], -1)


class _Sorted(NamedTuple):
    decays: Decays
    parts: list[Tensor]
    anchor: list[Tensor]
    start: list[Tensor] | None
    norm: StoreNorm | None


class _Plan(NamedTuple):
    """What a walk needs besides tensors."""

    rule: WriteRule
    position: int
    narrow_in: tuple[bool, ...]
    returns: bool
    keep: bool

    def refreshes(self, write: Tensor) -> list[bool]:
        """Return for each chunk whether the anchor is taken anew at its start."""
        chunks, size = write.shape[1], write.shape[2]
        return [(self.position + i * size) % self.rule.refresh_every == 0 for i in range(chunks)]

    def sorted(self, tensors: Sequence[Tensor]) -> _Sorted:
        """Take apart what was joined for autograd."""
        shares, states, depth = tensors[:4], list(tensors[4:]), len(self.narrow_in)
        end = depth * (3 if self.returns else 2)
        norm = StoreNorm(*states[end:]) if len(states) > end else None
        return _Sorted(Decays(*shares), states[:depth], states[depth : 2 * depth], states[2 * depth : end] or None, norm)

    def matrices(self, anchor: Sequence[Tensor]) -> list[Tensor]:
        """Return an anchor as ``(b h, k, v)`` a layer."""
        return [narrow_first(x, narrow_in) for x, narrow_in in zip(anchor, self.narrow_in, strict=True)]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: _Plan, queries: Tensor, keys: Tensor, values: Tensor, step: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        decays, parts, anchor, start, norm = plan.sorted(tensors)
        refreshes = plan.refreshes(decays.write)
        ctx.plan, ctx.chunks = plan, []
        outputs, norms = [], []
        for refresh, share, q, k, v, size in zip(refreshes, *_chunks(decays, queries, keys, values, step), strict=True):
            if refresh:
                anchor = list(anchor_of(parts, start))
            writes, written = anchored_writes(plan.matrices(anchor), k, v, size, plan.rule, norm)
            out, read = read_after_writes(q, writes, share, parts, start)
            if plan.keep:
                ctx.chunks.append((written, read, parts))
            parts = state_after_writes(writes, share, parts)
            outputs.append(out)
            norms.append(torch.stack(writes.norms))
        if plan.keep:
            ctx.save_for_backward(keys, step, *tensors)
        surprise = torch.cat(norms, dim=2)
        ctx.mark_non_differentiable(surprise)
        return (torch.cat(outputs, dim=1), surprise, *parts, *(anchor if any(refreshes) else ()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, _: Tensor, *d_states: Tensor) -> tuple[Tensor | None, ...]:
        plan, depth = ctx.plan, len(ctx.plan.narrow_in)
        keys, step, *tensors = ctx.saved_tensors
        decays, _, entered, start, norm = plan.sorted(tensors)
        refreshes = plan.refreshes(decays.write)
        d_decays = Decays(*map(torch.zeros_like, decays))
        d_parts = [x.contiguous() for x in d_states[:depth]]
        d_anchor: list[Tensor | None] = [x.clone() for x in d_states[depth:]] or [None] * depth
        d_start: list[Tensor | None] = [None] * depth
        d_tokens: list[tuple[Tensor, ...]] = []
        d_norm = [torch.zeros_like(x) for x in norm or ()]
        chunks = list(zip(*_chunks(decays, keys, step, d_output, d_decays), ctx.chunks, strict=True))
        for i in range(len(chunks) - 1, -1, -1):
            share, k, size, d_out, d_share, (written, read, parts) = chunks[i]
            if i == len(chunks) - 1 or refreshes[i + 1]:
                begun = max((j for j in range(i + 1) if refreshes[j]), default=None)
                anchor = plan.matrices(entered if begun is None else anchor_of(ctx.chunks[begun][2], start))
            again = anchored_writes_again(k, size, written)
            after = after_writes_backward(read, again.writes, share, parts, start, d_out, d_parts, d_share, d_start)
            d_k, d_v, d_size, pairs, d_own = anchored_writes_backward(
                again, written, size, anchor, plan.rule, after.inputs, after.rows, norm
            )
            for total, own in zip(d_norm, d_own, strict=True):
                total += own
            d_tokens.append((after.queries, d_k, d_v, d_size))
            d_parts = after.held
            for layer, narrow_in in enumerate(plan.narrow_in):
                for left, right in pairs[layer]:
                    d_anchor[layer] = add_outer(d_anchor[layer], left, right, narrow_in)
            if refreshes[i]:
                _add_anchor(d_anchor, d_parts, d_start)
                d_anchor = [None] * depth
        joined = (torch.cat(x[::-1], dim=1) for x in zip(*d_tokens, strict=True))
        return (None, *joined, *d_decays, *d_parts, *d_anchor, *(d_start if plan.returns else ()), *d_norm)


def _add_anchor(d_anchor: list[Tensor | None], d_parts: list[Tensor], d_start: list[Tensor | None]) -> None:
    """Add the derivative by an anchor to those by what it is the sum of."""
    for layer, share in enumerate(d_anchor):
        if share is not None:
            d_parts[layer][:, 0] += share
            before = d_start[layer]
            d_start[layer] = share if before is None else before.add_(share)


def _chunks(decays: Decays, *tokens: Tensor | Decays) -> list[Any]:
    """Cut decays ``(b h, p, ...)`` and tokens ``(b h, p n, ...)`` into ``p`` chunks each."""
    size = decays.write.shape[2]

    def cut(x: Tensor | Decays) -> Any:
        if isinstance(x, Tensor):
            return x.split(size, dim=1)
        return map(Decays._make, zip(*(share.unbind(1) for share in x), strict=True))

    return [cut(x) for x in (decays, *tokens)]
