"""P9: DNA as scikit-learn's tools hand it on: lists and columns of text, in cross-validation, searches and bags."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from dna.estimator_cases import LABELS, NUMBERS, OTHERS, SEQUENCES, SMALL
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from titans_ts import DNAClassifier, DNARegressor

KINDS = {"classifier": (DNAClassifier(**SMALL), LABELS), "regressor": (DNARegressor(**SMALL), NUMBERS)}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_letters_are_put_in_order_by_a_step_before_it(kind):
    model, y = kind
    upper = FunctionTransformer(lambda X: [text.strip("-").upper() for text in X])
    pipeline = make_pipeline(upper, clone(model)).fit([f"--{text.lower()}-" for text in SEQUENCES], y)
    np.testing.assert_array_equal(pipeline.predict(OTHERS), clone(model).fit(SEQUENCES, y).predict(OTHERS))


@pytest.mark.parametrize("as_column", [list, pd.Series, pl.Series])
def test_it_is_cross_validated(as_column, kind):
    model, y = kind
    scores = cross_val_score(model, as_column(SEQUENCES), y, cv=2, n_jobs=1, error_score="raise")
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 2


def test_what_is_predicted_of_a_fold_was_learned_from_the_others(kind):
    model, y = kind
    first, last = np.arange(20), np.arange(20, 40)
    found = cross_val_predict(model, SEQUENCES, y, cv=[(first, last), (last, first)], n_jobs=1)
    np.testing.assert_array_equal(found[20:], clone(model).fit(SEQUENCES[:20], y[:20]).predict(SEQUENCES[20:]))


@pytest.mark.parametrize("as_column", [list, pl.Series])
def test_it_is_searched(as_column, kind):
    model, y = kind
    X = as_column(SEQUENCES)
    search = GridSearchCV(model, {"layers": [0, 1]}, cv=2, n_jobs=1, error_score="raise").fit(X, y)
    expected = clone(model).set_params(**search.best_params_).fit(SEQUENCES, y)
    np.testing.assert_array_equal(search.predict(X), expected.predict(SEQUENCES))


def test_it_is_bagged():
    X = np.array(SEQUENCES)[:, None]  # scikit-learn's ensembles want two axes
    bagged = BaggingClassifier(DNAClassifier(**SMALL), n_estimators=2, random_state=0).fit(X, LABELS)
    assert np.isfinite(bagged.predict_proba(X)).all()
