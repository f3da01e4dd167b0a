"""What a token decides, inside bounds that keep the memory finite, and the weights that a memory starts from.

The four bounds are chosen together (see :class:`titans_ts.ops.WriteRule`): with a write of norm at most ``WRITE_BOUND``,
the momentum stays below ``STEP_MAX * WRITE_BOUND / (1 - MOMENTUM_MAX) = 1.6`` and a memory's distance from its start below
``1.6 / FORGETTING_MIN < 4e4``, per layer and head, whatever is read for however long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from titans_ts.ops import Gates

STEP_MAX = 0.08
MOMENTUM_MAX = 0.9
FORGETTING_MIN = 4.1e-5  # a half-life of at most 16,900 tokens
WRITE_BOUND = 2.0

STEP_START = (-1.0, 2.0)
"""Logits of the first and the last head's step at the start: the longer a head keeps, the more strongly it writes."""
MOMENTUM_START = 1.0
SHORTEST_HALF_LIFE, LONGEST_HALF_LIFE = 8.0, 4096.0
SPECTRAL_MOMENTUM = 0.5
SPECTRAL_STEP = 2 * (1 - SPECTRAL_MOMENTUM) ** 2 / (1 + SPECTRAL_MOMENTUM)
"""Largest momentum ``m``, as a share of the retention, and largest step of a delta rule with momentum, writes unclipped.

Along a unit key ``(M, S)`` goes through ``[[a (1 - theta), eta], [-a theta, eta]]``, whose eigenvalues are complex where
momentum is strong. One key for ever is stable up to ``theta = (1 + a) (1 + eta) / a``; but keys change, and products of
stable matrices may grow (for ``m = .5`` they do at five times the step above). So let ``eta_t = a_t m_t``, ``m_t <= m``,
and ``c_{t-1} = m_t (1 + c_t) <= m / (1 - m)``: what ``S`` has still to add, were nothing more written. With ``z = M + c
S``, where the memory would come to rest, ``u = c S``, ``s_t = (1 + c_t) theta_t`` and ``r_t = c_t / (1 + c_t) <= m``, a
token makes::

    z  <-  a [(1 - s) z + s u] + s v,     u  <-  a r [(1 + s) u - s z] + r s v      along its key
    z  <-  a z,                           u  <-  a r u                              across it

The first matrix, without ``a``, has determinant r. So it does not expand ``|z|^2 + |u|^2 / m`` if and only if the squares
of its entries in that norm sum to at most ``1 + r^2``, which is ``s (1 + m) (1 + r^2 / m) <= 2 (1 - r^2)``; it holds for
all ``r <= m`` if for m, where it says ``s <= 2 (1 - m) / (1 + m)``. Since ``1 + c <= 1 / (1 - m)``, the step above keeps to
it, whatever keys come. A write adds at most ``(1 + m)^.5 s |v|`` to the norm, and ``|M|`` is at most ``(1 + m)^.5`` times
the norm, so from zero ``|M| <= 2 (1 - m) max|v| / (1 - max a)``.
"""
PENALTY_MIN, PENALTY_START = 0.01, 0.2
"""Smallest penalty of a ridge, and where it starts, beside keys of length 1. Of 24 pairs in 16 directions, each shown
twice, a ridge finds 93 % at .1 and .3 and 87 % at 1; with noise on the keys 83, 84 and 81 %."""
LAST_LAYER = 0.1
"""Size of the last layer's first weights beside the others'. A memory then answers little before it is written to, and the
first writes show."""

GATE_RATE = 10.0
"""Learning rate of the gates as a multiple of the others': the step of what need not be kept has a hundred times to fall."""

Step = Literal["one", "sigmoid", "bounded", "by_width", "softplus", "spectral"]
Retention = Literal["fixed", "from_step", "decay", "bounded"]


class TokenGates(nn.Module):
    """Data-dependent gates, one number a token and head.

    ``step``: ``"one"``; ``"sigmoid"``; ``"bounded"``, ``STEP_MAX sigmoid(.)``; ``"by_width"``, ``sigmoid(.) / (d / h)``
    (arXiv 2407.04620); ``"softplus"``, ``dt = softplus(.)`` (2405.21060); ``"spectral"``, ``SPECTRAL_STEP sigmoid(.)``.
    ``retention``: ``None``; ``"bounded"``, ``(1 - FORGETTING_MIN) sigmoid(.)``; ``"fixed"``, ``1 - 2^(-5 - h)``
    (2307.08621); ``"from_step"``, ``exp(-A dt)`` (2405.21060); ``"decay"``, the same of a number of its own (2412.06464).
    ``momentum``: ``MOMENTUM_MAX sigmoid(.)``, beside a spectral step ``SPECTRAL_MOMENTUM sigmoid(.)`` times the retention,
    or none. ``penalty``: ``PENALTY_MIN + softplus(.)`` of a number a head, or none.

    Bounded retention starts at half-lives spread logarithmically over the heads, from 8 to 4,096 tokens: training alone
    does not find the long ones. Bounded steps start spread too. A single head is the last of them. ``eager`` gates depend on
    the token from the start and learn faster (:func:`gates_apart`).
    """

    fixed: Tensor

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        step: Step = "bounded",
        retention: Retention | None = "bounded",
        momentum: bool = True,
        penalty: bool = False,
        eager: bool = True,
    ) -> None:
        super().__init__()
        self.eager = eager
        self.heads, self.step, self.retention, self.momentum = heads, step, retention, momentum
        self.head_width = width // heads
        start = [] if step == "one" else [_step_start(step, heads)]
        if retention in ("bounded", "decay"):
            start.append(_bounded_start(heads) if retention == "bounded" else _decay_start(heads))
        start += [torch.full((heads,), MOMENTUM_START)] * momentum
        self.project = nn.Linear(width, heads * len(start)) if start else None
        if self.project is not None:
            nn.init.normal_(self.project.weight, std=(1.0 if eager else 0.1) / math.sqrt(width))
            with torch.no_grad():
                self.project.bias.copy_(torch.cat(start))
        has_rate = retention in ("from_step", "decay")
        self.log_rate = nn.Parameter(torch.linspace(1, 16, heads).log()) if has_rate else None  # A, as mamba2 starts it
        free = PENALTY_START - PENALTY_MIN
        self.penalty = nn.Parameter(torch.full((heads,), free + math.log(-math.expm1(-free)))) if penalty else None
        fixed = torch.log1p(-(2.0 ** (-5 - torch.arange(heads, dtype=torch.float64))))
        self.register_buffer("fixed", fixed, persistent=False)

    @property
    def forgetting(self) -> bool:
        """Whether anything is forgotten."""
        return self.retention is not None

    def forward(self, sequence: Tensor) -> Gates:
        """Return the gates of tokens ``(b, t, d)``, ``(b, h, t)`` each."""
        empty = sequence.new_zeros(sequence.shape[0], self.heads, sequence.shape[1])
        parts = [] if self.project is None else list(self.project(sequence).transpose(1, 2).split(self.heads, dim=1))
        log_step = empty if self.step == "one" else self._log_step(parts.pop(0))
        log_retention = None if self.retention is None else self._log_retention(parts, log_step)
        log_momentum = self._log_momentum(parts.pop(0), log_retention) if self.momentum else None
        return Gates(log_step, log_retention, log_momentum, self._log_penalty(empty))

    def _log_step(self, x: Tensor) -> Tensor:
        if self.step == "softplus":
            return _log_softplus(x)
        largest = {"sigmoid": 1.0, "bounded": STEP_MAX, "by_width": 1 / self.head_width, "spectral": SPECTRAL_STEP}
        return math.log(largest[self.step]) + nn.functional.logsigmoid(x)

    def _log_momentum(self, x: Tensor, log_retention: Tensor | None) -> Tensor:
        spectral = self.step == "spectral"
        share = math.log(SPECTRAL_MOMENTUM if spectral else MOMENTUM_MAX) + nn.functional.logsigmoid(x)
        return share if not spectral or log_retention is None else share + log_retention

    def _log_penalty(self, like: Tensor) -> Tensor | None:
        if self.penalty is None:
            return None
        return (PENALTY_MIN + nn.functional.softplus(self.penalty)).log()[:, None].to(like.dtype).expand_as(like)

    def _log_retention(self, parts: list[Tensor], log_step: Tensor) -> Tensor:
        if self.retention == "bounded":
            return math.log1p(-FORGETTING_MIN) + nn.functional.logsigmoid(parts.pop(0))
        if self.log_rate is None:
            return self.fixed[:, None].to(log_step.dtype).expand_as(log_step)
        interval = log_step.exp() if self.retention == "from_step" else nn.functional.softplus(parts.pop(0))
        return -self.log_rate.exp()[:, None] * interval


def gates_apart(groups: Iterable[dict[str, Any]], network: nn.Module) -> list[dict[str, Any]]:
    """Part eager gates from an optimiser's groups, each with its ``peak``: they learn faster, and do not decay."""
    gates = {id(x) for part in network.modules() if isinstance(part, TokenGates) and part.eager for x in part.parameters()}
    parted = []
    for group in groups:
        fast = [x for x in group["params"] if id(x) in gates]
        if fast:
            parted.append({"params": fast, "peak": GATE_RATE * group["peak"], "weight_decay": 0.0})
        parted.append(group | {"params": [x for x in group["params"] if id(x) not in gates]})
    return [group for group in parted if group["params"]]


def _log_softplus(x: Tensor) -> Tensor:
    """Return ``log(log(1 + exp(x)))``, which is x where x is very negative."""
    return torch.where(x < -20, x, nn.functional.softplus(x.clamp_min(-20)).log())


def _decay_start(heads: int) -> Tensor:
    """Return where ``dt = softplus(.)`` starts: spread logarithmically over .001 .. .1, as mamba2's is drawn."""
    interval = torch.linspace(math.log(0.001), math.log(0.1), heads, dtype=torch.float64).exp()
    return (interval + torch.log(-torch.expm1(-interval))).float()


def _step_start(step: Step, heads: int) -> Tensor:
    if step == "softplus":
        return _decay_start(heads)
    return _spread(*STEP_START, heads) if step == "bounded" else torch.zeros(heads)


def _bounded_start(heads: int) -> Tensor:
    half_lives = _spread(math.log(SHORTEST_HALF_LIFE), math.log(LONGEST_HALF_LIFE), heads).exp()
    return torch.logit(torch.exp(-math.log(2) / half_lives) / (1 - FORGETTING_MIN))


def _spread(first: float, last: float, heads: int) -> Tensor:
    """Return numbers at equal distances from the first head to the last."""
    return torch.linspace(last, first, heads, dtype=torch.float64).flip(0)


class Store(nn.Module):
    """The initial weights ``M_0`` of a memory, one ``(h, k, v)`` a layer: learned, or zero.

    A store of ``depth=1`` is a matrix; a deeper one has inner layers of ``inner_width``.
    """

    zero: Tensor

    def __init__(
        self,
        heads: int,
        key_width: int,
        value_width: int,
        *,
        depth: int = 2,
        inner_width: int = 1,
        learned: bool = True,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be 1 or more layers, got {depth}")
        sizes = [key_width, *[inner_width] * (depth - 1), value_width]
        shapes = [(heads, rows, columns) for rows, columns in pairwise(sizes)]
        self.layers = nn.ParameterList(torch.randn(shape) / shape[1] ** 0.5 for shape in shapes) if learned else None
        if self.layers is not None:
            with torch.no_grad():
                self.layers[-1].mul_(LAST_LAYER)
        self.shapes = shapes
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self) -> tuple[Tensor, ...]:
        """Return ``M_0``, one ``(h, k, v)`` a layer."""
        return tuple(self.zero.expand(shape) for shape in self.shapes) if self.layers is None else tuple(self.layers)
