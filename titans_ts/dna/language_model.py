"""A language model of DNA: how likely a sequence is, base by base, and what it means to change one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from titans_ts.backbones.state import pack
from titans_ts.dna.bases import Codes, decode
from titans_ts.dna.contexts import LONGEST_CONTEXT
from titans_ts.dna.genome import Genome
from titans_ts.dna.language import LanguageConfig, LanguageNetwork, RecordState, embeddings, log_likelihoods, sampled
from titans_ts.dna.language_training import LanguageTraining, LanguageTrainingConfig, hold_out
from titans_ts.dna.sequences import Piece, format_of, read_sequences, stream_pieces
from titans_ts.dna.variants import Variant, read_variants, window_of
from titans_ts.files import facts
from titans_ts.files.tensors import under
from titans_ts.learn import saving as persistence
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.callbacks import followed
from titans_ts.learn.estimator import COUNT, POSITIVE, BaseTitans
from titans_ts.learn.progress import progress_bar
from titans_ts.learn.run import choose_device


@with_arguments
class DNALanguageModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseTitans):
    """Model DNA with a neural memory beside a mixture of contexts.

    A table says how often each base followed the same few bases in training, for contexts of several lengths and on both
    strands. A small network mixes what the contexts say, and a memory that reads the sequence corrects the mixture. Records
    of any length are read in a state of fixed size.

    Attributes
    ----------
    network_ : LanguageNetwork
        The trained network.
    states_ : dict of id to RecordState
        What ``update`` keeps of each record: the memory, how much was read and how likely it was.
    training_history_ : list of dict
        Step, loss and validation loss, in nats a base, of every evaluation.

    Notes
    -----
    N, and every other letter of uncertainty, is read but never scored, and no context with one is counted.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663. Pratas, Hosseini, Pinho: GeCo3,
    GigaScience 2020, of mixing contexts by a network.

    Examples
    --------
    >>> model = DNALanguageModel(context_orders=(1, 2), width=16, max_steps=2, random_state=0).fit(["ACGT" * 100])
    >>> model.score_samples(["ACGTACGT", "AAAAAAAA"]).shape
    (2,)
    >>> model.update(["ACGT"]).update(["ACG"]).n_seen_
    7
    """

    objective: str = argument(
        "causal",
        StrOptions({"causal", "masked"}),
        doc="Whether a base is predicted from those before it (causal) or from those on both sides of it (masked). Masked, "
        "the same network reads both strands, and its two predictions are added up. That is a pseudo-likelihood: no "
        "probability of the whole sequence, but surer about single bases.",
    )
    context_orders: Sequence[int] = argument(
        (1, 2, 3, 4, 6, 8, 10, 12, 16),
        "array-like",
        doc="Lengths of contexts, 1 to 24; none leaves the memory alone. Counts of long ones take about 10 bytes a base of "
        "training, in the model and in its file.",
    )
    dropout: float = 0.0
    max_steps: int = argument(1500, COUNT, doc="Training steps, at most: 256 bases of each stream.")
    batch_size: int = argument(16, POSITIVE, doc="Streams read side by side.")
    validation_fraction: float = argument(
        0.05,
        Interval(Real, 0, 1, closed="left"),
        doc="Share of the bases that chooses the weights: whole records by chance where there are ten or more, else the end "
        "of each. It is counted too, once the weights are chosen. 0 for none.",
    )

    @followed
    def fit(self, X: Any, y: Any = None) -> DNALanguageModel:
        """Learn from sequences.

        Parameters
        ----------
        X : list of str, column of strings, list of SeqRecord, or path of a FASTA or GenBank file
            Sequences of any lengths; long ones are sampled in crops, along which the memory is carried.
        y : Any
            Not used: a pipeline hands the labels of its last step to every step before.

        Returns
        -------
        DNALanguageModel
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or X cannot be used; the message names it, the row or record, the position, and the remedy.
        """
        self._validate_params()
        self._check_arguments()
        codes = read_sequences(X).codes
        seed = self._draw_seed()
        config = LanguageConfig(tuple(map(int, self.context_orders)), self.objective == "masked", self._backbone_config())
        network = self._start_network(LanguageNetwork, config, seed).to(choose_device(self.device))
        training, validation = hold_out(codes, self.validation_fraction, np.random.default_rng(seed))
        network.direct.learn(training)
        run = LanguageTraining(
            network,
            training,
            validation,
            self._run_config(LanguageTrainingConfig, seed),
            **self._watching(),
        )
        run.run()
        if validation:
            network.direct.learn(codes)
        self.network_: LanguageNetwork = network.eval()
        self.training_history_: list[dict[str, Any]] = run.told()
        self.states_: dict[str, RecordState] = {}
        return self

    def update(self, X: Any) -> Self:
        """Let the memory read on, without training: what comes belongs to the end of what was read of the same record.

        Parameters
        ----------
        X : container like that of ``fit``
            Records by id (rows of a list by their number). A FASTA file is streamed, and no record lies in memory whole.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            With ``objective="masked"``, which needs both sides, or if X cannot be used; nothing is read then.
        """
        check_is_fitted(self)
        self._require_causal("update")
        if self._streams(X):
            pieces: Iterable[Piece] = stream_pieces(X)
        else:
            table = read_sequences(X)
            pieces = (Piece(name, 0, one, True) for name, one in zip(table.ids, table.codes, strict=True))
        self.states_ = self._read_pieces(pieces, self.states_)
        return self

    def forget(self, ids: str | Iterable[str] | None = None) -> Self:
        """Forget what ``update`` has read, of some records or of all; weights stay as they are.

        Parameters
        ----------
        ids : str or iterable of str, optional
            The records; by default all.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no record of an id; none is forgotten then.
        """
        check_is_fitted(self)
        names = list(self.states_) if ids is None else [ids] if isinstance(ids, str) else list(ids)
        for name in names:
            if name not in self.states_:
                raise ValueError(f"ids: nothing was read of {name!r}; there are {', '.join(map(repr, self.states_))}")
        self.states_ = {name: state for name, state in self.states_.items() if name not in names}
        return self

    @property
    def n_seen_(self) -> int | dict[str, int]:
        """Bases that the memory has read since it was last made to forget; by record, if there are several."""
        check_is_fitted(self)
        counts = {name: state.n_seen for name, state in self.states_.items()}
        return counts if len(counts) > 1 else next(iter(counts.values()), 0)

    @property
    def state_(self) -> RecordState | dict[str, RecordState] | None:
        """What is kept of what was read; ``state_.nbytes`` does not grow with it."""
        check_is_fitted(self)
        return dict(self.states_) if len(self.states_) > 1 else next(iter(self.states_.values()), None)

    def log_likelihood(self, X: Any) -> list[NDArray[np.float32]]:
        """Return the natural log-probability of every base of every sequence, NaN where it is N.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read with a fresh memory.

        Returns
        -------
        list of ndarray (t,)

        Examples
        --------
        >>> model = DNALanguageModel(context_orders=(1, 2), layers=0, max_steps=2, random_state=0).fit(["ACGT" * 100])
        >>> [one.shape for one in model.log_likelihood(["ACGTACGT", "GG"])]
        [(8,), (2,)]
        """
        check_is_fitted(self)
        return log_likelihoods(self.network_, read_sequences(X).codes)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the mean log-likelihood of the bases of each sequence, ``(n,)``, in nats; NaN where all are N.

        The records of a FASTA file are streamed, and none lies in memory whole (``objective="causal"``).

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read with a fresh memory.
        """
        check_is_fitted(self)
        if self._streams(X):
            return np.array([state.mean for state in self._read_pieces(stream_pieces(X), {}).values()])
        return np.array([_mean(values) for values in self.log_likelihood(X)])

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of all bases, in nats; a longer sequence counts for more.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read with a fresh memory.
        y : Any
            Not used, as in ``fit``.
        """
        check_is_fitted(self)
        if self._streams(X):
            states = self._read_pieces(stream_pieces(X), {}).values()
            scored = sum(state.scored for state in states)
            return sum(state.total for state in states) / scored if scored else float("nan")
        return _mean(np.concatenate(self.log_likelihood(X)))

    def bits_per_base(self, X: Any) -> float:
        """Return what a base costs on average, in bits: 2 for a model that knows nothing, less for a better one.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read with a fresh memory.

        Examples
        --------
        >>> model = DNALanguageModel(context_orders=(1, 2), layers=0, max_steps=2, random_state=0).fit(["ACGT" * 100])
        >>> model.bits_per_base(["ACGT" * 10]) < 1
        True
        """
        return -self.score(X) / float(np.log(2))

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return an embedding of each sequence, ``(n, width)``: the mean of what the network holds after each base.

        With ``objective="masked"`` the mean is over both strands.

        Parameters
        ----------
        X : container like that of ``fit``
            Sequences, each read with a fresh memory.
        """
        check_is_fitted(self)
        return embeddings(self.network_, read_sequences(X).codes)

    @property
    def _n_features_out(self) -> int:
        return int(self.network_.config.backbone.width)

    def sample(
        self,
        n_samples: int = 1,
        *,
        length: int = 100,
        prompt: str | None = None,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> list[str]:
        """Write new sequences, base by base.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        length : int, default=100
            Bases to write.
        prompt : str, optional
            What they follow; it is not part of the answer.
        temperature : float, default=1.0
            Above 0. Below 1, likely bases come more often than the model says; above 1, unlikely ones do.
        random_state : int, RandomState or None, default=None
            Seed.

        Returns
        -------
        list of str

        Raises
        ------
        ValueError
            With ``objective="masked"``, which tells nothing about what comes next, or if a number is out of range.

        Examples
        --------
        >>> model = DNALanguageModel(context_orders=(1, 2), layers=0, max_steps=2, random_state=0).fit(["ACGT" * 100])
        >>> model.sample(length=8, prompt="ACGT", temperature=0.1, random_state=0)
        ['ACGTACGT']
        """
        check_is_fitted(self)
        self._require_causal("sample")
        _require_count("n_samples", n_samples)
        _require_count("length", length)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature!r}")
        before = None if prompt is None else read_sequences([prompt], name="prompt").codes[0]
        seed = int(check_random_state(random_state).randint(2**31 - 1)) if random_state is not None else None
        chance = np.random.default_rng(seed)
        found = sampled(self.network_, int(n_samples), int(length), before, float(temperature), chance)
        return [decode(row) for row in found]

    def score_variants(self, variants: Any, reference: Any, *, flank: int = 512) -> Any:
        """Return how much likelier, or less likely, each variant makes the sequence around it.

        Parameters
        ----------
        variants : path of a VCF file, frame, or list of (contig, position_1based, ref, alt)
            Substitutions, insertions and deletions; see :func:`titans_ts.dna.variants.read_variants`.
        reference : path of a FASTA file, Genome, or mapping of contig to sequence
            What they change.
        flank : int, default=512
            Bases read on either side.

        Returns
        -------
        pandas.DataFrame
            ``contig``, ``position_1based``, ``id``, ``ref``, ``alt``, ``ref_match`` (whether the reference holds ``ref``
            there; where it does not, the score is of putting ``alt`` in the place of what it holds), and
            ``log_likelihood_ratio``: natural log-likelihood with the variant less that without, over the whole window.

        Raises
        ------
        ValueError
            If a position lies outside its contig, or a contig is unknown; the message names the variant.

        Examples
        --------
        >>> model = DNALanguageModel(context_orders=(1, 2), layers=0, max_steps=2, random_state=0).fit(["ACGT" * 100])
        >>> found = model.score_variants([("chr1", 5, "A", "G")], {"chr1": "ACGTACGTACGT"})
        >>> bool(found["ref_match"][0]), bool(found["log_likelihood_ratio"][0] < 0)
        (True, True)
        """
        import pandas as pd

        check_is_fitted(self)
        _require_count("flank", flank)
        known = read_variants(variants)
        with _genome(reference) as genome:
            windows = [window_of(genome, variant, flank=int(flank)) for variant in known]
        with_reference = [np.concatenate([w.before, w.ref_in_reference, w.after]) for w in windows]
        with_variant = [
            np.concatenate([window.before, read_sequences([variant.alt]).codes[0], window.after])
            for window, variant in zip(windows, known, strict=True)
        ]
        values = [np.nansum(x) for x in log_likelihoods(self.network_, with_reference + with_variant)]
        ratios = np.array(values[len(known) :]) - np.array(values[: len(known)])
        columns = {name: [getattr(variant, name) for variant in known] for name in Variant._fields}
        return pd.DataFrame(
            columns | {"ref_match": [w.ref_match for w in windows], "log_likelihood_ratio": ratios.astype(float)}
        )

    def _streams(self, X: Any) -> bool:
        """Say whether X is a FASTA file that can be read piece by piece."""
        is_file = isinstance(X, str | os.PathLike) and os.path.isfile(X)
        return is_file and self.objective == "causal" and format_of(Path(X)) == "fasta"

    def _read_pieces(self, pieces: Iterable[Piece], states: dict[str, RecordState]) -> dict[str, RecordState]:
        """Read pieces of records on; the states given are left as they are."""
        found = dict(states)
        for piece in self._shown(pieces):
            state = found.get(piece.id) or RecordState.fresh(self.network_)
            found[piece.id] = state.read(self.network_, piece.codes)
        return found

    def _shown(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield pieces while a bar counts their bases."""
        with progress_bar(self.verbose, "reading", unit="base", unit_scale=True) as progress:
            for piece in pieces:
                yield piece
                progress.update(len(piece.codes))

    def _require_causal(self, what: str) -> None:
        if self.objective != "causal":
            raise ValueError(f"{what} needs objective='causal': a masked model tells a base from both sides of it")

    def _check_arguments(self) -> None:
        """Refuse, by name, arguments that are wrong or do not fit each other."""
        orders: list[Any] = list(self.context_orders)
        fit = all(isinstance(each, Integral) and 1 <= int(each) <= LONGEST_CONTEXT for each in orders)
        if not fit or orders != sorted(set(orders)):
            raise ValueError(
                f"context_orders must be increasing whole numbers from 1 to {LONGEST_CONTEXT}, got {self.context_orders!r}"
            )
        if not orders and not self.layers:
            raise ValueError("context_orders=() and layers=0 leave nothing to learn with; give at least one of them")
        super()._check_arguments()

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = persistence.network_tensors(self.network_)
        tensors |= {f"contexts.{name}": x for name, x in self.network_.direct.tables().items()}
        for place, state in enumerate(self.states_.values()):
            tensors |= pack(state.carry, prefix=f"state.{place}")
        records = [
            {"id": name, "n_seen": state.n_seen, "scored": state.scored, "total": state.total}
            for name, state in self.states_.items()
        ]
        return tensors, {
            "network": self.network_.config.to_dict(),
            "history": self.training_history_,
            "records": records,
        }

    _network_kind = LanguageNetwork, LanguageConfig

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: LanguageNetwork) -> None:
        network.direct.restore_tables(under("contexts.", tensors))
        self.network_ = network
        self.training_history_ = facts.history(header["history"])
        self.states_ = {}
        for place, fact in enumerate(header["records"]):
            name = fact["id"]
            facts.require(facts.fits(name, str | int) and name not in self.states_, f"the record {name!r} is there twice")
            self.states_[name] = RecordState.restored(network, fact, under(f"state.{place}.", tensors))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _require_count(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or int(value) < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, got {value!r}")


def _mean(values: NDArray[np.float32]) -> float:
    known = ~np.isnan(values)
    return float(values.mean(where=known, dtype=np.float64)) if known.any() else float("nan")


@contextmanager
def _genome(reference: Any) -> Iterator[Genome | dict[str, Codes]]:
    """Give the contigs of a reference, and close what was opened for it."""
    if isinstance(reference, Genome):
        yield reference
    elif isinstance(reference, Mapping):
        table = read_sequences(list(reference.values()), name="reference")
        yield dict(zip(map(str, reference), table.codes, strict=True))
    elif not isinstance(reference, str | os.PathLike):
        raise TypeError(
            f"reference is a {type(reference).__name__}; expected the path of a FASTA file, a Genome, or a mapping of "
            "contig to sequence"
        )
    elif not os.path.isfile(reference):
        raise FileNotFoundError(f"reference={os.fspath(reference)!r} is no file; check the path")
    else:
        with Genome(reference) as genome:
            yield genome
