"""The dual form of a store of any depth: what tokens read after each other's writes, and how the state moves on.

With ``Delta = M - M_0`` (or ``M``, where forgetting leads to zero) and ``S`` as carried into a chunk, layer l after t writes
reads ``z -> z M_0 + A_t z Delta_l + B_t z S_l + sum_{s<=t} C[t, s] (z . x_{l-1}(s)) G_l(s)`` with ``G = -theta g``: a masked
attention product. The state moves on by ``Delta' = A Delta + B S + X^T (c G)`` and the like for ``S``.

Shares are multiplied in on the narrower side of each product. Derivatives are written by hand, as in
:mod:`titans_ts.ops.chunked_deep`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.chunked_deep import Writes
from titans_ts.ops.decay import Decays
from titans_ts.ops.rule import Initial, StoreState


def read_after_writes(q: Tensor, writes: Writes, decays: Decays, state: StoreState, initial: Initial) -> Tensor:
    """Read with every query the memory as of its own token, ``(b h, n, v)``; the state's weights are ``Delta``."""
    hidden = q
    for layer, (x, rows) in enumerate(zip(writes.inputs, writes.rows, strict=True)):
        hidden = _LayerRead.apply(
            hidden,
            decays.write,
            x,
            rows,
            decays.memory,
            state.weights[layer],
            decays.momentum,
            None if state.momentum is None else state.momentum[layer],
            None if initial is None else initial[layer],
            layer > 0,
        )
    return hidden


def state_after_writes(writes: Writes, decays: Decays, state: StoreState) -> StoreState:
    """Return the state after the last token, ``Delta`` as its weights; the anchor stays where it was."""
    weights, momentum = [], []
    for layer, (x, rows) in enumerate(zip(writes.inputs, writes.rows, strict=True)):
        before = None if state.momentum is None else state.momentum[layer]
        shares = (decays.write_last, decays.memory_last, state.weights[layer], decays.momentum_last, before)
        weights.append(_Moved.apply(x, rows, *shares))
        if before is not None:
            momentum.append(_Moved.apply(x, rows, decays.write_momentum, decays.momentum_left, before, None, None))
    carried = tuple(momentum) if state.momentum is not None else None
    return StoreState(tuple(weights), carried, state.anchor, state.position + writes.rows[0].shape[1])


class _LayerRead(torch.autograd.Function):
    """One layer's read: ``silu`` first where it is not the lowest."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        write: Tensor,
        x: Tensor,
        rows: Tensor,
        memory: Tensor | None,
        weights: Tensor,
        entered: Tensor | None,
        momentum: Tensor | None,
        initial: Tensor | None,
        activate: bool,
    ) -> Tensor:
        gate = torch.sigmoid(z) if activate else None
        hidden = z if gate is None else z * gate
        seen = torch.bmm(hidden, x.mT)
        out = torch.bmm(write * seen, rows)
        parts: list[Tensor | None] = []
        for share, held in ((memory, weights), (entered, momentum), (None, initial)):
            parts.append(None)
            if held is not None and share is None:
                out.baddbmm_(hidden, held)
            elif held is not None and share is not None and held.shape[1] <= held.shape[2]:
                scaled = share[..., None] * hidden
                out.baddbmm_(scaled, held)
                parts[-1] = scaled
            elif held is not None and share is not None:
                found = torch.bmm(hidden, held)
                out.addcmul_(share[..., None], found)
                parts[-1] = found
        ctx.gate, ctx.hidden, ctx.seen, ctx.parts = gate, hidden, seen, parts
        ctx.save_for_backward(write, x, rows, memory, weights, entered, momentum, initial)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        write, x, rows, memory, weights, entered, momentum, initial = ctx.saved_tensors
        hidden, seen = ctx.hidden, ctx.seen
        d_rows = torch.bmm((write * seen).mT, d_out)
        d_weighted = torch.bmm(d_out, rows.mT)
        d_write = d_weighted * seen
        d_seen = d_weighted.mul_(write)
        d_hidden = torch.bmm(d_seen, x)
        d_x = torch.bmm(d_seen.mT, hidden)
        found: list[Tensor | None] = []
        for share, held, part in zip((memory, entered, None), (weights, momentum, initial), ctx.parts, strict=True):
            d_share = d_held = None
            if held is not None and share is None:
                d_hidden.baddbmm_(d_out, held.mT)
                d_held = torch.bmm(hidden.mT, d_out)
            elif held is not None and share is not None and held.shape[1] <= held.shape[2]:
                d_part = torch.bmm(d_out, held.mT)
                d_held = torch.bmm(part.mT, d_out)
                d_share = torch.linalg.vecdot(d_part, hidden)
                d_hidden.addcmul_(share[..., None], d_part)
            elif held is not None and share is not None:
                d_part = share[..., None] * d_out
                d_held = torch.bmm(hidden.mT, d_part)
                d_share = torch.linalg.vecdot(d_out, part)
                d_hidden.baddbmm_(d_part, held.mT)
            found += [d_share, d_held]
        if ctx.gate is not None:
            d_hidden *= torch.addcmul(ctx.gate, hidden, 1 - ctx.gate)  # silu'
        return (d_hidden, d_write, d_x, d_rows, *found[:4], found[5], None)


class _Moved(torch.autograd.Function):
    """``kept * held + entered * other + (share * x)^T rows``: a state after some writes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        rows: Tensor,
        share: Tensor,
        kept: Tensor | None,
        held: Tensor,
        entered: Tensor | None,
        other: Tensor | None,
    ) -> Tensor:
        new = held.clone() if kept is None else kept[:, None, None] * held
        if entered is not None and other is not None:
            new.addcmul_(entered[:, None, None], other)
        narrow_x = x.shape[-1] <= rows.shape[-1]
        new.baddbmm_((share[..., None] * x if narrow_x else x).mT, rows if narrow_x else share[..., None] * rows)
        ctx.save_for_backward(x, rows, share, kept, held, entered, other)
        return new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_new: Tensor) -> tuple[Tensor | None, ...]:
        x, rows, share, kept, held, entered, other = ctx.saved_tensors
        by_token = share[..., None]
        if x.shape[-1] <= rows.shape[-1]:
            d_rows = torch.bmm(by_token * x, d_new)
            d_x = torch.bmm(rows, d_new.mT)
            d_share = torch.linalg.vecdot(d_x, x)
            d_x *= by_token
        else:
            d_x = torch.bmm(by_token * rows, d_new.mT)
            d_rows = torch.bmm(x, d_new)
            d_share = torch.linalg.vecdot(d_rows, rows)
            d_rows *= by_token
        d_kept = d_entered = d_other = None
        d_held = d_new
        if kept is not None:
            d_kept = torch.linalg.vecdot(d_new.flatten(1), held.flatten(1))
            d_held = kept[:, None, None] * d_new
        if entered is not None and other is not None:
            d_entered = torch.linalg.vecdot(d_new.flatten(1), other.flatten(1))
            d_other = entered[:, None, None] * d_new
        return d_x, d_rows, d_share, d_kept, d_held, d_entered, d_other
