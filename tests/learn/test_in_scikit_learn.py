"""P9: all eight estimators in scikit-learn's pipelines, searches, cross-validation and routing, held to fits by hand.

What scikit-learn itself checks is in ``test_scikit_learn_checks.py``, its callbacks are in ``test_callbacks.py``.
"""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from learn.every_case import CLASSIFIERS, EVERY, REGRESSORS, SUPERVISED, changed, some
from sklearn.base import clone, is_classifier, is_outlier_detector, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring, log_loss, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from windows.estimator_cases import LABELS, NUMBERS, TABLE, close, rhythms
from windows.estimator_cases import SUPERVISED as WINDOWS

from titans_ts import DNALanguageModel, TitansClassifier, TitansEmbedder, TitansForecaster, TitansRegressor
from titans_ts.frames.splits import PanelTimeSeriesSplit


@pytest.fixture(params=EVERY)
def name(request):
    return request.param


# --- What each says of itself ----------------------------------------------------------------------------------------

KIND_OF_ANSWER = {
    **dict.fromkeys(CLASSIFIERS, "classifier"),
    **dict.fromkeys(REGRESSORS, "regressor"),
    "TitansAnomalyDetector": "outlier_detector",
}
WINDOWED = ("TitansClassifier", "TitansRegressor", "TitansEmbedder", "TitansAnomalyDetector")


def test_tags_say_what_it_is_and_what_it_reads(name):
    model = EVERY[name].model
    tags, kind = model.__sklearn_tags__(), KIND_OF_ANSWER.get(name)
    assert tags.estimator_type == kind
    said = [is_classifier(model), is_regressor(model), is_outlier_detector(model)]
    assert said == [kind == which for which in ("classifier", "regressor", "outlier_detector")]
    assert tags.target_tags.required == (name in SUPERVISED)
    assert tags.target_tags.multi_output == (name in REGRESSORS)
    assert (tags.classifier_tags is not None) == (name in CLASSIFIERS)
    assert (tags.transformer_tags is not None) == (name in ("TitansEmbedder", "DNALanguageModel"))
    reads = tags.input_tags
    assert reads.string == name.startswith("DNA")
    assert reads.two_d_array != reads.string
    assert reads.three_d_array == (name in WINDOWED)
    assert reads.allow_nan == (not reads.string)


METHODS = {
    "TitansForecaster": ["score", "predict", "update", "forget", "surprise", "backtest"],
    "TitansClassifier": ["predict", "predict_proba", "decision_function", "score"],
    "TitansRegressor": ["predict", "score"],
    "TitansEmbedder": ["transform", "get_feature_names_out"],
    "TitansAnomalyDetector": [
        "score_samples", "score_steps", "decision_function", "predict", "predict_steps",
    ],
    "DNAClassifier": ["predict", "predict_proba", "decision_function", "score", "mutagenesis", "attribute", "as_module"],
    "DNARegressor": ["predict", "score", "mutagenesis", "attribute", "as_module"],
    "DNALanguageModel": [
        "score_samples", "score", "bits_per_base", "log_likelihood", "transform", "sample", "update", "forget",
        "get_feature_names_out",
    ],
}  # fmt: skip
ASKED_WITHOUT_DATA = ("forget", "get_feature_names_out", "sample", "as_module")


def test_nothing_is_answered_before_fit(name, tmp_path):
    case = EVERY[name]
    model = case.make()
    assert not model.__sklearn_is_fitted__()
    for method in METHODS[name]:
        asked = () if method in ASKED_WITHOUT_DATA else (case.X, case.y) if method == "score" else (case.X,)
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(model, method)(*asked)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model.save(tmp_path / "never.titans")
    assert not any(tmp_path.iterdir())
    assert case.learn(model).__sklearn_is_fitted__()
    assert not clone(model).__sklearn_is_fitted__()


def test_a_clone_learns_the_same_and_a_pickle_answers_the_same(name):
    case = EVERY[name]
    model = case.fitted()
    copied = clone(model)
    assert repr(copied.get_params()) == repr(model.get_params())
    np.testing.assert_array_equal(case.ask(case.learn(copied)), case.ask(model))
    sent = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(case.ask(sent), case.ask(model))
    assert case.ask(model).std() > 0
    if hasattr(model, "update"):  # the memory is sent along
        assert model.n_seen_ == sent.n_seen_
        np.testing.assert_array_equal(going_on(name, sent), going_on(name, model))
    with_warm_start = sent.set_params(warm_start=True)
    assert case.ask(case.learn(with_warm_start)).shape == case.ask(model).shape, "and can be trained on"


def going_on(name, model):
    """Let a memory read on, and return what it then says."""
    if name == "TitansForecaster":
        return model.update(EVERY[name].others[:7]).predict()
    return model.update(["ACGTTGCA"]).update(["GGT"]).state_.total


# --- Pipelines -------------------------------------------------------------------------------------------------------


def test_it_is_the_last_step_of_a_pipeline(name):
    case = EVERY[name]
    pipeline = case.learn(Pipeline([("first", FunctionTransformer(changed)), ("titans", case.make())]))
    expected = case.make().fit(changed(case.X), case.y)
    np.testing.assert_array_equal(case.ask(pipeline), case.ask(expected, changed(case.others)))
    pipeline.set_params(titans__max_steps=1)
    assert pipeline["titans"].max_steps == 1
    if name in SUPERVISED:
        assert pipeline.score(case.X, case.y) == expected.score(changed(case.X), case.y)


@pytest.mark.parametrize("name", ["TitansEmbedder", "DNALanguageModel"])
def test_what_it_embeds_is_read_by_any_head(name):
    case = EVERY[name]
    y = np.arange(len(case.X)) % 2
    pipeline = make_pipeline(case.make(), LogisticRegression()).fit(case.X, y)
    embedded = case.fitted().transform(case.X)
    expected = LogisticRegression().fit(embedded, y).predict_proba(embedded)
    np.testing.assert_array_equal(pipeline.predict_proba(case.X), expected)
    names = pipeline[:-1].get_feature_names_out().tolist()
    assert names == [f"{name.lower()}{i}" for i in range(embedded.shape[1])]


@pytest.mark.parametrize("name", ["TitansEmbedder", "DNALanguageModel"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_an_embedding_comes_as_the_frame_that_is_asked_for(library, name):
    case = EVERY[name]
    expected = case.fitted().transform(case.others)
    model = case.fitted().set_output(transform=library)
    found = model.transform(case.others)
    assert type(found) is {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]
    assert list(found.columns) == model.get_feature_names_out().tolist()
    np.testing.assert_array_equal(found.to_numpy(), expected)
    assert type(clone(model).fit_transform(case.X)) is type(found)
    assert isinstance(model.set_output(transform="default").transform(case.others), np.ndarray)
    if name == "TitansEmbedder":
        ragged = [row[: 20 - i, None] for i, row in enumerate(case.others)]
        framed = model.set_output(transform=library).transform(ragged)
        np.testing.assert_array_equal(framed.to_numpy(), case.fitted().transform(ragged))
    if library == "pandas" and name == "TitansEmbedder":
        frame = pd.DataFrame(case.X, index=range(100, 140), columns=[f"t{i}" for i in range(24)])
        assert clone(model).set_output(transform=library).fit_transform(frame).index.equals(frame.index)


# --- Searches and cross-validation -----------------------------------------------------------------------------------


def mean_answer(model, X, y=None):
    """Score what has no score of its own."""
    return float(np.mean(EVERY[type(model).__name__].ask(model, X)))


SCORING = {
    "TitansEmbedder": mean_answer,
    "TitansAnomalyDetector": mean_answer,
    **dict.fromkeys(CLASSIFIERS, "neg_log_loss"),
}


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.slow)])  # two processes start for long
def test_a_search_finds_what_is_found_by_hand(name, jobs):
    case, scoring = EVERY[name], SCORING.get(name)
    grid = {"random_state": [0, 1]}
    splitter = TimeSeriesSplit(2, test_size=10) if name == "TitansForecaster" else KFold(2, shuffle=True, random_state=0)
    folds = list(splitter.split(case.X))
    search = case.learn(GridSearchCV(case.make(), grid, cv=folds, n_jobs=jobs, scoring=scoring, error_score="raise"))
    score, expected = check_scoring(case.model, scoring), np.zeros((2, 2))
    for k, (train, test) in enumerate(folds):
        y, y_test = (None, None) if case.y is None else (case.y[train], case.y[test])
        for seed in grid["random_state"]:
            expected[seed, k] = score(case.make(random_state=seed).fit(some(case.X, train), y), some(case.X, test), y_test)
    found = np.array([search.cv_results_[f"split{k}_test_score"] for k in range(2)]).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(expected[0])) == len(set(expected[1])) == 2
    if name != "TitansRegressor":  # whose linear path takes nothing from chance where values tell most
        assert (expected[0] != expected[1]).any()
    assert search.best_params_ == {"random_state": int(found.mean(1).argmax())}
    np.testing.assert_allclose(case.ask(search.best_estimator_), case.ask(case.fitted(**search.best_params_)), rtol=1e-6)
    scores = cross_val_score(case.make(), case.X, case.y, cv=folds, scoring=scoring)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-6)


CONTAINERS = {
    "a block": TABLE[:, None, :],
    "a list": [row[: 24 - i % 5, None] for i, row in enumerate(TABLE)],
    "a list of channels": [np.stack([row, row**2], axis=1)[i % 3 :] for i, row in enumerate(TABLE)],
    "a frame": pd.DataFrame(TABLE).add_prefix("t"),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["TitansClassifier", "TitansRegressor"])
def test_windows_in_any_container_are_cross_validated(name, container):
    case, X = EVERY[name], CONTAINERS[container]
    first, last = np.arange(20), np.arange(20, 40)
    found = cross_val_predict(case.make(), X, case.y, cv=[(first, last), (last, first)])
    expected = case.make().fit(X[:20], case.y[:20]).predict(X[20:])
    np.testing.assert_array_equal(found[20:], expected)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_transformed_target_is_learned_and_turned_back(name):
    case = EVERY[name]
    y = np.exp(3 * (case.y - case.y.mean()) / case.y.std())
    model = TransformedTargetRegressor(case.make(), func=np.log, inverse_func=np.exp).fit(case.X, y)
    expected = np.exp(case.make().fit(case.X, np.log(y)).predict(case.others))
    np.testing.assert_allclose(model.predict(case.others), expected, rtol=1e-12)
    assert not np.allclose(expected, case.make().fit(case.X, y).predict(case.others), rtol=0.1)


# --- Metadata --------------------------------------------------------------------------------------------------------

WEIGHTS = np.linspace(0.2, 3, 40)


@pytest.mark.parametrize("name", SUPERVISED)
def test_weights_find_their_way_to_fit_and_score(name):
    case = EVERY[name]
    expected = case.ask(case.make().fit(case.X, case.y, WEIGHTS))
    assert not np.allclose(expected, case.ask(case.fitted()), rtol=1e-3), "they count"

    def piped(model):
        return Pipeline([("same", FunctionTransformer()), ("titans", model)])

    plain = piped(case.make()).fit(case.X, case.y, titans__sample_weight=WEIGHTS)
    np.testing.assert_array_equal(case.ask(plain), expected)
    folds = list(KFold(2).split(case.X))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = case.make().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        np.testing.assert_array_equal(case.ask(piped(routed).fit(case.X, case.y, sample_weight=WEIGHTS)), expected)
        search = GridSearchCV(piped(routed), {"titans__kernel": [5]}, cv=folds, error_score="raise")
        search.fit(case.X, case.y, sample_weight=WEIGHTS)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            piped(case.make()).fit(case.X, case.y, sample_weight=WEIGHTS)
    for k, (train, test) in enumerate(folds):
        model = case.make().fit(some(case.X, train), case.y[train], WEIGHTS[train])
        score = model.score(some(case.X, test), case.y[test], WEIGHTS[test])
        np.testing.assert_allclose(search.cv_results_[f"split{k}_test_score"], score)
    np.testing.assert_array_equal(case.ask(search), expected)


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_validation_part_finds_its_way_through_a_pipeline(name):
    """The steps before change it as they change X."""
    case = EVERY[name]
    case = replace(case, model=case.make(caution=0.0))
    X, X_val, y, y_val = some(case.X, range(30)), some(case.X, range(30, 40)), case.y[:30], case.y[:29:-1]
    expected = case.ask(case.make().fit(changed(X), y, X_val=changed(X_val), y_val=y_val), changed(case.others))
    assert not np.array_equal(expected, case.ask(case.make().fit(changed(X), y), changed(case.others))), "it counts"
    steps = [("first", FunctionTransformer(changed))]
    by_hand = Pipeline([*steps, ("titans", case.make())])
    by_hand.fit(X, y, titans__X_val=changed(X_val), titans__y_val=y_val)
    np.testing.assert_array_equal(case.ask(by_hand), expected)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = case.make().set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([*steps, ("titans", routed)], transform_input=["X_val"])
        np.testing.assert_array_equal(case.ask(pipeline.fit(X, y, X_val=X_val, y_val=y_val)), expected)


@pytest.mark.parametrize("name", ["TitansRegressor", "DNARegressor"])
def test_groups_and_times_find_their_way_to_a_split_in_time(name):
    case, splitter = EVERY[name], PanelTimeSeriesSplit(2, test_size=5)
    groups, times = np.repeat(["a", "b"], 20), np.tile(np.arange(20), 2)

    expected = []
    for first in (10, 15):
        train, test = np.flatnonzero(times < first), np.flatnonzero((times >= first) & (times < first + 5))
        model = case.make().fit(some(case.X, train), case.y[train])
        expected.append(model.score(some(case.X, test), case.y[test]))
    assert len(set(expected)) == 2
    found = cross_validate(case.make(), case.X, case.y, groups=groups, cv=splitter, error_score="raise")
    np.testing.assert_allclose(found["test_score"], expected)
    shuffled = np.random.default_rng(0).permutation(40)
    X, y, params = some(case.X, shuffled), case.y[shuffled], {"groups": groups[shuffled], "times": times[shuffled]}
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(case.make(), X, y, params=params, cv=splitter, error_score="raise")
        search = GridSearchCV(case.make(), {"kernel": [5]}, cv=splitter).fit(X, y, **params)
    np.testing.assert_allclose(found["test_score"], expected)
    np.testing.assert_allclose(search.best_score_, np.mean(expected))


# --- Going on learning -----------------------------------------------------------------------------------------------

LEARN = {**WINDOWS, "learning_rate": 1e-2, "dropout": 0.0, "validation_fraction": 0}


def parts(X, y, size=20):
    return [(X[first : first + size], y[first : first + size]) for first in range(0, len(X), size)]


def test_a_classifier_learns_part_by_part_all_classes_named_first():
    (X, y), (asked, truth) = rhythms(100, seed=11), rhythms(60, seed=12)
    model, losses = TitansClassifier(**LEARN), []
    for _ in range(6):
        for some_X, some_y in parts(X, y):
            model.partial_fit(some_X, some_y, classes=[0, 1])
            losses.append(log_loss(truth, model.predict_proba(asked)))
    assert model.classes_.tolist() == [0, 1]
    assert losses[-1] < 0.75 * losses[0], losses
    assert model.score(asked, truth) > 0.8
    assert (model.memory_gain_, model.training_history_) == (None, [])


def test_a_class_may_come_later_if_it_was_named():
    X, y = rhythms(120, periods=(6.0, 9.0, 4.0), seed=13)
    labels = np.array(["slow", "slower", "fast"])[y]
    model = TitansClassifier(**LEARN).partial_fit(X[y == 0], labels[y == 0], classes=["slow", "fast", "slower"])
    assert model.classes_.tolist() == ["fast", "slow", "slower"]
    assert set(model.predict(X)) == {"slow"}, "all that it has seen"
    for _ in range(5):
        for some_X, some_y in parts(X[:90], labels[:90], 30):
            model.partial_fit(some_X, some_y)
    close(model.predict_proba(X).sum(1), np.ones(120))
    assert model.score(X[90:], labels[90:]) > 0.75
    assert set(model.predict(X[90:])) == {"fast", "slow", "slower"}
    unnamed = TitansClassifier(**LEARN).partial_fit(X[:30], labels[:30])
    assert unnamed.classes_.tolist() == ["fast", "slow", "slower"], "without names, those of the first part"


def test_a_regressor_learns_part_by_part_on_the_scale_of_the_first():
    X = np.random.default_rng(14).normal(size=(100, 24))
    y = 1000 + 50 * np.stack([X[:, 5:9].mean(1), X[:, -1]], axis=1)
    asked, truth = X[80:], y[80:]
    model, scores = TitansRegressor(**LEARN), []
    for _ in range(6):
        for some_X, some_y in parts(X[:80], y[:80]):
            model.partial_fit(some_X, some_y)
            scores.append(r2_score(truth, model.predict(asked)))
    close(model.target_level_, y[:20].mean(0))
    assert model.predict(asked).shape == (20, 2)
    assert scores[-1] > scores[0] + 0.1, scores
    assert scores[-1] > 0.3


@pytest.mark.parametrize("name", ["TitansClassifier", "TitansRegressor"])
def test_a_part_is_learned_from_after_fit_too_by_its_weights_and_not_if_it_fails(name):
    case = EVERY[name]
    fitted = case.fitted()
    before = case.ask(fitted)
    fitted.partial_fit(TABLE[:10], case.y[:10])
    assert not np.array_equal(case.ask(fitted), before)
    weights = np.where(np.arange(40) < 30, 1.0, 0.0)
    without = case.fitted().partial_fit(TABLE[:30], case.y[:30])
    weighted = case.fitted().partial_fit(TABLE, case.y, sample_weight=weights)
    np.testing.assert_array_equal(case.ask(weighted), case.ask(without))
    answer, known = case.ask(fitted), dict(vars(fitted))
    for X, y in ((TABLE[:, :5], case.y), (TABLE, case.y[:5]), (np.where(TABLE > 5, np.inf, TABLE), case.y)):
        with pytest.raises(ValueError, match="X|y"):
            fitted.partial_fit(X, y)
    assert vars(fitted) == known
    np.testing.assert_array_equal(case.ask(fitted), answer)


def test_classes_cannot_change_between_parts():
    with pytest.raises(ValueError, match="two or more classes, got .'fast'.; name all of them in classes"):
        TitansClassifier(**LEARN).partial_fit(TABLE[:4], np.repeat("fast", 4))
    model = TitansClassifier(**LEARN).partial_fit(TABLE, LABELS)
    with pytest.raises(ValueError, match="classes=.* is not the same as on last call to partial_fit: .'fast', 'slow'."):
        model.partial_fit(TABLE, LABELS, classes=["fast", "slow", "still"])
    with pytest.raises(ValueError, match="y holds 'still', which is none of the classes 'fast', 'slow'"):
        model.partial_fit(TABLE, np.where(LABELS == "fast", "still", LABELS))
    with pytest.raises(ValueError, match="y has 39 labels for 40 sequences|y has 39"):
        model.partial_fit(TABLE, LABELS[:-1])
    with pytest.raises(TypeError, match="classes"):
        TitansRegressor(**LEARN).partial_fit(TABLE, NUMBERS, classes=[1.0])
    for other in (TitansForecaster, TitansEmbedder, DNALanguageModel):
        assert not hasattr(other, "partial_fit")


def test_a_warm_start_of_the_forecaster_goes_on_from_the_fitted_memory():
    case = EVERY["TitansForecaster"]

    def watch(_run, _report):
        """Look on."""

    model = case.fitted(warm_start=True, callbacks=[watch])

    def memory(of):
        return {name: x.clone() for name, x in of.network_.backbone.state_dict().items()}

    before = memory(model)
    case.learn(model.set_params(max_steps=0))
    after = memory(model)
    assert all((after[name] == before[name]).all() for name in before)
    cold = memory(case.learn(model.set_params(warm_start=False)))
    assert any((cold[name] != before[name]).any() for name in before)
    with pytest.raises(ValueError, match="warm_start=True goes on from the fitted network, but arguments or data have"):
        case.learn(model.set_params(warm_start=True, horizon=7))
    assert model.callbacks == [watch]


# --- How it is shown -------------------------------------------------------------------------------------------------

FRAMES = {
    "alone": lambda model: model,
    "in a pipeline": lambda model: make_pipeline(FunctionTransformer(), model),
    "in a search": lambda model: GridSearchCV(model, {"max_steps": [1]}),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_it_is_shown_with_its_parameters_and_a_link_to_its_documentation(frame, name):
    model = EVERY[name].make(max_steps=123)
    link = model._get_doc_link()
    assert link.startswith("https://")
    assert "{" not in link
    shown = FRAMES[frame](model)._repr_html_()
    assert f'href="{link}' in shown
    assert f"Documentation for {name}" in shown
    for argument in model.get_params():
        assert argument in shown
    assert "123" in shown
