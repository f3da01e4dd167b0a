"""How much of an old write is left, and how much of a step tokens with like keys share.

Shares are products of gates between two tokens, without subtracting running sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.rule import Gates, WriteRule


class Decays(NamedTuple):
    """Shares of old and new in a chunk of ``n`` tokens, for ``m`` things that are carried into it: memory, then momentum."""

    write: Tensor  # C = D(a) D(eta), (..., n, n): how much the write of token s counts in M_t; with a window (..., n, w + n)
    entering: Tensor  # (..., n, m): how much of what is carried in counts in M_t, A_t and B_t
    leaving: Tensor  # (..., n or w + n, m): how much the write of token s counts in the last memory and in the last momentum
    carried: Tensor  # (..., m, m): how much of what is carried in (columns) counts in what is carried on (rows)


def decay_matrix(log_gate: Tensor) -> Tensor:
    """Return ``D[t, s] = prod of gates over s < r <= t``, ``(..., n, n)``, from logarithms ``(..., n)``.

    It is lower triangular with ones on the diagonal, and built from masked segment sums: the difference of two running sums
    loses 1e-4 in float32 after strong forgetting.

    Examples
    --------
    >>> import torch
    >>> decay_matrix(torch.tensor([0.9, 0.5, 0.2]).log()).round(decimals=3).tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.10000000149011612, 0.20000000298023224, 1.0]]
    """
    n = log_gate.shape[-1]
    below = torch.ones(n, n, dtype=torch.bool, device=log_gate.device).tril(-1)
    terms = log_gate[..., :, None].expand(*log_gate.shape, n).masked_fill(~below, 0)
    return terms.cumsum(-2).exp().tril()


def chunk_decays(gates: Gates) -> Decays:
    """Return all shares of a chunk whose gates are ``(..., n)``."""
    retention, inertia = gates.log_retention, gates.log_momentum
    shape = gates.log_step.shape
    ones = gates.log_step.new_ones(shape)
    keep = ones[..., None].expand(*shape, shape[-1]).tril() if retention is None else decay_matrix(retention)
    memory = ones if retention is None else retention.cumsum(-1).exp()
    if inertia is None:
        return Decays(keep, memory[..., None], keep[..., -1, :, None], memory[..., -1, None, None])
    carry = decay_matrix(inertia)
    write, left = keep @ carry, inertia.cumsum(-1).exp()
    entering = torch.stack([memory, (keep @ left[..., None])[..., 0]], dim=-1)
    last = torch.stack([torch.zeros_like(left[..., -1]), left[..., -1]], dim=-1)
    leaving = torch.stack([write[..., -1, :], carry[..., -1, :]], dim=-1)
    return Decays(write, entering, leaving, torch.stack([entering[..., -1, :], last], dim=-2))


def windowed(decays: Decays, window: int) -> Decays:
    """Return the shares of a rule with a window, to whose chunks the ``w = window - 1`` tokens before them are added.

    A step is the mean of as many writes as the window is wide: the shares of steps are multiplied by a band.

    Examples
    --------
    >>> decays = windowed(chunk_decays(Gates(torch.zeros(3))), 2)
    >>> (2 * decays.write).tolist()
    [[1.0, 1.0, 0.0, 0.0], [1.0, 2.0, 1.0, 0.0], [1.0, 2.0, 2.0, 1.0]]
    """
    n = decays.write.shape[-1]
    band = decays.write.new_full((n, n + window - 1), 1 / window).triu().tril(window - 1)
    return decays._replace(write=decays.write @ band, leaving=band.mT @ decays.leaving)


def damped_step(
    step: Tensor, gates: Gates, keys: Tensor, rule: WriteRule, crowd: Tensor, position: int
) -> tuple[Tensor, Tensor]:
    """Return ``theta_t / (1 + f / (1 - eta_t) sum_{s<=t} theta_s (k_s . k_t)^2)``, the sum over the tokens of t's refresh.

    All tokens of a refresh take their gradient at one memory. Where their keys are alike, each would mend the whole error,
    and momentum carries it on: the sum overshoots, clipped writes swing for ever, and a difference of one bit grows until
    it is as large as the memory. With the step so shared, the writes of like keys add up as a logarithm, and a key that is
    alone is written as before.

    The step is ``(b, h, t)``, keys are ``(b, h, t, k)`` and the first has this position; ``crowd``, ``(b, h, k, k)``, is
    ``sum theta_s k_s k_s^T`` over the refresh's tokens before these. It comes back for the next call.

    Examples
    --------
    >>> alike = torch.ones(1, 1, 4, 1)
    >>> step, _ = damped_step(torch.ones(1, 1, 4), Gates(torch.zeros(1, 1, 4)), alike, WriteRule(refresh_every=2),
    ...                       torch.zeros(1, 1, 1, 1), 0)
    >>> [round(x, 3) for x in step.flatten().tolist()]
    [0.333, 0.2, 0.333, 0.2]
    """
    length, size = keys.shape[2], rule.refresh_every
    if not length:
        return step, crowd
    before, after = position % size, -(position + length) % size
    own_keys = F.pad(keys, (0, 0, before, after)).unflatten(2, (-1, size))  # b h p n k
    own_steps = F.pad(step, (before, after)).unflatten(2, (-1, size))
    alike = (own_keys @ own_keys.mT).square().tril()
    crowding = (alike @ own_steps[..., None]).flatten(2)[:, :, before : before + length]
    if before:
        first = keys[:, :, : size - before]
        carried = ((first @ crowd) * first).sum(-1)
        crowding = crowding + F.pad(carried, (0, length - carried.shape[2]))
    share = rule.loss_factor * crowding
    if gates.log_momentum is not None:
        share = share / -torch.expm1(gates.log_momentum)
    if after:
        last = (own_keys[:, :, -1] * own_steps[:, :, -1, :, None]).mT @ own_keys[:, :, -1]
        crowd = last + crowd if before and before + length < size else last
    else:
        crowd = torch.zeros_like(crowd)
    return step / (1 + share), crowd
