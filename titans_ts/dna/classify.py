"""The classifier and the regressor of DNA: a memory beside a linear path of words and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, matthews_corrcoef
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from titans_ts.blocks.chance import drawing
from titans_ts.dna.bases import Codes
from titans_ts.dna.explain import ExplainedDNA
from titans_ts.dna.language_model import DNALanguageModel
from titans_ts.dna.network import LONGEST_WORD, LanguageStem, SequenceConfig, SequenceNetwork
from titans_ts.dna.paths import fit_linear_path
from titans_ts.dna.sequences import read_sequences
from titans_ts.dna.strands import averaged, either_strand
from titans_ts.files.tensors import under
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.callbacks import followed
from titans_ts.learn.estimator import POSITIVE
from titans_ts.learn.fitting import Augmentation
from titans_ts.learn.run import choose_device, number_type
from titans_ts.learn.supervised import LabelsMixin, NumbersMixin, Split, Start
from titans_ts.learn.two_paths import Averaging, Objective

"""There are 65,536 words of that length; each is a coefficient."""


@with_arguments
class SupervisedDNA(ExplainedDNA):
    """Base of estimators that learn from labelled sequences of bases.

    Attributes
    ----------
    network_ : SequenceNetwork
        The trained network.
    memory_gain_ : MemoryGain or None
        What the memory's share of the answer gained on validation over the linear path, how sure that is, and the share;
        None without a memory or a validation part.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.

    Notes
    -----
    Two paths answer together, in shares that validation chooses. *Linear*: logistic or ridge regression on how often each
    short word occurs and, where validation prefers it, on which base stands where. *Memory*: convolutions see motifs, the
    strongest of every ``patch_length`` bases make a token, and a memory reads the tokens in order.

    Letters of uncertainty (IUPAC) count as N, which is no base: it matches no motif and is part of no word. Lower case
    counts as upper case, U as T. No sequence is cut, whatever its length.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.
    """

    reverse_complement: str | None = argument(
        None,
        StrOptions({"average", "augment", "equivariant"}),
        None,
        doc="How the two strands are treated. None: the memory tells them apart, which is best where sequences were cut in "
        "one direction, as promoters and splice sites are; words are counted on both if validation prefers it. "
        '``"average"``: trained on either strand, and answered by the mean over both, so that a sequence and its reverse '
        "complement get the same answer: for contigs, peaks, and all else whose strand is chance. "
        '``"equivariant"``: the network itself is made from both strands, in training too, at twice the cost. '
        '``"augment"``: trained on either, answered from the one given.',
    )
    word_sizes: Sequence[int] = argument(
        (3, 4, 5, 6), "array-like", doc="Lengths of the words that the linear path counts, 1 to 8."
    )
    kernel: int = argument(11, POSITIVE, doc="Bases that a motif spans, odd.")
    patch_length: int = argument(8, POSITIVE, doc="Bases that make one token of the memory.")
    init_from: Any = argument(
        None,
        None,
        object,
        doc="A fitted DNALanguageModel that reads the bases in the place of motifs, its weights trained on; slower, as its "
        "memory reads every single base. It is copied, and left as it is. In the grid of a search it must be frozen, "
        "``sklearn.frozen.FrozenEstimator(model)``, or the search hands over an unfitted copy.",
    )
    max_steps: int = 2000
    batch_size: int = 64
    validation_fraction: float = argument(
        0.1,
        Interval(Real, 0, 1, closed="left"),
        doc="Share of the training sequences that chooses the weights, drawn by chance, of every class alike; 0 for none. "
        "``fit`` takes a validation part instead.",
    )
    caution: float = argument(
        1.0,
        Interval(Real, 0, None, closed="left"),
        doc="How sure validation must be before the memory may correct the linear path. The smallest share of the memory is "
        "used whose gain is within ``caution`` standard errors of the best one's; 0 takes the best.",
    )

    @followed
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Learn from sequences with labels, or with numbers.

        Parameters
        ----------
        X : list of str, column of strings, list of SeqRecord, or path of a FASTA or GenBank file
            n sequences of any lengths.
        y : array-like (n,); for a regressor also (n, targets), or frame
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
            If an argument, X or y cannot be used; the message names it, the row or record, the position, and the remedy.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    def _read_items(self, X: Any, *, reset: bool = False, name: str = "X") -> list[Codes]:
        return read_sequences(X, name=name).codes

    def _check_arguments(self) -> None:
        sizes: list[Any] = list(self.word_sizes)
        if any(not isinstance(size, Integral) or not 1 <= int(size) <= LONGEST_WORD for size in sizes) or len(
            set(sizes)
        ) < len(sizes):
            raise ValueError(f"word_sizes must be different whole numbers from 1 to {LONGEST_WORD}, got {self.word_sizes!r}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a middle; got {self.kernel}")
        if self.init_from is not None:
            if not isinstance(self._source, DNALanguageModel):
                raise TypeError(f"init_from must be a fitted DNALanguageModel or None, got {type(self._source).__name__}")
            check_is_fitted(
                self._source,
                msg="init_from is a DNALanguageModel that was not fitted: call its fit first; a search copies parameters "
                "unfitted unless they are frozen, as sklearn.frozen.FrozenEstimator(model)",
            )
        super()._check_arguments()

    @property
    def _source(self) -> Any:
        """The language model of ``init_from``, taken out of what keeps it from being cloned."""
        return self.init_from.estimator if isinstance(self.init_from, FrozenEstimator) else self.init_from

    def _start(self, split: Split, objective: Objective, outputs: int, seed: int) -> Start:
        strands = self.reverse_complement
        linear = fit_linear_path(*split[:2], objective, sizes=self.word_sizes, symmetric=strands is not None)
        config = SequenceConfig(
            outputs=outputs,
            word_sizes=tuple(map(int, self.word_sizes)),
            kernel=int(self.kernel),
            patch_length=int(self.patch_length),
            both_strands=strands == "equivariant",
            words_of_both=linear.words_of_both,
            places=linear.places,
            language=None if self.init_from is None else self._source.network_.config,
            backbone=self._backbone_config(),
        )
        network = self._begin(config, seed).to(choose_device(self.device))
        linear.install(network.words, network.places)
        return Start(network)

    def _begin(self, config: SequenceConfig, seed: int) -> SequenceNetwork:
        """Return a network to train: fresh, read along by a language model, or going on; its linear path is still silent."""
        if self._goes_on:
            fitted = self.network_.config  # the linear path is fitted anew, and may see something else
            self._require_same(replace(fitted, words_of_both=config.words_of_both, places=config.places), config)
        with drawing(seed):
            network = SequenceNetwork(config).to(number_type(self.precision))
        fitted_stem = self.network_.stem if self._goes_on else None
        if self._goes_on:
            linear = (*network.linear_parts, "share", "balance")
            kept = {name: x for name, x in self.network_.state_dict().items() if name.split(".")[0] not in linear}
            network.load_state_dict(kept, strict=False)
        if isinstance(network.stem, LanguageStem):
            language = fitted_stem.language if isinstance(fitted_stem, LanguageStem) else self._source.network_
            network.stem.language.load_state_dict(language.state_dict())
            network.stem.language.direct.set_tables(language.direct.tables())
        return network

    @property
    def _augmentation(self) -> Augmentation | None:
        return either_strand if self.reverse_complement in ("augment", "average") else None

    @property
    def _averages(self) -> Averaging | None:
        return averaged if self.reverse_complement == "average" else None

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super()._kept()
        if isinstance(self.network_.stem, LanguageStem):
            tensors |= {f"contexts.{name}": x for name, x in self.network_.stem.language.direct.tables().items()}
        return tensors, facts

    _network_kind = SequenceNetwork, SequenceConfig

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: SequenceNetwork) -> None:
        if isinstance(network.stem, LanguageStem):
            network.stem.language.direct.restore_tables(under("contexts.", tensors))
        super()._restore(header, tensors, network)

    def __sklearn_clone__(self) -> Self:
        copied = super().__sklearn_clone__()
        copied.init_from = self.init_from  # scikit-learn would hand over an unfitted copy of it
        return copied

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


@with_arguments
class DNAClassifier(LabelsMixin, SupervisedDNA):
    """Classify DNA sequences of any length with a neural memory beside a linear model of words and places.

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted.

    Examples
    --------
    >>> from titans_ts import make_dna_motifs
    >>> sequences, labels = make_dna_motifs(200, length=40, random_state=0)
    >>> classifier = DNAClassifier(width=16, max_steps=5, random_state=0).fit(sequences, labels)
    >>> classifier.predict_proba(sequences[:3]).shape
    (3, 2)
    """

    class_weight: Any = argument(None, dict, StrOptions({"balanced"}), None, doc="How much a sequence of each class counts.")

    def _output_names(self) -> list[str]:
        return ["effect"] if len(self.classes_) == 2 else [f"effect_{label}" for label in self.classes_]

    def _output_of(self, target: Any) -> int:
        if target is None and len(self.classes_) == 2:
            return 0
        known = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        if target not in known.tolist():
            raise ValueError(f"target={target!r}: name a class, one of {', '.join(map(repr, known.tolist()))}")
        return known.tolist().index(target)


@with_arguments
class DNARegressor(NumbersMixin, SupervisedDNA):
    """Predict numbers from DNA sequences of any length with a neural memory beside a linear model of words and places.

    Attributes
    ----------
    target_names_ : list of str
        Columns of y; ``y`` alone, or ``y0``, ``y1``, ... where it had no names.

    Examples
    --------
    >>> from titans_ts import make_dna_motifs
    >>> sequences, labels = make_dna_motifs(200, length=40, random_state=0)
    >>> regressor = DNARegressor(width=16, max_steps=5, random_state=0).fit(sequences, labels.astype(float))
    >>> regressor.predict(sequences[:3]).shape
    (3,)
    """

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


def agreement(truth: NDArray[Any], said: NDArray[Any]) -> tuple[float, float]:
    """Return the accuracy of labels and Matthews' correlation, which sees through unequal classes.

    >>> import numpy as np
    >>> agreement(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    (0.75, 0.0)
    """
    return float(accuracy_score(truth, said)), float(matthews_corrcoef(truth, said))
