"""The one write rule of the family, as data: what a token writes, what the memory forgets, what is carried on.

With ``M`` the memory, ``S`` the momentum and ``grad_t`` the gradient of the loss of token ``t`` (arXiv 2501.00663)::

    S_t = eta_t S_{t-1} - theta_t grad_t        momentum of past surprise               (eqs 10, 14)
    M_t = M_0 + a_t (M_{t-1} - M_0) + S_t       forgetting, towards the learned start   (eq 13, with M_0 = 0)
    y_t = M_t(q_t)                              read without writing                    (eq 15)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.shapes import check_shape

LOG_FLOOR = -60.0
"""Smallest logarithm of a gate: ``exp(-60)`` clears everything, and its products stay finite where ``-inf`` would not."""

NORM_EPS = 1e-6
"""Added to the variance in :class:`StoreNorm`."""


@dataclass(frozen=True)
class WriteRule:
    """How a memory is written: every memory of the family is one setting of these fields.

    Parameters
    ----------
    objective : {"l2", "dot", "ridge"}, default="l2"
        Loss of a token: ``loss_factor / 2 * ||M(k) - v||^2`` (eq 12), or ``-<M(k), v>`` (Hebbian). ``"ridge"`` takes no
        step: at every token the memory is the one that fits all tokens so far best, the older the less
        (:mod:`titans_ts.ops.ridge`). Steps are then weights, and of the other fields ``forget_towards`` alone counts.
    read_from : {"previous", "decayed"}, default="previous"
        Whether the gradient is taken at the memory as it was (Titans, DeltaNet), or after this token's forgetting
        (Gated DeltaNet, arXiv 2412.06464). The two differ by far more than rounding. ``"decayed"`` needs one layer.
    step : {"explicit", "implicit"}, default="explicit"
        Plain step, or the exact implicit one ``theta / (1 + theta ||k||^2)`` (Longhorn, arXiv 2407.14207). The implicit
        step is that of the linear store with ``loss_factor=1``.
    loss_factor : float, default=2.0
        2 for the gradient of ``||.||^2`` (Titans, TTT), 1 for that of ``1/2 ||.||^2`` (the delta family). It scales the
        gradient of ``"l2"`` only.
    window : int, default=1
        A step takes the mean gradient of the last so many tokens, each at the memory that the step's own token reads (arXiv
        2505.23735, eqs 9 to 13; there their sum, which the step size makes up for). It needs ``"previous"`` and the explicit
        step.
    refresh_every : int, default=1
        How many tokens share one reading of the memory for their gradients (the paper's mini-batch ``b``), counted from
        position 0 of the sequence. Part of the model: it changes answers, unlike ``chunk_size``.
    forget_towards : {"initial", "zero"}, default="initial"
        Where forgetting leads. ``"zero"`` is the paper's letter, and a store of two layers or more that has forgotten
        everything there can never learn again (0 is a fixed point of its gradient).
    write_bound : float or None, default=1.0
        Largest norm ``|x_l| |g_l|`` of one token's write in layer ``l``, before the step size; larger writes are scaled
        down to it. ``None`` writes unclipped, and may then overflow on data with nearly parallel keys.
    damping : bool, default=False
        Whether tokens of one refresh share the step where their keys are alike (:mod:`titans_ts.ops.decay`); not in the
        paper. It needs the explicit step and ``"l2"``.

    Raises
    ------
    ValueError
        If a field is out of its range, or two of them contradict each other.

    Notes
    -----
    With retention ``<= 1 - floor``, step ``<= theta``, momentum ``<= ceiling < 1`` and ``s = theta * write_bound /
    (1 - ceiling)``: ``|S| <= max(|S_0|, s)`` because ``S`` is a geometric sum of writes no larger than ``theta *
    write_bound``; hence ``|M - M_0| <= max(|M_start - M_0|, max(|S_0|, s) / floor)``, the fixed point of
    ``x -> (1 - floor) x + s``. This holds per layer and head, whatever the input, as long as the input is finite.
    With retention 1 there is no such bound: the norm may grow as the square root of time under an adversary.

    Examples
    --------
    >>> WriteRule(refresh_every=16).write_bound
    1.0
    """

    objective: Literal["l2", "dot", "ridge"] = "l2"
    read_from: Literal["previous", "decayed"] = "previous"
    step: Literal["explicit", "implicit"] = "explicit"
    loss_factor: float = 2.0
    window: int = 1
    refresh_every: int = 1
    forget_towards: Literal["initial", "zero"] = "initial"
    write_bound: float | None = 1.0
    damping: bool = False

    def __post_init__(self) -> None:
        choices = {
            "objective": ("l2", "dot", "ridge"),
            "read_from": ("previous", "decayed"),
            "step": ("explicit", "implicit"),
            "forget_towards": ("initial", "zero"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        for name in ("window", "refresh_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more tokens, got {getattr(self, name)}")
        if self.window > 1 and (self.read_from, self.step) != ("previous", "explicit"):
            raise ValueError("window > 1 is defined for read_from='previous' with step='explicit'")
        if self.write_bound is not None and not self.write_bound > 0:
            raise ValueError(f"write_bound must be positive, or None for unclipped writes, got {self.write_bound}")
        if self.step == "implicit" and (self.objective, self.loss_factor) != ("l2", 1.0):
            raise ValueError("step='implicit' is defined for objective='l2' with loss_factor=1")
        stepless = (self.read_from, self.step, self.window, self.refresh_every, self.write_bound, self.damping)
        if self.objective == "ridge" and stepless != ("previous", "explicit", 1, 1, None, False):
            raise ValueError(
                "objective='ridge' takes no step: leave read_from, step, window, refresh_every and damping at their "
                "defaults, with write_bound=None"
            )
        if self.damping and (self.objective, self.step) != ("l2", "explicit"):
            raise ValueError("damping=True is defined for objective='l2' with step='explicit'")


class Gates(NamedTuple):
    """What a token decides about the memory, each ``(b, h, t)`` and a logarithm; ``None`` switches the part off.

    Attributes
    ----------
    log_step : Tensor
        Logarithm of the step size ``theta``.
    log_retention : Tensor or None
        Logarithm of the retention ``a = 1 - alpha``; ``None`` keeps everything.
    log_momentum : Tensor or None
        Logarithm of the momentum ``eta``; ``None`` means no momentum, and no ``S`` in the state.
    log_penalty : Tensor or None
        For ``objective="ridge"``: logarithm of the penalty ``lambda`` with which each token reads.

    Examples
    --------
    >>> import torch
    >>> gates = Gates(log_step=torch.full((1, 2, 50), 0.05).log(), log_retention=torch.full((1, 2, 50), 0.99).log())
    >>> gates.log_momentum is None
    True
    """

    log_step: Tensor
    log_retention: Tensor | None = None
    log_momentum: Tensor | None = None
    log_penalty: Tensor | None = None

    def floored(self) -> Gates:
        """Return the gates with every logarithm at least :data:`LOG_FLOOR`."""
        return self.changed(lambda gate: gate.clamp(min=LOG_FLOOR))

    def changed(self, change: Callable[[Tensor], Tensor]) -> Gates:
        """Return the gates with a function applied to every part that is switched on."""
        return Gates(change(self.log_step), *(None if gate is None else change(gate) for gate in self[1:]))


class StoreState(NamedTuple):
    """All that a memory carries from one token to the next, so that any cut of a sequence gives the same answer.

    Attributes
    ----------
    weights : tuple of Tensor
        The memory ``M``, one matrix a layer, ``(b, h, k, v)`` with inner widths in between.
    momentum : tuple of Tensor or None
        ``S``, of the same shapes; ``None`` without momentum.
    anchor : tuple of Tensor
        The memory as read at the last refresh, where gradients are taken until the next one; empty for a ridge.
    position : int
        Tokens read so far.
    crowd : Tensor or None
        For a rule with damping: the outer products of the keys of the present refresh, each times its step,
        ``(b, h, k, k)``.
    sums : (Tensor, Tensor) or None
        For ``objective="ridge"``: ``G`` and ``C``, ``(b, h, k, k)`` and ``(b, h, k, v)``, float64.
    recent : tuple of Tensor or None
        For a rule with a window: keys, values and step sizes of the last tokens, zero before the first; ``(b, h, window - 1,
        k)``, ``(b, h, window - 1, v)`` and ``(b, h, window - 1)``.

    Examples
    --------
    >>> import torch
    >>> state = fresh_state([torch.zeros(2, 4, 3)], batch=5, momentum=True)
    >>> state.position, state.momentum[0].shape
    (0, torch.Size([5, 2, 4, 3]))
    """

    weights: tuple[Tensor, ...]
    momentum: tuple[Tensor, ...] | None
    anchor: tuple[Tensor, ...]
    position: int
    crowd: Tensor | None = None
    sums: tuple[Tensor, ...] | None = None
    recent: tuple[Tensor, ...] | None = None


class StoreNorm(NamedTuple):
    """A store that reads ``x + LN(M(x)) * weight + bias`` (arXiv 2407.04620, section 2.7); values are as wide as keys.

    Attributes
    ----------
    weight, bias : Tensor
        ``(h, v)`` each.

    Examples
    --------
    >>> import torch
    >>> norm = StoreNorm(torch.ones(2, 4), torch.zeros(2, 4))
    >>> norm(torch.zeros(1, 2, 5, 4), torch.ones(1, 2, 5, 4)).sum().item()  # layers that give nothing leave x alone
    40.0
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor, x: Tensor) -> Tensor:
        """Return what is read at ``x`` where the layers give ``hidden``, ``(b, h, t, v)`` each."""
        return x + F.layer_norm(hidden, hidden.shape[-1:], eps=NORM_EPS) * self.weight[:, None] + self.bias[:, None]


Initial = Sequence[Tensor] | None
"""The learned start ``M_0``, one ``(h, k, v)`` or ``(b, h, k, v)`` a layer; needed where forgetting leads back to it."""


def fresh_state(
    initial: Sequence[Tensor], *, batch: int, momentum: bool, damping: bool = False, ridge: bool = False, window: int = 1
) -> StoreState:
    """Return the state before the first token: the initial memory for every sequence of a batch.

    Parameters
    ----------
    initial : sequence of Tensor
        ``M_0``, one ``(h, k, v)`` a layer.
    batch : int
        Number of sequences.
    momentum : bool
        Whether the memory has momentum; it starts at zero.
    damping : bool, default=False
        Whether the rule has damping.
    ridge : bool, default=False
        Whether the rule has ``objective="ridge"``.
    window : int, default=1
        That of the rule.

    Returns
    -------
    StoreState
        At position 0.

    Examples
    --------
    >>> import torch
    >>> fresh_state([torch.zeros(2, 4, 3)], batch=5, momentum=False).weights[0].shape
    torch.Size([5, 2, 4, 3])
    """
    weights = tuple(w.expand(batch, *w.shape) for w in initial)
    zeros = tuple(torch.zeros_like(w) for w in weights) if momentum else None
    square = (batch, initial[0].shape[0], initial[0].shape[-2], initial[0].shape[-2])
    crowd = initial[0].new_zeros(square) if damping else None
    recent = sums = None
    if ridge:
        sums = initial[0].new_zeros(square, dtype=torch.float64), torch.zeros_like(weights[0], dtype=torch.float64)
    if window > 1:
        before = initial[0].new_zeros(*square[:2], window - 1)
        recent = *(before[..., None].expand(*before.shape, w) for w in (square[2], initial[-1].shape[-1])), before
    return StoreState(weights, zeros, () if ridge else weights, 0, crowd, sums, recent)


def read_store(weights: Sequence[Tensor], queries: Tensor, norm: StoreNorm | None = None) -> Tensor:
    """Read a memory without writing (eq 15): a matrix, or an MLP with SiLU between its layers.

    Parameters
    ----------
    weights : sequence of Tensor
        One ``(b, h, k, v)`` a layer.
    queries : Tensor
        ``(b, h, t, k)``.
    norm : StoreNorm, optional
        For a store with a normalised residual around its layers.

    Returns
    -------
    Tensor
        ``(b, h, t, v)``.

    Examples
    --------
    >>> import torch
    >>> read_store([torch.eye(3).expand(1, 1, 3, 3)], torch.ones(1, 1, 2, 3)).sum().item()
    6.0
    """
    hidden = queries @ weights[0]
    for layer in weights[1:]:
        hidden = F.silu(hidden) @ layer
    return hidden if norm is None else norm(hidden, queries)


def safe_norm(x: Tensor, *, axes: int = 1) -> Tensor:
    """Return the norm over the last ``axes`` axes, in the type of ``x``; squares cannot overflow."""
    return long_norm(x, axes=axes).to(x.dtype)


def long_norm(x: Tensor, *, axes: int = 1) -> Tensor:
    """Return the norm over the last ``axes`` axes in float64; entries of that type are divided by the largest first."""
    last = tuple(range(-axes, 0))
    if x.dtype != torch.float64:
        return torch.linalg.vector_norm(x, dim=last, dtype=torch.float64)
    largest = x.detach().abs().amax(dim=last, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.linalg.vector_norm(x / largest, dim=last) * largest.reshape(x.shape[:-axes])


def effective_step(gates: Gates, keys: Tensor, rule: WriteRule) -> Tensor:
    """Return the step size ``(b, h, t)`` that multiplies the gradient, implicit form included."""
    step = gates.log_step.exp()
    if rule.step == "implicit":
        step = step / (1 + step * keys.square().sum(-1))
    return step


def check_arguments(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    rule: WriteRule,
    state: StoreState,
    initial: Initial,
    norm: StoreNorm | None,
) -> None:
    """Refuse, by name, shapes that do not fit and parts that contradict each other."""
    size = check_shape(k, "b h t k", name="keys")
    b, h, t = size["b"], size["h"], size["t"]
    check_shape(q, "b h t k", name="queries", **size)
    check_shape(v, "b h t v", name="values", b=b, h=h, t=t)
    for name, gate in zip(Gates._fields, gates, strict=True):
        if gate is not None:
            check_shape(gate, "b h t", name=name, b=b, h=h, t=t)
    depth = len(state.weights)
    first, last = state.weights[0], state.weights[-1]
    check_shape(first, "b h k v", name="state.weights[0]", b=b, h=h, k=size["k"])
    check_shape(last, "b h k v", name=f"state.weights[{depth - 1}]", b=b, h=h, v=v.shape[-1])
    if (gates.log_momentum is None) != (state.momentum is None):
        raise ValueError("gates.log_momentum and state.momentum must be given together, or both be None")
    if depth > 1 and (rule.read_from == "decayed" or rule.step == "implicit"):
        raise ValueError(
            f"read_from={rule.read_from!r} with step={rule.step!r} is defined for a store of one layer; this one has "
            f"{depth}: use read_from='previous' and step='explicit'"
        )
    if rule.objective == "ridge":
        if depth > 1 or gates.log_momentum is not None:
            raise ValueError("objective='ridge' is defined for a store of one layer without momentum")
        if state.sums is None or gates.log_penalty is None:
            raise ValueError(
                "objective='ridge' needs gates.log_penalty and state.sums; begin with fresh_state(..., ridge=True)"
            )
        for name, x, width in zip(("gram", "cross"), state.sums, (size["k"], v.shape[-1]), strict=True):
            check_shape(x, "b h k v", name=f"state.sums, {name}", b=b, h=h, k=size["k"], v=width)
    if rule.window > 1:
        if state.recent is None:
            raise ValueError("window > 1 needs state.recent; begin with fresh_state(..., window=...)")
        for letters, x in zip(("b h n k", "b h n v", "b h n"), state.recent, strict=True):
            check_shape(x, letters, name="state.recent", b=b, h=h, n=rule.window - 1, k=size["k"], v=v.shape[-1])
    if norm is not None:
        check_shape(norm.weight, "h v", name="norm.weight", h=h, v=size["k"])
        if v.shape[-1] != size["k"]:
            raise ValueError(f"norm adds queries to what is read: values must be as wide as keys, got {v.shape[-1]}")
        if (rule.objective, rule.read_from, rule.step) != ("l2", "previous", "explicit"):
            raise ValueError(
                f"norm is defined for objective='l2', read_from='previous' and step='explicit', got {rule.objective!r}, "
                f"{rule.read_from!r} and {rule.step!r}"
            )
    if rule.damping:
        if state.crowd is None:
            raise ValueError("damping=True needs state.crowd; begin with fresh_state(..., damping=True)")
        check_shape(state.crowd, "b h k v", name="state.crowd", b=b, h=h, k=size["k"], v=size["k"])
    returns = rule.objective == "ridge" or gates.log_retention is not None
    if rule.forget_towards == "initial" and returns and initial is None:
        raise ValueError("forget_towards='initial' needs the argument initial, the memory that forgetting leads back to")
