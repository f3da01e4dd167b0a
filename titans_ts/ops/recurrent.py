"""The reference: one loop over tokens, gradients by autograd. It defines truth; it is slow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from titans_ts.ops.rule import (
    Gates,
    Initial,
    StoreNorm,
    StoreState,
    WriteRule,
    check_arguments,
    effective_step,
    read_store,
    safe_norm,
)


def memory_recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    rule: WriteRule,
    state: StoreState,
    *,
    initial: Initial = None,
    norm: StoreNorm | None = None,
    observe: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, StoreState]:
    """Write and read a memory token by token, as the equations say.

    Parameters
    ----------
    q, k : Tensor
        Queries and keys, ``(b, h, t, k)``.
    v : Tensor
        Values, ``(b, h, t, v)``.
    gates : Gates
        Logarithms of step size, retention and momentum, ``(b, h, t)`` each.
    rule : WriteRule
        Which memory this is.
    state : StoreState
        Where an earlier call stopped, or :func:`~titans_ts.ops.rule.fresh_state`.
    initial : sequence of Tensor, optional
        ``M_0``, needed when ``rule.forget_towards == "initial"`` and something is forgotten.
    norm : StoreNorm, optional
        For a store with a normalised residual around its layers.
    observe : callable, optional
        Called with the surprise ``(layers, b, h, t)``: the norms ``|x||g|`` of the writes before clipping.

    Returns
    -------
    output : Tensor
        ``(b, h, t, v)``, what each token read after its own write.
    state : StoreState
        To hand to the next call.

    Raises
    ------
    ValueError
        If shapes do not fit or the rule refuses the store.

    References
    ----------
    arXiv 2501.00663, equations 8 to 15.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.ops.rule import fresh_state
    >>> start = [torch.zeros(1, 2, 2)]
    >>> k, v = torch.eye(2)[None, None], torch.tensor([[3.0, 0.0], [0.0, 5.0]])[None, None]
    >>> gates = Gates(log_step=torch.full((1, 1, 2), 0.5).log())
    >>> rule = WriteRule(write_bound=None)
    >>> y, _ = memory_recurrent(k, k, v, gates, rule, fresh_state(start, batch=1, momentum=False))
    >>> y[0, 0].tolist()  # half of the gradient of ||.||^2 writes each value whole
    [[3.0, 0.0], [0.0, 5.0]]
    """
    check_arguments(q, k, v, gates, rule, state, initial, norm)
    gates = gates.floored()
    if rule.objective == "ridge":
        return _ridge(q, k, v, gates, rule, state, initial, observe)
    step = effective_step(gates, k, rule)
    weights, momentum, anchor, position, crowd, _, before = state
    recent = [] if before is None else _tokens(*before)
    outputs, surprises = [], []
    for t in range(k.shape[2]):
        retention, inertia = (gate if gate is None else gate[:, :, t, None, None].exp() for gate in gates[1:3])
        if (position + t) % rule.refresh_every == 0:
            anchor = weights
            crowd = None if crowd is None else torch.zeros_like(crowd)
        theta = step[:, :, t, None, None]
        if rule.damping and crowd is not None:
            theta, crowd = _damped(theta, k[:, :, t], inertia, crowd, rule)
        read_at = _forget(anchor, retention, rule, initial) if rule.read_from == "decayed" else anchor
        recent.append((k[:, :, t : t + 1], v[:, :, t : t + 1], theta))
        writes, norms = _writes(read_at, recent, rule, norm)
        recent.pop(0)
        surprises.append(norms)
        if momentum is not None and inertia is not None:
            momentum = tuple(inertia * s + write for s, write in zip(momentum, writes, strict=True))
            writes = list(momentum)
        weights = tuple(w + write for w, write in zip(_forget(weights, retention, rule, initial), writes, strict=True))
        outputs.append(read_store(weights, q[:, :, t : t + 1], norm))
    if observe is not None and surprises:
        observe(torch.stack(surprises, dim=-1))
    output = torch.cat(outputs, dim=2) if outputs else v[:, :, :0]
    position += k.shape[2]
    if crowd is not None and position % rule.refresh_every == 0:
        crowd = torch.zeros_like(crowd)
    if before is not None:
        keys, values, steps = (torch.cat(x, dim=2) for x in zip(*recent, strict=True))
        before = keys, values, steps[..., 0]
    return output, StoreState(weights, momentum, anchor, position, crowd, None, before)


Token = tuple[Tensor, Tensor, Tensor]
"""Key ``(b, h, 1, k)``, value ``(b, h, 1, v)`` and step size ``(b, h, 1, 1)`` of a token."""


def _tokens(keys: Tensor, values: Tensor, steps: Tensor) -> list[Token]:
    """Return the tokens of ``(b, h, t, .)``, the oldest first."""
    return list(zip(*(x.split(1, dim=2) for x in (keys, values, steps[..., None])), strict=True))


def _writes(
    weights: tuple[Tensor, ...], recent: list[Token], rule: WriteRule, norm: StoreNorm | None
) -> tuple[list[Tensor], Tensor]:
    """Return each layer's mean write of a window's tokens, and the last one's norms ``(layers, b, h)`` before clipping."""
    writes = [torch.zeros_like(w) for w in weights]
    for key, value, theta in recent:
        gradient = _gradient(weights, key, value, rule, norm)
        norms = [safe_norm(g, axes=2) for g in gradient]
        clipped = (_clipped(g, size, rule) for g, size in zip(gradient, norms, strict=True))
        writes = [write - theta / rule.window * g for write, g in zip(writes, clipped, strict=True)]
    return writes, torch.stack(norms)


def _ridge(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    rule: WriteRule,
    state: StoreState,
    initial: Initial,
    observe: Callable[[Tensor], None] | None,
) -> tuple[Tensor, StoreState]:
    """Sum, solve and read token by token; the surprise is ``|k||M(k) - v|`` of the memory before the token."""
    assert state.sums is not None
    assert gates.log_penalty is not None
    gram, cross = state.sums
    (weights,), outputs, surprises = state.weights, [v[:, :, :0]], []
    eye = torch.eye(k.shape[3], dtype=gram.dtype, device=k.device)
    first = (
        initial[0].to(gram.dtype) if rule.forget_towards == "initial" and initial is not None else torch.zeros_like(cross)
    )
    q, keys, values = (x.to(gram.dtype) for x in (q, k, v))
    for t in range(k.shape[2]):
        key, value = keys[:, :, t : t + 1], values[:, :, t : t + 1]
        weight, penalty = (gate[:, :, t, None, None].to(gram.dtype).exp() for gate in (gates.log_step, gates.log_penalty))
        surprises.append(safe_norm(key, axes=2) * safe_norm(key @ weights.to(gram.dtype) - value, axes=2))
        if gates.log_retention is not None:
            retention = gates.log_retention[:, :, t, None, None].to(gram.dtype).exp()
            gram, cross = retention * gram, retention * cross
        gram = gram + weight * (key.mT @ key)
        cross = cross + weight * (key.mT @ value)
        weights = torch.linalg.solve(gram + penalty * eye, cross + penalty * first)
        outputs.append((q[:, :, t : t + 1] @ weights).to(v.dtype))
    if observe is not None and surprises:
        observe(torch.stack(surprises, dim=-1)[None].to(v.dtype))
    after = state._replace(weights=(weights.to(v.dtype),), sums=(gram, cross), position=state.position + k.shape[2])
    return torch.cat(outputs, dim=2), after


def _clipped(gradient: Tensor, norm: Tensor, rule: WriteRule) -> Tensor:
    """Return the gradient ``(b, h, k, v)`` of one layer, scaled down where its norm ``(b, h)`` is above the bound."""
    if rule.write_bound is None:
        return gradient
    return gradient * (rule.write_bound / norm.clamp_min(rule.write_bound))[..., None, None]


def _damped(theta: Tensor, key: Tensor, inertia: Tensor | None, crowd: Tensor, rule: WriteRule) -> tuple[Tensor, Tensor]:
    """Return the step of one token that shares with those of its refresh before it, and the crowd with its key."""
    crowd = crowd + theta * key[..., :, None] * key[..., None, :]
    crowding = torch.einsum("bhk,bhkl,bhl->bh", key, crowd, key)[..., None, None]
    kept = 1 if inertia is None else 1 - inertia
    return theta / (1 + rule.loss_factor * crowding / kept), crowd


def _forget(weights: tuple[Tensor, ...], retention: Tensor | None, rule: WriteRule, initial: Initial) -> tuple[Tensor, ...]:
    """Return ``M_0 + a (M - M_0)``, or ``a M`` when forgetting leads to zero."""
    if retention is None:
        return weights
    if rule.forget_towards == "zero" or initial is None:
        return tuple(retention * w for w in weights)
    return tuple(w0 + retention * (w - w0) for w, w0 in zip(weights, initial, strict=True))


def _gradient(
    weights: tuple[Tensor, ...], key: Tensor, value: Tensor, rule: WriteRule, norm: StoreNorm | None
) -> tuple[Tensor, ...]:
    """Return the gradient of one token's loss with respect to every layer, itself differentiable."""
    record = torch.is_grad_enabled() and any(x.requires_grad for x in (*weights, key, value, *(norm or ())))
    with torch.enable_grad():
        at = weights if record else tuple(w.detach() for w in weights)
        at = tuple(w if w.requires_grad else w.detach().requires_grad_() for w in at)
        predicted = read_store(at, key, norm)
        if rule.objective == "dot":
            loss = -(predicted * value).sum()
        else:
            loss = rule.loss_factor / 2 * (predicted - value).square().sum()
        return torch.autograd.grad(loss, at, create_graph=record)
