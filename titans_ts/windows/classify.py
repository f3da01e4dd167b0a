"""The classifier and the regressor of numeric sequences: a memory beside a linear path of kernels."""

from __future__ import annotations

import copy
from dataclasses import replace
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from sklearn import config_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from titans_ts.blocks.chance import drawing
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.callbacks import followed
from titans_ts.learn.estimator import POSITIVE, all_or_nothing
from titans_ts.learn.fitting import Examples, take_pass
from titans_ts.learn.run import choose_device, number_type
from titans_ts.learn.supervised import LabelsMixin, NumbersMixin, Split, Start, SupervisedTitans
from titans_ts.learn.two_paths import Objective, TwoPaths
from titans_ts.windows.containers import WindowEstimator
from titans_ts.windows.linear import fit_kernel_path
from titans_ts.windows.network import WindowConfig, WindowNetwork


@with_arguments
class SupervisedWindows(WindowEstimator, SupervisedTitans):
    """Base of estimators that learn from labelled numeric sequences.

    Attributes
    ----------
    network_ : WindowNetwork
        The trained network.
    memory_gain_ : MemoryGain or None
        What the memory's share of the answer gained on validation over the linear path, how sure that is, and the share;
        None without a memory or a validation part.

    Notes
    -----
    Two paths answer together, in shares that validation chooses. *Linear*: ridge regression on values by their step, on how
    often each of many fixed shapes occurs (kernels of nine weights at several dilations), or on both, whichever answers best
    about sequences left out. *Memory*: convolutions see motifs, the strongest of every ``patch_length`` steps make a token,
    and a memory reads the tokens in order. Where a value is missing, the linear path sees the channel's mean.

    Sequences are left out, and drawn for validation, as if they knew nothing of each other. Windows that overlap do: give a
    later part as ``X_val`` and ``y_val`` then, or the linear path and the memory's share are chosen on what was nearly seen.
    In a ``Pipeline`` it goes through the steps before this one only if told to: ``transform_input=["X_val"]``.

    References
    ----------
    Dempster, Schmidt, Webb: MiniRocket, arXiv 2012.08791, for the shapes of the linear path.
    """

    kernel: int = argument(11, POSITIVE, doc="Steps that a motif spans, odd.")
    caution: float = argument(
        1.0,
        Interval(Real, 0, None, closed="left"),
        doc="How sure validation must be before the memory may correct the linear path. The smallest share of the memory is "
        "used whose gain is within ``caution`` standard errors of the best one's; 0 takes the best.",
    )
    validation_fraction: float = argument(
        0.2,
        Interval(Real, 0, 1, closed="left"),
        doc="Share of the training sequences that chooses the weights, drawn by chance and stratified; 0 for none. ``fit`` "
        "takes a validation part instead.",
    )

    _unjudged = 0.0  # the linear path then answers alone: it was judged by what it had not seen

    @followed
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Learn from sequences with labels, or with numbers.

        Parameters
        ----------
        X : array-like (n, t), ndarray (n, c, t), or list of arrays (t, c) or (t,)
            n sequences: windows of one channel as rows of a table, a block, or a list, whose sequences may differ in length.
        y : array-like (n,); for a regressor also (n, h), or frame
            A label, or one or several finite numbers, of each sequence.
        sample_weight : array-like (n,), optional
            How much each counts.
        X_val, y_val : like X and y, optional
            What chooses the weights, instead of a share of X.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument, X or y cannot be used; the message names it, the sequence, the step and the channel, and the
            remedy.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

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
        with drawing(seed):
            network = WindowNetwork(config)
        if self._goes_on:
            self._require_same(_without_path(self.network_.config), _without_path(config))
            fitted = self.network_.state_dict()
            kept = {name: x for name, x in fitted.items() if name.split(".")[0] in ("stem", "backbone", "head")}
            network.load_state_dict(kept, strict=False)
        if number_type(self.precision) == torch.float64:
            network.double()
        linear.install(network)
        network.to(choose_device(self.device))
        if split.validation is None or not split.drawn:
            return Start(network)
        held_out = torch.from_numpy(linear.held_out[len(split.training.items) :])
        return Start(network, held_out.to(network.device, network.dtype))

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Learn from one more part; the first also sets what ``y`` is like, the scale and the linear path."""
        with all_or_nothing(self):
            self._validate_params()
            self._check_arguments()
            first = not hasattr(self, "network_")
            items = self._read_items(X, reset=first)
            given = _check_sample_weight(sample_weight, np.empty(len(items)), ensure_non_negative=True)
            objective, outputs = self._learn_task(y, len(items), classes, first=first)
            known = Examples(items, self._read_targets(y, len(items), name="y"), given).part(np.flatnonzero(given))
            seed = self._draw_seed()
            network: Any
            if first:
                network = self._finish(self._start(Split(known), objective, outputs, seed).network)
                network.balance.fill_(0.5)  # both learn from now on, together
                network.share.fill_(1.0)
                self.memory_gain_, self.training_history_ = None, []
            else:
                network = copy.deepcopy(self.network_)
            take_pass(network, known, objective, self._supervised_config(seed))
            self.network_ = network.eval()
        return self

    def _learn_task(self, y: Any, n: int, classes: Any, *, first: bool) -> tuple[Objective, int]:
        """Return the task and its number of outputs; the first part of ``y`` sets them."""
        raise NotImplementedError

    def _finish(self, network: TwoPaths) -> TwoPaths:
        """Return the network in float64: answers then do not depend on what else is in a batch, to 1e-9."""
        return network.double()

    _network_kind = WindowNetwork, WindowConfig

    @property
    def _kept_kind(self) -> torch.dtype:
        return torch.float64

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: WindowNetwork) -> None:
        super()._restore(header, tensors, network)
        self._restore_seen(header["seen"])

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super()._kept()
        return tensors, {**facts, "seen": self._seen()}


def _joined(first: Examples, second: Examples) -> Examples:
    """Return the sequences of both, one after the other."""
    return Examples(
        [*first.items, *second.items],
        np.concatenate([first.targets, second.targets]),
        np.concatenate([first.weights, second.weights]),
    )


def _without_path(config: WindowConfig) -> WindowConfig:
    """Return a configuration without the linear path, which every fit makes anew."""
    return replace(config, steps=0, dilations=(), thresholds=1)


@with_arguments
class TitansClassifier(LabelsMixin, SupervisedWindows):
    """Classify numeric sequences of any length with a neural memory beside a linear model of shapes.

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 40))
    >>> y = np.repeat(["noise", "wave"], 30)
    >>> X[30:] += np.sin(np.arange(40) + np.arange(30)[:, None])
    >>> classifier = TitansClassifier(width=16, max_steps=5, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X[:3]).shape
    (3, 2)
    """

    class_weight: Any = argument(
        None,
        dict,
        StrOptions({"balanced"}),
        None,
        doc='How much each class counts; ``"balanced"`` weighs classes by the inverse of how often they occur.',
    )

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from one part after another: a gradient step a batch, on both paths.

        The first part sets the scale and the linear path, so let it be a fair sample; nothing is held out for validation,
        and both paths count half.

        Parameters
        ----------
        X, y : as for ``fit``
            A part.
        classes : array-like, optional
            All labels there will be; by default those of the first part.
        sample_weight : array-like (n,), optional
            How much each counts.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight, classes)


@with_arguments
class TitansRegressor(NumbersMixin, SupervisedWindows):
    """Predict numbers from numeric sequences of any length with a neural memory beside a linear model of shapes.

    Attributes
    ----------
    target_names_ : list of str
        Columns of y; ``y`` alone, or ``y0``, ``y1``, ... where it had no names.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 40)).cumsum(axis=1)
    >>> regressor = TitansRegressor(width=16, max_steps=5, random_state=0).fit(X, X[:, -8:].mean(axis=1))
    >>> regressor.predict(X[:3]).shape
    (3,)
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from one part after another: a gradient step a batch, on both paths.

        The first part sets the scales and the linear path, so let it be a fair sample; nothing is held out for validation,
        and both paths count half.

        Parameters
        ----------
        X, y : as for ``fit``
            A part.
        sample_weight : array-like (n,), optional
            How much each counts.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight)
