"""Base of all classifiers and regressors: read, check, split, fit a linear path, train a memory beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor

from titans_ts.files import facts
from titans_ts.frames.numbers import as_array, is_missing
from titans_ts.frames.read import names_of
from titans_ts.learn import saving as persistence
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.learn.estimator import BaseTitans, all_or_nothing
from titans_ts.learn.fitting import Augmentation, Examples, SupervisedConfig, SupervisedTraining
from titans_ts.learn.two_paths import Averaging, Objective, Path, TwoPaths, answer_all

LONGEST_LABEL = 2**20
"""Bytes of a label that a file may ask room for."""


class Split(NamedTuple):
    """What is trained on, and what chooses."""

    training: Examples
    validation: Examples | None = None
    drawn: bool = True  # whether validation was drawn from what fit was given to learn from


class Start(NamedTuple):
    """A network before its memory is trained, with a fitted linear path."""

    network: TwoPaths
    held_out: Tensor | None = None  # n outputs, its out-of-fold answers on validation, where it has seen that part


def _as_weights(sample_weight: Any) -> Any:
    """Return weights as numbers; what holds none is refused by its name."""
    if sample_weight is None or isinstance(sample_weight, Real):
        return sample_weight
    weights = as_array(sample_weight, "sample_weight")
    try:
        return weights.astype(np.float64, casting="safe" if weights.dtype.kind != "O" else "unsafe")
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"sample_weight is a {type(sample_weight).__name__} that holds no numbers alone: {error}") from None


class SupervisedTitans(BaseTitans):
    """Base of estimators of labelled sequences; a subclass says what a sequence is, and fits the linear path."""

    network_: Any
    memory_gain_: MemoryGain | None
    training_history_: list[dict[str, Any]]
    _unjudged = 1.0  # the memory's share where nothing tells how good it is

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Self:
        """Check everything, split, fit the linear path, train the memory."""
        with all_or_nothing(self):
            self._validate_params()
            self._check_arguments()
            items = self._read_items(X, reset=True)
            given = _check_sample_weight(_as_weights(sample_weight), np.empty(len(items)), ensure_non_negative=True)
            if not given.any():
                raise ValueError("sample_weight is 0 for every sequence; let some of them count")
            objective, outputs, targets = self._learn_targets(y, given > 0)
            counted = [x for x, weight in zip(items, given, strict=True) if weight]
            known = Examples(counted, targets, self._weights(targets, given[given > 0]))
            seed = self._draw_seed()
            split = self._split(known, X_val, y_val, objective, seed)
            self._fit_network(split, objective, outputs, seed)
        return self

    def _read_items(self, X: Any, *, reset: bool = False, name: str = "X") -> list[Any]:
        """Return the sequences of a container; with ``reset`` note their kind, without it hold them to it."""
        raise NotImplementedError

    def _learn_targets(self, y: Any, counted: NDArray[np.bool_]) -> tuple[Objective, int, np.ndarray]:
        """Check and note the targets; return the task, its number of outputs, and the targets that count."""
        raise NotImplementedError

    def _read_targets(self, y: Any, n: int, *, name: str = "y_val") -> np.ndarray:
        """Return the targets of another part, as ``fit`` read its own."""
        raise NotImplementedError

    def _start(self, split: Split, objective: Objective, outputs: int, seed: int) -> Start:
        """Return a network with a fitted linear path."""
        raise NotImplementedError

    def _finish(self, network: Any) -> Any:
        """Return a trained network in the form that answers."""
        return network

    @property
    def _augmentation(self) -> Augmentation | None:
        """Change of every training batch, if any."""
        return None

    @property
    def _averages(self) -> Averaging | None:
        """Change of every answer, if any."""
        return None

    def _weights(self, targets: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return how much each sequence counts; 1 on average."""
        return sample_weight / sample_weight.mean()

    def _split(self, known: Examples, X_val: Any, y_val: Any, objective: Objective, seed: int) -> Split:
        """Return what is trained on, and what chooses: as given, or drawn by chance."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: give both or neither")
        if X_val is not None:
            items = self._read_items(X_val, name="X_val")
            targets = self._read_targets(y_val, len(items))
            return Split(known, Examples(items, targets, self._weights(targets, np.ones(len(items)))), drawn=False)
        return self._drawn(known, objective, seed)

    def _drawn(self, known: Examples, objective: Objective, seed: int) -> Split:
        """Hold out a share by chance: the same of every class where it is large enough, and never the last of one."""
        n = len(known.items)
        held_out = int(n * self.validation_fraction)
        counts = np.array([n]) if objective == "numbers" else np.bincount(known.targets)
        if held_out < len(counts) or n < 3:
            return Split(known)
        if n - held_out < len(counts):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} leaves {n - held_out} of {n} sequences for training, fewer "
                f"than the {len(counts)} classes; make it smaller"
            )
        if objective == "numbers" or counts.min() >= 2:
            from sklearn.model_selection import train_test_split

            stratify = None if objective == "numbers" else known.targets
            training, validation = train_test_split(np.arange(n), test_size=held_out, random_state=seed, stratify=stratify)
            return Split(known.part(np.sort(training)), known.part(np.sort(validation)))
        order = np.random.default_rng(seed).permutation(n)
        first = np.unique(known.targets[order], return_index=True)[1]  # one of each class stays
        validation = np.sort(np.delete(order, first)[:held_out])
        return Split(known.part(np.setdiff1d(np.arange(n), validation)), known.part(validation))

    def _fit_network(self, split: Split, objective: Objective, outputs: int, seed: int) -> None:
        network, held_out = self._start(split, objective, outputs, seed)
        run = SupervisedTraining(
            network,
            split.training,
            split.validation,
            objective,
            self._supervised_config(seed),
            augment=self._augmentation,
            average=self._averages,
            held_out=held_out,
            unjudged=self._unjudged,
            **self._watching(),
        )
        run.run()
        for name, value in self._learned(run).items():
            setattr(self, name, value)

    def _learned(self, run: SupervisedTraining) -> dict[str, Any]:
        """Return the attributes that a run which has ended gives the estimator."""
        return {
            "network_": self._finish(run.network).eval(),
            "memory_gain_": run.gain,
            "training_history_": run.told(),
        }

    def _learned_so_far(self, run: SupervisedTraining) -> dict[str, Any]:
        return self._learned(run.ended_here())

    def _most_steps(self) -> int:
        return int(self.max_steps) if self.layers else 0

    def _supervised_config(self, seed: int) -> SupervisedConfig:
        return self._run_config(SupervisedConfig, seed, caution=float(self.caution))

    def _answers(self, X: Any, *, by: Path = "both") -> NDArray[np.float64]:
        """Return the network's answer about each sequence of a container, ``(n, outputs)``."""
        check_is_fitted(self)
        return self._answers_to(self._read_items(X), by=by)

    def _answers_to(self, items: Sequence[Any], *, by: Path = "both") -> NDArray[np.float64]:
        found = answer_all(self.network_, items, average=self._averages, by=by)
        return self._on_scale(found.double().cpu().numpy())

    def _on_scale(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return answers in the user's units."""
        return answers

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return persistence.network_tensors(self.network_), {
            "network": self.network_.config.to_dict(),
            "history": self.training_history_,
            "memory_gain": None if self.memory_gain_ is None else asdict(self.memory_gain_),
            "targets": self._kept_targets(),
        }

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: Any) -> None:
        self.network_ = network
        self.training_history_ = facts.history(header["history"])
        gain = header["memory_gain"]
        self.memory_gain_ = None if gain is None else facts.checked(MemoryGain(**gain))
        self._restore_targets(header["targets"])

    def _kept_targets(self) -> dict[str, Any]:
        """Return what ``fit`` noted of the targets, as plain values."""
        raise NotImplementedError

    def _restore_targets(self, kept: dict[str, Any]) -> None:
        """Put it back."""
        raise NotImplementedError


class LabelsMixin(ClassifierMixin):
    """The part of an estimator that answers with classes."""

    classes_: NDArray[Any]

    def decision_function(self: Any, X: Any, *, by: Path = "both") -> NDArray[np.float64]:
        """Return the log-odds of the second class, ``(n,)``, or for more than two classes logits ``(n, classes)``.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        by : {"both", "linear", "memory"}, default="both"
            Which path answers: the mixture, the linear path alone, or the memory alone.
        """
        answers: NDArray[np.float64] = self._answers(X, by=by)
        return answers[:, 0] if len(self.classes_) == 2 else answers

    def predict_proba(self, X: Any, *, by: Path = "both") -> NDArray[np.float64]:
        """Return the probability of each class, ``(n, classes)``, in the order of ``classes_``."""
        scores = self.decision_function(X, by=by)
        if len(self.classes_) > 2:
            return np.asarray(softmax(scores, axis=1))
        return np.column_stack([expit(-scores), expit(scores)])

    def predict(self, X: Any, *, by: Path = "both") -> NDArray[Any]:
        """Return the most likely label of each sequence, ``(n,)``."""
        scores = self.decision_function(X, by=by)
        chosen = scores.argmax(1) if len(self.classes_) > 2 else (scores > 0).astype(int)
        found: NDArray[Any] = self.classes_[chosen]
        return found

    def _learn_targets(self, y: Any, counted: NDArray[np.bool_]) -> tuple[Objective, int, np.ndarray]:
        labels = self._labels(y, len(counted), "y")[counted]
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds the one class {self.classes_.tolist()[0]!r} only; a classifier needs two or more: give sequences "
                "of another class too"
            )
        return *self._task, targets

    @property
    def _task(self) -> tuple[Objective, int]:
        """The task, and its number of outputs."""
        return ("binary", 1) if len(self.classes_) == 2 else ("classes", len(self.classes_))

    def _learn_task(self, y: Any, n: int, classes: Any, *, first: bool) -> tuple[Objective, int]:
        if first:
            known = np.unique(self._labels(y, n, "y") if classes is None else column_or_1d(classes))
            if len(known) < 2:
                raise ValueError(f"there must be two or more classes, got {known.tolist()}; name all of them in classes")
            self.classes_ = known
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as on last call to partial_fit: {self.classes_.tolist()}")
        return self._task

    def _read_targets(self, y: Any, n: int, *, name: str = "y_val") -> np.ndarray:
        labels = self._labels(y, n, name)
        unknown = sorted(set(labels.tolist()) - set(self.classes_.tolist()), key=str)
        if unknown:
            raise ValueError(
                f"{name} holds {unknown[0]!r}, which is none of the classes {', '.join(map(repr, self.classes_.tolist()))}"
            )
        return np.searchsorted(self.classes_, labels)

    def _labels(self, y: Any, n: int, name: str) -> NDArray[Any]:
        if y is None:
            raise ValueError(_missing(self, name, "a label"))
        y = _plain(y, name)
        objects = np.asarray(y, dtype=object)
        if objects.shape in ((objects.size,), (objects.size, 1)):  # others are refused by column_or_1d
            for i, label in enumerate(objects.ravel()):
                if is_missing(label):
                    raise ValueError(f"{name}[{i}] is missing ({label}); drop the row, or give it a label")
        labels = np.asarray(column_or_1d(y, warn=True))
        if len(labels) != n:
            raise ValueError(f"{name} has {len(labels)} labels for {n} sequences; give one each")
        with np.errstate(invalid="ignore"):  # it compares huge labels with whole numbers
            check_classification_targets(labels)
        return labels

    def _weights(self: Any, targets: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        by_class = compute_sample_weight(self.class_weight, self.classes_[targets])
        found: np.ndarray = SupervisedTitans._weights(self, targets, sample_weight * by_class)
        return found

    def _kept_targets(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "dtype": self.classes_.dtype.str}

    def _restore_targets(self, kept: dict[str, Any]) -> None:
        listed, kind = kept["classes"], np.dtype(kept["dtype"])
        facts.require(kind.itemsize <= LONGEST_LABEL, f"labels of type {kind} are longer than any")
        self.classes_ = np.array(listed, dtype=kind)
        whole = self.classes_.ndim == 1 and len(self.classes_) > 1 and self.classes_.tolist() == listed
        facts.require(whole and np.array_equal(np.unique(self.classes_), self.classes_), "its classes are no sorted labels")
        facts.require(self.network_.outputs == self._task[1], "its classes are not those of its network")


class NumbersMixin(RegressorMixin):
    """The part of an estimator that answers with numbers."""

    target_names_: list[str]

    def predict(self: Any, X: Any, *, by: Path = "both") -> NDArray[np.float64]:
        """Return a number a sequence, ``(n,)``, or ``(n, targets)`` where y had two axes.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        by : {"both", "linear", "memory"}, default="both"
            Which path answers: the mixture, the linear path alone, or the memory alone.
        """
        answers: NDArray[np.float64] = self._answers(X, by=by)
        return answers[:, 0] if self.target_was_1d_ else answers

    def _learn_targets(self, y: Any, counted: NDArray[np.bool_]) -> tuple[Objective, int, np.ndarray]:
        values = self._values(y, len(counted), "y")[counted]
        self.target_was_1d_ = values.ndim == 1
        values, names = values.reshape(len(values), -1), names_of(y)
        self.target_names_ = names or (["y"] if values.shape[1] == 1 else [f"y{j}" for j in range(values.shape[1])])
        with np.errstate(over="ignore", invalid="ignore"):
            self.target_level_, spread = values.mean(0), values.std(0)
        if not np.isfinite(spread).all():
            raise ValueError("y spreads farther than float64 can square (1e154); divide it by a constant first")
        self.target_spread_ = np.where(spread > 0, spread, 1.0)
        return "numbers", values.shape[1], (values - self.target_level_) / self.target_spread_

    def _learn_task(self, y: Any, n: int, classes: Any, *, first: bool) -> tuple[Objective, int]:
        if first:
            self._learn_targets(y, np.ones(n, bool))
        return "numbers", len(self.target_names_)

    def _read_targets(self, y: Any, n: int, *, name: str = "y_val") -> np.ndarray:
        values = self._values(y, n, name).reshape(n, -1)
        if values.shape[1] != len(self.target_names_):
            raise ValueError(f"{name} has {values.shape[1]} targets, fit saw {len(self.target_names_)}; give the same ones")
        found: np.ndarray = (values - self.target_level_) / self.target_spread_
        return found

    def _values(self, y: Any, n: int, name: str) -> NDArray[np.float64]:
        if y is None:
            raise ValueError(_missing(self, name, "a number"))
        try:
            values = check_array(_plain(y, name), ensure_2d=False, dtype=np.float64, input_name=name)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{name} must hold a finite number for every sequence: {_told(error)}") from None
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} rows for {n} sequences; give one each")
        if values.ndim > 2:
            raise ValueError(f"{name} has {values.ndim} axes; expected (n,) or (n, targets)")
        return np.asarray(values)

    def _on_scale(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = answers * self.target_spread_ + self.target_level_
        return found

    def _kept_targets(self) -> dict[str, Any]:
        return {
            "names": self.target_names_,
            "was_1d": self.target_was_1d_,
            "level": self.target_level_.tolist(),
            "spread": self.target_spread_.tolist(),
        }

    def _restore_targets(self, kept: dict[str, Any]) -> None:
        names, count = kept["names"], self.network_.outputs
        fit = isinstance(names, list) and len(names) == count and all(facts.fits(name, str | int) for name in names)
        facts.require(fit, "its targets are not those of its network")
        facts.require(kept["was_1d"] is False or (kept["was_1d"] is True and count == 1), "its targets have no shape")
        self.target_names_, self.target_was_1d_ = names, kept["was_1d"]
        self.target_level_ = np.array(facts.finite(kept["level"], count))
        self.target_spread_ = np.array(facts.finite(kept["spread"], count, positive=True))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _missing(estimator: Any, name: str, what: str) -> str:
    """Return the message about missing targets, in scikit-learn's words."""
    of = f"{type(estimator).__name__} requires {name} to be passed, but the target {name} is None"
    return f"{of}; give {what} for every sequence"


def _plain(y: Any, name: str) -> Any:
    """Return targets that scikit-learn can read: of a tensor its numbers; a masked one is refused by its place."""
    if isinstance(y, np.ma.MaskedArray):
        hidden = np.argwhere(np.ma.getmaskarray(y))
        if len(hidden):
            raise ValueError(f"{name}[{hidden[0][0]}] is masked, so missing; drop the row, or give it a value")
        return y.data
    return as_array(y, name) if isinstance(y, Tensor) else y


def _told(error: Exception) -> str:
    """Return the message of scikit-learn or numpy, without numpy's spelling of text."""
    return re.sub(r"np\.str_\((.*?)\)", r"\1", str(error))
