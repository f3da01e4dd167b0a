"""Training a reader without labels: it forecasts each patch from those before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from titans_ts.files import facts
from titans_ts.learn import distributed
from titans_ts.learn import saving as persistence
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.batches import batches_by_length
from titans_ts.learn.callbacks import followed
from titans_ts.learn.estimator import all_or_nothing
from titans_ts.learn.run import Losses, Piece, Run, RunConfig, choose_device, mixed_precision, number_type
from titans_ts.windows.containers import Window, WindowEstimator, common_scale
from titans_ts.windows.reader import ReaderConfig, ReaderNetwork

FEW_SEQUENCES = 10
"""Below so many sequences, the end of each is held out, not whole ones."""
EVALUATED = 256
"""Validation sequences of an evaluation, at most."""


@dataclass(frozen=True)
class ForetellingConfig(RunConfig):
    """How a reader is trained."""

    crop: int = 128  # tokens of a sequence in a step, at most; longer ones are cropped anew each time, anywhere


class Foretelling(Run):
    """One training of a reader, in place; ``validation`` sequences ``(t, c)`` choose the weights, else the last stay.

    ``watching`` goes to :class:`titans_ts.learn.run.Run`.
    """

    config: ForetellingConfig

    def __init__(
        self,
        network: ReaderNetwork,
        sequences: list[Window],
        validation: list[Window],
        config: ForetellingConfig,
        **watching: Any,
    ) -> None:
        super().__init__(network, config, **watching)
        self.sequences = sequences
        self.validation = [self._crop(one) for one in validation[:EVALUATED]]
        lengths = np.array([len(one) for one in sequences], float)
        self.shares = lengths / lengths.sum()
        self.optimize_all(list(network.parameters()))

    def run(self) -> None:
        """Train to the end and restore the best weights."""
        with self.begun():
            for _ in self.take(self.config.max_steps):
                drawn = self.chance.choice(len(self.sequences), size=self.config.batch_size, p=self.shares)
                crops = [self._crop(self.sequences[i]) for i in drawn]
                self.done(partial(self._losses, crops), len(crops), self._error if self.validation else None)
        self.best.restore(self.network)

    def _crop(self, one: Window) -> Window:
        """Return a stretch of a sequence, from anywhere in it, of as many tokens as a step reads."""
        most = self.config.crop * self.network.config.patch_length
        first = int(self.chance.integers(max(len(one) - most, 0) + 1))
        return one[first : first + most]

    def _losses(self, crops: list[Window], piece: Piece) -> Losses:
        network = self.training_network()
        with mixed_precision(self.config.precision, network.device):
            losses: Tensor = network.losses(*network.batch(crops[piece.places]))
        return Losses(losses.sum(), torch.tensor(len(losses)))

    def _error(self) -> float:
        return sum(distributed.shared(self._errors, len(self.validation))) / len(self.validation)

    @torch.no_grad()
    def _errors(self, some: slice) -> float:
        """Return the sum of the errors of some sequences of the validation part."""
        network, validation, total = self.network, self.validation[some], 0.0
        for places in batches_by_length([len(one) for one in validation], self.config.batch_size):
            total += float(network.losses(*network.batch([validation[i] for i in places])).sum())
        return total

    def _data(self) -> Iterable[Any]:
        return [*self.sequences, *self.validation]


def held_out(
    sequences: list[Window], fraction: float, patch_length: int, chance: np.random.Generator
) -> tuple[list[Window], list[Window]]:
    """Return sequences for training and for validation: a share of them is held out, or of few the end of each."""
    if len(sequences) >= FEW_SEQUENCES:
        spared = set(chance.permutation(len(sequences))[: int(len(sequences) * fraction)].tolist())
        parts = [[one for i, one in enumerate(sequences) if (i in spared) == kept] for kept in (False, True)]
        return parts[0], parts[1]
    cuts = [len(one) - int(len(one) * fraction) for one in sequences]
    ends = [one[cut:] for one, cut in zip(sequences, cuts, strict=True)]
    if min(len(end) for end in ends) < 2 * patch_length:  # too short to forecast anything in
        return sequences, []
    return [one[:cut] for one, cut in zip(sequences, cuts, strict=True)], ends


@with_arguments
class UnsupervisedWindows(WindowEstimator):
    """Base of estimators that learn without labels, by forecasting the next patch of a sequence.

    Attributes
    ----------
    network_ : ReaderNetwork
        The trained network, in float64.
    """

    validation_fraction: float = argument(
        0.2,
        Interval(Real, 0, 1, closed="left"),
        doc="Share of the sequences that chooses the weights, drawn by chance; of fewer than ten sequences, this share of "
        "the end of each. 0 for none.",
    )

    _fewest = 1

    @followed
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from sequences, without labels.

        Parameters
        ----------
        X : array-like (n, t), ndarray (n, c, t), or list of arrays (t, c) or (t,)
            n sequences: windows of one channel as rows of a table, a block, or a list, whose sequences may differ in length;
            one long series is a list of one.
        y : Any
            Not used: a pipeline hands the labels of its last step to every step before.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument or X cannot be used; the message names it, the sequence, the step and the channel, and the remedy.
        """
        with all_or_nothing(self):
            self._validate_params()
            self._check_arguments()
            items = self._read_items(X, reset=True)
            self._train(items, self._draw_seed())
        return self

    @property
    def _adapts(self) -> bool:
        """Whether the memory that forecasts goes on learning when ``fit`` is done."""
        return False

    def _train(self, items: list[Window], seed: int) -> None:
        """Train a network on sequences; whatever a subclass learns beside it is added there."""
        config = ReaderConfig(
            channels=self.n_channels_,
            patch_length=int(self.patch_length),
            adapts=self._adapts,
            backbone=self._backbone_config(),
        )
        network = self._start_network(ReaderNetwork, config, seed).to(number_type(self.precision))
        network.level, network.spread = common_scale(items)  # in float64, whatever the weights are
        training, validation = held_out(
            items, float(self.validation_fraction), int(self.patch_length), np.random.default_rng(seed)
        )
        run = Foretelling(
            network.to(choose_device(self.device)),
            training,
            validation,
            self._run_config(ForetellingConfig, seed),
            **self._watching(),
        )
        run.run()
        self.network_: ReaderNetwork = network.double().eval()
        self.training_history_ = run.told()

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kept = {"network": self.network_.config.to_dict(), "history": self.training_history_, "seen": self._seen()}
        return persistence.network_tensors(self.network_), kept

    _network_kind = ReaderNetwork, ReaderConfig

    @property
    def _kept_kind(self) -> torch.dtype:
        return torch.float64

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: ReaderNetwork) -> None:
        self.network_ = network
        self.training_history_ = facts.history(header["history"])
        self._restore_seen(header["seen"])
