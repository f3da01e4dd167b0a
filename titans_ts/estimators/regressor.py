"""The regressor of numeric sequences: one or several numbers about windows of any lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from titans_ts.estimators._progress import followed
from titans_ts.estimators._targets import NumbersMixin
from titans_ts.estimators._windows import SupervisedWindows


class TitansRegressor(NumbersMixin, SupervisedWindows):
    """Predict numbers from numeric sequences of any length with a neural memory beside a linear model of shapes.

    Two paths answer together, in shares that validation chooses. *Linear*: ridge regression on values by their step, on how
    often each of many fixed shapes occurs (kernels of nine weights at several dilations), or on both, whichever answers best
    about sequences left out. *Memory*: convolutions see motifs, the strongest of every ``patch_length`` steps make a token,
    and a memory reads the tokens in order.

    Parameters
    ----------
    kernel : int, default=11
        Steps that a motif spans, odd.
    patch_length : int, default=8
        Steps that make one token of the memory.
    variant : {"mac", "mag", "mal", "lmm", "attention", "full_attention", "lstm", "hopfield"}, default="mac"
        Where the memory sits: as context of attention, as its gate, as a layer before it, or alone. The others are baselines
        without a memory.
    memory : str, default="titans"
        Which rule writes it: a name of :data:`titans_ts.memory.presets.PRESETS`.
    width, layers, heads : int, default=32, 1, 4
        Size of the network; ``layers=0`` is the linear path alone.
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
        Share of the training sequences that chooses the weights, drawn by chance and stratified; 0 for none. ``fit`` takes
        a validation part instead.
    patience : int, default=10
        Evaluations without a lower loss before training stops.
    caution : float, default=1.0
        The memory's share of the answer is as much as validation can tell from luck: the smallest share whose gain over the
        linear path comes within so many standard errors of the best one's. 0 takes the share with the least loss.
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
    target_names_ : list of str
        Columns of y; ``y`` alone, or ``y0``, ``y1``, ... where it had no names.
    n_channels_ : int
        Channels of a sequence.
    n_features_in_ : int
        Steps of a window, where ``fit`` saw a table.
    network_ : WindowNetwork
        The trained network.
    memory_gain_ : MemoryGain or None
        What the memory's share of the answer gained on validation over the linear path, how sure that is, and the share;
        None without a memory or a validation part.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.

    Notes
    -----
    Sequences of a list may differ in length, and none is cut. NaN marks what was not measured: it counts as the channel's
    mean, and the memory is told. Answers are made in float64, and do not depend on what else is asked.

    Sequences are left out, and drawn for validation, as if they knew nothing of each other. Windows that overlap do: give a
    later part as ``X_val`` and ``y_val`` then, or the linear path and the memory's share are chosen on what was nearly seen.
    In a ``Pipeline`` it goes through the steps before this one only if told to: ``transform_input=["X_val"]``.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.
    Dempster, Schmidt, Webb: MiniRocket, arXiv 2012.08791, for the shapes of the linear path.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 40)).cumsum(axis=1)
    >>> regressor = TitansRegressor(width=16, max_steps=5, random_state=0).fit(X, X[:, -8:].mean(axis=1))
    >>> regressor.predict(X[:3]).shape
    (3,)
    """

    def __init__(
        self,
        *,
        kernel: int = 11,
        patch_length: int = 8,
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
        caution: float = 1.0,
        device: Any = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.kernel = kernel
        self.patch_length = patch_length
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
        self.caution = caution
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.callbacks = callbacks

    @followed
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> TitansRegressor:
        """Learn from sequences with numbers.

        Parameters
        ----------
        X : array-like (n, t), ndarray (n, c, t), or list of arrays (t, c) or (t,)
            n sequences: windows of one channel as rows of a table, a block, or a list, whose sequences may differ in length.
        y : array-like (n,) or (n, h), or frame
            What is to be predicted, finite.
        sample_weight : array-like (n,), optional
            How much each counts.
        X_val, y_val : like X and y, optional
            What chooses the weights, instead of a share of X.

        Returns
        -------
        TitansRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument, X or y cannot be used; the message names it, the sequence, the step and the channel, and the
            remedy.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> TitansRegressor:
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
        TitansRegressor
            Itself.
        """
        return self._partial_fit(X, y, sample_weight)
