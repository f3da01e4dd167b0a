"""What estimators share that learn from sequences without labels: a reader trained to foretell what comes next."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval
from torch import Tensor

from titans_ts.estimators import persistence
from titans_ts.estimators._base import ARCHITECTURE_CONSTRAINTS, TRAINING_CONSTRAINTS, all_or_nothing
from titans_ts.estimators._windows import ReadsWindows
from titans_ts.inputs.windows import common_scale
from titans_ts.networks.reader import ReaderConfig, ReaderNetwork
from titans_ts.training.foretelling import Foretelling, ForetellingConfig, held_out
from titans_ts.training.runtime import choose_device, number_type, seeded

_CONSTRAINTS = {**ARCHITECTURE_CONSTRAINTS, **TRAINING_CONSTRAINTS}


class Foretold(ReadsWindows):
    """Base of estimators whose network learns to foretell.

    Attributes
    ----------
    network_ : ReaderNetwork
        The trained network, in float64.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.
    """

    network_: ReaderNetwork
    training_history_: list[dict[str, Any]]
    _fewest = 1

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "patch_length": [Interval(Integral, 1, None, closed="left")],
        **{name: kinds for name, kinds in _CONSTRAINTS.items() if name != "caution"},
    }

    def _learn(self, X: Any) -> Self:
        """Check everything, read X, train; an interrupted fit leaves the fitted model as it was."""
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
        self.network_ = network.double().eval()
        self.training_history_ = [vars(report) for report in run.history]

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        facts = {"network": self.network_.config.to_dict(), "history": self.training_history_, "seen": self._seen()}
        return persistence.network_tensors(self.network_), facts

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        network = ReaderNetwork(ReaderConfig.from_dict(header["network"]))
        self.network_ = persistence.restore_network(network, tensors, "float64", device)
        self.training_history_ = header["history"]
        self._restore_seen(header["seen"])
