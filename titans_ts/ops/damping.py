"""Steps of tokens that read one anchor, shared where their keys are alike, so that together they do not overshoot."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.rule import Gates, WriteRule


def damped_step(
    step: Tensor, gates: Gates, keys: Tensor, rule: WriteRule, crowd: Tensor, position: int
) -> tuple[Tensor, Tensor]:
    """Return ``theta_t / (1 + f / (1 - eta_t) sum_{s<=t} theta_s (k_s . k_t)^2)``, the sum over the tokens of t's refresh.

    All tokens of a refresh take their gradient at one memory. Where their keys are alike, each would mend the same error
    whole, and momentum carries it on: the sum overshoots, clipped writes swing for ever, and a difference of one bit grows
    until it is as large as the memory. With the step so shared the sum of a crowd's writes grows as a logarithm, and a key
    that is alone is written as before.

    Parameters
    ----------
    step : Tensor
        ``theta``, ``(b, h, t)``.
    gates : Gates
        Of which the momentum ``eta`` counts, ``(b, h, t)``.
    keys : Tensor
        ``(b, h, t, k)``.
    rule : WriteRule
        Its factor of the loss ``f``, and how many tokens a refresh has.
    crowd : Tensor
        ``(b, h, k, k)``: ``sum theta_s k_s k_s^T`` over the refresh's tokens before these.
    position : int
        Of the first token.

    Returns
    -------
    step : Tensor
        ``(b, h, t)``.
    crowd : Tensor
        For the next call; zero where that begins a refresh.

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
