"""Inputs, backbone and head together: a linear floor, and what a configuration builds again."""

import json

import pytest
import torch
from series.cases import ALL_COVARIATES, BACKBONE, make_config, make_network, make_series
from tolerances import assert_agree

from titans_ts.backbones.config import VARIANTS, BackboneConfig
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.tensors import look_back


def seen(network: ForecastNetwork, length: int = 60, seed: int = 0):
    series = make_series(network.config, length, seed=seed, beyond=9)
    ends = torch.arange(1, length // 4 + 1) * 4
    return look_back(series, ends, network.config, dtype=network.dtype)


@pytest.mark.parametrize("settings", [{}, {"mixed": True}, ALL_COVARIATES, {"mixed": True, **ALL_COVARIATES}], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_any_cut_equals_the_whole(variant, settings):
    network = make_network(variant, **settings)
    windows, extras = seen(network)
    streams = network.config.streams
    point, hidden, _ = network(windows, extras, network.initial_state(streams))
    assert point.shape == (streams, network.config.token_channels, 15, 5)
    state, points = network.initial_state(streams), []
    for begin, end in ((0, 2), (2, 3), (3, 11), (11, 15)):
        part = slice(begin, end)
        cut = type(windows)(*(x[:, :, part] for x in windows))
        some = extras._replace(calendar=extras.calendar[:, part], past=extras.past[:, part], future=extras.future[:, part])
        found, last, state = network(cut, some, state)
        points.append(found)
        assert_agree(last, hidden[:, part])
    assert_agree(torch.cat(points, 2), point)


@torch.no_grad()
def test_starts_from_the_direct_path():
    torch.manual_seed(0)
    network = ForecastNetwork(make_config()).eval()
    network.direct.past.weight.normal_()
    windows, extras = seen(network)
    point, _, _ = network(windows, extras, network.initial_state(2))
    assert torch.equal(point, network.direct(windows, extras))


@torch.no_grad()
def test_without_layers_only_the_direct_path_speaks():
    network = make_network(layers=0)
    windows, extras = seen(network)
    point, _, state = network(windows, extras, network.initial_state(2))
    assert torch.equal(point, network.direct(windows, extras))
    assert state == ()


@torch.no_grad()
def test_a_forecast_is_the_point_with_quantiles_around_it():
    network = make_network()
    windows, extras = seen(network)
    point, _, _ = network(windows, extras, network.initial_state(2))
    found = network.forecast(windows, extras, network.initial_state(2))
    assert torch.equal(found.point, point)
    assert torch.equal(found.quantiles[..., 1], point)
    assert (found.quantiles.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("settings", [{}, {"mixed": True}, ALL_COVARIATES], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant, settings):
    network = make_network(variant, **settings)
    windows, extras = seen(network)
    found = network.forecast(windows, extras, network.initial_state(network.config.streams))
    ((found.quantiles - 0.3).abs() ** 1.5).sum().backward()
    without = [name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"


@torch.no_grad()
def test_independent_channels_do_not_see_each_other_and_mixed_ones_do():
    for mixed in (False, True):
        network = make_network(mixed=mixed)
        series = make_series(network.config, 60)
        other = make_series(network.config, 60)
        other.rows[1, 20:40] *= 3
        ends = torch.arange(1, 16) * 4
        points = []
        for one in (series, other):
            windows, extras = look_back(one, ends, network.config, dtype=network.dtype)
            point, _, _ = network(windows, extras, network.initial_state(network.config.streams))
            points.append(point.reshape(2, 15, 5))
        assert torch.equal(points[0][0], points[1][0]) == (not mixed)
        assert not torch.equal(points[0][1], points[1][1])


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_configuration_builds_the_same_network_again(variant):
    network = make_network(variant, **ALL_COVARIATES)
    config = ForecastConfig.from_dict(json.loads(json.dumps(network.config.to_dict())))
    assert config == network.config
    again = ForecastNetwork(config).double().eval()
    again.load_state_dict(network.state_dict())
    windows, extras = seen(network)
    state = network.initial_state(2)
    assert torch.equal(network.forecast(windows, extras, state).quantiles, again.forecast(windows, extras, state).quantiles)


def test_streams_and_channels():
    independent, mixed = make_config(channels=3), make_config(channels=3, mixed=True)
    assert (independent.streams, independent.token_channels) == (3, 1)
    assert (mixed.streams, mixed.token_channels) == (1, 3)


def test_dtype_follows_the_weights():
    network = ForecastNetwork(make_config())
    assert network.dtype == torch.float32
    assert network.double().dtype == torch.float64
    assert all(x.dtype == torch.float64 for x in network.parameters())
    assert network.device == torch.device("cpu")


def test_an_unknown_variant_is_refused_when_a_file_names_it():
    values = make_config().to_dict()
    values["backbone"]["variant"] = "mab"
    with pytest.raises(ValueError, match="variant='mab' is not known"):
        ForecastConfig.from_dict(values)
    assert BackboneConfig("mac", **BACKBONE).variant == "mac"
