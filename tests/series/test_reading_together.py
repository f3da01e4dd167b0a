"""Many series read as one batch: each as if it were alone, wherever it stands."""

import pytest
import torch
from series.cases import ALL_COVARIATES, make_network, make_series
from tolerances import assert_agree

from titans_ts.backbones.state import pack
from titans_ts.backbones.variants import VARIANTS
from titans_ts.blocks.scale import unknown_scale
from titans_ts.series import reading as reading_together
from titans_ts.series.reading import absorb, absorb_together, forecast, forecast_together, joined, parted, start_state

LENGTHS = [40, 40, 7, 16, 41, 40, 0]
MORE = [9, 9, 9, 1, 1, 30, 5]


def read(variant, lengths, **options):
    network = make_network(variant, **ALL_COVARIATES, **options)
    series = [
        make_series(network.config, length + more + 60, seed=i)
        for i, (length, more) in enumerate(zip(LENGTHS, MORE, strict=True))
    ]
    states = []
    for i, (one, length) in enumerate(zip(series, lengths, strict=True)):
        scale = unknown_scale(network.config.channels) if i % 3 == 2 else one.scale
        state = start_state(network, static=one.static, scale=scale)
        states.append(absorb(network, state, one.head(length)) if length else state)
    return network, series, states


@pytest.mark.parametrize("at_once", [1, 4, 512])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_reads_as_each_alone(variant, at_once, monkeypatch):
    monkeypatch.setattr(reading_together, "STREAMS_AT_ONCE", at_once)
    network, series, states = read(variant, LENGTHS)
    rows = [one.part(a, a + b) for one, a, b in zip(series, LENGTHS, MORE, strict=True)]
    found = absorb_together(network, states, rows)
    for place, (state, one) in enumerate(zip(states, rows, strict=True)):
        true = absorb(network, state, one)
        assert found[place].n_seen == true.n_seen == LENGTHS[place] + MORE[place]
        seen = pack(found[place])
        for name, x in pack(true).items():
            assert torch.equal(seen[name].isnan(), x.isnan())
            assert_agree(seen[name].double().nan_to_num(), x.double().nan_to_num(), name=f"series {place}, {name}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_forecasts_as_each_alone(variant):
    network, series, states = read(variant, [5, 40, 40, 33, 41, 40, 6])
    futures = [one.future[-network.config.horizon :] for one in series]
    for place, found in enumerate(forecast_together(network, states, futures)):
        true = forecast(network, states[place], futures[place])
        assert_agree(found.point, true.point, name=f"point of {place}")
        assert_agree(found.quantiles, true.quantiles, name=f"quantiles of {place}")


def test_parting_undoes_joining_and_shares_nothing():
    states = [(torch.full((2, 3), float(i)), (7, None, ())) for i in range(3)]
    batch = joined(states)
    for state, found in zip(states, parted(batch, 2), strict=False):
        assert torch.equal(found[0], state[0])
        assert found[1] == (7, None, ())
        assert found[0].untyped_storage().nbytes() == 6 * 4
