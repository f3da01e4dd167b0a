"""What the classifier and the regressor of numeric sequences share: windows as sequences, kernels as linear path."""

from __future__ import annotations

import copy
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, validate_data
from torch import Tensor

from titans_ts.data.windows import WindowTable, is_table, read_windows, rows_as_windows, unmasked
from titans_ts.estimators import persistence
from titans_ts.estimators._base import ARCHITECTURE_CONSTRAINTS, TRAINING_CONSTRAINTS, BaseTitans, all_or_nothing
from titans_ts.estimators._kernel_path import fit_kernel_path
from titans_ts.estimators._supervised import Labelled, Split, Start, SupervisedTitans, examples_of
from titans_ts.heads.losses import Objective
from titans_ts.networks.two_paths import TwoPaths
from titans_ts.networks.window import WindowConfig, WindowNetwork
from titans_ts.training.runtime import choose_device, number_type, seeded
from titans_ts.training.supervised import take_pass

_POSITIVE = Interval(Integral, 1, None, closed="left")


class ReadsWindows(BaseTitans):
    """The part of an estimator that reads numeric sequences.

    Attributes
    ----------
    n_features_in_ : int
        Steps of the windows that ``fit`` saw as rows of a table; missing where it saw a block or a list.
    n_channels_ : int
        Channels of a sequence.
    """

    n_channels_: int
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
            self.n_channels_ = found.channels
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


class SupervisedWindows(ReadsWindows, SupervisedTitans):
    """Base of estimators that learn from labelled numeric sequences."""

    network_: WindowNetwork
    _unjudged = 0.0  # the linear path, which is judged by what it was not shown, then answers alone

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "kernel": [_POSITIVE],
        "patch_length": [_POSITIVE],
        **ARCHITECTURE_CONSTRAINTS,
        **TRAINING_CONSTRAINTS,
    }

    def _check_arguments(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a middle; got {self.kernel}")
        super()._check_arguments()

    def _start(self, split: Split, objective: Objective, outputs: int, seed: int) -> Start:
        known = split.training if split.validation is None or not split.drawn else _joined(split.training, split.validation)
        with config_context(enable_metadata_routing=False):  # weights go to the models inside whatever is routed around
            linear = fit_kernel_path(known, objective, outputs, seed=seed)
        config = WindowConfig(
            outputs=outputs,
            channels=self.n_channels_,
            steps=linear.steps,
            dilations=linear.shares.dilations,
            thresholds=linear.shares.thresholds,
            kernel=int(self.kernel),
            patch_length=int(self.patch_length),
            backbone=self._backbone_config(),
        )
        with seeded(seed, torch.device("cpu")):
            network = WindowNetwork(config)
        if self._goes_on:
            self._require_same(_without_path(self.network_.config), _without_path(config))
            fitted = self.network_.state_dict()
            kept = {name: x for name, x in fitted.items() if name.split(".")[0] in ("stem", "backbone", "head")}
            network.load_state_dict(kept, strict=False)
        if number_type(self.precision) == torch.float64:
            network.double()
        linear.install(network)
        held_out = None
        if split.validation is not None and split.drawn:
            held_out = torch.from_numpy(linear.held_out[len(split.training.items) :])
        device = choose_device(self.device)
        return Start(network.to(device), None if held_out is None else held_out.to(device, network.dtype))

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Learn from one more part: from the first also what ``y`` is like, the scale and the linear path."""
        with all_or_nothing(self):
            self._validate_params()
            self._check_arguments()
            first = not hasattr(self, "network_")
            items = self._read_items(X, reset=first)
            given = _check_sample_weight(sample_weight, np.empty(len(items)), ensure_non_negative=True)
            objective, outputs = self._learn_task(y, len(items), classes, first=first)
            known = Labelled(items, self._read_targets(y, len(items), name="y"), given).part(np.flatnonzero(given))
            seed = self._draw_seed()
            network: Any
            if first:
                network = self._finish(self._start(Split(known), objective, outputs, seed).network)
                network.balance.fill_(0.5)  # both learn from now on, together
                network.share.fill_(1.0)
                self.memory_gain_, self.training_history_ = None, []
            else:
                network = copy.deepcopy(self.network_)
            take_pass(network, examples_of(known), objective, self._supervised_config(seed))
            self.network_ = network.eval()
        return self

    def _learn_task(self, y: Any, n: int, classes: Any, *, first: bool) -> tuple[Objective, int]:
        """Note what the first part of ``y`` says about the task, and return it with the number of outputs."""
        raise NotImplementedError

    def _finish(self, network: TwoPaths) -> TwoPaths:
        """Answers are made in float64: they do not depend on what else is in a batch, to 1e-9."""
        return network.double()

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        network = WindowNetwork(WindowConfig.from_dict(header["network"]))
        self._restore_fit(header, persistence.restore_network(network, tensors, "float64", device))
        self._restore_seen(header["seen"])

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super()._kept()
        return tensors, {**facts, "seen": self._seen()}


def _joined(first: Labelled, second: Labelled) -> Labelled:
    return Labelled(
        [*first.items, *second.items],
        np.concatenate([first.targets, second.targets]),
        np.concatenate([first.weights, second.weights]),
    )


def _without_path(config: WindowConfig) -> WindowConfig:
    """Return a configuration without what is fitted anew."""
    return replace(config, steps=0, dilations=(), thresholds=1)
