"""The anomaly detector: what surprises a memory that reads along."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from titans_ts.learn.estimator import followed
from titans_ts.windows.foretelling import Foretold
from titans_ts.windows.reader import surprises


class TitansAnomalyDetector(OutlierMixin, Foretold):
    """Find anomalies in numeric sequences of any length by the surprise of a neural memory that reads them.

    No labels are needed: the network learns to foretell sequences patch by patch, by a memory at its top that knows what
    follows what. Where something else follows, it is surprised.

    Parameters
    ----------
    contamination : float, default=0.1
        Share of what ``fit`` saw that lies below the threshold: of windows for ``predict``, of steps for ``predict_steps``.
    patch_length : int, default=8
        Steps that make one token of the memory; all of them have the token's surprise.
    adapt : bool, default=False
        Whether the memory that foretells goes on learning while it reads: what lasts then surprises it no more. By default
        what ``fit`` saw is what is usual.
    variant : {"mac", "mag", "mal", "lmm", "attention", "full_attention", "lstm", "hopfield"}, default="mac"
        Where the memory sits: as context of attention, as its gate, as a layer before it, or alone. The others are baselines
        without a memory.
    memory : str, default="titans"
        Which rule writes it: a name of :data:`titans_ts.memory.presets.PRESETS`.
    width, layers, heads : int, default=32, 1, 4
        Size of the network; with ``layers=0`` a patch is foretold from the one before it alone.
    memory_depth : int, default=2
        Layers of the memory itself.
    refresh_every : int, default=16
        Tokens that share one reading of the memory for their gradients.
    window : int, default=32
        Tokens of a segment (MAC) or of the sliding window (MAG, MAL, attention, hopfield).
    persistent_tokens : int, default=4
        Learned tokens that attention always sees.
    convolution : int, default=4
        Kernel of the causal convolutions before memory and attention; 1 switches them off.
    momentum, forgetting : bool, default=True
        Parts of the memory's rule, where it has them.
    dropout : float, default=0.2
        Share of each layer's output that is set to zero in training.
    max_steps : int, default=300
        Training steps, at most.
    learning_rate : float, default=2e-3
        Peak learning rate.
    batch_size : int, default=32
        Sequences of a step.
    validation_fraction : float, default=0.2
        Share of the sequences that chooses the weights, drawn by chance; of fewer than ten, so much of the end of each.
        0 for none.
    patience : int, default=10
        Evaluations without a lower loss before training stops.
    device : str, default="auto"
        Where to compute.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        Number format; ``"auto"`` is bfloat16 products on a GPU and float32 elsewhere.
    n_jobs : int, optional
        Not used: sequences are read in batches.
    random_state : int, RandomState or None, default=None
        Seed of all chance; the global generators are left as they are.
    verbose : int, default=0
        1 shows progress.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last one.
    callbacks : list of callable, optional
        Each is called after every step with the run and a report, and may stop it by returning true.

    Attributes
    ----------
    offset_, step_offset_ : float
        Thresholds of windows and of steps: scores below it are anomalies.
    n_channels_ : int
        Channels of a sequence.
    n_features_in_ : int
        Steps of a window, where ``fit`` saw a table.
    network_ : ReaderNetwork
        The trained network.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.

    Notes
    -----
    A table is windows, a row each; one long series is a list with one array, ``[series]``. Surprise is the norm ``|x||g|``
    of what a patch asks to be written (arXiv 2501.00663, eq 8), in the memory at the top of the network: its keys are what
    was held before a patch, of length 1, and its values the patches, so that this is the root mean square of what was
    foretold wrong, in spreads of a channel. Of a window it is that over its steps. NaN marks what was not measured. Scores
    are made in float64, and do not depend on what else is asked.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.

    Examples
    --------
    >>> import numpy as np
    >>> series = np.sin(np.arange(2000) / 5)
    >>> detector = TitansAnomalyDetector(width=16, max_steps=60, random_state=0).fit([series[:1000]])
    >>> series[1500:1510] = 9
    >>> int(detector.score_steps([series])[0].argmin()) // 10
    150
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "adapt": ["boolean"],
        **Foretold._parameter_constraints,
    }

    def __init__(
        self,
        *,
        contamination: float = 0.1,
        patch_length: int = 8,
        adapt: bool = False,
        variant: str = "mac",
        memory: str = "titans",
        width: int = 32,
        layers: int = 1,
        heads: int = 4,
        memory_depth: int = 2,
        refresh_every: int = 16,
        window: int = 32,
        persistent_tokens: int = 4,
        convolution: int = 4,
        momentum: bool = True,
        forgetting: bool = True,
        dropout: float = 0.2,
        max_steps: int = 300,
        learning_rate: float = 2e-3,
        batch_size: int = 32,
        validation_fraction: float = 0.2,
        patience: int = 10,
        device: Any = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.contamination = contamination
        self.patch_length = patch_length
        self.adapt = adapt
        self.variant = variant
        self.memory = memory
        self.width = width
        self.layers = layers
        self.heads = heads
        self.memory_depth = memory_depth
        self.refresh_every = refresh_every
        self.window = window
        self.persistent_tokens = persistent_tokens
        self.convolution = convolution
        self.momentum = momentum
        self.forgetting = forgetting
        self.dropout = dropout
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.callbacks = callbacks

    @followed
    def fit(self, X: Any, y: Any = None) -> TitansAnomalyDetector:
        """Learn what is usual, and set the thresholds by it.

        Parameters
        ----------
        X : array-like (n, t), ndarray (n, c, t), or list of arrays (t, c) or (t,)
            n sequences: windows of one channel as rows of a table, a block, or a list, whose sequences may differ in length;
            one long series is a list of one.
        y : None
            Not used.

        Returns
        -------
        TitansAnomalyDetector
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or X cannot be used; the message names it, the sequence, the step and the channel, and the remedy.
        """
        return self._learn(X)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the negative surprise of each sequence, ``(n,)``: higher is more usual.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        """
        return np.array([_of_window(steps) for steps in self.score_steps(X)])

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
        """Return ``score_samples`` less the threshold, ``(n,)``: negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for each sequence that is an anomaly, else 1, ``(n,)``."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def predict_steps(self, X: Any) -> list[NDArray[np.int64]]:
        """Return -1 for each step of each sequence that is an anomaly, else 1: a list of n arrays ``(t,)``."""
        return [np.where(found < self.step_offset_, -1, 1) for found in self.score_steps(X)]

    @property
    def _adapts(self) -> bool:
        return bool(self.adapt)

    def _train(self, items: list[NDArray[np.float64]], seed: int) -> None:
        super()._train(items, seed)
        found = [-one for one in surprises(self.network_, items)]
        self.offset_ = float(np.quantile([_of_window(steps) for steps in found], self.contamination))
        self.step_offset_ = float(np.quantile(np.concatenate(found), self.contamination))

    def _kept(self) -> tuple[dict[str, Any], dict[str, Any]]:
        tensors, facts = super()._kept()
        return tensors, {**facts, "offsets": [self.offset_, self.step_offset_]}

    def _restore(self, header: dict[str, Any], tensors: dict[str, Any], device: Any) -> None:
        super()._restore(header, tensors, device)
        self.offset_, self.step_offset_ = header["offsets"]


def _of_window(steps: NDArray[np.float64]) -> float:
    """Return the score of a window from those of its steps."""
    return -float(np.sqrt(np.mean(np.square(steps))))
