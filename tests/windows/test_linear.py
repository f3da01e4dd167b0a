"""The direct path of numeric sequences: left-out answers against refits, which view it takes, how sure it is."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from titans_ts.learn.fitting import Examples
from titans_ts.windows import linear
from titans_ts.windows.linear import LEAST_SPREAD, PENALTIES, fit_kernel_path
from titans_ts.windows.network import WindowConfig, WindowNetwork

chance = np.random.default_rng(0)
RISING = [np.cumsum(chance.normal(size=(12, 2)), 0) for _ in range(13)]
UNEQUAL = [one[: 12 - i % 4] for i, one in enumerate(RISING)]
WEIGHTS = chance.random(13) + 0.5
OF_ITEMS = {
    "numbers": np.array([[one[:, 0].mean(), one[-1, 1] - one[0, 1]] for one in RISING]),
    "binary": np.array([int(one[-1, 0] > one[0, 0]) for one in RISING]),
    "classes": np.array([one[:, 0].mean() for one in RISING]).argsort().argsort() // 5,
}
OUTPUTS = {"numbers": 2, "binary": 1, "classes": 3}


@pytest.fixture
def few_features(monkeypatch):
    """Bound what is seen: refits by hand take long of more."""
    monkeypatch.setattr(linear, "MOST_FEATURES", 4 * 84)


def labelled(objective, items=RISING, weights=WEIGHTS):
    return Examples(list(items), OF_ITEMS[objective], weights)


def fit(known, objective, seed=0):
    outputs = OUTPUTS[objective] if objective != "numbers" else known.targets.shape[1]
    return fit_kernel_path(known, objective, outputs, seed=seed)


def network_of(path, channels):
    """Return a network whose linear path it is."""
    config = WindowConfig(
        outputs=len(path.intercept),
        channels=channels,
        steps=path.steps,
        dilations=path.shares.dilations,
        thresholds=path.shares.thresholds,
    )
    network = WindowNetwork(config).double()
    path.install(network)
    return network


@torch.no_grad()
def seen(path, items):
    """Return what a path sees of sequences: values on the common scale, summary, shares; of each sequence alone."""
    steps = np.concatenate(items)
    level, spread = np.nanmean(steps, 0), np.nanstd(steps, 0)
    found = []
    for one in items:
        values = np.nan_to_num((one - level) / spread).T
        shares = path.shares(torch.from_numpy(values.copy())[None], torch.tensor([len(one)]))[0].numpy()
        told = [values.mean(1), values.std(1), values.min(1), values.max(1), values[:, 0], values[:, -1]]
        found.append(np.concatenate([values[:, : path.steps].ravel(), *told, shares]))
    return np.array(found)


def as_targets(objective):
    y = OF_ITEMS[objective]
    if objective == "numbers":
        return y
    return np.where(y == 1, 1.0, -1.0)[:, None] if objective == "binary" else 2.0 * np.eye(3)[y] - 1


def loss_by_hand(objective, answers, known):
    y = known.targets
    if objective == "numbers":
        losses = ((answers - y) ** 2).mean(1)
    elif objective == "binary":
        losses = np.logaddexp(0, np.where(y == 1, -1, 1) * answers[:, 0])
    else:
        losses = np.logaddexp.reduce(answers, axis=1) - answers[np.arange(len(y)), y]
    return np.average(losses, weights=known.weights)


# --- what was left out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [RISING, UNEQUAL], ids=["of one length", "unequal"])
@pytest.mark.parametrize("objective", OF_ITEMS)
def test_left_out_answers_and_coefficients_are_those_of_ridge_fitted_without_each(objective, items, few_features):
    known = labelled(objective, items)
    path = fit(known, objective)
    features = seen(path, items)
    spread = features.std(0)
    scaled = features[:, spread > LEAST_SPREAD] / spread[spread > LEAST_SPREAD]
    targets, rows = as_targets(objective), np.arange(len(items))
    matches = []
    for penalty in PENALTIES:
        ridge = Ridge(alpha=penalty)
        held_out = np.array([
            ridge.fit(scaled[rows != i], targets[rows != i], known.weights[rows != i]).predict(scaled[[i]])[0] for i in rows
        ]).reshape(len(rows), -1)  # fmt: skip
        sureness = (path.held_out * held_out).sum() / (held_out**2).sum()  # the factor that brings them nearest
        if np.allclose(path.held_out, sureness * held_out, rtol=1e-5, atol=1e-7):
            matches.append((penalty, sureness))
    assert len(matches) == 1
    penalty, sureness = matches[0]
    assert sureness > 0
    assert objective != "numbers" or sureness == pytest.approx(1)
    ridge = Ridge(alpha=penalty).fit(scaled, targets, known.weights)
    whole = sureness * ridge.predict(scaled).reshape(len(rows), -1)
    np.testing.assert_allclose(features @ path.coefficients.T + path.intercept, whole, rtol=1e-5, atol=1e-6)
    assert path.loss == pytest.approx(loss_by_hand(objective, path.held_out, known))


@pytest.mark.parametrize("items", [RISING, UNEQUAL], ids=["of one length", "unequal"])
@pytest.mark.parametrize("objective", OF_ITEMS)
@torch.no_grad()
def test_a_network_that_it_is_installed_in_answers_the_same(objective, items):
    path = fit(labelled(objective, items), objective)
    network = network_of(path, 2)
    found = network.linear_answer(*network.batch(items)).numpy()
    np.testing.assert_allclose(found, seen(path, items) @ path.coefficients.T + path.intercept, rtol=1e-9, atol=1e-9)
    assert np.ptp(found, axis=0).min() > 0.01


# --- which view -----------------------------------------------------------------------------------------------------


def test_values_are_chosen_where_the_answer_is_linear_in_them():
    items = [chance.normal(size=(20, 1)) for _ in range(60)]
    y = np.array([[one[3, 0] - 2 * one[11, 0]] for one in items])
    path = fit(Examples(items, y, np.ones(60)), "numbers")
    assert (path.steps, path.shares.features) == (20, 0)
    assert path.loss < 0.05 * y.var()
    largest = abs(path.coefficients[0]).argsort()[-2:]
    assert sorted(largest) == [3, 11]


def sines(n, length=40):
    turns = [np.arange(length) / (6, 8)[i % 2] + chance.random() for i in range(n)]
    return [(np.sin(2 * np.pi * one) + 0.1 * chance.normal(size=length))[:, None] for one in turns]


def test_shapes_are_chosen_where_they_begin_anywhere():
    y = np.arange(60) % 2
    path = fit(Examples(sines(60), y, np.ones(60)), "binary")
    assert path.steps == 0
    assert path.shares.features >= 84
    assert ((path.held_out[:, 0] > 0) == y).mean() > 0.95
    network, fresh = network_of(path, 1), sines(40)
    found = network.linear_answer(*network.batch(fresh)).detach().numpy()[:, 0]
    assert ((found > 0) == np.arange(40) % 2).mean() > 0.95


def test_sequences_of_unequal_lengths_have_no_values_by_their_step():
    for items in (UNEQUAL, [*RISING[:-1], RISING[-1][:-1]]):
        assert fit(labelled("numbers", items), "numbers").steps == 0


# --- how sure -------------------------------------------------------------------------------------------------------


def apart(n, gap=3.0):
    """Return sequences of two classes that no-one could take for each other."""
    return Examples(
        [np.full((10, 1), gap * (i % 2)) + 0.1 * chance.normal(size=(10, 1)) for i in range(n)], np.arange(n) % 2, np.ones(n)
    )


def test_few_sequences_told_apart_without_mistake_do_not_make_it_certain():
    bounds = []
    for n in (6, 20, 120):
        path = fit(apart(n), "binary")
        assert ((path.held_out[:, 0] > 0) == np.arange(n) % 2).all()
        bounds.append(abs(path.held_out).max())
        assert bounds[-1] < 2 * np.log(n), "as the odds of n + 2 of which two are wrong"
    assert bounds == sorted(bounds), "the more the surer"


@pytest.mark.parametrize("objective", ["binary", "classes"])
def test_where_there_is_nothing_to_learn_it_is_not_sure(objective):
    n, outputs = 60, OUTPUTS[objective]
    y = np.random.default_rng(1).integers(0, max(outputs, 2), n)
    path = fit(Examples([chance.normal(size=(10, 1)) for _ in range(n)], y, np.ones(n)), objective)
    assert path.loss < np.log(max(outputs, 2)) + 0.05, "next to nothing is lost by saying it"


def test_of_one_class_apart_from_two_others_it_is_surest():
    n = 60
    y = np.arange(n) % 3
    items = [np.full((10, 1), 4.0 * (label == 2)) + chance.normal(size=(10, 1)) for label in y]
    path = fit(Examples(items, y, np.ones(n)), "classes")
    shares = np.exp(path.held_out) / np.exp(path.held_out).sum(1, keepdims=True)
    assert shares[y == 2, 2].min() > 0.5
    assert abs(shares[y != 2][:, 0] - shares[y != 2][:, 1]).mean() < 0.3


# --- chance, scale, gaps --------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_path():
    known = labelled("numbers", UNEQUAL)
    one, same, other = (fit(known, "numbers", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.coefficients, same.coefficients)
    assert not np.array_equal(one.coefficients, other.coefficients)


@pytest.mark.parametrize("objective", ["numbers", "binary"])
def test_the_unit_of_the_sequences_does_not_count(objective):
    path, other = (fit(labelled(objective, items), objective) for items in (RISING, [1000 * one + 7 for one in RISING]))
    np.testing.assert_allclose(other.held_out, path.held_out, rtol=1e-5, atol=1e-6)


def test_gaps_and_constants_leave_it_finite():
    items = [one.copy() for one in RISING]
    for one in items:
        one[chance.random(one.shape) < 0.4] = np.nan
        one[:, 1] = 5.0
    items[2][:] = np.nan
    for objective in OF_ITEMS:
        path = fit(labelled(objective, items), objective)
        for x in (path.coefficients, path.intercept, path.held_out, path.loss):
            assert np.isfinite(x).all()
