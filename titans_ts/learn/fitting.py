"""Training on labelled sequences: the memory alone, and then as much of it beside the linear path as validation supports.

The memory learns from the labels, not from the residuals of the linear path: on those (out of fold) it learned next to
nothing in the same time, while trained alone and mixed it helps (``benchmarks/``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from titans_ts.blocks.chance import dropping_by, seeded_generator
from titans_ts.learn import distributed
from titans_ts.learn.acceptance import SHARES, MemoryGain, memory_gain
from titans_ts.learn.batches import BatchSampler
from titans_ts.learn.run import AdamW, Losses, Piece, Run, RunConfig, mixed_precision
from titans_ts.learn.two_paths import Averaging, Objective, TwoPaths, answer_all, sequence_loss

Augmentation = Callable[[Tensor, Tensor, np.random.Generator], Tensor]
"""Maps a batch ``(b, c, t)``, its lengths ``(b,)`` and chance to a batch with the same targets."""

BALANCES = tuple((linear / 10, memory / 10) for linear in range(11) for memory in range(1, 11))
"""Weights of the linear path and of the memory that validation chooses from."""


@dataclass(frozen=True)
class SupervisedConfig(RunConfig):
    """How a network is trained on labelled sequences."""

    max_steps: int = 2000
    batch_size: int = 64
    evaluate_every: int = 100
    caution: float = 1.0  # see titans_ts.learn.acceptance.memory_gain


class Examples(NamedTuple):
    """Labelled sequences."""

    items: list[Any]  # bases (t,) or rows of numbers (t, c), as a network makes batches of them
    targets: np.ndarray  # (n,) class indices, or (n, outputs) numbers
    weights: np.ndarray  # (n,) how much each counts; their mean is 1

    def part(self, places: Sequence[int] | np.ndarray) -> Examples:
        """Return some of them."""
        return Examples([self.items[i] for i in places], self.targets[places], self.weights[places])

    def losses(self, objective: Objective, answers: Tensor) -> Tensor:
        """Return the weighted loss of each, ``(n,)``, for answers ``(n, outputs)``."""
        targets, weights = (_tensor(x).to(answers.device) for x in (self.targets, self.weights))
        return sequence_loss(objective, answers, targets) * weights


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).long() if x.dtype.kind in "iu" else torch.from_numpy(x).to(torch.get_default_dtype())


class SupervisedTraining(Run):
    """One training of the memory, in place; the linear path is left as it is.

    ``validation`` chooses weights, balance and share; without it the last weights stay, the balance is even and the memory's
    share ``unjudged``. ``augment`` changes every training batch, ``average`` every answer about validation. ``held_out``
    ``(n, outputs)`` are out-of-fold answers of a linear path that has seen the validation part. ``watching`` goes to
    :class:`titans_ts.learn.run.Run`.
    """

    config: SupervisedConfig

    def __init__(
        self,
        network: TwoPaths,
        examples: Examples,
        validation: Examples | None,
        objective: Objective,
        config: SupervisedConfig,
        *,
        augment: Augmentation | None = None,
        average: Averaging | None = None,
        held_out: Tensor | None = None,
        unjudged: float = 1.0,
        **watching: Any,
    ) -> None:
        super().__init__(network, config, **watching)
        self.examples, self.validation, self.objective = examples, validation, objective
        self.augment, self.average = augment, average
        self.held_out, self.unjudged = held_out, unjudged
        self.gain: MemoryGain | None = None
        self.batches = BatchSampler([len(one) for one in examples.items], config.batch_size, self.chance)
        linear = network.linear_parts
        self.optimize_all([x for name, x in network.named_parameters() if name.split(".")[0] not in linear])

    def run(self) -> None:
        """Train to the end, restore the best weights, and use as much of the correction as validation supports."""
        with self.begun():
            for _ in self.take(0 if self.network.is_linear else self.config.max_steps):
                places = next(self.batches)
                self.done(partial(self._losses, places), len(places), self._error if self.validation else None)
        self._finish()

    def ended_here(self) -> SupervisedTraining:
        """Return the run as it would end if the step just taken were its last; the run itself can go on."""
        ended = copy.copy(self)
        ended.network = copy.deepcopy(self.network)
        ended._finish()
        return ended

    def _finish(self) -> None:
        self.network.eval()
        if not self.config.max_steps:
            self.network.share.zero_()  # a memory that was not trained has no say
        elif self.validation is None:
            self.network.balance.fill_(0.5)  # nothing can tell which of the two is better
            self.network.share.fill_(self.unjudged)
        elif not self.network.is_linear:
            self.best.restore(self.network)
            self._judge(self.validation)

    def _losses(self, places: list[int], piece: Piece) -> Losses:
        network, batch = self.training_network(), self.examples.part(places[piece.places])
        inputs, lengths = network.batch(batch.items)
        if self.augment is not None:
            inputs = self.augment(inputs, lengths, piece.chance)
        with mixed_precision(self.config.precision, network.device):
            answers = network.memory_answer(inputs, lengths)
        return Losses(batch.losses(self.objective, answers).sum(), torch.tensor(len(batch.items)))

    def _error(self) -> float:
        assert self.validation is not None
        return float(self.validation.losses(self.objective, self._answers(self.validation)).mean())

    def _answers(self, examples: Examples) -> Tensor:
        def answered(places: slice) -> Tensor:
            return answer_all(self.network, examples.items[places], average=self.average, by="memory")

        return torch.cat(distributed.shared(answered, len(examples.items)))

    def _judge(self, validation: Examples) -> None:
        """Choose the balance that is best on validation, and go there as far as can be told from luck."""
        learned = self._answers(validation)
        linear = self.held_out
        if linear is None:
            linear = answer_all(self.network, validation.items, average=self.average, by="linear")

        def losses(weights: tuple[float, float]) -> Tensor:
            return validation.losses(self.objective, weights[0] * linear + weights[1] * learned)

        best = distributed.decided(lambda: min(BALANCES, key=lambda weights: float(losses(weights).mean())))
        self.network.balance.copy_(torch.tensor(best))
        errors = torch.stack([losses((1 + share * (best[0] - 1), share * best[1])) for share in SHARES])
        self.gain = distributed.decided(lambda: memory_gain(errors, caution=self.config.caution, overlap=0.0))
        self.network.share.fill_(self.gain.share)

    def _data(self) -> Iterable[Any]:
        ways = [getattr(way, "__qualname__", "") for way in (self.augment, self.average)]
        yield np.frombuffer(repr((self.objective, ways, self.unjudged)).encode(), np.uint8)
        for part in (self.examples, self.validation):
            if part is not None:
                yield from (*part.items, part.targets, part.weights)

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return also which batches are still to come."""
        tensors, facts = super().kept()
        return tensors | {"order": torch.from_numpy(self.batches.order)}, facts | {"batches": self.batches.batches}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put back what :meth:`kept` returned."""
        super().restore(tensors, facts)
        self.batches.order, self.batches.batches = tensors["order"].numpy(), facts["batches"]


def take_pass(network: TwoPaths, examples: Examples, objective: Objective, config: SupervisedConfig) -> None:
    """Take a gradient step on each batch of one pass, on both paths together; the learning rate stays at its peak.

    Coefficients of many features take smaller steps, by the root of their number: else all together move an answer too far.
    """
    many = [x for name in network.linear_parts for x in getattr(network, name).parameters() if x.ndim >= 2]
    apart = {id(x) for x in many}
    features = max((x.shape[-1] for x in many), default=1)
    optimizer = AdamW(
        [
            {"params": [x for x in network.parameters() if id(x) not in apart]},
            {"params": many, "lr": config.learning_rate / max(features, 1) ** 0.5},
        ],
        lr=config.learning_rate,
        weight_decay=0.0,
        betas=(0.9, 0.98),
    )
    network.train()
    with dropping_by(seeded_generator(config.seed, network.device), network):
        chance = np.random.default_rng(config.seed)
        for places in BatchSampler([len(one) for one in examples.items], config.batch_size, chance).one_pass():
            batch = examples.part(places)
            loss = batch.losses(objective, network(*network.batch(batch.items))).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([x for x in network.parameters() if x.grad is not None], config.gradient_bound)
            optimizer.step()
    network.eval()
