"""A classifier and a regressor that start from a fitted language model."""

import copy
import pickle

import numpy as np
import pytest
import torch
from dna.estimator_cases import (
    LABELS,
    OTHERS,
    SEQUENCES,
    SMALL,
    classifier,
    close,
    language_model,
    regressor,
    same_weights,
    turned,
    weights,
)
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from titans_ts import DNAClassifier, DNALanguageModel, load

LANGUAGE_MODELS = {"causal": {}, "masked": {"objective": "masked"}, "memory alone": {"context_orders": ()}}


@pytest.fixture(scope="module")
def source():
    return language_model()


@pytest.fixture(scope="module")
def started(source):
    return classifier(init_from=source)


def language_of(model):
    """Return the weights and the counts of the language model that lies in a classifier."""
    language = model.network_.stem.language
    return {**language.state_dict(), **language.direct.tables()}


def everything_of(source):
    return {**weights(source), **source.network_.direct.tables()}


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_it_begins_with_what_the_language_model_learned(kind):
    source = language_model(**LANGUAGE_MODELS[kind])
    before = copy.deepcopy(everything_of(source))
    begun = DNAClassifier(**{**SMALL, "max_steps": 0}, init_from=source).fit(SEQUENCES, LABELS)
    assert same_weights(language_of(begun), before)
    trained = classifier(init_from=source)
    assert not torch.equal(language_of(trained)["embedding.weight"], before["embedding.weight"])
    assert same_weights(everything_of(source), before), "the language model stays as it was"
    assert np.ptp(trained.predict_proba(OTHERS, by="memory")[:, 1]) > 0.01


def test_what_the_language_model_learned_counts(started):
    other = classifier(init_from=language_model(random_state=7))
    assert not np.allclose(other.predict_proba(OTHERS), started.predict_proba(OTHERS), atol=1e-4)
    close(other.predict_proba(OTHERS, by="linear"), started.predict_proba(OTHERS, by="linear"))


def test_nothing_else_in_the_batch_counts(started):
    together = started.predict_proba(OTHERS)
    close(np.concatenate([started.predict_proba([one]) for one in OTHERS]), together)
    for i, one in enumerate(OTHERS):
        close(started.predict_proba([one, "ACGT" * 60])[0], together[i])


@pytest.mark.parametrize("strands", ["average", "equivariant"])
def test_a_sequence_and_its_reverse_complement_get_the_same_probabilities(strands, source):
    model = classifier(init_from=source, reverse_complement=strands)
    for by in ("both", "linear", "memory"):
        close(model.predict_proba(turned(OTHERS), by=by), model.predict_proba(OTHERS, by=by))


def test_a_regressor_starts_from_one_too(source):
    model = regressor(init_from=source)
    assert np.isfinite(model.predict(OTHERS)).all()
    assert not np.allclose(model.predict(OTHERS), regressor().predict(OTHERS))
    close(model.predict([OTHERS[3]]), model.predict(OTHERS)[3:4], 1e-5)


def test_saved_and_pickled_it_needs_the_language_model_no_more(started, tmp_path):
    started.save(tmp_path / "a.titans")
    for again in (load(tmp_path / "a.titans"), pickle.loads(pickle.dumps(started))):
        np.testing.assert_array_equal(again.predict_proba(OTHERS), started.predict_proba(OTHERS))
        assert same_weights(language_of(again), language_of(started))


def test_it_goes_on_with_the_language_model_that_it_has(source):
    model = DNAClassifier(**SMALL, init_from=source, warm_start=True).fit(SEQUENCES, LABELS)
    fitted = copy.deepcopy(language_of(model))
    model.set_params(max_steps=0).fit(SEQUENCES, LABELS)
    assert same_weights(language_of(model), fitted)


def test_clones_share_it_and_a_grid_may_ask_whether_it_helps(source):
    model = DNAClassifier(**SMALL, init_from=source)
    assert clone(model).init_from is source
    grid = {"init_from": [None, FrozenEstimator(source)]}
    found = GridSearchCV(DNAClassifier(**SMALL), grid, cv=2, refit=False, error_score="raise").fit(SEQUENCES, LABELS)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    with pytest.raises(NotFittedError, match=r"call its fit first; .*FrozenEstimator\(model\)"):
        GridSearchCV(model, {"init_from": [source]}, cv=2, error_score="raise").fit(SEQUENCES, LABELS)


def test_frozen_it_is_the_same(source, started, tmp_path):
    model = classifier(init_from=FrozenEstimator(source))
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        np.testing.assert_array_equal(one.predict_proba(OTHERS), started.predict_proba(OTHERS))


def test_mutations_and_gradients_go_through_it(started):
    table = started.mutagenesis(OTHERS[0])
    assert len(table) == 3 * len(OTHERS[0])
    assert table["effect"].abs().max() > 0
    (attributed,) = started.attribute([OTHERS[0]])
    assert attributed.shape == (len(OTHERS[0]), 4)
    assert np.abs(attributed).max() > 0


def test_what_is_no_fitted_language_model_is_refused_before_any_work():
    def reached(_run, _report):
        raise AssertionError("training began")

    for wrong, error, says in (
        (DNAClassifier(), TypeError, "init_from must be a fitted DNALanguageModel or None, got DNAClassifier"),
        ("model.titans", TypeError, "init_from must be a fitted DNALanguageModel or None, got str"),
        (DNALanguageModel(), ValueError, "init_from is a DNALanguageModel that was not fitted: call its fit first"),
    ):
        with pytest.raises(error, match=says):
            DNAClassifier(**SMALL, init_from=wrong, callbacks=[reached]).fit(SEQUENCES, LABELS)
