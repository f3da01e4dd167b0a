"""The DNA regressor: one or several numbers about sequences of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from titans_ts.estimators._dna import SupervisedDNA
from titans_ts.estimators._progress import followed
from titans_ts.estimators._targets import NumbersMixin


class DNARegressor(NumbersMixin, SupervisedDNA):
    """Predict numbers from DNA sequences of any length with a neural memory beside a linear model of words and places.

    Two paths answer together, in shares that validation chooses: ridge regression on how often each short word occurs and
    (where validation prefers it) on which base stands where; and a network, motifs by convolution and above them a memory
    that reads the sequence.

    Parameters
    ----------
    reverse_complement : {"average", "augment", "equivariant"} or None, default=None
        How the two strands are treated. None: the memory tells them apart, which is best where sequences were cut in one
        direction, as promoters and splice sites are; words are counted on both if validation prefers it. ``"average"``:
        trained on either strand, and answered by the mean over both, so that a sequence and its reverse complement get the
        same prediction: for contigs, peaks, and all else whose strand is chance. ``"equivariant"``: the network itself
        is made from both strands, in training too, at twice the cost. ``"augment"``: trained on either, answered from the
        one given.
    word_sizes : sequence of int, default=(3, 4, 5, 6)
        Lengths of the words that the linear path counts, 1 to 8.
    kernel : int, default=11
        Bases that a motif spans, odd.
    patch_length : int, default=8
        Bases that make one token of the memory.
    init_from : DNALanguageModel or FrozenEstimator of one, optional
        A fitted language model that reads the bases in the place of motifs, its weights trained on; slower, as its memory
        reads every single base. It is copied, and left as it is. In the grid of a search it must be frozen,
        ``sklearn.frozen.FrozenEstimator(model)``, or the search hands over an unfitted copy.
    variant : {"mac", "mag", "mal", "lmm", "attention", "full_attention", "lstm", "hopfield"}, default="mac"
        Where the memory sits: as context of attention, as its gate, as a layer before it, or alone. The others are baselines
        without a memory.
    memory : str, default="titans"
        Which rule writes it: a name of :data:`titans_ts.memory.presets.PRESETS`.
    width, layers, heads : int, default=64, 1, 4
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
    max_steps : int, default=2000
        Training steps, at most.
    learning_rate : float, default=2e-3
        Peak learning rate.
    batch_size : int, default=64
        Sequences of a step.
    validation_fraction : float, default=0.1
        Share of the training sequences that chooses the weights, drawn by chance; 0 for none. ``fit`` takes
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
    network_ : SequenceNetwork
        The trained network.
    memory_gain_ : MemoryGain or None
        What the memory's share of the answer gained on validation over the linear path, how sure that is, and the share;
        None without a memory or a validation part.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.

    Notes
    -----
    Letters of uncertainty (IUPAC) count as N, which is no base: it matches no motif and is part of no word. Lower case
    counts as upper case, U as T. No sequence is cut, whatever its length.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.

    Examples
    --------
    >>> from titans_ts import make_dna_motifs
    >>> sequences, labels = make_dna_motifs(200, length=40, random_state=0)
    >>> regressor = DNARegressor(width=16, max_steps=5, random_state=0).fit(sequences, labels.astype(float))
    >>> regressor.predict(sequences[:3]).shape
    (3,)
    """

    def __init__(
        self,
        *,
        reverse_complement: str | None = None,
        word_sizes: Sequence[int] = (3, 4, 5, 6),
        kernel: int = 11,
        patch_length: int = 8,
        init_from: Any = None,
        variant: str = "mac",
        memory: str = "titans",
        width: int = 64,
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
        max_steps: int = 2000,
        learning_rate: float = 2e-3,
        batch_size: int = 64,
        validation_fraction: float = 0.1,
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
        self.reverse_complement = reverse_complement
        self.word_sizes = word_sizes
        self.kernel = kernel
        self.patch_length = patch_length
        self.init_from = init_from
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
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> DNARegressor:
        """Learn from sequences with numbers.

        Parameters
        ----------
        X : list of str, column of strings, list of SeqRecord, or path of a FASTA or GenBank file
            n sequences of any lengths.
        y : array-like (n,) or (n, targets), or frame
            What is to be predicted, finite.
        sample_weight : array-like (n,), optional
            How much each counts.
        X_val, y_val : like X and y, optional
            What chooses the weights, instead of a share of X.

        Returns
        -------
        DNARegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument, X or y cannot be used; the message names it, the row or record, the position, and the remedy.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    def _unit(self, output: int) -> float:
        return float(self.target_spread_[output])

    def _output_names(self) -> list[str]:
        return ["effect"] if len(self.target_names_) == 1 else [f"effect_{name}" for name in self.target_names_]

    def _output_of(self, target: Any) -> int:
        if target is None and len(self.target_names_) == 1:
            return 0
        if target not in self.target_names_:
            raise ValueError(f"target={target!r}: name a target, one of {', '.join(map(repr, self.target_names_))}")
        return self.target_names_.index(target)
