"""What a supervised estimator learns of ``y``: labels of classes, or numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from titans_ts.data.frame_tables import names_of
from titans_ts.estimators._supervised import SupervisedTitans
from titans_ts.heads.losses import Objective
from titans_ts.sequences.answers import Path


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
        """What is asked, and how many numbers answer it."""
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
        labels = np.asarray(column_or_1d(y, warn=True))
        missing = [i for i, label in enumerate(labels.tolist()) if label is None or label != label]
        if missing:
            raise ValueError(f"{name}[{missing[0]}] is missing ({labels[missing[0]]}); drop the row, or give it a label")
        if len(labels) != n:
            raise ValueError(f"{name} has {len(labels)} labels for {n} sequences; give one each")
        check_classification_targets(labels)
        return labels

    def _weights(self: Any, targets: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        by_class = compute_sample_weight(self.class_weight, self.classes_[targets])
        found: np.ndarray = SupervisedTitans._weights(self, targets, sample_weight * by_class)
        return found

    def _kept_targets(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "dtype": self.classes_.dtype.str}

    def _restore_targets(self, kept: dict[str, Any]) -> None:
        self.classes_ = np.array(kept["classes"], dtype=kept["dtype"])


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
        self.target_level_, spread = values.mean(0), values.std(0)
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
            values = check_array(y, ensure_2d=False, dtype=np.float64, input_name=name)
        except (TypeError, ValueError) as error:
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
        self.target_names_, self.target_was_1d_ = kept["names"], kept["was_1d"]
        self.target_level_, self.target_spread_ = np.array(kept["level"]), np.array(kept["spread"])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _missing(estimator: Any, name: str, what: str) -> str:
    """Return the message about targets that were not given, in scikit-learn's words."""
    of = f"{type(estimator).__name__} requires {name} to be passed, but the target {name} is None"
    return f"{of}; give {what} for every sequence"


def _told(error: Exception) -> str:
    """Return what scikit-learn or numpy said, numpy's spelling of text taken away."""
    return re.sub(r"np\.str_\((.*?)\)", r"\1", str(error))
