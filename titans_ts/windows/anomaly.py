"""The anomaly detector: what surprises a memory that reads along is odd."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from titans_ts.files import facts
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.estimator import COUNT, POSITIVE
from titans_ts.windows.foretelling import UnsupervisedWindows
from titans_ts.windows.reader import surprises


@with_arguments
class TitansAnomalyDetector(OutlierMixin, UnsupervisedWindows):
    """Find anomalies in numeric sequences of any length by the surprise of a neural memory that reads them.

    No labels are needed: the network learns to forecast sequences patch by patch, by a memory at its top that knows what
    follows what. Where something else follows, it is surprised. ``fit`` sets the thresholds by what it saw.

    Attributes
    ----------
    offset_, step_offset_ : float
        Thresholds of windows and of steps: scores below it are anomalies.

    Notes
    -----
    A table is windows, a row each; one long series is a list with one array, ``[series]``.

    Surprise is the norm ``|x||g|`` of what a patch asks to be written (arXiv 2501.00663, eq 8), in the memory at the top of
    the network. Its keys are what was held before a patch, of length 1, and its values the patches, so that surprise is the
    root mean square of the forecast's errors, in spreads of a channel. Of a window it is that over its steps.

    Examples
    --------
    >>> import numpy as np
    >>> series = np.sin(np.arange(500) / 5)
    >>> detector = TitansAnomalyDetector(width=16, max_steps=20, batch_size=4, random_state=0).fit([series[:250]])
    >>> series[360:370] = 9
    >>> int(detector.score_steps([series])[0].argmin()) // 10
    36
    """

    contamination: float = argument(
        0.1,
        Interval(Real, 0, 0.5, closed="right"),
        doc="Share of what ``fit`` saw that lies below the threshold: of windows for ``predict``, of steps for "
        "``predict_steps``.",
    )
    patch_length: int = argument(
        8, POSITIVE, doc="Steps that make one token of the memory; all of them have the token's surprise."
    )
    adapt: bool = argument(
        False,
        "boolean",
        doc="Whether the memory that forecasts goes on learning while it reads: what lasts then surprises it no more. By "
        "default what ``fit`` saw is what is usual.",
    )
    layers: int = argument(1, COUNT, doc="Layers of the network; with 0 a patch is forecast from the one before it alone.")

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the negative surprise of each sequence, ``(n,)``: higher is more usual.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        """
        return np.array([_window_score(steps) for steps in self.score_steps(X)])

    def score_steps(self, X: Any) -> list[NDArray[np.float64]]:
        """Return the negative surprise of each step of each sequence: a list of n arrays ``(t,)``.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read from the memory's learned start.
        """
        check_is_fitted(self)
        return [-found for found in surprises(self.network_, self._read_items(X))]

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return ``score_samples`` less the threshold ``offset_``, ``(n,)``: negative for anomalies.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for each sequence that is an anomaly, else 1, ``(n,)``.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def predict_steps(self, X: Any) -> list[NDArray[np.int64]]:
        """Return -1 for each step of each sequence that is an anomaly, else 1: a list of n arrays ``(t,)``.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read from the memory's learned start.
        """
        return [np.where(found < self.step_offset_, -1, 1) for found in self.score_steps(X)]

    @property
    def _adapts(self) -> bool:
        return bool(self.adapt)

    def _train(self, items: list[NDArray[np.float64]], seed: int) -> None:
        super()._train(items, seed)
        found = [-one for one in surprises(self.network_, items)]
        self.offset_ = float(np.quantile([_window_score(steps) for steps in found], self.contamination))
        self.step_offset_ = float(np.quantile(np.concatenate(found), self.contamination))

    def _kept(self) -> tuple[dict[str, Any], dict[str, Any]]:
        tensors, kept = super()._kept()
        return tensors, {**kept, "offsets": [self.offset_, self.step_offset_]}

    def _restore(self, header: dict[str, Any], tensors: dict[str, Any], network: Any) -> None:
        super()._restore(header, tensors, network)
        self.offset_, self.step_offset_ = facts.finite(header["offsets"], 2)


def _window_score(steps: NDArray[np.float64]) -> float:
    """Return the score of a window from those of its steps."""
    return -float(np.sqrt(np.mean(np.square(steps))))
