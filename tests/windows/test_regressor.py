"""The regressor of numeric sequences: numbers of any scale, one or several, what counts, and that it learns."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import RidgeCV
from windows.estimator_cases import NUMBERS, OTHERS, SUPERVISED, TABLE, close, fitted, loosen

from titans_ts import TitansRegressor, load

SEVERAL = np.column_stack([NUMBERS, TABLE[:, 0] * 100, np.arange(40) / 7])


@pytest.fixture(scope="module")
def model():
    return fitted("regressor")


@pytest.fixture(scope="module")
def of_several():
    return fitted("regressor", TABLE, SEVERAL)


def fresh(X=TABLE, y=NUMBERS, *more, fit=None, **arguments):
    return TitansRegressor(**{**SUPERVISED, **arguments}).fit(X, y, *more, **(fit or {}))


# --- answers --------------------------------------------------------------------------------------------------------


def test_one_number_or_a_row_of_them_as_y_was(model, of_several):
    assert model.predict(OTHERS).shape == (len(OTHERS),)
    assert fitted("regressor", TABLE, NUMBERS[:, None]).predict(OTHERS).shape == (len(OTHERS), 1)
    assert of_several.predict(OTHERS).shape == (len(OTHERS), 3)
    close(fitted("regressor", TABLE, NUMBERS[:, None]).predict(OTHERS)[:, 0], model.predict(OTHERS))
    found = of_several.predict(TABLE, by="linear")
    assert (abs(found.mean(0) - SEVERAL.mean(0)) < 0.1 * SEVERAL.std(0)).all()
    assert (((found - SEVERAL) ** 2).mean(0)[:2] < 0.2 * SEVERAL.var(0)[:2]).all(), "each on its own scale"


@pytest.mark.parametrize("which", ["model", "of_several"])
def test_both_paths_answer_alone_and_together_in_their_share(which, request):
    model = request.getfixturevalue(which)
    both, linear, memory = (model.predict(OTHERS, by=by) for by in ("both", "linear", "memory"))
    close(both, (linear + memory) / 2, 1e-6)
    assert not np.allclose(linear, memory)
    with pytest.raises(ValueError, match="by='all' is not known; choose one of 'both', 'linear', 'memory'"):
        model.predict(OTHERS, by="all")


def test_without_layers_the_linear_answer():
    model = fitted("regressor", layers=0)
    np.testing.assert_array_equal(model.predict(OTHERS), model.predict(OTHERS, by="linear"))
    assert model.memory_gain_ is None
    assert model.score(TABLE, NUMBERS) > 0.9, "on what it has learned"


@pytest.mark.parametrize(("scale", "level"), [(1e6, 0.0), (1e-6, 0.0), (3.0, 1e6)])
def test_the_unit_of_y_does_not_count(model, scale, level):
    other = fitted("regressor", TABLE, scale * NUMBERS + level)
    close((other.predict(OTHERS) - level) / scale, model.predict(OTHERS), 1e-4)


def test_y_of_one_value_is_answered_with_it():
    model = fresh(y=np.full(40, 7.5))
    close(model.predict(OTHERS, by="linear"), 7.5)
    close(model.predict(TABLE), 7.5, 0.5)


NAMED = {
    "pandas": lambda: pd.DataFrame(SEVERAL, columns=["a", "b", "c"], index=range(5, 45)),
    "polars": lambda: pl.DataFrame(SEVERAL, schema=["a", "b", "c"]),
}


@pytest.mark.parametrize("backend", NAMED)
def test_names_of_targets_are_noted_and_kept(backend, of_several, tmp_path):
    model = loosen(fresh(y=NAMED[backend]()))
    np.testing.assert_array_equal(model.predict(TABLE), of_several.predict(TABLE))
    model.save(tmp_path / "a.titans")
    assert model.target_names_ == load(tmp_path / "a.titans").target_names_ == ["a", "b", "c"]
    assert of_several.target_names_ == ["y0", "y1", "y2"]
    assert fresh().target_names_ == ["y"]
    np.testing.assert_array_equal(load(tmp_path / "a.titans").predict(OTHERS), model.predict(OTHERS))


# --- what counts ----------------------------------------------------------------------------------------------------


def test_weights_count_in_both_paths_by_their_proportions():
    large = (NUMBERS - np.median(NUMBERS)) > 0
    heavy = np.where(large, 9.0, 1.0)
    plain, ones, once, thrice = (fresh(TABLE, NUMBERS, weight) for weight in (None, np.full(40, 5.0), heavy, 3 * heavy))
    for by in ("linear", "memory"):
        found = [model.predict(TABLE, by=by) for model in (plain, ones, once, thrice)]
        close(found[1], found[0], 1e-6)
        close(found[3], found[2], 1e-5)
        assert not np.allclose(found[2], found[0])
    assert once.predict(TABLE, by="memory").mean() > plain.predict(TABLE, by="memory").mean()


def test_what_weighs_nothing_is_as_if_it_were_not_there():
    weight = (np.arange(40) % 5 > 0).astype(float)
    with_zeros = fresh(TABLE, np.where(weight > 0, NUMBERS, 1e6), weight)
    without = fresh(TABLE[weight > 0], NUMBERS[weight > 0])
    for by in ("linear", "memory"):
        np.testing.assert_array_equal(with_zeros.predict(OTHERS, by=by), without.predict(OTHERS, by=by))


def test_a_validation_part_is_used_as_given():
    valid, numbers = TABLE[:12] + 0.1, NUMBERS[:12]
    model = fresh(fit={"X_val": valid, "y_val": numbers})
    assert model.memory_gain_.blocks == 12
    wrong = fresh(fit={"X_val": valid, "y_val": -numbers})
    assert wrong.training_history_[-1]["validation"] > 2 * model.training_history_[-1]["validation"]
    assert fresh(validation_fraction=0.25).memory_gain_.blocks == 10
    assert fresh(validation_fraction=0.01).memory_gain_ is None
    several = fresh(y=SEVERAL, fit={"X_val": valid, "y_val": SEVERAL[:12]})
    assert several.memory_gain_.blocks == 12


# --- learning -------------------------------------------------------------------------------------------------------


def waves(n, length=40, seed=0):
    """Return sines of any period from 5 to 15 that begin anywhere, and their frequencies."""
    chance = np.random.default_rng(seed)
    y = 1 / chance.uniform(5, 15, n)
    X = np.sin(2 * np.pi * (np.arange(length) * y[:, None] + chance.random((n, 1)))) + 0.1 * chance.normal(size=(n, length))
    return X, y


def test_it_learns_a_frequency_which_no_linear_model_of_values_tells():
    (X, y), (fresh_X, fresh_y) = waves(120), waves(150, seed=1)
    assert fresh(X, y).score(fresh_X, fresh_y) > 0.9
    assert RidgeCV(np.logspace(-3, 5, 9)).fit(X, y).score(fresh_X, fresh_y) < 0.2


def test_it_learns_what_is_linear_in_values():
    X = np.random.default_rng(0).normal(size=(150, 30)).cumsum(1)
    y = X[:, -5:].mean(1) - X[:, 0]
    model = fresh(X[:100], y[:100])
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
    model = fresh(X, y, width=16, patch_length=4, max_steps=400, learning_rate=5e-3, batch_size=32)
    both, linear, memory = (
        np.mean((model.predict(fresh_X, by=by) - fresh_y) ** 2) / fresh_y.var() for by in ("both", "linear", "memory")
    )
    assert memory < 0.3
    assert both < 0.8 * linear
    assert model.memory_gain_.share > 0
