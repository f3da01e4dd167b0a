"""The classifier of numeric sequences: answers of both paths, what counts, validation, baselines, and that it learns."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight
from windows.estimator_cases import (
    CLASSES,
    LABELS,
    OTHERS,
    SUPERVISED,
    TABLE,
    close,
    fitted,
    loosen,
    rhythms,
)

from titans_ts import TitansClassifier, load
from titans_ts.backbones.variants import BASELINES
from titans_ts.windows import classify as _windows
from titans_ts.windows.linear import fit_kernel_path

THREE = np.array(["none", "quick", "slow"])


def of_three_periods(n=48, seed=4):
    X, which = rhythms(n, 24, (3.0, 6.0, 12.0), seed=seed)
    return X, THREE[which]


@pytest.fixture(scope="module")
def model():
    return fitted("classifier")


@pytest.fixture(scope="module")
def of_three():
    return fitted("classifier", *of_three_periods())


def fresh(X=TABLE, y=LABELS, *more, fit=None, **arguments):
    return TitansClassifier(**{**SUPERVISED, **arguments}).fit(X, y, *more, **(fit or {}))


# --- answers --------------------------------------------------------------------------------------------------------


def test_two_classes_have_log_odds_of_the_second(model):
    scores, shares = model.decision_function(TABLE), model.predict_proba(TABLE)
    assert model.classes_.tolist() == ["fast", "slow"]
    close(shares[:, 1], 1 / (1 + np.exp(-scores)))
    close(shares.sum(1), 1)
    assert model.predict(TABLE).tolist() == np.where(scores > 0, "slow", "fast").tolist()
    assert len(set(model.predict(TABLE))) == 2


def test_several_classes_have_logits_and_the_likeliest_is_said(of_three):
    X, y = of_three_periods()
    scores, shares = of_three.decision_function(X), of_three.predict_proba(X)
    assert of_three.classes_.tolist() == ["none", "quick", "slow"]
    close(shares, np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
    assert of_three.predict(X).tolist() == of_three.classes_[shares.argmax(1)].tolist()
    assert np.mean(of_three.predict(X, by="linear") == y) > 0.9, "on what it has learned"


@pytest.mark.parametrize("which", ["model", "of_three"])
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
    model = fresh(max_steps=0)
    np.testing.assert_array_equal(model.decision_function(OTHERS), model.decision_function(OTHERS, by="linear"))


@pytest.mark.parametrize("labels", [CLASSES, CLASSES == 1, CLASSES * 2.0, LABELS.astype(object)], ids=lambda x: str(x.dtype))
def test_labels_come_back_as_they_were_given(labels, tmp_path):
    model = fresh(y=labels)
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        assert one.predict(TABLE).dtype == labels.dtype
        assert set(one.predict(TABLE).tolist()) == set(labels.tolist())


def test_labels_may_come_as_a_column(model):
    again = loosen(fresh(y=pl.Series(LABELS)))
    np.testing.assert_array_equal(again.decision_function(TABLE), model.decision_function(TABLE))


# --- what counts ----------------------------------------------------------------------------------------------------

RARE = np.where(np.arange(40) % 8 == 0, "rare", "common")


def test_balanced_classes_weigh_as_by_hand_and_bring_the_rare_one_forward():
    balanced, plain = fresh(y=RARE, class_weight="balanced"), fresh(y=RARE)
    by_hand = fresh(TABLE, RARE, compute_sample_weight("balanced", RARE))
    by_dict = fresh(y=RARE, class_weight={"rare": 4.0, "common": 4 / 7})
    for by in ("linear", "memory"):
        expected = balanced.predict_proba(TABLE, by=by)[:, 1]
        close(by_hand.predict_proba(TABLE, by=by)[:, 1], expected, 1e-6)
        close(by_dict.predict_proba(TABLE, by=by)[:, 1], expected, 1e-6)
        assert expected.mean() > plain.predict_proba(TABLE, by=by)[:, 1].mean()


def test_weights_count_in_both_paths_by_their_proportions():
    heavy = np.where(LABELS == "slow", 6.0, 2.0)
    plain, ones, once, thrice = (fresh(TABLE, LABELS, weight) for weight in (None, np.full(40, 5.0), heavy, 3 * heavy))
    for by in ("linear", "memory"):
        found = [model.predict_proba(TABLE, by=by)[:, 1] for model in (plain, ones, once, thrice)]
        close(found[1], found[0], 1e-6)
        close(found[3], found[2], 1e-5)
        assert found[2].mean() > found[0].mean()


def test_what_weighs_nothing_is_as_if_it_were_not_there():
    weight = (np.arange(40) % 5 > 0).astype(float)
    y = np.where(weight > 0, LABELS, "never")
    with_zeros, without = fresh(TABLE, y, weight), fresh(TABLE[weight > 0], LABELS[weight > 0])
    assert with_zeros.classes_.tolist() == ["fast", "slow"]
    for by in ("linear", "memory"):
        np.testing.assert_array_equal(with_zeros.decision_function(OTHERS, by=by), without.decision_function(OTHERS, by=by))
    hostile = TABLE.copy()
    hostile[weight == 0] = 1e6
    np.testing.assert_array_equal(fresh(hostile, y, weight).decision_function(OTHERS), without.decision_function(OTHERS))


def test_a_validation_part_is_used_as_given():
    valid, labels = rhythms(12, seed=8)[0], LABELS[:12]
    model = fresh(fit={"X_val": valid, "y_val": labels})
    assert model.memory_gain_.blocks == 12
    wrong = fresh(fit={"X_val": valid, "y_val": labels[::-1]})
    assert model.training_history_[-1]["validation"] != wrong.training_history_[-1]["validation"]
    in_a_list = fresh(fit={"X_val": [row[:, None] for row in valid], "y_val": labels})
    assert in_a_list.memory_gain_ == model.memory_gain_
    linear = [one.decision_function(OTHERS, by="linear") for one in (model, fresh(validation_fraction=0))]
    np.testing.assert_array_equal(*linear, err_msg="of the linear path it decides nothing")


def test_what_validation_supports_is_noted():
    drawn = fresh(validation_fraction=0.25)
    assert drawn.memory_gain_.blocks == 10
    assert 0 <= drawn.memory_gain_.share <= 1
    assert drawn.network_.share == drawn.memory_gain_.share
    assert [report["step"] for report in drawn.training_history_] == [2]


@pytest.mark.parametrize("given", [False, True])
def test_the_linear_path_learns_from_all_and_is_judged_by_what_it_said_of_each_before(given, monkeypatch):
    paths, runs = [], []

    def fitted_path(known, *more, **settings):
        paths.append((known, fit_kernel_path(known, *more, **settings)))
        return paths[-1][1]

    monkeypatch.setattr(_windows, "fit_kernel_path", fitted_path)
    fit = {"X_val": rhythms(12, seed=8)[0], "y_val": LABELS[:12]} if given else {}
    fresh(fit=fit, validation_fraction=0.3, callbacks=[lambda run, _report: runs.append(run)])
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
    model = fresh(validation_fraction=0)
    assert model.memory_gain_ is None
    both, linear, memory = (model.decision_function(OTHERS, by=by) for by in ("both", "linear", "memory"))
    np.testing.assert_array_equal(both, linear)
    assert np.ptp(memory) > 1e-6, "though it has learned"


@pytest.mark.parametrize(("fraction", "blocks"), [(0.04, None), (0.05, 2), (0.5, 20)])
def test_of_a_validation_part_with_less_than_one_of_each_class_there_is_none(fraction, blocks):
    gain = fresh(validation_fraction=fraction).memory_gain_
    assert (None if gain is None else gain.blocks) == blocks


COMPARED = [{"variant": name} for name in BASELINES] + [{"memory": "deltanet"}, {"memory": "ttt_mlp", "variant": "lmm"}]


@pytest.mark.parametrize("arguments", COMPARED, ids=str)
def test_what_the_memory_is_compared_with_learns_in_its_place(arguments, model, tmp_path):
    other = fitted("classifier", max_steps=4, **arguments)
    found = other.decision_function(OTHERS, by="memory")
    assert np.isfinite(found).all()
    assert np.ptp(found) > 1e-3
    np.testing.assert_array_equal(other.decision_function(TABLE, by="linear"), model.decision_function(TABLE, by="linear"))
    other.save(tmp_path / "a.titans")
    np.testing.assert_array_equal(load(tmp_path / "a.titans").decision_function(OTHERS), other.decision_function(OTHERS))


# --- learning -------------------------------------------------------------------------------------------------------


def test_it_learns_rhythms_that_begin_anywhere_which_no_linear_model_of_values_tells():
    (X, y), (fresh_X, fresh_y) = rhythms(80, 40, noise=0.5, seed=1), rhythms(200, 40, noise=0.5, seed=2)
    model = fresh(X, y)
    assert model.score(fresh_X, fresh_y) > 0.95
    assert LogisticRegression(max_iter=1000).fit(X, y).score(fresh_X, fresh_y) < 0.65
    cut = [row[: 25 + i % 15] for i, row in enumerate(fresh_X)]
    assert np.mean(model.predict(cut) == fresh_y) > 0.9, "shorter ones too"


def test_it_learns_which_step_a_value_stands_at():
    X = np.random.default_rng(0).normal(size=(200, 30))
    y = np.where(X[:, 11] > X[:, 20], "falls", "rises")
    model = fresh(X[:100], y[:100])
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
    model = fresh(X, y, width=16, max_steps=400, learning_rate=5e-3, batch_size=32)
    together, memory = (np.mean(model.predict(fresh_X, by=by) == fresh_y) for by in ("both", "memory"))
    assert memory > 0.95
    assert together > 0.95
    assert LogisticRegression(max_iter=1000).fit(X, y).score(fresh_X, fresh_y) < 0.65
    assert model.memory_gain_.gain > model.memory_gain_.standard_error
    losses = [log_loss(fresh_y, model.predict_proba(fresh_X, by=by)) for by in ("both", "linear")]
    assert losses[0] < 0.7 * losses[1]
