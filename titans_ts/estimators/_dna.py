"""What the DNA classifier and the DNA regressor share: sequences in, answers out, one fit for both."""

from __future__ import annotations

from dataclasses import asdict, replace
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor

from titans_ts.bases import Codes
from titans_ts.data.sequences import read_sequences
from titans_ts.estimators import persistence
from titans_ts.estimators._base import ARCHITECTURE_CONSTRAINTS, TRAINING_CONSTRAINTS
from titans_ts.estimators._explained_dna import ExplainedDNA
from titans_ts.estimators._linear_path import Labelled, fit_linear_path
from titans_ts.heads.losses import Objective
from titans_ts.networks.sequence import LanguageStem, SequenceConfig, SequenceNetwork
from titans_ts.sequences.answers import Path, answer_all
from titans_ts.training.acceptance import MemoryGain
from titans_ts.training.runtime import choose_device, number_type, seeded
from titans_ts.training.supervised import Examples, SupervisedConfig, SupervisedTraining

_POSITIVE = Interval(Integral, 1, None, closed="left")
LONGEST_WORD = 8
"""There are 65,536 words of that length; each is a coefficient."""


class SupervisedDNA(ExplainedDNA):
    """Base of estimators that learn from labelled sequences."""

    memory_gain_: MemoryGain | None
    training_history_: list[dict[str, Any]]

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "reverse_complement": [StrOptions({"average", "augment", "equivariant"}), None],
        "word_sizes": ["array-like"],
        "kernel": [_POSITIVE],
        "patch_length": [_POSITIVE],
        "init_from": [None, object],
        **ARCHITECTURE_CONSTRAINTS,
        **TRAINING_CONSTRAINTS,
    }

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Self:
        """Check everything, split, fit the direct path, train the memory."""
        before = dict(self.__dict__)
        try:
            self._validate_params()
            self._check_arguments()
            table = read_sequences(X)
            objective, outputs, targets = self._learn_targets(y, len(table))
            given = _check_sample_weight(sample_weight, np.empty(len(table)), ensure_non_negative=True)
            known = Labelled(table.codes, targets, self._weights(targets, given))
            seed = self._draw_seed()
            training, validation = self._split(known, X_val, y_val, objective, seed)
            self._fit_network(training, validation, objective, outputs, seed)
        except BaseException:  # an interrupted fit leaves the fitted model as it was
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _learn_targets(self, y: Any, n: int) -> tuple[Objective, int, np.ndarray]:
        """Check ``y``, note what it says about the task, and return the task, its outputs and the targets."""
        raise NotImplementedError

    def _read_targets(self, y: Any, n: int) -> np.ndarray:
        """Return the targets of a validation part, by what ``fit`` learned of ``y``."""
        raise NotImplementedError

    def _weights(self, targets: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Return how much each sequence counts; 1 on average."""
        if not sample_weight.any():
            raise ValueError("sample_weight is 0 for every sequence; let some of them count")
        return sample_weight / sample_weight.mean()

    def _check_arguments(self) -> None:
        """Refuse, by name, arguments that are wrong or do not fit each other."""
        sizes = list(self.word_sizes)
        if any(not isinstance(size, Integral) or not 1 <= int(size) <= LONGEST_WORD for size in sizes) or len(
            set(sizes)
        ) < len(sizes):
            raise ValueError(f"word_sizes must be different whole numbers from 1 to {LONGEST_WORD}, got {self.word_sizes!r}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a middle; got {self.kernel}")
        if self.init_from is not None:
            from titans_ts.estimators.dna_language_model import DNALanguageModel

            if not isinstance(self.init_from, DNALanguageModel):
                raise TypeError(f"init_from must be a fitted DNALanguageModel or None, got {type(self.init_from).__name__}")
            check_is_fitted(self.init_from, msg="init_from is a DNALanguageModel that was not fitted: call its fit first")
        self._check_callbacks()
        self._backbone_config()
        choose_device(self.device)

    def _split(
        self, known: Labelled, X_val: Any, y_val: Any, objective: Objective, seed: int
    ) -> tuple[Labelled, Labelled | None]:
        """Return what is trained on, and what chooses: given, or drawn from it."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: give both or neither")
        if X_val is not None:
            table = read_sequences(X_val, name="X_val")
            targets = self._read_targets(y_val, len(table))
            return known, Labelled(table.codes, targets, self._weights(targets, np.ones(len(table))))
        return self._drawn(known, objective, seed)

    def _drawn(self, known: Labelled, objective: Objective, seed: int) -> tuple[Labelled, Labelled | None]:
        """Hold a share out by chance, of every class alike where there are enough of it, and never the last of one."""
        n = len(known.codes)
        held_out = int(n * self.validation_fraction)
        counts = np.array([n]) if objective == "numbers" else np.bincount(known.targets)
        if held_out < len(counts) or n < 3:
            return known, None
        if n - held_out < len(counts):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} leaves {n - held_out} of {n} sequences for training, fewer "
                f"than the {len(counts)} classes; make it smaller"
            )
        if objective == "numbers" or counts.min() >= 2:
            stratify = None if objective == "numbers" else known.targets
            training, validation = train_test_split(np.arange(n), test_size=held_out, random_state=seed, stratify=stratify)
            return known.part(np.sort(training)), known.part(np.sort(validation))
        order = np.random.default_rng(seed).permutation(n)
        first = np.unique(known.targets[order], return_index=True)[1]  # one of each class stays
        validation = np.sort(np.delete(order, first)[:held_out])
        return known.part(np.setdiff1d(np.arange(n), validation)), known.part(validation)

    def _fit_network(
        self, training: Labelled, validation: Labelled | None, objective: Objective, outputs: int, seed: int
    ) -> None:
        strands = self.reverse_complement
        linear = fit_linear_path(training, validation, objective, sizes=self.word_sizes, symmetric=strands is not None)
        config = SequenceConfig(
            outputs=outputs,
            word_sizes=tuple(map(int, self.word_sizes)),
            kernel=int(self.kernel),
            patch_length=int(self.patch_length),
            both_strands=strands == "equivariant",
            words_of_both=linear.words_of_both,
            places=linear.places,
            language=None if self.init_from is None else self.init_from.network_.config,
            backbone=self._backbone_config(),
        )
        network = self._start(config, seed).to(choose_device(self.device))
        parts = [training] if validation is None else [training, validation]
        linear.model.install(network)
        examples = [Examples(part.codes, _tensor(part.targets), _tensor(part.weights)) for part in parts]
        run = SupervisedTraining(
            network,
            examples[0],
            examples[1] if validation is not None else None,
            objective,
            self._supervised_config(seed),
            augment=strands in ("augment", "average"),
            average=self._averages,
            callbacks=tuple(self.callbacks or ()),
            verbose=int(self.verbose),
        )
        run.run()
        self.network_, self.memory_gain_ = network.eval(), run.gain
        self.training_history_ = [vars(report) for report in run.history]

    def _start(self, config: SequenceConfig, seed: int) -> SequenceNetwork:
        """Return a network to train: fresh, read along by a language model, or going on; its linear path is still silent."""
        if self._goes_on:
            fitted = self.network_.config  # the linear path is fitted anew, and may see something else
            self._require_same(replace(fitted, words_of_both=config.words_of_both, places=config.places), config)
        with seeded(seed, torch.device("cpu")):
            network = SequenceNetwork(config).to(number_type(self.precision))
        source = self.network_.stem if self._goes_on else None
        if self._goes_on:
            linear = ("words.", "places.", "share", "balance")
            kept = {name: x for name, x in self.network_.state_dict().items() if not name.startswith(linear)}
            network.load_state_dict(kept, strict=False)
        if isinstance(network.stem, LanguageStem):
            language = source.language if isinstance(source, LanguageStem) else self.init_from.network_
            network.stem.language.load_state_dict(language.state_dict())
            network.stem.language.direct.set_tables(language.direct.tables())
        return network

    def _supervised_config(self, seed: int) -> SupervisedConfig:
        return SupervisedConfig(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=self.patience,
            caution=float(self.caution),
            precision=self.precision,
            seed=seed,
        )

    @property
    def _averages(self) -> bool:
        return self.reverse_complement == "average"

    def _answers(self, X: Any, *, by: Path = "both") -> NDArray[np.float64]:
        """Return what the network says of each sequence of a container, ``(n, outputs)``."""
        check_is_fitted(self)
        return self._answers_to(read_sequences(X).codes, by=by)

    def _answers_to(self, codes: list[Codes], *, by: Path = "both") -> NDArray[np.float64]:
        found = answer_all(self.network_, codes, average=self._averages, by=by)
        return self._on_scale(found.double().cpu().numpy())

    def _on_scale(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return answers on the scale that a user knows."""
        return answers

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        gain = None if self.memory_gain_ is None else asdict(self.memory_gain_)
        tensors = persistence.network_tensors(self.network_)
        if isinstance(self.network_.stem, LanguageStem):
            tensors |= {f"contexts.{name}": x for name, x in self.network_.stem.language.direct.tables().items()}
        return tensors, {
            "network": self.network_.config.to_dict(),
            "history": self.training_history_,
            "memory_gain": gain,
            "targets": self._kept_targets(),
        }

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        network = SequenceNetwork(SequenceConfig.from_dict(header["network"]))
        if isinstance(network.stem, LanguageStem):
            network.stem.language.direct.set_tables(persistence.under("contexts.", tensors))
        self.network_ = persistence.restore_network(network, tensors, self.precision, device)
        self.training_history_ = header["history"]
        gain = header["memory_gain"]
        self.memory_gain_ = None if gain is None else MemoryGain(**gain)
        self._restore_targets(header["targets"])

    def _kept_targets(self) -> dict[str, Any]:
        """Return what ``fit`` learned of ``y``, as plain values."""
        raise NotImplementedError

    def _restore_targets(self, kept: dict[str, Any]) -> None:
        """Put it back."""
        raise NotImplementedError

    def __sklearn_clone__(self) -> Self:
        copied = super().__sklearn_clone__()
        copied.init_from = self.init_from  # scikit-learn would hand over an unfitted copy of it
        return copied

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).long() if x.dtype.kind in "iu" else torch.from_numpy(x).to(torch.get_default_dtype())
