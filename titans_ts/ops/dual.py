"""The dual form: what tokens write and read while all their gradients are taken at one anchor, for a store of any depth.

Every layer's gradient is rank one, ``u_l(s) = x_{l-1}(s) g_l(s)^T``, so no memory is ever made for a single token. With
``C``, ``A`` and ``B`` of :mod:`titans_ts.ops.decay`, layer ``l`` reads::

    z  ->  z M_0 + A_t z (W_l - M_0) + B_t z S_l - sum_{s<=t} C[t,s] theta_s (z . x_{l-1}(s)) g_l(s)

a masked attention product, layer by layer, with SiLU in between. Batch and head are one axis, so that every product is one
``bmm``; its derivatives are in :mod:`titans_ts.ops.dual_gradients`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.decay import Decays
from titans_ts.ops.rule import NORM_EPS, StoreNorm, WriteRule, long_norm

Start = Sequence[Tensor] | None
"""``M_0``, one ``(b h, narrow, wide)`` a layer, where forgetting leads back to it."""


class OpenMemory(NamedTuple):
    """A memory within a call: batch and head are one axis, and the narrow side of every matrix comes first."""

    parts: tuple[Tensor, ...]  # M - M_0 (or M) and S of each layer, (b h, m, narrow, wide)
    anchor: tuple[Tensor, ...]  # where gradients are taken, (b h, narrow, wide) a layer
    position: int  # tokens read so far
    start: Start
    narrow_in: tuple[bool, ...]  # whether the narrow side of a layer is that of its keys
    rule: WriteRule
    norm: StoreNorm | None
    chunk_size: int  # tokens worked on at once
    batch_and_heads: tuple[int, int]
    crowd: Tensor | None  # (b, h, k, k), of a rule with damping
    sums: tuple[Tensor, ...] | None  # (b h, k, k) and (b h, k, v), of a ridge
    recent: tuple[Tensor, ...] | None  # keys, values and steps of the last tokens, (b h, w, .), of a rule with a window

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The memory as it is now, one ``(b, h, k, v)`` a layer."""
        return self.matrices(anchor_of(self.parts, self.start))

    def matrices(self, layers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return ``(b h, narrow, wide)`` of each layer as ``(b, h, k, v)``."""
        turned = (narrow_first(x, narrow_in) for x, narrow_in in zip(layers, self.narrow_in, strict=True))
        return tuple(x.contiguous().unflatten(0, self.batch_and_heads) for x in turned)


def narrow_first(matrix: Tensor, narrow_in: bool) -> Tensor:
    """Turn ``(..., k, v)`` so that the narrow side comes first; its own inverse."""
    return matrix if narrow_in else matrix.mT


def anchor_of(parts: Sequence[Tensor], start: Start) -> tuple[Tensor, ...]:
    """Return the memory itself, ``(b h, narrow, wide)`` a layer, to take gradients at."""
    if start is None:
        return tuple(part[:, 0] for part in parts)
    return tuple(part[:, 0] + first for part, first in zip(parts, start, strict=True))


def refreshes(decays: Decays, memory: OpenMemory) -> list[bool]:
    """Return for each chunk whether the anchor is taken anew at its start."""
    chunks, size = decays.write.shape[1], decays.write.shape[2]
    return [(memory.position + i * size) % memory.rule.refresh_every == 0 for i in range(chunks)]


def in_chunks(decays: Decays, *tokens: Tensor | Decays) -> list[Any]:
    """Cut decays ``(b h, p, ...)`` and tokens ``(b h, p n, ...)`` into ``p`` chunks each, whatever their ``n``."""
    chunks = decays.write.shape[1]

    def cut(x: Tensor | Decays) -> Any:
        if isinstance(x, Tensor):
            return x.chunk(chunks, dim=1)
        return map(Decays._make, zip(*(share.unbind(1) for share in x), strict=True))

    return [cut(x) for x in (decays, *tokens)]


# --- what tokens write ------------------------------------------------------------------------------------------------


class Writes(NamedTuple):
    """What some tokens write, layer by layer: rank-one matrices ``inputs^T rows``."""

    inputs: list[Tensor]  # x_{l-1}, (b h, n, k_l)
    rows: list[Tensor]  # -theta g_l after clipping, (b h, n, v_l)
    norms: list[Tensor]  # |x||g| before clipping, (b h, n): the surprise; after the layers, |g| at the store's output


class Clip(NamedTuple):
    """What the derivative of a clip needs, ``(b h, n)`` each; the norms in float64."""

    scale: Tensor
    x_norm: Tensor
    error_norm: Tensor


class WriteTrace(NamedTuple):
    """What the derivative of :func:`anchored_writes` needs; the rest is cheaper made again than kept."""

    before: list[Tensor]  # what the layers above the first are given, before SiLU, (b h, n, k_l)
    top: Tensor  # the error of the last layer, (b h, n, v)
    returned: list[Tensor]  # errors as they come back through each layer above the first, before the slope of SiLU
    clips: list[Clip]  # one a layer
    normed: tuple[Tensor, Tensor] | None  # what the layers gave and the values, where a norm lies between them


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
        top = error_through_norm(hidden, keys, values, norm, rule)
    else:
        top = -values if rule.objective == "dot" else hidden.sub_(values).mul_(rule.loss_factor)
    error = top
    returned, rows, norms, clips = [], [], [], []
    for place in range(len(anchor) - 1, -1, -1):
        row, size, clip = clipped_rows(inputs[place], error, step, rule.write_bound)
        rows.append(row)
        norms.append(size)
        clips.append(clip)
        if place > 0:
            returned.append(torch.bmm(error, anchor[place].mT))
            error = silu_slope(gates[place - 1], inputs[place]).mul_(returned[-1])
    norms = [*norms[::-1], clips[0].error_norm.to(top.dtype)]
    return Writes(inputs, rows[::-1], norms), WriteTrace(before, top, returned[::-1], clips[::-1], normed)


def silu_slope(gate: Tensor, value: Tensor) -> Tensor:
    """Return the slope of ``value = x gate = x sigmoid(x)``: ``value + gate (1 - value)``."""
    return torch.lerp(value, torch.ones((), dtype=value.dtype, device=value.device), gate)


def error_through_norm(hidden: Tensor, keys: Tensor, values: Tensor, norm: StoreNorm, rule: WriteRule) -> Tensor:
    """Return the gradient by ``hidden`` of the loss of ``x + LN(hidden) * weight + bias``; the norm is ``(b h, v)``."""
    centred = hidden - hidden.mean(-1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + NORM_EPS)
    unit = centred * inverse
    error = rule.loss_factor * (keys + unit * norm.weight[:, None] + norm.bias[:, None] - values) * norm.weight[:, None]
    return inverse * (error - error.mean(-1, keepdim=True) - unit * (error * unit).mean(-1, keepdim=True))


def clipped_rows(x: Tensor, error: Tensor, step: Tensor, bound: float | None) -> tuple[Tensor, Tensor, Clip]:
    """Return ``-theta min(1, bound / (|x||g|)) g`` and the norm ``|x||g|``, ``(b h, n)``."""
    x_norm, error_norm = long_norm(x), long_norm(error)
    norm = (x_norm * error_norm).to(x.dtype)
    scale = torch.ones_like(norm) if bound is None else bound / norm.clamp_min(bound)
    return scaled_rows(error, step, scale), norm, Clip(scale, x_norm, error_norm)


def scaled_rows(error: Tensor, step: Tensor, scale: Tensor) -> Tensor:
    """Return ``-theta scale g``, ``(b h, n, v)``."""
    return (step * scale).neg_()[..., None] * error


# --- what they read, and how the state moves on -----------------------------------------------------------------------


class ReadTrace(NamedTuple):
    """What the derivative of reading needs, layer by layer; the rest is cheaper made again than kept."""

    asked: list[Tensor]  # what each layer is given, before SiLU where it is not the lowest, (b h, n, k_l)
    seen: list[Tensor]  # its products with what was written, (b h, n, n)
    found: list[Tensor | None]  # what it found in the state, (b h, n, m v_l); None where its keys are the narrow side


def read_after_writes(
    queries: Tensor, writes: Writes, decays: Decays, parts: Sequence[Tensor], start: Start
) -> tuple[Tensor, ReadTrace]:
    """Read with every query the memory as of its own token, ``(b h, n, v)``.

    Where all but ``start`` comes as ``(b h p, n, ...)``, the ``p`` chunks of a memory are read side by side.
    """
    trace = ReadTrace([], [], [])
    out = queries
    for layer, (x, rows) in enumerate(zip(writes.inputs, writes.rows, strict=True)):
        trace.asked.append(out)
        hidden = out if layer == 0 else out * torch.sigmoid(out)
        narrow_in, flat = x.shape[2] <= rows.shape[2], parts[layer].flatten(1, 2)
        seen = torch.bmm(hidden, x.mT)
        out = torch.bmm(decays.write * seen, rows)
        found = None if narrow_in else torch.bmm(hidden, flat.mT)
        if found is None:
            out.baddbmm_(spread(hidden, decays.entering), flat)
        else:
            add_gathered(out, found, decays.entering)
        if start is not None:
            _by_memory(out, start).baddbmm_(_by_memory(hidden, start), narrow_first(start[layer], narrow_in))
        trace.seen.append(seen)
        trace.found.append(found)
    return out, trace


def state_after_writes(writes: Writes, decays: Decays, parts: Sequence[Tensor]) -> list[Tensor]:
    """Return the state after the last token, one ``(b h, m, narrow, wide)`` a layer as before it."""
    moved = []
    for x, rows, before in zip(writes.inputs, writes.rows, parts, strict=True):
        narrow, wide = (x, rows) if x.shape[2] <= rows.shape[2] else (rows, x)
        new = torch.bmm(decays.carried, before.flatten(2)).view_as(before)
        new.flatten(1, 2).baddbmm_(spread(narrow, decays.leaving).mT, wide)
        moved.append(new)
    return moved


def spread(x: Tensor, shares: Tensor) -> Tensor:
    """Return ``x`` once for each of m shares, side by side: ``(b h, n, m w)``."""
    return torch.cat([x * share for share in shares.split(1, dim=2)], dim=2)


def add_gathered(total: Tensor, found: Tensor, shares: Tensor) -> None:
    """Add the m parts of ``(b h, n, m w)``, each by its share, to a total ``(b h, n, w)``."""
    for part, share in parts_and_shares(found, shares):
        total.addcmul_(share, part)


def parts_and_shares(found: Tensor, shares: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the m parts of ``(b h, n, m w)``, each with its share ``(b h, n, 1)``."""
    return zip(found.chunk(shares.shape[2], dim=2), shares.split(1, dim=2), strict=True)


def _by_memory(x: Tensor, start: Sequence[Tensor]) -> Tensor:
    """Return ``(b h p, n, w)`` as ``(b h, p n, w)``: ``M_0`` is the same for all chunks."""
    return x.view(len(start[0]), -1, x.shape[2])
