"""The dual form of a store of any depth while all its gradients are taken at one anchor: what tokens write.

Every layer's gradient is rank one, ``u_l(s) = x_{l-1}(s) g_l(s)^T``, so no memory is ever made for a single token. What a
token then reads, and how the state moves on, is in :mod:`titans_ts.ops.dual`.

Derivatives are written by hand, in half the passes over memory that autograd would take. Batch and head are one axis, so
that every product is one ``bmm``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.decay import Decays
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
