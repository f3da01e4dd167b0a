"""One of each of the eight estimators, small, with something to learn from and something to be asked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from dna import estimator_cases as dna_cases
from series import estimator_cases as cases
from sklearn.base import BaseEstimator, clone
from windows import estimator_cases as window_cases

from titans_ts import (
    DNAClassifier,
    DNALanguageModel,
    DNARegressor,
    TitansAnomalyDetector,
    TitansClassifier,
    TitansEmbedder,
    TitansForecaster,
    TitansRegressor,
)


@dataclass(frozen=True)
class Case:
    """An estimator that is not fitted, what it learns from, and what it is asked about, by which method."""

    model: BaseEstimator
    X: Any
    y: Any
    others: Any
    question: str

    def make(self, **arguments):
        return clone(self.model).set_params(**arguments)

    def learn(self, model):
        return model.fit(self.X, self.y)

    def fitted(self, **arguments):
        return self.learn(self.make(**arguments))

    def ask(self, model, others=None):
        return np.asarray(getattr(model, self.question)(self.others if others is None else others))


# Without a validation part the memory's word counts in full for series and for a half about DNA: faults of it cannot hide.
FORECASTER = {
    **cases.SMALL, "layers": 1, "lookback": 24, "patch_length": 2, "validation_fraction": 0, "max_steps": 3,
    "random_state": 0,
}  # fmt: skip
WINDOWS = {**window_cases.SUPERVISED, "validation_fraction": 0}
DNA = {**dna_cases.SMALL, "validation_fraction": 0}
TABLE, LABELS, OTHER_WINDOWS = window_cases.TABLE, window_cases.LABELS, window_cases.rhythms(6, seed=5)[0]
NUMBERS = 20 + 3 * np.abs(TABLE - 5).max(1)  # no linear model tells it without an error
SEQUENCES, OTHER_SEQUENCES = dna_cases.SEQUENCES, dna_cases.OTHERS

EVERY = {
    "TitansForecaster": Case(TitansForecaster(**FORECASTER), cases.wave(160), None, cases.wave(70, seed=9), "predict"),
    "TitansClassifier": Case(TitansClassifier(**WINDOWS), TABLE, LABELS, OTHER_WINDOWS, "predict_proba"),
    "TitansRegressor": Case(TitansRegressor(**WINDOWS), TABLE, NUMBERS, OTHER_WINDOWS, "predict"),
    "TitansEmbedder": Case(TitansEmbedder(**window_cases.FORETOLD), TABLE, None, OTHER_WINDOWS, "transform"),
    "TitansAnomalyDetector": Case(
        TitansAnomalyDetector(**window_cases.FORETOLD), TABLE, None, OTHER_WINDOWS, "score_samples"
    ),
    "DNAClassifier": Case(DNAClassifier(**DNA), SEQUENCES, dna_cases.LABELS, OTHER_SEQUENCES, "predict_proba"),
    "DNARegressor": Case(DNARegressor(**DNA), SEQUENCES, dna_cases.NUMBERS, OTHER_SEQUENCES, "predict"),
    "DNALanguageModel": Case(
        DNALanguageModel(**dna_cases.LANGUAGE), SEQUENCES, None, ["ACGTTGCAACGT", *OTHER_SEQUENCES[3:]], "score_samples"
    ),
}
STEPS = {name: case.model.max_steps for name, case in EVERY.items()}
"""Training steps of each."""
SUPERVISED = ("TitansClassifier", "TitansRegressor", "DNAClassifier", "DNARegressor")
REGRESSORS = ("TitansRegressor", "DNARegressor")
CLASSIFIERS = ("TitansClassifier", "DNAClassifier")


def changed(X):
    """Return other data of the same kind: what a step of a pipeline might do."""
    return [text[::-1] for text in X] if isinstance(X, list) and isinstance(X[0], str) else 2.0 * np.asarray(X)


def some(X, places):
    """Return some items of a container."""
    return [X[i] for i in places] if isinstance(X, list) else X[places]
