"""The dual form of a store of any depth while all its gradients are taken at one anchor.

Every layer's gradient is rank one, ``u_l(s) = x_{l-1}(s) g_l(s)^T``, so a layer after t writes reads
``z -> A_t z W_l + (1 - A_t) z W_0 + B_t z S_l + sum_{s<=t} C[t, s] (z . x_{l-1}(s)) G_l(s)`` with ``G = -theta g``:
a masked attention product. No memory is ever made for a single token.

Batch and head are one axis here, so that every product is one ``bmm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from titans_ts.ops.decay import Decays
from titans_ts.ops.rule import Initial, StoreState, WriteRule, safe_norm


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


class _SiluAndSlope(torch.autograd.Function):
    """``silu(z)`` and its derivative, in fewer passes than autograd would take."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(z)
        active = z * gate
        slope = torch.addcmul(gate, active, 1 - gate)
        ctx.save_for_backward(gate, active, slope)
        return active, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_active: Tensor, d_slope: Tensor) -> Tensor:
        gate, active, slope = ctx.saved_tensors
        curve = torch.addcmul(slope, gate, 1 - active).mul_(1 - gate)  # silu''
        return torch.addcmul(d_active * slope, d_slope, curve)


class _ClippedRows(torch.autograd.Function):
    """``-theta min(1, bound / (|x||g|)) g`` and the norm ``|x||g|``, in fewer passes than autograd would take."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, error: Tensor, step: Tensor, bound: float | None) -> tuple[Tensor, Tensor]:
        x_norm, error_norm = safe_norm(x), safe_norm(error)
        norm = x_norm * error_norm
        scale = torch.ones_like(norm) if bound is None else bound / norm.clamp_min(bound)
        rows = (step * scale).neg_()[..., None] * error
        ctx.save_for_backward(x, error, step, scale, x_norm, error_norm)
        ctx.mark_non_differentiable(norm)
        return rows, norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_rows: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, error, step, scale, x_norm, error_norm = ctx.saved_tensors
        d_factor = -torch.linalg.vecdot(d_rows, error)
        size = step * scale
        d_error = size.neg()[..., None] * d_rows
        # where clipped, the factor is bound / (|x||g|), whose gradient is -factor x / |x|^2 and -factor g / |g|^2
        share = torch.where(scale < 1, d_factor * size, 0)
        d_x = (share / x_norm.square().clamp_min(1e-30)).neg_()[..., None] * x
        d_error.addcmul_((share / error_norm.square().clamp_min(1e-30)).neg_()[..., None], error)
        return d_x, d_error, d_factor * scale, None


def anchored_writes(anchor: Sequence[Tensor], keys: Tensor, values: Tensor, step: Tensor, rule: WriteRule) -> Writes:
    """Return the writes of tokens whose gradients are all taken at ``anchor``."""
    inputs, slopes = [keys], []
    hidden = torch.bmm(keys, anchor[0])
    for layer in anchor[1:]:
        active, slope = _SiluAndSlope.apply(hidden)
        slopes.append(slope)
        inputs.append(active)
        hidden = torch.bmm(active, layer)
    error = -values if rule.objective == "dot" else rule.loss_factor * (hidden - values)
    return written_rows(anchor, inputs, slopes, error, step, rule)


def written_rows(
    anchor: Sequence[Tensor],
    inputs: list[Tensor],
    slopes: list[Tensor],
    error: Tensor,
    step: Tensor,
    rule: WriteRule,
) -> Writes:
    """Propagate the last layer's error back through the anchor and clip what each layer writes.

    The unclipped error goes down to the layer below; the clip acts on what is written.
    """
    rows: list[Tensor] = []
    norms: list[Tensor] = []
    for layer in range(len(anchor) - 1, -1, -1):
        row, norm = _ClippedRows.apply(inputs[layer], error, step, rule.write_bound)
        rows.append(row)
        norms.append(norm)
        if layer > 0:
            error = torch.bmm(error, anchor[layer].mT) * slopes[layer - 1]
    return Writes(inputs, rows[::-1], norms[::-1])


def read_after_writes(q: Tensor, writes: Writes, decays: Decays, state: StoreState, initial: Initial) -> Tensor:
    """Read with every query the memory as of its own token, ``(b h, n, v)``."""
    hidden = q
    for layer, (x, rows) in enumerate(zip(writes.inputs, writes.rows, strict=True)):
        if layer > 0:
            hidden = torch.nn.functional.silu(hidden)
        out = torch.bmm(hidden, state.weights[layer])
        if decays.memory is not None:
            out = decays.memory[..., None] * out
        if decays.forgotten is not None and initial is not None:
            out = torch.addcmul(out, decays.forgotten[..., None], torch.bmm(hidden, initial[layer]))
        if decays.momentum is not None and state.momentum is not None:
            out = torch.addcmul(out, decays.momentum[..., None], torch.bmm(hidden, state.momentum[layer]))
        hidden = torch.baddbmm(out, decays.write * torch.bmm(hidden, x.mT), rows)
    return hidden


def state_after_writes(writes: Writes, decays: Decays, state: StoreState, initial: Initial) -> StoreState:
    """Return the state after the last token; the anchor stays where it was."""
    weights, momentum = [], []
    n = writes.rows[0].shape[1]
    share = decays.write[:, -1, :, None]
    for layer, (x, rows) in enumerate(zip(writes.inputs, writes.rows, strict=True)):
        new = state.weights[layer]
        if decays.memory is not None:
            new = decays.memory[:, -1, None, None] * new
        if decays.forgotten is not None and initial is not None:
            new = torch.addcmul(new, decays.forgotten[:, -1, None, None], initial[layer])
        if state.momentum is not None and decays.momentum is not None:
            new = torch.addcmul(new, decays.momentum[:, -1, None, None], state.momentum[layer])
        weights.append(torch.baddbmm(new, (share * x).mT, rows))
        if state.momentum is not None and decays.write_momentum is not None and decays.momentum_left is not None:
            left = decays.momentum_left[:, None, None] * state.momentum[layer]
            momentum.append(torch.baddbmm(left, (decays.write_momentum[..., None] * x).mT, rows))
    carried = tuple(momentum) if state.momentum is not None else None
    return StoreState(tuple(weights), carried, state.anchor, state.position + n)
