"""Fits side by side in threads: each has the numbers that it has alone, and nobody's generator is moved."""

import random
import sys
import threading

import numpy as np
import pytest
import torch
from joblib import parallel_config
from learn.every_case import EVERY
from series import estimator_cases as cases
from sklearn.model_selection import GridSearchCV

from titans_ts import load
from titans_ts.backbones.observing import observed_writes, silenced
from titans_ts.series.watching import direct_only


@pytest.fixture(autouse=True)
def the_global_generators_stay_as_they_are():
    """Nothing in this file may draw from them, whatever it fits, asks, saves or loads."""

    def states():
        return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    yield
    assert states() == before


@pytest.fixture
def threads_alternate():
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def at_once(*tasks):
    """Run tasks, each in a thread of its own, all from the same moment on; returns their answers."""
    found, start = [None] * len(tasks), threading.Barrier(len(tasks))

    def run(place, task):
        start.wait()
        found[place] = task()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def learned(case, seed):
    """Return the weights and the answers of a fit."""
    model = case.fitted(random_state=seed, dropout=0.3)
    return [*(x.numpy() for x in model.network_.state_dict().values()), case.ask(model)]


@pytest.mark.parametrize("name", EVERY)
def test_fits_at_once_equal_the_same_alone(name, threads_alternate):
    case = EVERY[name]
    alone = [learned(case, seed) for seed in (1, 2)]
    assert any(not np.array_equal(x, y) for x, y in zip(*alone, strict=True)), "seeds count"
    together = at_once(*(lambda seed=seed: learned(case, seed) for seed in (1, 2)))
    for wanted, found in zip(alone, together, strict=True):
        assert all(map(np.array_equal, wanted, found))


def test_a_search_in_threads_equals_one_in_turn(threads_alternate):
    case = EVERY["TitansRegressor"]

    def scores(jobs):
        search = GridSearchCV(case.make(random_state=0, dropout=0.3, max_steps=2), {"learning_rate": [1e-3, 1e-2]}, cv=2)
        with parallel_config("threading", n_jobs=jobs):
            return search.fit(case.X, case.y).cv_results_["mean_test_score"]

    assert np.array_equal(scores(2), scores(1))


def test_files_memories_and_streams_draw_nothing(tmp_path):
    forecaster = EVERY["TitansForecaster"].fitted()
    forecaster.save(tmp_path / "model.titans")
    again = load(tmp_path / "model.titans").update(cases.wave(20)).remember(forecaster.state_)
    assert np.array_equal(again.predict(), forecaster.predict())
    EVERY["DNALanguageModel"].fitted().sample(random_state=None)


def test_who_watches_or_silences_a_model_does_so_in_one_thread():
    forecaster, rows = EVERY["TitansForecaster"].fitted(), cases.wave(60)
    wanted = forecaster.predict(rows), forecaster.surprise(rows)
    network = forecaster.network_
    with observed_writes(network) as seen, silenced(network), direct_only(network):
        (found,) = at_once(lambda: (forecaster.predict(rows), forecaster.surprise(rows)))
        assert not any(seen), "another thread's writes are its own affair"
        assert not np.array_equal(forecaster.predict(rows), wanted[0])
        assert any(seen)
    assert all(map(np.array_equal, found, wanted))
