"""The embedder: numeric sequences of any lengths into a row of numbers each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from titans_ts.learn.estimator import followed
from titans_ts.windows.foretelling import Foretold
from titans_ts.windows.reader import described


class TitansEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Foretold):
    """Embed numeric sequences of any length, by a neural memory that was trained to foretell them.

    No labels are needed: the network reads a sequence patch by patch, and learns to say the next patch. What it holds after
    each patch, its mean, its maximum and the last of it, are the embedding, to go before any head of scikit-learn.

    Parameters
    ----------
    patch_length : int, default=8
        Steps that make one token of the memory.
    variant : {"mac", "mag", "mal", "lmm", "attention", "full_attention", "lstm", "hopfield"}, default="mac"
        Where the memory sits: as context of attention, as its gate, as a layer before it, or alone. The others are baselines
        without a memory.
    memory : str, default="titans"
        Which rule writes it: a name of :data:`titans_ts.memory.presets.PRESETS`.
    width, layers, heads : int, default=32, 1, 4
        Size of the network; with ``layers=0`` every patch is embedded on its own.
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
    Sequences of a list may differ in length, and none is cut: one of millions of steps is read in a state of fixed size.
    NaN marks what was not measured. Embeddings are made in float64, and do not depend on what else is asked.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.sin(np.arange(50) * np.linspace(0.1, 1, 20)[:, None])
    >>> TitansEmbedder(width=16, max_steps=5, random_state=0).fit_transform(X).shape
    (20, 48)
    """

    def __init__(
        self,
        *,
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
        device: Any = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
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
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.callbacks = callbacks

    @followed
    def fit(self, X: Any, y: Any = None) -> TitansEmbedder:
        """Learn to foretell sequences.

        Parameters
        ----------
        X : array-like (n, t), ndarray (n, c, t), or list of arrays (t, c) or (t,)
            n sequences: windows of one channel as rows of a table, a block, or a list, whose sequences may differ in length.
        y : None
            Not used.

        Returns
        -------
        TitansEmbedder
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or X cannot be used; the message names it, the sequence, the step and the channel, and the remedy.
        """
        return self._learn(X)

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the embedding of each sequence, ``(n, 3 width)``.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences.
        """
        check_is_fitted(self)
        return described(self.network_, self._read_items(X))

    @property
    def _n_features_out(self) -> int:
        return 3 * self.network_.config.backbone.width
