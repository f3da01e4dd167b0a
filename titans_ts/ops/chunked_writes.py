"""The dual form of a store of any depth while all its gradients are taken at one anchor: what tokens write.

Every layer's gradient is rank one, ``u_l(s) = x_{l-1}(s) g_l(s)^T``, so no memory is ever made for a single token. What a
token then reads, and how the state moves on, is in :mod:`titans_ts.ops.chunked_reads`.

Derivatives are written by hand, in half the passes over memory that autograd would take. Batch and head are one axis, so
that every product is one ``bmm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.rule import NORM_EPS, StoreNorm, WriteRule, long_norm


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


class Clip(NamedTuple):
    """What the derivative of a clip needs, ``(b h, n)`` each; the norms in float64."""

    scale: Tensor
    x_norm: Tensor
    error_norm: Tensor


class WriteTrace(NamedTuple):
    """What the derivative of :func:`anchored_writes` needs; the rest is cheaper made again than kept.

    Attributes
    ----------
    before : list of Tensor
        What the layers above the first are given, before SiLU, ``(b h, n, k_l)``.
    top : Tensor
        The error of the last layer, ``(b h, n, v)``.
    returned : list of Tensor
        Errors as they come back through each layer above the first, before the slope of SiLU.
    clips : list of Clip
        One a layer.
    normed : tuple of Tensor or None
        What the layers gave and the values, ``(b h, n, v)`` each, where a norm lies between them.
    """

    before: list[Tensor]
    top: Tensor
    returned: list[Tensor]
    clips: list[Clip]
    normed: tuple[Tensor, Tensor] | None


def silu_slope(gate: Tensor, value: Tensor) -> Tensor:
    """Return the slope of ``value = x gate = x sigmoid(x)``: ``value + gate (1 - value)``."""
    return torch.lerp(value, torch.ones((), dtype=value.dtype, device=value.device), gate)


def anchored_writes(
    anchor: Sequence[Tensor], keys: Tensor, values: Tensor, step: Tensor, rule: WriteRule, norm: StoreNorm | None
) -> tuple[Writes, WriteTrace]:
    """Return the writes of tokens whose gradients are all taken at ``anchor``, one ``(b h, k_l, v_l)`` a layer.

    The unclipped error goes down to the layer below; the clip acts on what is written.
    """
    inputs, before, gates = [keys], [], []
    hidden = torch.bmm(keys, anchor[0])
    for layer in anchor[1:]:
        before.append(hidden)
        gates.append(torch.sigmoid(hidden))
        inputs.append(hidden * gates[-1])
        hidden = torch.bmm(inputs[-1], layer)
    normed = None if norm is None else (hidden, values)
    if norm is not None:
        top = _error_through_norm(hidden, keys, values, norm, rule)
    else:
        top = -values if rule.objective == "dot" else hidden.sub_(values).mul_(rule.loss_factor)
    error = top
    returned, rows, norms, clips = [], [], [], []
    for place in range(len(anchor) - 1, -1, -1):
        row, size, clip = _clip(inputs[place], error, step, rule.write_bound)
        rows.append(row)
        norms.append(size)
        clips.append(clip)
        if place > 0:
            returned.append(torch.bmm(error, anchor[place].mT))
            error = silu_slope(gates[place - 1], inputs[place]).mul_(returned[-1])
    return Writes(inputs, rows[::-1], norms[::-1]), WriteTrace(before, top, returned[::-1], clips[::-1], normed)


class Again(NamedTuple):
    """What a trace left out, made again for the derivative."""

    writes: Writes
    errors: list[Tensor]
    gates: list[Tensor]
    slopes: list[Tensor]


def anchored_writes_again(keys: Tensor, step: Tensor, trace: WriteTrace) -> Again:
    """Return the writes of a trace once more, without a product."""
    gates = [torch.sigmoid(x) for x in trace.before]
    inputs = [keys, *(x * gate for x, gate in zip(trace.before, gates, strict=True))]
    slopes = [silu_slope(gate, x) for gate, x in zip(gates, inputs[1:], strict=True)]
    errors = [*(back * slope for back, slope in zip(trace.returned, slopes, strict=True)), trace.top]
    rows = [_row(error, step, clip.scale) for error, clip in zip(errors, trace.clips, strict=True)]
    return Again(Writes(inputs, rows, []), errors, gates, slopes)


def anchored_writes_backward(
    again: Again,
    trace: WriteTrace,
    step: Tensor,
    anchor: Sequence[Tensor],
    rule: WriteRule,
    d_inputs: list[Tensor],
    d_rows: list[Tensor],
    norm: StoreNorm | None,
) -> tuple[Tensor, Tensor, Tensor, list[list[tuple[Tensor, Tensor]]], tuple[Tensor, ...]]:
    """Return the derivatives by keys, values, step, each layer's anchor and the norm, if there is one.

    Those by an anchor come as pairs ``left^T right`` to be summed.
    ``d_inputs`` and ``d_rows`` are changed in place.
    """
    inputs, depth = again.writes.inputs, len(anchor)
    d_anchor: list[list[tuple[Tensor, Tensor]]] = [[] for _ in anchor]
    d_step, shares, d_slopes = torch.zeros_like(step), [], []
    d_below: Any = None  # by the error of the layer below
    for layer, error in enumerate(again.errors):
        share, d_error, d_own = _clip_backward(d_rows[layer], error, step, trace.clips[layer])
        shares.append(share)
        d_step += d_own
        if d_below is not None:
            d_slopes.append(d_below * trace.returned[layer - 1])
            d_returned = d_below.mul_(again.slopes[layer - 1])
            d_error.baddbmm_(d_returned, anchor[layer])
            d_anchor[layer].append((d_returned, error))
        d_below = d_error
    d_norm: tuple[Tensor, ...] = ()
    if norm is not None and trace.normed is not None:
        d_hidden, d_keys, d_values, *found = _through_norm_backward(d_below, inputs[0], trace.normed, norm, rule)
        d_inputs[0] += d_keys
        d_norm = tuple(found)
    elif rule.objective == "dot":
        d_hidden, d_values = torch.zeros_like(d_below), -d_below
    else:
        d_hidden = d_below.mul_(rule.loss_factor)
        d_values = -d_hidden
    for layer in range(depth - 1, -1, -1):
        d_anchor[layer].append((inputs[layer], d_hidden))
        d_input = d_inputs[layer].baddbmm_(d_hidden, anchor[layer].mT)
        d_input.addcmul_(shares[layer][..., None], inputs[layer])
        if layer > 0:
            gate, slope = again.gates[layer - 1], again.slopes[layer - 1]
            half_curve = torch.sub(slope, inputs[layer], alpha=0.5)
            half_curve.addcmul_(half_curve, gate, value=-1)  # of silu''
            d_hidden = d_input.mul_(slope).addcmul_(d_slopes[layer - 1], half_curve, value=2)
    return d_input, d_values, d_step, d_anchor, d_norm


def _error_through_norm(hidden: Tensor, keys: Tensor, values: Tensor, norm: StoreNorm, rule: WriteRule) -> Tensor:
    """Return the gradient by ``hidden`` of the loss of ``x + LN(hidden) * weight + bias``."""
    centred = hidden - hidden.mean(-1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + NORM_EPS)
    unit = centred * inverse
    error = rule.loss_factor * (keys + unit * norm.weight[:, None] + norm.bias[:, None] - values) * norm.weight[:, None]
    return inverse * (error - error.mean(-1, keepdim=True) - unit * (error * unit).mean(-1, keepdim=True))


def _through_norm_backward(
    d_error: Tensor, keys: Tensor, normed: tuple[Tensor, Tensor], norm: StoreNorm, rule: WriteRule
) -> tuple[Tensor, ...]:
    """Return the derivatives of :func:`_error_through_norm` by what it is given; autograd's, over one chunk."""
    hidden, values = normed
    with torch.enable_grad():
        hidden, keys, values, weight, bias = (x.detach().requires_grad_() for x in (hidden, keys, values, *norm))
        error = _error_through_norm(hidden, keys, values, StoreNorm(weight, bias), rule)
        return torch.autograd.grad(error, (hidden, keys, values, weight, bias), d_error)


def linear_writes(keys: Tensor, error: Tensor, step: Tensor, rule: WriteRule) -> Writes:
    """Return the writes of a store of one layer whose errors are known; differentiable."""
    rows, norms = _ClippedRows.apply(keys, error, step, rule.write_bound)
    return Writes([keys], [rows], [norms])


class _ClippedRows(torch.autograd.Function):
    """Rows and norms of known errors."""

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
        d_x, d_error, d_step = _clip_backward(d_rows, error, step, Clip(*clip))
        return d_x[..., None] * x, d_error, d_step, None


def _clip(x: Tensor, error: Tensor, step: Tensor, bound: float | None) -> tuple[Tensor, Tensor, Clip]:
    """Return ``-theta min(1, bound / (|x||g|)) g`` and the norm ``|x||g|``."""
    x_norm, error_norm = long_norm(x), long_norm(error)
    norm = (x_norm * error_norm).to(x.dtype)
    scale = torch.ones_like(norm) if bound is None else bound / norm.clamp_min(bound)
    return _row(error, step, scale), norm, Clip(scale, x_norm, error_norm)


def _row(error: Tensor, step: Tensor, scale: Tensor) -> Tensor:
    return (step * scale).neg_()[..., None] * error


def _clip_backward(d_rows: Tensor, error: Tensor, step: Tensor, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives by x (as a factor on x, ``(b h, n)``), by the error and by the step size.

    Where clipped, the factor is ``bound / (|x||g|)``, whose gradient is ``-factor x / |x|^2`` and ``-factor g / |g|^2``.
    """
    d_factor = torch.linalg.vecdot(d_rows, error).neg_()
    size = step * clip.scale
    share = torch.where(clip.scale < 1, d_factor * size, 0)
    d_error = size.neg_()[..., None] * d_rows
    d_error.addcmul_(_over_square(share, clip.error_norm).neg_()[..., None], error)
    return _over_square(share, clip.x_norm).neg_(), d_error, d_factor.mul_(clip.scale)


def _over_square(x: Tensor, norm: Tensor) -> Tensor:
    return (x / norm.square().clamp_min_(1e-30)).to(x.dtype)
