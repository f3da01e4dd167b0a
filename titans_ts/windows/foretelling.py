"""Training a reader by the sequences themselves: each patch foretold from what was read before it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import validate_data
from torch import Tensor

from titans_ts.learn import saving as persistence
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.batches import batches_by_length
from titans_ts.learn.estimator import POSITIVE, BaseTitans, all_or_nothing, followed
from titans_ts.learn.run import Run, RunConfig, choose_device, mixed_precision, number_type, seeded
from titans_ts.windows.containers import WindowTable, common_scale, is_table, read_windows, rows_as_windows, unmasked
from titans_ts.windows.reader import ReaderConfig, ReaderNetwork


@with_arguments
class WindowEstimator(BaseTitans):
    """Base of estimators that read numeric sequences.

    Attributes
    ----------
    n_channels_ : int
        Channels of a sequence.
    n_features_in_ : int
        Steps of a window, where ``fit`` saw a table; missing where it saw a block or a list.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.

    Notes
    -----
    Sequences of a list may differ in length, and none is cut: one of millions of steps is read in a state of fixed size.
    NaN marks what was not measured. Answers are made in float64, and do not depend on what else is asked.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.
    """

    patch_length: int = argument(8, POSITIVE, doc="Steps that make one token of the memory.")
    width: int = 32

    _fewest = 2  # sequences that fit learns from

    def _read_items(self, X: Any, *, reset: bool = False, name: str = "X") -> list[NDArray[np.float64]]:
        return self._read_windows(X, reset=reset, name=name).values

    def _read_windows(self, X: Any, *, reset: bool, name: str) -> WindowTable:
        X = unmasked(X)  # scikit-learn would read what a mask hides
        if is_table(X) and (reset or not self._saw_sequences):
            minimum = self._fewest if reset else 1
            settings = {"dtype": np.float64, "ensure_all_finite": "allow-nan", "ensure_min_samples": minimum}
            if reset and hasattr(self, "n_channels_"):
                del self.n_channels_
            table = validate_data(self, X, reset=reset, **settings)
            if table.shape[1] == 1:
                raise ValueError(
                    f"n_features=1: {name} is a table of windows, a row each, and these have one step; one long series is a "
                    "list of one, [series]"
                )
            found = rows_as_windows(table)
        elif not reset and len(getattr(X, "shape", ())) == 2:  # a table, where fit saw a block or a list
            found = rows_as_windows(check_array(X, dtype=np.float64, ensure_all_finite="allow-nan", input_name=name))
        else:
            found = read_windows(X, name=name)
            if reset:
                for noted in ("n_features_in_", "feature_names_in_"):
                    self.__dict__.pop(noted, None)
                if len(found) < self._fewest:
                    raise ValueError(f"n_samples={len(found)}: {name} holds too few sequences; give {self._fewest} or more")
        if reset:
            self.n_channels_: int = found.channels
        elif found.channels != self.n_channels_:
            raise ValueError(
                f"{name} has sequences of {found.channels} channels, but {type(self).__name__} was fitted on "
                f"{self.n_channels_}; give the same ones, in the same order"
            )
        return found

    def _seen(self) -> dict[str, Any]:
        """Return what ``fit`` noted of its sequences, as plain values."""
        seen: dict[str, Any] = {"n_channels_": self.n_channels_}
        if hasattr(self, "n_features_in_"):
            seen["n_features_in_"] = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            seen["feature_names_in_"] = self.feature_names_in_.tolist()
        return seen

    def _restore_seen(self, seen: dict[str, Any]) -> None:
        """Put it back."""
        for name, value in seen.items():
            setattr(self, name, np.array(value, dtype=object) if isinstance(value, list) else value)

    @property
    def _saw_sequences(self) -> bool:
        """Whether ``fit`` saw a block or a list."""
        return not hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags


FEW_SEQUENCES = 10
"""Below so many sequences, the end of each is held out, not whole ones."""
EVALUATED = 256
"""Validation sequences of an evaluation, at most."""


@dataclass(frozen=True)
class ForetellingConfig(RunConfig):
    """How a reader is trained."""

    crop: int = 128  # tokens of a sequence in a step, at most; longer ones are cropped anew each time, anywhere


class Foretelling(Run):
    """One training of a reader; without validation sequences the last weights stay.

    Parameters
    ----------
    network : ReaderNetwork
        Trained in place.
    sequences, validation : list of ndarray (t, c)
        What is read, and what chooses the weights.
    config : ForetellingConfig
        Settings.
    **watching
        ``callbacks`` and ``verbose`` of :class:`titans_ts.learn.run.Run`.
    """

    config: ForetellingConfig

    def __init__(
        self,
        network: ReaderNetwork,
        sequences: list[NDArray[np.float64]],
        validation: list[NDArray[np.float64]],
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
                self.done(self._loss(), self._error if self.validation else None)
        self.best.restore(self.network)

    def _crop(self, one: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a stretch of a sequence, from anywhere in it, of as many tokens as a step reads."""
        most = self.config.crop * self.network.config.patch_length
        first = int(self.chance.integers(max(len(one) - most, 0) + 1))
        return one[first : first + most]

    def _loss(self) -> Tensor:
        network = self.network.train()
        drawn = self.chance.choice(len(self.sequences), size=self.config.batch_size, p=self.shares)
        with mixed_precision(self.config.precision, network.device):
            losses: Tensor = network.losses(*network.batch([self._crop(self.sequences[i]) for i in drawn]))
        return losses.mean()

    @torch.no_grad()
    def _error(self) -> float:
        network, total = self.network, 0.0
        for places in batches_by_length([len(one) for one in self.validation], self.config.batch_size):
            total += float(network.losses(*network.batch([self.validation[i] for i in places])).sum())
        return total / len(self.validation)

    def _data(self) -> Iterable[Any]:
        return [*self.sequences, *self.validation]


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
        y : None
            Not used.

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
        """Whether the memory that foretells goes on learning when ``fit`` is done."""
        return False

    def _check_arguments(self) -> None:
        """Refuse, by name, arguments that are wrong or do not fit each other."""
        self._check_callbacks()
        self._backbone_config()
        choose_device(self.device)

    def _train(self, items: list[NDArray[np.float64]], seed: int) -> None:
        config = ReaderConfig(
            channels=self.n_channels_,
            patch_length=int(self.patch_length),
            adapts=self._adapts,
            backbone=self._backbone_config(),
        )
        if self._goes_on:
            self._require_same(self.network_.config, config)
            network = copy.deepcopy(self.network_).to(number_type(self.precision))
        else:
            with seeded(seed, torch.device("cpu")):
                network = ReaderNetwork(config).to(number_type(self.precision))
        network.level, network.spread = common_scale(items)  # in float64, whatever the weights are
        training, validation = held_out(
            items, float(self.validation_fraction), int(self.patch_length), np.random.default_rng(seed)
        )
        run = Foretelling(
            network.to(choose_device(self.device)),
            training,
            validation,
            ForetellingConfig(
                max_steps=self.max_steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                patience=self.patience,
                precision=self.precision,
                seed=seed,
            ),
            callbacks=self._run_callbacks(),
            verbose=int(self.verbose),
        )
        run.run()
        self.network_: ReaderNetwork = network.double().eval()
        self.training_history_ = run.told()

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        facts = {"network": self.network_.config.to_dict(), "history": self.training_history_, "seen": self._seen()}
        return persistence.network_tensors(self.network_), facts

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        network = ReaderNetwork(ReaderConfig.from_dict(header["network"]))
        self.network_ = persistence.restore_network(network, tensors, "float64", device)
        self.training_history_ = header["history"]
        self._restore_seen(header["seen"])
