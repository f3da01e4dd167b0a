"""How a network is trained: settings, phases, and what each phase trains, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from titans_ts.networks.forecast import ForecastNetwork

Phase = Literal["direct", "memory", "recollection", "quantiles"]
TRUST_SHARE = 10.0
"""Learning rate of what opens to recollections, as a share of the backbone's: it has a long way to go."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Parameters
    ----------
    max_steps : int
        Steps of the second phase, at most, and of the third.
    direct_steps, quantile_steps : int
        Steps of the first and of the last phase.
    learning_rate, direct_learning_rate, quantile_learning_rate : float
        Peak learning rates of the backbone, of the direct path in the first phase, and of the quantiles.
    direct_share : float
        Learning rate of the direct path in the second phase, as a share of the backbone's.
    weight_decay : float
        AdamW's, on matrices of the backbone.
    batch_size : int
        Streams read side by side.
    segment : int
        Tokens between two steps; the state is carried over them, gradients are not.
    overlap : float
        Share of training patches that overlap the one before; none does where recollections are trained.
    evaluate_every, patience : int
        Steps between two evaluations; evaluations without a better error before the second or third phase stops.
    gradient_bound : float
        Largest norm of a step's gradient.
    caution, precision : float, str
        See :func:`titans_ts.training.acceptance.memory_gain`, :func:`titans_ts.training.runtime.mixed_precision`.
    seed : int
        Source of all chance.
    """

    max_steps: int = 300
    direct_steps: int = 400
    quantile_steps: int = 60
    learning_rate: float = 1e-3
    direct_learning_rate: float = 2e-3
    quantile_learning_rate: float = 1e-2
    direct_share: float = 1.0
    weight_decay: float = 0.01
    batch_size: int = 32
    segment: int = 256
    overlap: float = 0.1
    evaluate_every: int = 25
    patience: int = 5
    gradient_bound: float = 1.0
    caution: float = 1.0
    precision: str = "auto"
    seed: int = 0

    def steps_of_phases(self, *, layers: int, recollection: int) -> dict[Phase, int]:
        """Return the phases in their order, and the steps of each, at most."""
        recollecting: dict[Phase, int] = {"recollection": self.max_steps} if recollection else {}
        memory = self.max_steps if layers else 0
        return {"direct": self.direct_steps, "memory": memory, **recollecting, "quantiles": self.quantile_steps}


def parameter_groups(network: ForecastNetwork, config: TrainingConfig, phase: Phase) -> list[dict[str, Any]]:
    """Return what a phase trains, and the peak of each group's learning rate."""
    if phase == "direct":
        return [{"params": list(network.direct.parameters()), "peak": config.direct_learning_rate}]
    if phase == "quantiles":
        return [{"params": list(network.quantile_head.parameters()), "peak": config.quantile_learning_rate}]
    if phase == "recollection":
        assert network.recollection is not None
        fast = [network.recollection.trust, *network.recollection.gates.parameters()]
        return [
            {"params": list(network.recollection.features_of.parameters()), "peak": config.learning_rate},
            {"params": fast, "peak": config.learning_rate * TRUST_SHARE},
        ]
    learned = [x for part in (network.embedding, network.backbone, network.head) for x in part.parameters()]
    peak = config.learning_rate
    return [
        {"params": [x for x in learned if x.ndim >= 2], "peak": peak, "weight_decay": config.weight_decay},
        {"params": [x for x in learned if x.ndim < 2], "peak": peak},
        {"params": list(network.direct.parameters()), "peak": peak * config.direct_share},
    ]
