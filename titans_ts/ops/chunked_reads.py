"""The dual form of a store of any depth: what tokens read after each other's writes, and how the state moves on.

With ``Delta = M - M_0`` (or ``M``, where forgetting leads to zero) and ``S`` as carried into a chunk, layer l after t writes
reads ``z -> z M_0 + A_t z Delta_l + B_t z S_l + sum_{s<=t} C[t, s] (z . x_{l-1}(s)) G_l(s)`` with ``G = -theta g``: a masked
attention product. The state moves on by ``Delta' = A Delta + B S + X^T (c G)`` and ``S' = m S + X^T (e G)``.

``Delta`` and ``S`` of a layer lie one below the other, narrow side first, in one tensor ``(b h, m, narrow, wide)`` with
m = 2, or 1 without momentum: each product is then one ``bmm`` for both, and shares are multiplied in on the narrow side.
Derivatives are written by hand, as in :mod:`titans_ts.ops.chunked_writes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.chunked_writes import Writes, silu_slope
from titans_ts.ops.decay import Decays


class ReadTrace(NamedTuple):
    """What the derivative of reading needs, layer by layer; the rest is cheaper made again than kept.

    Attributes
    ----------
    asked : list of Tensor
        What each layer is given, before SiLU where it is not the lowest, ``(b h, n, k_l)``.
    seen : list of Tensor
        Its products with what was written, ``(b h, n, n)``.
    found : list of Tensor or None
        What it found in the state, ``(b h, n, m v_l)``; None where its keys are the narrow side.
    """

    asked: list[Tensor]
    seen: list[Tensor]
    found: list[Tensor | None]


def narrow_first(matrix: Tensor, narrow_in: bool) -> Tensor:
    """Turn ``(..., k, v)`` so that the narrow side comes first; its own inverse."""
    return matrix if narrow_in else matrix.mT


def add_outer(total: Tensor | None, left: Tensor, right: Tensor, narrow_in: bool) -> Tensor:
    """Return ``total + left^T right``, narrow side first; the total is changed in place."""
    if not narrow_in:
        left, right = right, left
    return torch.bmm(left.mT, right) if total is None else total.baddbmm_(left.mT, right)


def read_after_writes(
    queries: Tensor, writes: Writes, decays: Decays, held: Sequence[Tensor], start: Sequence[Tensor] | None
) -> tuple[Tensor, ReadTrace]:
    """Read with every query the memory as of its own token, ``(b h, n, v)``.

    ``held`` is one ``(b h, m, narrow, wide)`` a layer, ``start`` is ``M_0``, one ``(b h, narrow, wide)`` a layer, or None.
    Where all else comes as ``(b h p, n, ...)``, the ``p`` chunks of a memory are read side by side.
    """
    trace = ReadTrace([], [], [])
    out = queries
    for layer, (x, rows) in enumerate(zip(writes.inputs, writes.rows, strict=True)):
        trace.asked.append(out)
        hidden = out if layer == 0 else out * torch.sigmoid(out)
        narrow_in, flat = x.shape[2] <= rows.shape[2], held[layer].flatten(1, 2)
        seen = torch.bmm(hidden, x.mT)
        out = torch.bmm(decays.write * seen, rows)
        found = None if narrow_in else torch.bmm(hidden, flat.mT)
        if found is None:
            out.baddbmm_(_spread(hidden, decays.entering), flat)
        else:
            _add_gathered(out, found, decays.entering)
        if start is not None:
            _by_memory(out, start).baddbmm_(_by_memory(hidden, start), narrow_first(start[layer], narrow_in))
        trace.seen.append(seen)
        trace.found.append(found)
    return out, trace


def state_after_writes(writes: Writes, decays: Decays, held: Sequence[Tensor]) -> list[Tensor]:
    """Return the state after the last token, in the form of ``held``."""
    moved = []
    for x, rows, before in zip(writes.inputs, writes.rows, held, strict=True):
        narrow, wide = (x, rows) if x.shape[2] <= rows.shape[2] else (rows, x)
        new = torch.bmm(decays.carried, before.flatten(2)).view_as(before)
        new.flatten(1, 2).baddbmm_(_spread(narrow, decays.leaving).mT, wide)
        moved.append(new)
    return moved


class AfterGradients(NamedTuple):
    """Derivatives of :func:`read_after_writes` and :func:`state_after_writes` together."""

    queries: Tensor
    inputs: list[Tensor]
    rows: list[Tensor]
    held: list[Tensor]


def after_writes_backward(
    trace: ReadTrace,
    writes: Writes,
    decays: Decays,
    held: Sequence[Tensor],
    start: Sequence[Tensor] | None,
    d_out: Tensor,
    d_moved: Sequence[Tensor],
    d_decays: Decays,
    d_start: list[Tensor | None],
) -> AfterGradients:
    """Return the derivatives by queries, writes and state; those by decays and ``M_0`` are added to what is given."""
    d_inputs, d_rows, d_held = [], [], []
    for layer in range(len(held) - 1, -1, -1):
        x, rows, before = writes.inputs[layer], writes.rows[layer], held[layer]
        asked, seen, found = trace.asked[layer], trace.seen[layer], trace.found[layer]
        gate = torch.sigmoid(asked) if layer > 0 else None
        hidden = asked if gate is None else asked * gate
        narrow_in, flat = x.shape[2] <= rows.shape[2], before.flatten(1, 2)

        narrow, wide = (x, rows) if narrow_in else (rows, x)
        flat_moved = d_moved[layer].flatten(1, 2)
        d_wide = torch.bmm(_spread(narrow, decays.leaving), flat_moved)
        d_spread = torch.bmm(wide, flat_moved.mT)
        d_decays.leaving.add_(_products(d_spread, narrow))
        d_narrow = _gathered(d_spread, decays.leaving)
        d_decays.carried.add_(torch.bmm(d_moved[layer].flatten(2), before.flatten(2).mT))
        d_before = torch.bmm(decays.carried.mT, d_moved[layer].flatten(2)).view_as(before)
        d_x, d_row = (d_narrow, d_wide) if narrow_in else (d_wide, d_narrow)

        d_row.baddbmm_((decays.write * seen).mT, d_out)
        d_seen = torch.bmm(d_out, rows.mT)
        d_decays.write.addcmul_(d_seen, seen)
        d_seen.mul_(decays.write)
        d_hidden = torch.bmm(d_seen, x)
        d_x.baddbmm_(d_seen.mT, hidden)
        if found is None:
            d_spread = torch.bmm(d_out, flat.mT)
            d_decays.entering.add_(_products(d_spread, hidden))
            _add_gathered(d_hidden, d_spread, decays.entering)
            d_before.flatten(1, 2).baddbmm_(_spread(hidden, decays.entering).mT, d_out)
        else:
            d_found = _spread(d_out, decays.entering)
            d_decays.entering.add_(_products(found, d_out))
            d_hidden.baddbmm_(d_found, flat)
            d_before.flatten(1, 2).baddbmm_(d_found.mT, hidden)
        if start is not None:
            d_hidden.baddbmm_(d_out, narrow_first(start[layer], narrow_in).mT)
            d_start[layer] = add_outer(d_start[layer], hidden, d_out, narrow_in)
        d_out = d_hidden if gate is None else d_hidden.mul_(silu_slope(gate, hidden))
        d_inputs.append(d_x)
        d_rows.append(d_row)
        d_held.append(d_before)
    return AfterGradients(d_out, d_inputs[::-1], d_rows[::-1], d_held[::-1])


def linear_after_writes(
    queries: Tensor, writes: Writes, decays: Decays, held: Tensor, start: Sequence[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Return what a store of one layer reads after known writes, and how it moved; differentiable."""
    (first,) = start or (None,)
    output, moved = _LinearAfterWrites.apply(queries, writes.inputs[0], writes.rows[0], held, first, *decays)
    return output, moved


class _LinearAfterWrites(torch.autograd.Function):
    """What tokens read and how the state moves on, for one layer whose writes are known."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, x: Tensor, rows: Tensor, held: Tensor, start: Tensor | None, *shares: Tensor
    ) -> tuple[Tensor, Tensor]:
        writes, decays = Writes([x], [rows], []), Decays(*shares)
        out, trace = read_after_writes(queries, writes, decays, [held], None if start is None else [start])
        ctx.seen, ctx.found = trace.seen, trace.found
        ctx.save_for_backward(queries, x, rows, held, start, *shares)
        return out, state_after_writes(writes, decays, [held])[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_moved: Tensor) -> tuple[Tensor | None, ...]:
        queries, x, rows, held, start, *shares = ctx.saved_tensors
        d_shares, d_start = Decays(*map(torch.zeros_like, shares)), cast("list[Tensor | None]", [None])
        found = after_writes_backward(
            ReadTrace([queries], ctx.seen, ctx.found),
            Writes([x], [rows], []),
            Decays(*shares),
            [held],
            None if start is None else [start],
            d_out,
            [d_moved.contiguous()],
            d_shares,
            d_start,
        )
        return (found.queries, found.inputs[0], found.rows[0], found.held[0], d_start[0], *d_shares)


def _by_memory(x: Tensor, start: Sequence[Tensor]) -> Tensor:
    """Return ``(b h p, n, w)`` as ``(b h, p n, w)``: ``M_0`` is the same for all chunks."""
    return x.view(len(start[0]), -1, x.shape[2])


def _spread(x: Tensor, shares: Tensor) -> Tensor:
    """Return ``x`` once for each of m shares, side by side: ``(b h, n, m w)``."""
    return (x[:, :, None] * shares[..., None]).flatten(2)


def _parts(found: Tensor, shares: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the m parts of ``(b h, n, m w)``, each with its share ``(b h, n, 1)``."""
    return zip(found.chunk(shares.shape[2], dim=2), shares.split(1, dim=2), strict=True)


def _add_gathered(total: Tensor, found: Tensor, shares: Tensor) -> None:
    """Add the parts of ``(b h, n, m w)``, each by its share, to a total ``(b h, n, w)``."""
    for part, share in _parts(found, shares):
        total.addcmul_(share, part)


def _gathered(found: Tensor, shares: Tensor) -> Tensor:
    """Return the sum of the parts of ``(b h, n, m w)``, each by its share."""
    (part, share), *rest = _parts(found, shares)
    total = part * share
    for part, share in rest:
        total.addcmul_(share, part)
    return total


def _products(found: Tensor, x: Tensor) -> Tensor:
    """Return the inner product of each of the parts of ``(b h, n, m w)`` with ``(b h, n, w)``: ``(b h, n, m)``."""
    return torch.linalg.vecdot(found.unflatten(2, (-1, x.shape[2])), x[:, :, None])
