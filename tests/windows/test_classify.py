"""Classifier and regressor of numeric sequences: answers of both paths, what counts, validation, and that they learn."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight
from windows.estimator_cases import CLASSES, LABELS, NUMBERS, OTHERS, SUPERVISED, TABLE, close, fitted, loosen, rhythms

from titans_ts import TitansClassifier, TitansRegressor, load
from titans_ts.backbones.variants import BASELINES
from titans_ts.windows import classify as module
from titans_ts.windows.linear import fit_kernel_path

THREE = np.array(["none", "quick", "slow"])


def of_three_periods(n=48, seed=4):
    X, which = rhythms(n, 24, (3.0, 6.0, 12.0), seed=seed)
    return X, THREE[which]


@pytest.fixture(scope="module")
def classifier():
    return fitted("classifier")


@pytest.fixture(scope="module")
def of_three():
    return fitted("classifier", *of_three_periods())


def classify(X=TABLE, y=LABELS, *more, fit=None, **arguments):
    return TitansClassifier(**{**SUPERVISED, **arguments}).fit(X, y, *more, **(fit or {}))


# --- classes: answers ------------------------------------------------------------------------------------------------


def test_two_classes_have_log_odds_of_the_second(classifier):
    scores, shares = classifier.decision_function(TABLE), classifier.predict_proba(TABLE)
    assert classifier.classes_.tolist() == ["fast", "slow"]
    close(shares[:, 1], 1 / (1 + np.exp(-scores)))
    close(shares.sum(1), 1)
    assert classifier.predict(TABLE).tolist() == np.where(scores > 0, "slow", "fast").tolist()
    assert len(set(classifier.predict(TABLE))) == 2


def test_several_classes_have_logits_and_the_likeliest_is_said(of_three):
    X, y = of_three_periods()
    scores, shares = of_three.decision_function(X), of_three.predict_proba(X)
    assert of_three.classes_.tolist() == ["none", "quick", "slow"]
    close(shares, np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
    assert of_three.predict(X).tolist() == of_three.classes_[shares.argmax(1)].tolist()
    assert np.mean(of_three.predict(X, by="linear") == y) > 0.9, "on what it has learned"


@pytest.mark.parametrize("which", ["classifier", "of_three"])
def test_both_paths_answer_alone_and_together_in_their_share(which, request):
    model = request.getfixturevalue(which)
    for question in (model.decision_function, model.predict_proba, model.predict):
        assert not np.array_equal(question(OTHERS, by="linear"), question(OTHERS, by="memory"))
    both, linear, memory = (model.decision_function(OTHERS, by=by) for by in ("both", "linear", "memory"))
    close(both, (linear + memory) / 2, 1e-6)
    np.testing.assert_array_equal(model.decision_function(OTHERS), both)
    with pytest.raises(ValueError, match="by='words' is not known; choose one of 'both', 'linear', 'memory'"):
        model.predict(OTHERS, by="words")


def test_without_layers_the_linear_answer():
    model = fitted("classifier", layers=0, max_steps=50)
    np.testing.assert_array_equal(model.decision_function(OTHERS), model.decision_function(OTHERS, by="linear"))
    assert model.memory_gain_ is None
    assert model.training_history_ == []
    assert model.score(TABLE, LABELS) > 0.9, "on what it has learned"


def test_a_memory_that_was_not_trained_has_no_say():
    model = classify(max_steps=0)
    np.testing.assert_array_equal(model.decision_function(OTHERS), model.decision_function(OTHERS, by="linear"))


@pytest.mark.parametrize("labels", [CLASSES, CLASSES == 1, CLASSES * 2.0, LABELS.astype(object)], ids=lambda x: str(x.dtype))
def test_labels_come_back_as_they_were_given(labels, tmp_path):
    model = classify(y=labels)
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        assert one.predict(TABLE).dtype == labels.dtype
        assert set(one.predict(TABLE).tolist()) == set(labels.tolist())


def test_labels_may_come_as_a_column(classifier):
    again = loosen(classify(y=pl.Series(LABELS)))
    np.testing.assert_array_equal(again.decision_function(TABLE), classifier.decision_function(TABLE))


# --- classes: what counts --------------------------------------------------------------------------------------------

RARE = np.where(np.arange(40) % 8 == 0, "rare", "common")


def test_balanced_classes_weigh_as_by_hand_and_bring_the_rare_one_forward():
    balanced, plain = classify(y=RARE, class_weight="balanced"), classify(y=RARE)
    by_hand = classify(TABLE, RARE, compute_sample_weight("balanced", RARE))
    by_dict = classify(y=RARE, class_weight={"rare": 4.0, "common": 4 / 7})
    for by in ("linear", "memory"):
        expected = balanced.predict_proba(TABLE, by=by)[:, 1]
        close(by_hand.predict_proba(TABLE, by=by)[:, 1], expected, 1e-6)
        close(by_dict.predict_proba(TABLE, by=by)[:, 1], expected, 1e-6)
        assert expected.mean() > plain.predict_proba(TABLE, by=by)[:, 1].mean()


def test_weights_count_in_both_paths_by_their_proportions():
    heavy = np.where(LABELS == "slow", 6.0, 2.0)
    plain, ones, once, thrice = (classify(TABLE, LABELS, weight) for weight in (None, np.full(40, 5.0), heavy, 3 * heavy))
    for by in ("linear", "memory"):
        found = [model.predict_proba(TABLE, by=by)[:, 1] for model in (plain, ones, once, thrice)]
        close(found[1], found[0], 1e-6)
        close(found[3], found[2], 1e-5)
        assert found[2].mean() > found[0].mean()


def test_what_weighs_nothing_is_as_if_it_were_not_there():
    weight = (np.arange(40) % 5 > 0).astype(float)
    y = np.where(weight > 0, LABELS, "never")
    with_zeros, without = classify(TABLE, y, weight), classify(TABLE[weight > 0], LABELS[weight > 0])
    assert with_zeros.classes_.tolist() == ["fast", "slow"]
    for by in ("linear", "memory"):
        np.testing.assert_array_equal(with_zeros.decision_function(OTHERS, by=by), without.decision_function(OTHERS, by=by))
    hostile = TABLE.copy()
    hostile[weight == 0] = 1e6
    np.testing.assert_array_equal(classify(hostile, y, weight).decision_function(OTHERS), without.decision_function(OTHERS))


def test_a_validation_part_is_used_as_given():
    valid, labels = rhythms(12, seed=8)[0], LABELS[:12]
    model = classify(fit={"X_val": valid, "y_val": labels})
    assert model.memory_gain_.blocks == 12
    wrong = classify(fit={"X_val": valid, "y_val": labels[::-1]})
    assert model.training_history_[-1]["validation"] != wrong.training_history_[-1]["validation"]
    in_a_list = classify(fit={"X_val": [row[:, None] for row in valid], "y_val": labels})
    assert in_a_list.memory_gain_ == model.memory_gain_
    linear = [one.decision_function(OTHERS, by="linear") for one in (model, classify(validation_fraction=0))]
    np.testing.assert_array_equal(*linear, err_msg="of the linear path it decides nothing")


def test_what_validation_supports_is_noted():
    drawn = classify(validation_fraction=0.25)
    assert drawn.memory_gain_.blocks == 10
    assert 0 <= drawn.memory_gain_.share <= 1
    assert drawn.network_.share.item() == pytest.approx(drawn.memory_gain_.share)
    assert [report["step"] for report in drawn.training_history_] == [2]


@pytest.mark.parametrize("given", [False, True])
def test_the_linear_path_learns_from_all_and_is_judged_by_what_it_said_of_each_before(given, monkeypatch):
    paths, runs = [], []

    def fitted_path(known, *more, **settings):
        paths.append((known, fit_kernel_path(known, *more, **settings)))
        return paths[-1][1]

    monkeypatch.setattr(module, "fit_kernel_path", fitted_path)
    fit = {"X_val": rhythms(12, seed=8)[0], "y_val": LABELS[:12]} if given else {}
    classify(fit=fit, validation_fraction=0.3, callbacks=[lambda run, _report: runs.append(run)])
    (known, path), run = paths[0], runs[0]
    assert len(known.items) == 40, "all that were to learn from, the spared ones too"
    if given:
        assert run.held_out is None, "asked, it has not seen them"
        return
    assert len(run.held_out) == len(run.validation.items) == 12
    for one, target, said in zip(run.validation.items, run.validation.targets, run.held_out, strict=True):
        (place,) = [i for i, other in enumerate(known.items) if np.array_equal(other, one)]
        assert known.targets[place] == target
        close(said, path.held_out[place], 1e-6)


def test_a_memory_that_nothing_vouches_for_has_no_say():
    model = classify(validation_fraction=0)
    assert model.memory_gain_ is None
    both, linear, memory = (model.decision_function(OTHERS, by=by) for by in ("both", "linear", "memory"))
    np.testing.assert_array_equal(both, linear)
    assert np.ptp(memory) > 1e-6, "though it has learned"


@pytest.mark.parametrize(("fraction", "blocks"), [(0.04, None), (0.05, 2), (0.5, 20)])
def test_of_a_validation_part_with_less_than_one_of_each_class_there_is_none(fraction, blocks):
    gain = classify(validation_fraction=fraction).memory_gain_
    assert (None if gain is None else gain.blocks) == blocks


COMPARED = [{"variant": name} for name in BASELINES] + [{"memory": "deltanet"}, {"memory": "ttt_mlp", "variant": "lmm"}]


@pytest.mark.parametrize("arguments", COMPARED, ids=str)
def test_what_the_memory_is_compared_with_learns_in_its_place(arguments, classifier, tmp_path):
    other = fitted("classifier", max_steps=4, **arguments)
    found = other.decision_function(OTHERS, by="memory")
    assert np.isfinite(found).all()
    assert np.ptp(found) > 1e-3
    np.testing.assert_array_equal(
        other.decision_function(TABLE, by="linear"), classifier.decision_function(TABLE, by="linear")
    )
    other.save(tmp_path / "a.titans")
    np.testing.assert_array_equal(load(tmp_path / "a.titans").decision_function(OTHERS), other.decision_function(OTHERS))


# --- classes: learning -----------------------------------------------------------------------------------------------


def test_it_learns_rhythms_that_begin_anywhere_which_no_linear_model_of_values_tells():
    (X, y), (fresh_X, fresh_y) = rhythms(80, 40, noise=0.5, seed=1), rhythms(200, 40, noise=0.5, seed=2)
    model = classify(X, y)
    assert model.score(fresh_X, fresh_y) > 0.95
    assert LogisticRegression(max_iter=1000).fit(X, y).score(fresh_X, fresh_y) < 0.65
    cut = [row[: 25 + i % 15] for i, row in enumerate(fresh_X)]
    assert np.mean(model.predict(cut) == fresh_y) > 0.9, "shorter ones too"


def test_it_learns_which_step_a_value_stands_at():
    X = np.random.default_rng(0).normal(size=(200, 30))
    y = np.where(X[:, 11] > X[:, 20], "falls", "rises")
    model = classify(X[:100], y[:100])
    assert model.score(X[100:], y[100:]) > 0.85


def pairs(n, *, length=60, seed=0):
    """Return windows in which two events lie anywhere, each up or down, and whether they are alike."""
    chance = np.random.default_rng(seed)
    X, y = 0.2 * chance.normal(size=(n, length)), np.zeros(n, int)
    for i, row in enumerate(X):
        places, signs = chance.choice(np.arange(2, length - 4, 4), 2, replace=False), chance.choice([-3, 3], 2)
        for place, sign in zip(places, signs, strict=True):
            row[place : place + 3] += sign
        y[i] = signs[0] == signs[1]
    return X, y


@pytest.mark.slow
def test_the_memory_learns_whether_two_events_are_alike_and_makes_answers_surer():
    (X, y), (fresh_X, fresh_y) = pairs(600), pairs(300, seed=1)
    model = classify(X, y, width=16, max_steps=400, learning_rate=5e-3, batch_size=32)
    together, memory = (np.mean(model.predict(fresh_X, by=by) == fresh_y) for by in ("both", "memory"))
    assert memory > 0.95
    assert together > 0.95
    assert LogisticRegression(max_iter=1000).fit(X, y).score(fresh_X, fresh_y) < 0.65
    assert model.memory_gain_.gain > model.memory_gain_.standard_error
    losses = [log_loss(fresh_y, model.predict_proba(fresh_X, by=by)) for by in ("both", "linear")]
    assert losses[0] < 0.7 * losses[1]


SEVERAL = np.column_stack([NUMBERS, TABLE[:, 0] * 100, np.arange(40) / 7])


@pytest.fixture(scope="module")
def regressor():
    return fitted("regressor")


@pytest.fixture(scope="module")
def of_several():
    return fitted("regressor", TABLE, SEVERAL)


def regress(X=TABLE, y=NUMBERS, *more, fit=None, **arguments):
    return TitansRegressor(**{**SUPERVISED, **arguments}).fit(X, y, *more, **(fit or {}))


# --- numbers: answers ------------------------------------------------------------------------------------------------


def test_one_number_or_a_row_of_them_as_y_was(regressor, of_several):
    assert regressor.predict(OTHERS).shape == (len(OTHERS),)
    assert fitted("regressor", TABLE, NUMBERS[:, None]).predict(OTHERS).shape == (len(OTHERS), 1)
    assert of_several.predict(OTHERS).shape == (len(OTHERS), 3)
    close(fitted("regressor", TABLE, NUMBERS[:, None]).predict(OTHERS)[:, 0], regressor.predict(OTHERS))
    found = of_several.predict(TABLE, by="linear")
    assert (abs(found.mean(0) - SEVERAL.mean(0)) < 0.1 * SEVERAL.std(0)).all()
    assert (((found - SEVERAL) ** 2).mean(0)[:2] < 0.2 * SEVERAL.var(0)[:2]).all(), "each on its own scale"


@pytest.mark.parametrize("which", ["regressor", "of_several"])
def test_both_paths_answer_with_numbers_alone_and_together_in_their_share(which, request):
    model = request.getfixturevalue(which)
    both, linear, memory = (model.predict(OTHERS, by=by) for by in ("both", "linear", "memory"))
    close(both, (linear + memory) / 2, 1e-6)
    assert not np.allclose(linear, memory)
    with pytest.raises(ValueError, match="by='all' is not known; choose one of 'both', 'linear', 'memory'"):
        model.predict(OTHERS, by="all")


def test_without_layers_the_linear_number():
    model = fitted("regressor", layers=0)
    np.testing.assert_array_equal(model.predict(OTHERS), model.predict(OTHERS, by="linear"))
    assert model.memory_gain_ is None
    assert model.score(TABLE, NUMBERS) > 0.9, "on what it has learned"


@pytest.mark.parametrize(("scale", "level"), [(1e6, 0.0), (1e-6, 0.0), (3.0, 1e6)])
def test_the_unit_of_y_does_not_count(regressor, scale, level):
    other = fitted("regressor", TABLE, scale * NUMBERS + level)
    close((other.predict(OTHERS) - level) / scale, regressor.predict(OTHERS), 1e-4)


def test_y_of_one_value_is_answered_with_it():
    model = regress(y=np.full(40, 7.5))
    close(model.predict(OTHERS, by="linear"), 7.5)
    close(model.predict(TABLE), 7.5, 0.5)


NAMED = {
    "pandas": lambda: pd.DataFrame(SEVERAL, columns=["a", "b", "c"], index=range(5, 45)),
    "polars": lambda: pl.DataFrame(SEVERAL, schema=["a", "b", "c"]),
}


@pytest.mark.parametrize("backend", NAMED)
def test_names_of_targets_are_noted_and_kept(backend, of_several, tmp_path):
    model = loosen(regress(y=NAMED[backend]()))
    np.testing.assert_array_equal(model.predict(TABLE), of_several.predict(TABLE))
    model.save(tmp_path / "a.titans")
    assert model.target_names_ == load(tmp_path / "a.titans").target_names_ == ["a", "b", "c"]
    assert of_several.target_names_ == ["y0", "y1", "y2"]
    assert regress().target_names_ == ["y"]
    np.testing.assert_array_equal(load(tmp_path / "a.titans").predict(OTHERS), model.predict(OTHERS))


# --- numbers: what counts --------------------------------------------------------------------------------------------


def test_weights_of_numbers_count_in_both_paths_by_their_proportions():
    large = (NUMBERS - np.median(NUMBERS)) > 0
    heavy = np.where(large, 9.0, 1.0)
    plain, ones, once, thrice = (regress(TABLE, NUMBERS, weight) for weight in (None, np.full(40, 5.0), heavy, 3 * heavy))
    for by in ("linear", "memory"):
        found = [model.predict(TABLE, by=by) for model in (plain, ones, once, thrice)]
        close(found[1], found[0], 1e-6)
        close(found[3], found[2], 1e-5)
        assert not np.allclose(found[2], found[0])
    assert once.predict(TABLE, by="memory").mean() > plain.predict(TABLE, by="memory").mean()


def test_a_number_that_weighs_nothing_is_as_if_it_were_not_there():
    weight = (np.arange(40) % 5 > 0).astype(float)
    with_zeros = regress(TABLE, np.where(weight > 0, NUMBERS, 1e6), weight)
    without = regress(TABLE[weight > 0], NUMBERS[weight > 0])
    for by in ("linear", "memory"):
        np.testing.assert_array_equal(with_zeros.predict(OTHERS, by=by), without.predict(OTHERS, by=by))


def test_a_validation_part_with_numbers_is_used_as_given():
    valid, numbers = TABLE[:12] + 0.1, NUMBERS[:12]
    model = regress(fit={"X_val": valid, "y_val": numbers})
    assert model.memory_gain_.blocks == 12
    wrong = regress(fit={"X_val": valid, "y_val": -numbers})
    assert wrong.training_history_[-1]["validation"] > 2 * model.training_history_[-1]["validation"]
    assert regress(validation_fraction=0.25).memory_gain_.blocks == 10
    assert regress(validation_fraction=0.01).memory_gain_ is None
    several = regress(y=SEVERAL, fit={"X_val": valid, "y_val": SEVERAL[:12]})
    assert several.memory_gain_.blocks == 12


# --- numbers: learning -----------------------------------------------------------------------------------------------


def waves(n, length=40, seed=0):
    """Return sines of any period from 5 to 15 that begin anywhere, and their frequencies."""
    chance = np.random.default_rng(seed)
    y = 1 / chance.uniform(5, 15, n)
    X = np.sin(2 * np.pi * (np.arange(length) * y[:, None] + chance.random((n, 1)))) + 0.1 * chance.normal(size=(n, length))
    return X, y


def test_it_learns_a_frequency_which_no_linear_model_of_values_tells():
    (X, y), (fresh_X, fresh_y) = waves(120), waves(150, seed=1)
    assert regress(X, y).score(fresh_X, fresh_y) > 0.9
    assert RidgeCV(np.logspace(-3, 5, 9)).fit(X, y).score(fresh_X, fresh_y) < 0.2


def test_it_learns_what_is_linear_in_values():
    X = np.random.default_rng(0).normal(size=(150, 30)).cumsum(1)
    y = X[:, -5:].mean(1) - X[:, 0]
    model = regress(X[:100], y[:100])
    assert model.score(X[100:], y[100:]) > 0.95


def distances(n, *, length=60, seed=0):
    """Return windows in which a step up and later a step down lie anywhere, and how far apart they are."""
    chance = np.random.default_rng(seed)
    X, y = 0.2 * chance.normal(size=(n, length)), np.zeros(n)
    for i, row in enumerate(X):
        first, last = np.sort(chance.choice(np.arange(4, length - 6), 2, replace=False))
        row[first : first + 3] += 3
        row[last : last + 3] -= 3
        y[i] = last - first
    return X, y


@pytest.mark.slow
def test_the_memory_learns_how_far_two_events_are_apart():
    (X, y), (fresh_X, fresh_y) = distances(600), distances(300, seed=1)
    model = regress(X, y, width=16, patch_length=4, max_steps=400, learning_rate=5e-3, batch_size=32)
    both, linear, memory = (
        np.mean((model.predict(fresh_X, by=by) - fresh_y) ** 2) / fresh_y.var() for by in ("both", "linear", "memory")
    )
    assert memory < 0.3
    assert both < 0.8 * linear
    assert model.memory_gain_.share > 0
