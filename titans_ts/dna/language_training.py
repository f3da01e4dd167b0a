"""Training a language model of DNA: long streams read with the memory carried along, a step every few hundred bases.

The direct path counts the training records first. In training it leaves out of its counts the very base that is asked, so
that the mixture learns how far each order can be trusted on bases that were not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.state import map_tensors
from titans_ts.dna.bases import Codes, N, reverse_complement
from titans_ts.dna.language import LanguageCarry, LanguageNetwork, log_likelihoods
from titans_ts.dna.strands import as_codes, other_strand
from titans_ts.learn.run import BestWeights, Report, learning_rate_factor, mixed_precision, seeded, take_steps

VALIDATION_BASES = 131_072
"""Bases of the validation part that an evaluation reads, at most: from its beginning, in as many streams as a step has."""

FEW_RECORDS = 10
"""Below so many records, the end of each is held out, not whole ones."""


@dataclass(frozen=True)
class LanguageTrainingConfig:
    """How a language model is trained.

    Parameters
    ----------
    max_steps, batch_size : int
        Steps at most, streams read side by side.
    segment : int
        Bases between two steps; the memory is carried over them, gradients are not.
    crop : int
        Bases of a stream, at most; then it begins anew elsewhere, with a fresh memory.
    learning_rate, weight_decay : float
        AdamW's: the peak of the first, and the second on matrices.
    direct_factor : float
        Learning rate of the mixture of contexts, as a multiple of it.
    evaluate_every, patience : int
        Steps between two evaluations; evaluations without a better one before training stops.
    gradient_bound : float
        Largest norm of a step's gradient.
    precision : str
        See :func:`titans_ts.learn.run.mixed_precision`.
    seed : int
        Source of all chance.
    """

    max_steps: int = 1500
    batch_size: int = 16
    segment: int = 256
    crop: int = 16_384
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    direct_factor: float = 2.0
    evaluate_every: int = 100
    patience: int = 10
    gradient_bound: float = 1.0
    precision: str = "auto"
    seed: int = 0


class LanguageTraining:
    """One run of training.

    Parameters
    ----------
    network : LanguageNetwork
        Trained in place; its direct path has counted ``records``.
    records : list of ndarray (t,)
        What to learn.
    validation : list of ndarray (t,)
        What chooses the weights; empty for none.
    config : LanguageTrainingConfig
        Settings.
    callbacks : sequence of callable, default=()
        Each is called with the run and a :class:`~titans_ts.learn.run.Report` after every step; a true answer
        stops training.
    verbose : int, default=0
        1 or more shows progress.
    """

    def __init__(
        self,
        network: LanguageNetwork,
        records: list[Codes],
        validation: list[Codes],
        config: LanguageTrainingConfig,
        *,
        callbacks: Sequence[Callable[[LanguageTraining, Report], Any]] = (),
        verbose: int = 0,
    ) -> None:
        self.network, self.records, self.config = network, records, config
        self.validation = _streams(validation, config.batch_size)
        self.callbacks, self.verbose = callbacks, verbose
        self.best = BestWeights(config.patience)
        self.history: list[Report] = []
        self.chance = np.random.default_rng(config.seed)
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, x in network.named_parameters():
            groups.setdefault((name.startswith("direct."), x.ndim >= 2), []).append(x)
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": members,
                    "weight_decay": config.weight_decay if matrix and not direct else 0.0,
                    "peak": config.learning_rate * (config.direct_factor if direct else 1.0),
                }
                for (direct, matrix), members in groups.items()
            ],
            lr=0.0,
            betas=(0.9, 0.98),
        )

    def run(self) -> None:
        """Train to the end and restore the best weights."""
        config = self.config
        with seeded(config.seed, self.network.device):
            segments = self._segments()
            take_steps(
                self,
                config.max_steps,
                lambda step: self._train_step(*next(segments), learning_rate_factor(step, config.max_steps)),
                self._validate if self.validation else None,
                label="language",
            )
        self.best.restore(self.network)
        self.network.eval()

    def _segments(self) -> Iterator[tuple[bool, Tensor]]:
        """Yield segments of codes ``(b, segment)`` without end, and whether fresh streams begin with it."""
        chances = np.array([len(one) for one in self.records], dtype=float)
        chances /= chances.sum()
        config = self.config
        while True:
            crops = []
            for place in self.chance.choice(len(self.records), config.batch_size, p=chances):
                record = self.records[place]
                begin = int(self.chance.integers(max(len(record) - config.crop, 0) + 1))
                crop = record[begin : begin + config.crop]
                crops.append(reverse_complement(crop) if self.chance.random() < 0.5 else crop)
            codes, _ = as_codes(crops, self.network.device)
            for first in range(0, codes.shape[1], config.segment):
                yield first == 0, codes[:, first : first + config.segment]

    def _train_step(self, begins: bool, codes: Tensor, factor: float) -> float:
        network = self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        if begins:
            self.state = network.initial_state(len(codes))
        with mixed_precision(self.config.precision, network.device):
            logits, state = self._read(codes)
        targets = codes.long().masked_fill(codes >= N, -1)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum")
        loss = loss / (targets >= 0).sum().clamp_min(1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [x for group in self.optimizer.param_groups for x in group["params"]]
        nn.utils.clip_grad_norm_(trained, self.config.gradient_bound)
        self.optimizer.step()
        self.state = map_tensors(Tensor.detach, state)
        return float(loss.detach())

    def _read(self, codes: Tensor) -> tuple[Tensor, LanguageCarry]:
        """Return logits of codes, and the state after them; from both sides, what comes after is the segment's rest."""
        network = self.network
        state = map_tensors(Tensor.detach, self.state)
        logits, _, after = network(codes, state, held_out=True)
        if network.config.both_sides:
            lengths = torch.full((len(codes),), codes.shape[1], device=codes.device)
            turned = other_strand(codes, lengths)
            back = network(turned, network.initial_state(len(codes)), held_out=True).logits
            logits = network.from_both_sides(logits, back, lengths)
        return logits, after

    def _validate(self, step: int) -> float:
        """Return the validation part's nats a base."""
        values = np.concatenate(log_likelihoods(self.network, self.validation, batch_size=len(self.validation)))
        error = -float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else 0.0
        self.best.see(error, step, self.network)
        return error


def _streams(records: list[Codes], batch: int) -> list[Codes]:
    """Cut what an evaluation reads into about as many pieces as are read side by side."""
    found: list[Codes] = []
    left = VALIDATION_BASES
    longest = max(VALIDATION_BASES // batch, 1)
    for record in records:
        for first in range(0, len(record), longest):
            if left > 0:
                found.append(record[first : first + longest][:left])
                left -= len(found[-1])
    return found


def hold_out(records: list[Codes], fraction: float, chance: np.random.Generator) -> tuple[list[Codes], list[Codes]]:
    """Return what is trained on and what chooses: records by chance, or where there are few, the end of each.

    Examples
    --------
    >>> training, validation = hold_out([np.zeros(100, np.uint8)], 0.1, np.random.default_rng(0))
    >>> len(training[0]), len(validation[0])
    (90, 10)
    """
    wanted = fraction * sum(len(one) for one in records)
    if wanted < 1:
        return records, []
    if len(records) < FEW_RECORDS:
        cuts = [len(one) - int(len(one) * fraction) for one in records]
        pairs = [(one[:cut], one[cut:]) for one, cut in zip(records, cuts, strict=True)]
        return [a for a, _ in pairs], [b for _, b in pairs if len(b)]
    order = chance.permutation(len(records))
    taken = np.cumsum([len(records[i]) for i in order])
    count = min(int(np.searchsorted(taken, wanted)) + 1, len(records) - 1)
    chosen = set(order[:count].tolist())
    return [one for i, one in enumerate(records) if i not in chosen], [records[i] for i in sorted(chosen)]
