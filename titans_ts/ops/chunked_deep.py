"""The dual form of a store of any depth while all its gradients are taken at one anchor: what tokens write.

Every layer's gradient is rank one, ``u_l(s) = x_{l-1}(s) g_l(s)^T``, so no memory is ever made for a single token. What a
token then reads, and how the state moves on, is in :mod:`titans_ts.ops.chunked_reads`.

Batch and head are one axis here, so that every product is one ``bmm``. Derivatives are written by hand: one node of
autograd's graph for all layers, in half the passes over memory that it would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.rule import WriteRule, safe_norm


class Writes(NamedTuple):
    """What some tokens write, layer by layer: rank-one matrices ``inputs^T rows``.

    Attributes
    ----------
    inputs : list of Tensor
        ``x_{l-1}``, ``(b h, n, k_l)``.
    rows : list of Tensor
        ``-theta g_l`` after clipping, ``(b h, n, v_l)``.
    norms : list of Tensor
        ``|x||g|`` before clipping, ``(b h, n)``: the surprise.
    """

    inputs: list[Tensor]
    rows: list[Tensor]
    norms: list[Tensor]


def anchored_writes(anchor: Sequence[Tensor], keys: Tensor, values: Tensor, step: Tensor, rule: WriteRule) -> Writes:
    """Return the writes of tokens whose gradients are all taken at ``anchor``.

    The unclipped error goes down to the layer below; the clip acts on what is written.
    """
    depth = len(anchor)
    found = _AnchoredWrites.apply(keys, values, step, rule, *anchor)
    inputs, rows, norms = found[: depth - 1], found[depth - 1 : 2 * depth - 1], found[2 * depth - 1 :]
    return Writes([keys, *inputs], list(rows), list(norms))


def linear_writes(keys: Tensor, error: Tensor, step: Tensor, rule: WriteRule) -> Writes:
    """Return the writes of a store of one layer whose errors are known."""
    rows, norms = _ClippedRows.apply(keys, error, step, rule.write_bound)
    return Writes([keys], [rows], [norms])


class _Clip(NamedTuple):
    """What the derivative of a clip needs, ``(b h, n)`` each."""

    scale: Tensor
    x_norm: Tensor
    error_norm: Tensor


def _clip(x: Tensor, error: Tensor, step: Tensor, bound: float | None) -> tuple[Tensor, Tensor, _Clip]:
    """Return ``-theta min(1, bound / (|x||g|)) g`` and the norm ``|x||g|``."""
    x_norm, error_norm = safe_norm(x), safe_norm(error)
    norm = x_norm * error_norm
    scale = torch.ones_like(norm) if bound is None else bound / norm.clamp_min(bound)
    return (step * scale).neg_()[..., None] * error, norm, _Clip(scale, x_norm, error_norm)


def _clip_backward(d_rows: Tensor, error: Tensor, step: Tensor, clip: _Clip) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives by x (as a factor on x, ``(b h, n)``), by the error and by the step size.

    Where clipped, the factor is ``bound / (|x||g|)``, whose gradient is ``-factor x / |x|^2`` and ``-factor g / |g|^2``.
    """
    d_factor = torch.linalg.vecdot(d_rows, error).neg_()
    size = step * clip.scale
    share = torch.where(clip.scale < 1, d_factor * size, 0)
    d_error = size.neg_()[..., None] * d_rows
    d_error.addcmul_((share / clip.error_norm.square().clamp_min_(1e-30)).neg_()[..., None], error)
    return (share / clip.x_norm.square().clamp_min_(1e-30)).neg_(), d_error, d_factor.mul_(clip.scale)


class _ClippedRows(torch.autograd.Function):
    """Rows of one layer, clipped, and the norms of its writes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, error: Tensor, step: Tensor, bound: float | None) -> tuple[Tensor, Tensor]:
        rows, norm, clip = _clip(x, error, step, bound)
        ctx.save_for_backward(x, error, step, *clip)
        ctx.mark_non_differentiable(norm)
        return rows, norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_rows: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, error, step, *clip = ctx.saved_tensors
        d_x, d_error, d_step = _clip_backward(d_rows, error, step, _Clip(*clip))
        return d_x[..., None] * x, d_error, d_step, None


class _AnchoredWrites(torch.autograd.Function):
    """Inputs of the upper layers, rows and norms of all; every layer's error is propagated back through the anchor."""

    @staticmethod
    def forward(
        ctx: Any, keys: Tensor, values: Tensor, step: Tensor, rule: WriteRule, *anchor: Tensor
    ) -> tuple[Tensor, ...]:
        inputs, gates, slopes = [keys], [], []
        hidden = torch.bmm(keys, anchor[0])
        for layer in anchor[1:]:
            gates.append(torch.sigmoid(hidden))
            inputs.append(hidden.mul_(gates[-1]))
            slopes.append(torch.addcmul(gates[-1], inputs[-1], 1 - gates[-1]))  # of silu
            hidden = torch.bmm(inputs[-1], layer)
        error = -values if rule.objective == "dot" else hidden.sub_(values).mul_(rule.loss_factor)
        top, returned, rows, norms, clips = error, [], [], [], []
        for place in range(len(anchor) - 1, -1, -1):
            row, norm, clip = _clip(inputs[place], error, step, rule.write_bound)
            rows.append(row)
            norms.append(norm)
            clips.append(clip)
            if place > 0:
                returned.append(torch.bmm(error, anchor[place].mT))
                error = returned[-1] * slopes[place - 1]
        ctx.rule, ctx.top, ctx.gates, ctx.slopes = rule, top, gates, slopes
        ctx.clips, ctx.returned = clips[::-1], returned[::-1]
        ctx.save_for_backward(keys, step, *anchor, *inputs[1:])
        ctx.mark_non_differentiable(*norms)
        return (*inputs[1:], *rows[::-1], *norms[::-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_found: Tensor) -> tuple[Tensor | None, ...]:
        keys, step, *rest = ctx.saved_tensors
        depth = (len(rest) + 1) // 2
        anchor, inputs = rest[:depth], [keys, *rest[depth:]]
        d_inputs = d_found[: depth - 1]
        d_rows, d_slopes, d_anchor = d_found[depth - 1 : 2 * depth - 1], [], []
        d_step, shares = torch.zeros_like(step), []
        d_below: Any = None  # by the error of the layer below
        for layer in range(depth):
            error = ctx.top if layer == depth - 1 else ctx.returned[layer] * ctx.slopes[layer]
            share, d_error, d_own = _clip_backward(d_rows[layer], error, step, ctx.clips[layer])
            shares.append(share)
            d_step += d_own
            if d_below is not None:
                d_slopes.append(d_below * ctx.returned[layer - 1])
                d_returned = d_below.mul_(ctx.slopes[layer - 1])
                d_error.baddbmm_(d_returned, anchor[layer])
                d_anchor.append(torch.bmm(d_returned.mT, error))
            else:
                d_anchor.append(torch.zeros_like(anchor[layer]))
            d_below = d_error
        d_hidden = d_below if ctx.rule.objective == "dot" else d_below.mul_(ctx.rule.loss_factor)
        d_values = -d_hidden
        if ctx.rule.objective == "dot":
            d_hidden = torch.zeros_like(d_hidden)
        for layer in range(depth - 1, -1, -1):
            d_anchor[layer].baddbmm_(inputs[layer].mT, d_hidden)
            d_input = torch.bmm(d_hidden, anchor[layer].mT)
            d_input.addcmul_(shares[layer][..., None], inputs[layer])
            if layer == 0:
                return (d_input, d_values, d_step, None, *d_anchor)
            d_input += d_inputs[layer - 1]
            gate, slope = ctx.gates[layer - 1], ctx.slopes[layer - 1]
            curve = torch.addcmul(slope, gate, 1 - inputs[layer]).mul_(1 - gate)  # silu''
            d_hidden = d_input.mul_(slope).addcmul_(d_slopes[layer - 1], curve)
        raise AssertionError("a store has a layer")
