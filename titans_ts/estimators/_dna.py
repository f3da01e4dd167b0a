"""What the DNA classifier and the DNA regressor share: bases as sequences, words and places as linear path."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from titans_ts.bases import Codes
from titans_ts.data.sequences import read_sequences
from titans_ts.estimators import persistence
from titans_ts.estimators._base import ARCHITECTURE_CONSTRAINTS, TRAINING_CONSTRAINTS
from titans_ts.estimators._explained_dna import ExplainedDNA
from titans_ts.estimators._linear_path import fit_linear_path
from titans_ts.estimators._supervised import Split, Start
from titans_ts.heads.losses import Objective
from titans_ts.inputs.dna import either_strand
from titans_ts.networks.sequence import LanguageStem, SequenceConfig, SequenceNetwork
from titans_ts.training.runtime import choose_device, number_type, seeded
from titans_ts.training.supervised import Augmentation

_POSITIVE = Interval(Integral, 1, None, closed="left")
LONGEST_WORD = 8
"""There are 65,536 words of that length; each is a coefficient."""


class SupervisedDNA(ExplainedDNA):
    """Base of estimators that learn from labelled sequences of bases."""

    network_: SequenceNetwork

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "reverse_complement": [StrOptions({"average", "augment", "equivariant"}), None],
        "word_sizes": ["array-like"],
        "kernel": [_POSITIVE],
        "patch_length": [_POSITIVE],
        "init_from": [None, object],
        **ARCHITECTURE_CONSTRAINTS,
        **TRAINING_CONSTRAINTS,
    }

    def _read_items(self, X: Any, *, reset: bool = False, name: str = "X") -> list[Codes]:
        return read_sequences(X, name=name).codes

    def _check_arguments(self) -> None:
        sizes = list(self.word_sizes)
        if any(not isinstance(size, Integral) or not 1 <= int(size) <= LONGEST_WORD for size in sizes) or len(
            set(sizes)
        ) < len(sizes):
            raise ValueError(f"word_sizes must be different whole numbers from 1 to {LONGEST_WORD}, got {self.word_sizes!r}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a middle; got {self.kernel}")
        if self.init_from is not None:
            from titans_ts.estimators.dna_language_model import DNALanguageModel

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
        linear.model.install(network)
        return Start(network)

    def _begin(self, config: SequenceConfig, seed: int) -> SequenceNetwork:
        """Return a network to train: fresh, read along by a language model, or going on; its linear path is still silent."""
        if self._goes_on:
            fitted = self.network_.config  # the linear path is fitted anew, and may see something else
            self._require_same(replace(fitted, words_of_both=config.words_of_both, places=config.places), config)
        with seeded(seed, torch.device("cpu")):
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
    def _averages(self) -> bool:
        return self.reverse_complement == "average"

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super()._kept()
        if isinstance(self.network_.stem, LanguageStem):
            tensors |= {f"contexts.{name}": x for name, x in self.network_.stem.language.direct.tables().items()}
        return tensors, facts

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        network = SequenceNetwork(SequenceConfig.from_dict(header["network"]))
        if isinstance(network.stem, LanguageStem):
            network.stem.language.direct.set_tables(persistence.under("contexts.", tensors))
        self._restore_fit(header, persistence.restore_network(network, tensors, self.precision, device))

    def __sklearn_clone__(self) -> Self:
        copied = super().__sklearn_clone__()
        copied.init_from = self.init_from  # scikit-learn would hand over an unfitted copy of it
        return copied

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags
