"""When to stop: the best weights by validation, kept; patience counted in evaluations; or the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class BestWeights:
    """Remember the weights with the least validation error.

    Parameters
    ----------
    patience : int
        Evaluations without a better error before training should stop.

    Examples
    --------
    >>> best = BestWeights(patience=2)
    >>> layer = nn.Linear(1, 1)
    >>> [best.see(error, step, layer) for step, error in enumerate([1.0, 0.5, 0.6, 0.7])]
    [False, False, False, True]
    >>> best.error, best.step
    (0.5, 1)
    """

    patience: int
    error: float = float("inf")
    step: int = -1
    waited: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, error: float, step: int, network: nn.Module) -> bool:
        """Note an evaluation; returns whether patience is at its end."""
        if error < self.error:
            self.error, self.step, self.waited = error, step, 0
            self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, network: nn.Module) -> None:
        """Put the best weights back."""
        if self.weights:
            network.load_state_dict(self.weights)


def stop_after(seconds: float) -> Callable[[Any, Any], bool]:
    """Return a callback of an estimator that ends training so long after its first step."""
    end: list[float] = []

    def callback(_training: Any, _report: Any) -> bool:
        end.append(time.perf_counter() + seconds)
        return time.perf_counter() > end[0]

    return callback
