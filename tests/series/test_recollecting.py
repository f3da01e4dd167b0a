"""A forecaster with a memory of errors: the promises, and what it finds again after thousands of rows."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from series.estimator_cases import SMALL, briefly, fitted, one_step, wave

from titans_ts import MemoryState, TitansForecaster, load, make_recurring
from titans_ts.backbones.observing import silenced
from titans_ts.series.reading import absorb, forecast, forecast_together, rolling_forecasts, start_state
from titans_ts.series.watching import direct_only


@pytest.fixture(scope="module")
def forecaster():
    return opened(fitted(wave(400), recollection=16))


@pytest.fixture
def fresh(forecaster, tmp_path):
    """A copy that a test may change."""
    forecaster.save(tmp_path / "model.titans")
    return load(tmp_path / "model.titans")


def opened(forecaster, *, trust=(0.5, 0.5), step=2.0):
    """Let what is recollected count in full."""
    memory = forecaster.network_.recollection
    with torch.no_grad():
        memory.trust.copy_(torch.tensor(trust)[:, None])
        memory.gates[2].bias[: len(memory.trust)] = step
    return forecaster


@pytest.mark.parametrize("pieces", [[1] * 20 + [180], [7, 93, 100], [199, 1]])
def test_pieces_and_the_whole_agree_at_every_origin(forecaster, fresh, pieces):
    X = wave(200, seed=1)
    fresh.forget()
    for end in np.cumsum(pieces):
        fresh.update(X[fresh.n_seen_ : end])
        np.testing.assert_allclose(fresh.predict(), forecaster.predict(X[:end]), rtol=1e-5, atol=1e-6)


def test_rolling_over_a_series_says_what_predict_says_at_each_origin(forecaster):
    X = wave(230, seed=1)
    (one,) = forecaster.reader_.panel(X)
    origins = [3, 8, 64, 101, 160, 161, 167, 168, 230]
    rows = forecaster.reader_.tensors(one)
    rolled = torch.cat([said.point for _, said in rolling_forecasts(forecaster.network_, rows, origins)])
    for origin, found in zip(origins, rolled, strict=True):
        wanted = forecast(forecaster.network_, absorbed(forecaster, one, origin), torch.zeros(6, 0)).point[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def absorbed(forecaster, one, origin):
    """Return the state after some rows of a series, on the scale of all of them."""
    series = forecaster.reader_.tensors(one)
    start = start_state(forecaster.network_, static=series.static, scale=series.scale)
    return absorb(forecaster.network_, start, series.part(0, origin))


def test_many_series_together_say_what_each_says_alone():
    series = [wave(rows, 1, seed=i) for i, rows in enumerate((120, 133, 136, 133))]
    together = opened(fitted(series, recollection=16))
    states = [absorbed(together, one, len(one)) for one in together.reader_.panel(series)]
    futures = [torch.zeros(6, 0)] * len(states)
    for found, state, future in zip(forecast_together(together.network_, states, futures), states, futures, strict=True):
        np.testing.assert_allclose(found.point, forecast(together.network_, state, future).point, rtol=1e-5, atol=1e-6)


def test_its_state_comes_back_from_a_file(fresh, tmp_path):
    fresh.forget().update(wave(203, seed=1))
    wanted = fresh.predict()
    fresh.state_.save(tmp_path / "state")
    fresh.forget().remember(MemoryState.load(tmp_path / "state"))
    np.testing.assert_array_equal(fresh.predict(), wanted)


def test_what_it_adds_can_be_taken_away(forecaster, fresh):
    X = wave(200, seed=1)
    with silenced(forecaster.network_):
        silent = forecaster.predict(X)
    with direct_only(forecaster.network_):
        direct = forecaster.predict(X)
    for without, parts in ((silent, ()), (direct, ("head",))):
        assert np.abs(forecaster.predict(X) - without).max() > 1e-3, "nothing is left silent"
        with torch.no_grad():
            fresh.network_.recollection.trust.zero_()
            for weight in (weight for part in parts for weight in getattr(fresh.network_, part).parameters()):
                weight.zero_()
        with nullcontext() if parts else silenced(fresh.network_):
            np.testing.assert_allclose(fresh.predict(X), without, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_training_reaches_all_of_it_and_keeps_it_in_full_precision(precision):
    states = []

    def keep(run, report):
        if report.phase == "recollection":
            states.append(run.state[-1])

    settings = {**SMALL, "recollection": 16, "precision": precision, "random_state": 0, "validation_fraction": 0}
    untrained = TitansForecaster(**settings, callbacks=[one_step]).fit(wave(400)).network_.recollection
    found = TitansForecaster(**settings, max_steps=3, callbacks=[briefly, keep]).fit(wave(400)).network_.recollection
    assert {x.dtype for x in states[-1]} == {torch.float64 if precision == "float64" else torch.float32}
    for (name, before), after in zip(untrained.named_parameters(), found.parameters(), strict=True):
        assert not torch.equal(before, after), name


def test_what_validation_cannot_tell_from_luck_is_not_recollected():
    X = np.random.default_rng(0).standard_normal(600)
    forecaster = TitansForecaster(**SMALL, recollection=16, caution=1e9, max_steps=3, random_state=0, callbacks=[briefly])
    assert forecaster.fit(X).recollection_gain_.share == 0
    assert not forecaster.network_.recollection.trust.any()


def test_it_finds_again_what_followed_a_cue_thousands_of_rows_ago():
    """Weights that were hardly trained: what is recollected was read, not learned by heart. Origins lie anywhere."""
    X, events = make_recurring(12_000, lags=(3_000,), slots=(6,), random_state=3, return_events=True)
    settings = {"horizon": 32, "lookback": 512, "recollection": 256, "layers": 1, "heads": 1, "width": 8, "patch_length": 8}
    forecaster = TitansForecaster(**settings, max_steps=1, random_state=0, callbacks=[one_step]).fit(X[:1000])
    opened(forecaster, trust=(1.0, 0.0))
    origins = [int(row) for row in events["origin"][events["occurrence"] > 1]]
    errors = {"carried": [], "fresh": []}
    for origin in origins:
        truth = X[origin : origin + 32]
        for name, history in (("carried", X[:origin]), ("fresh", X[origin - 512 : origin])):
            errors[name].append(np.mean((forecaster.predict(history) - truth) ** 2))
    assert len(origins) >= 8
    assert np.mean(errors["carried"]) < 0.5 * np.mean(errors["fresh"])


def test_it_is_refused_without_layers():
    with pytest.raises(ValueError, match="recollection=8 beside layers=0"):
        TitansForecaster(recollection=8, layers=0).fit(wave(400))
