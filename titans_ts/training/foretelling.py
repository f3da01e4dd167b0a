"""Training a reader by the sequences themselves: each patch foretold from what was read before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from titans_ts.networks.reader import ReaderNetwork
from titans_ts.sequences.batches import batches_by_length
from titans_ts.training.runtime import mixed_precision, seeded
from titans_ts.training.schedule import learning_rate_factor
from titans_ts.training.steps import Report, take_steps
from titans_ts.training.stopping import BestWeights

FEW_SEQUENCES = 10
"""Below so many sequences, the end of each is held out, not whole ones."""
EVALUATED = 256
"""Validation sequences of an evaluation, at most."""


@dataclass(frozen=True)
class ForetellingConfig:
    """How a reader is trained.

    Parameters
    ----------
    max_steps, batch_size : int
        Steps at most, sequences of each.
    crop : int
        Tokens of a sequence in a step, at most; longer ones are cropped anew each time, anywhere.
    learning_rate, weight_decay : float
        AdamW's: the peak of the first, and the second on matrices.
    evaluate_every, patience : int
        Steps between two evaluations; evaluations without a better one before training stops.
    gradient_bound : float
        Largest norm of a step's gradient.
    precision : str
        See :func:`titans_ts.training.runtime.mixed_precision`.
    seed : int
        Source of all chance.
    """

    max_steps: int = 300
    batch_size: int = 32
    crop: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    evaluate_every: int = 50
    patience: int = 10
    gradient_bound: float = 1.0
    precision: str = "auto"
    seed: int = 0


class Foretelling:
    """One run of training.

    Parameters
    ----------
    network : ReaderNetwork
        Trained in place.
    sequences : list of ndarray (t, c)
        What is read.
    validation : list of ndarray (t, c)
        What chooses the weights; where it is empty the last ones stay.
    config : ForetellingConfig
        Settings.
    callbacks : sequence of callable, default=()
        Each is called with the run and a :class:`Report` after every step; a true answer stops training.
    verbose : int, default=0
        1 or more shows progress.
    """

    def __init__(
        self,
        network: ReaderNetwork,
        sequences: list[NDArray[np.float64]],
        validation: list[NDArray[np.float64]],
        config: ForetellingConfig,
        *,
        callbacks: Sequence[Callable[[Foretelling, Report], Any]] = (),
        verbose: int = 0,
    ) -> None:
        self.network, self.sequences, self.config = network, sequences, config
        self.callbacks, self.verbose = callbacks, verbose
        self.best = BestWeights(config.patience)
        self.history: list[Report] = []
        self.chance = np.random.default_rng(config.seed)
        self.validation = [self._crop(one) for one in validation[:EVALUATED]]
        lengths = np.array([len(one) for one in sequences], float)
        self.shares = lengths / lengths.sum()
        self.trained = list(network.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [x for x in self.trained if x.ndim >= 2], "weight_decay": config.weight_decay},
                {"params": [x for x in self.trained if x.ndim < 2], "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(0.9, 0.98),
        )

    def run(self) -> None:
        """Train to the end and restore the best weights."""
        steps = self.config.max_steps
        with seeded(self.config.seed, self.network.device):
            take_steps(
                self,
                steps,
                lambda step: self._train_step(learning_rate_factor(step, steps)),
                self._validate if self.validation else None,
                label="memory",
            )
        self.best.restore(self.network)
        self.network.eval()

    def _crop(self, one: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a stretch of a sequence, from anywhere in it, of as many tokens as a step reads."""
        most = self.config.crop * self.network.config.patch_length
        first = int(self.chance.integers(max(len(one) - most, 0) + 1))
        return one[first : first + most]

    def _train_step(self, factor: float) -> float:
        network = self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor
        drawn = self.chance.choice(len(self.sequences), size=self.config.batch_size, p=self.shares)
        with mixed_precision(self.config.precision, network.device):
            losses = network.losses(*network.batch([self._crop(self.sequences[i]) for i in drawn]))
        loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, self.config.gradient_bound)
        self.optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def _validate(self, step: int) -> float:
        network, total = self.network.eval(), 0.0
        for places in batches_by_length([len(one) for one in self.validation], self.config.batch_size):
            total += float(network.losses(*network.batch([self.validation[i] for i in places])).sum())
        error = total / len(self.validation)
        self.best.see(error, step, network)
        return error


def held_out(
    sequences: list[NDArray[np.float64]], fraction: float, patch_length: int, chance: np.random.Generator
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return what is trained on and what chooses: a share of the sequences, or of few the end of each.

    Examples
    --------
    >>> training, validation = held_out([np.zeros((100, 1))], 0.2, 4, np.random.default_rng(0))
    >>> len(training[0]), len(validation[0])
    (80, 20)
    """
    if len(sequences) >= FEW_SEQUENCES:
        spared = set(chance.permutation(len(sequences))[: int(len(sequences) * fraction)].tolist())
        parts = [[one for i, one in enumerate(sequences) if (i in spared) == kept] for kept in (False, True)]
        return parts[0], parts[1]
    cuts = [len(one) - int(len(one) * fraction) for one in sequences]
    ends = [one[cut:] for one, cut in zip(sequences, cuts, strict=True)]
    if min(len(end) for end in ends) < 2 * patch_length:  # too short to foretell anything in
        return sequences, []
    return [one[:cut] for one, cut in zip(sequences, cuts, strict=True)], ends
