"""A fit on several processes has the numbers of one; a process that ends stops the others."""

import os
import signal

import numpy as np
import pytest
from learn.every_case import EVERY
from learn.groups import in_group
from series.training_cases import config_of, make_run

from titans_ts import Checkpoint, TitansForecaster
from titans_ts.learn import distributed


def trained(rank, config=None, path=None, until=None, **settings):
    """Return the weights of a small run, in bytes, the evaluations and the gain; the run may stop after a step."""
    callbacks = [Checkpoint(path, every=1)] if path else []
    run = make_run(config, callbacks=[*callbacks, lambda _, report: report.step == until], batch_size=8, **settings)
    run.run()
    weights = {name: x.numpy().tobytes() for name, x in run.network.state_dict().items()}
    return weights, [(one.loss, one.validation) for one in run.history], run.gain, run.step


def test_two_processes_train_the_weights_of_one():
    (one,), two = in_group(1, trained), in_group(2, trained)
    assert isinstance(one, tuple), one
    assert two == [one, one]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"recollection": 8}, {"channels": 2, "mixed": True}, {"variant": "lstm"}])
def test_any_number_of_processes_trains_the_weights_of_one(settings):
    config = config_of(**{"variant": "mac", **settings})
    (one,) = in_group(1, trained, config)
    assert isinstance(one, tuple), one
    for size in (2, 4, 8):
        assert in_group(size, trained, config) == [one] * size


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    (whole,) = in_group(1, trained)
    for size, other in ((2, 4), (4, 1)):
        path = tmp_path / f"{size}"
        stopped = in_group(size, trained, None, path, 3)
        assert [one[-1] for one in stopped] == [3] * size
        assert in_group(other, trained, None, path) == [whole] * other


# --- what goes wrong ------------------------------------------------------------------------------------------------


def killed(rank, step):
    """Kill the last process at a step."""

    def kill(_, report):
        if rank == 1 and report.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    make_run(callbacks=[kill]).run()


@pytest.mark.slow
def test_a_process_that_is_killed_stops_the_others_with_a_message():
    first, second = in_group(2, killed, 3)
    assert second is None
    assert first.startswith("ConnectionError: process 0 of 2 stops, since another process of this torch.distributed group")
    assert "Checkpoint" in first


def unlike(rank):
    make_run(data=rank).run()


def failing(rank):
    def work(places):
        if places.start == 4:
            raise ValueError("the fifth is bad")
        return places.start

    try:
        distributed.shared(work, 8)
    except ValueError as error:
        found = str(error)
    return found, distributed.shared(lambda places: places.start, 8), distributed.decided(os.getpid)


def decided_wrongly(rank):
    distributed.decided(lambda: 1 / 0)


def fitted(rank, X, settings=()):
    model = TitansForecaster(4, max_steps=3, width=8, heads=2, random_state=0, verbose=0).set_params(**dict(settings))
    model.fit(X)
    weights = {name: x.numpy().tobytes() for name, x in model.network_.state_dict().items()}
    return weights, {name: np.array(x).tobytes() for name, x in enumerate(model.predict())}, model.earned_, model.coverage_


@pytest.mark.slow
def test_what_is_wrong_is_said_in_every_process():
    first, second = in_group(2, unlike)
    assert "process 0 of this torch.distributed group fits other data, or with other arguments, than process 1" in first
    assert "process 1 of this torch.distributed group fits other data, or with other arguments, than process 0" in second
    (first, order, chosen), other = in_group(2, failing)
    assert (first, order, chosen) == other == ("the fifth is bad", list(range(8)), chosen)
    assert in_group(2, decided_wrongly) == 2 * ["ZeroDivisionError: division by zero"]
    for message in in_group(3, fitted, np.arange(50.0)):
        assert message.startswith("ValueError: this torch.distributed group has 3 processes")
        assert message.endswith("start 1, 2, 4 or 8")


# --- estimators -----------------------------------------------------------------------------------------------------


def panel(n=10, rows=160, channels=1):
    chance = np.random.default_rng(0)
    each = [np.arange(rows + 3 * i)[:, None] + np.arange(channels) for i in range(n)]
    return [np.sin(at * np.pi / 6 + i) + 0.3 * chance.normal(size=at.shape) for i, at in enumerate(each)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "X"),
    [
        ({}, panel()),
        ({"layers": 0}, panel(channels=3)),
        ({"layers": 0, "season_length": 12}, panel(12, 700)),
        ({"solve_on": "training", "random_state": None}, panel()),
        ({}, panel(3)),
    ],
)
def test_a_forecaster_fits_alike_on_any_number_of_processes(settings, X):
    (one,) = in_group(1, fitted, X, settings)
    assert isinstance(one, tuple), one
    for size in (2, 4):
        found = in_group(size, fitted, X, settings)
        assert found == found[:1] * size
        assert found[0] == one or settings.get("random_state", 0) is None


def answering(rank, name):
    case = EVERY[name]
    model = case.fitted(validation_fraction=0.3, batch_size=8)
    return case.ask(model).tobytes(), getattr(model, "training_history_", None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name != "TitansForecaster"])
def test_every_estimator_fits_alike_on_two_processes(name):
    (one,) = in_group(1, answering, name)
    assert isinstance(one, tuple), one
    assert in_group(2, answering, name) == [one, one]
