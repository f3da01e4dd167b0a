"""Cut histories: read as the public face would read those rows alone, and what they cost."""

import numpy as np
import pytest
import torch
from bench.history_cases import ATTENTION, CARRIED, SMALL
from tolerances import assert_agree

from titans_bench.history.data import MODELS
from titans_bench.history.reading import cost_after, first_row, forecasts_after, resident_mib
from titans_ts import TitansForecaster
from titans_ts.frames.read import read_panel


def agree(actual, expected):
    """Hold numbers that a network of float32 made to the policy."""
    assert_agree(*(torch.from_numpy(x).float() for x in (actual, expected)))


@pytest.fixture(scope="module", params=[CARRIED, ATTENTION])
def fitted(request):
    """Return a fitted forecaster, a longer series as numbers, and as its network reads it."""
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(900) / 5)[:, None] + 0.3 * rng.standard_normal((900, 2))
    forecaster = TitansForecaster(horizon=6, lookback=32, patch_length=8, random_state=0, **SMALL, **MODELS[request.param])
    forecaster.fit(values[:600])
    with torch.no_grad():  # a head that was hardly trained says nothing; let it speak
        for x in forecaster.network_.head.parameters():
            x.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    (one,) = read_panel(values, like=forecaster.layout_)
    return forecaster, values, forecaster.reader_.tensors(one)


@pytest.mark.parametrize("length", [32, 200])
def test_a_cut_history_is_what_the_public_face_makes_of_those_rows_alone(fitted, length):
    forecaster, values, series = fitted
    origins = [301, 328, 333, 700]
    found = forecasts_after(forecaster.network_, series, origins, length)
    assert found.shape == (4, 6, 2)
    for origin, point in zip(origins, found, strict=True):
        begin = first_row(origin, length, 8)
        assert begin % 8 == 0
        assert length <= origin - begin < length + 8
        expected = forecaster.forget().update(values[begin:origin]).predict()
        agree(point, expected)


def test_only_the_history_differs_between_lengths(fitted):
    forecaster, _, series = fitted
    network, origins = forecaster.network_, [400, 411, 650]
    whole = forecasts_after(network, series, origins, None)
    agree(forecasts_after(network, series, origins, 1000), whole)
    short = forecasts_after(network, series, origins, 32)
    assert np.abs(short - whole).max() > 1e-3
    alone = forecasts_after(network, series, origins[1:2], 32)
    agree(short[1:2], alone)


def test_many_origins_are_read_a_few_at_a_time(fitted, monkeypatch):
    forecaster, _, series = fitted
    together = forecasts_after(forecaster.network_, series, [300, 303, 400, 555], 64)
    monkeypatch.setattr("titans_bench.history.reading.NUMBERS_AT_ONCE", 1)
    one_by_one = forecasts_after(forecaster.network_, series, [300, 303, 400, 555], 64)
    agree(together, one_by_one)


def test_a_carried_state_costs_the_same_after_any_history_and_a_cache_grows(fitted):
    forecaster, _, series = fitted
    sizes = [cost_after(forecaster.network_, series, 800, length).state_bytes for length in (64, 256, None)]
    if forecaster.variant == "full_attention":
        assert sizes[0] < sizes[1] < sizes[2]
    else:
        assert sizes[0] == sizes[1] == sizes[2]
    cost = cost_after(forecaster.network_, series, 800, 64)
    assert cost.seconds_per_step > 0
    assert cost.seconds_per_forecast > 0
    assert cost.resident_mib == pytest.approx(resident_mib(), rel=0.2)
