"""The forecasting network: its parts, and the whole."""

import json

import pytest
import torch
from memory.cases import shaken, tokens
from series.cases import ALL_COVARIATES, BACKBONE, make_config, make_network, make_series
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.variants import VARIANTS
from titans_ts.series.network import ForecastHead, ForecastNetwork, FutureEffect, LinearPath, QuantileHead
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.tensors import Covariates, Lookback, look_back


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


# --- paths and heads --------------------------------------------------------------------------------------------------


LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def quantile_head(quantiles=LEVELS, channels: int = 2, *, by: float = 0.0, seed: int = 0) -> QuantileHead:
    torch.manual_seed(0)
    return shaken(QuantileHead(6, 4, channels=channels, quantiles=quantiles), by=by, seed=seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("by", [0.3, 3.0, 30.0])
@torch.no_grad()
def test_quantiles_never_cross_whatever_the_weights(by, seed):
    head = quantile_head(by=by, seed=seed)
    point, hidden = tokens(2, 2, 3, 4), tokens(2, 3, 6, scale=5.0)
    quantiles = head(point, hidden)
    assert quantiles.shape == (2, 2, 3, 4, 7)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert torch.equal(quantiles[..., 3], point), "the median is the point forecast"


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_quantiles_never_cross_whatever_the_stretch(seed):
    head = quantile_head(by=0.3)
    for stretch in (tokens(7, seed=seed).abs(), tokens(7, seed=seed), torch.zeros(7).double()):
        head.stretch.copy_(stretch * 3)
        assert (head(tokens(2, 2, 3, 4), tokens(2, 3, 6)).diff(dim=-1) >= 0).all()


@torch.no_grad()
def test_quantiles_start_as_a_normal_distribution():
    head = quantile_head(LEVELS)
    found = head(torch.zeros(1, 2, 1, 4).double(), torch.zeros(1, 1, 6).double())
    width = torch.log(torch.tensor(2.0)).double()  # softplus(0)
    normal = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64))
    assert ((found / width - normal).abs() < 1e-5).all()


@torch.no_grad()
def test_stretch_moves_its_own_quantile_away_from_the_median():
    head = quantile_head(by=0.1)
    point, hidden = tokens(1, 2, 3, 4), tokens(1, 3, 6)
    before = head(point, hidden)
    head.stretch[-1] *= 2
    after = head(point, hidden)
    assert torch.equal(after[..., :-1], before[..., :-1])
    assert_agree(after[..., -1] - point, 2 * (before[..., -1] - point))


@pytest.mark.parametrize("quantiles", [(0.5,), (0.1, 0.9), (0.2, 0.3, 0.5, 0.6), (0.6, 0.9), (0.01, 0.4), ()], ids=str)
@torch.no_grad()
def test_any_set_of_levels_lies_on_its_side_of_the_median(quantiles):
    head = quantile_head(quantiles, by=0.3)
    point, hidden = tokens(1, 2, 3, 4), tokens(1, 3, 6)
    found = head(point, hidden)
    assert found.shape[-1] == len(quantiles)
    for i, level in enumerate(quantiles):
        side = torch.sign(found[..., i] - point)
        assert (side == torch.sign(torch.tensor(level - 0.5))).all(), level


def test_gradients_widen_without_moving_the_median():
    head = quantile_head(by=0.3)
    head(tokens(1, 2, 3, 4), tokens(1, 3, 6))[..., -1].sum().backward()
    assert all(x.grad.abs().max() > 0 for x in head.parameters())


@torch.no_grad()
def test_the_correction_starts_at_nothing_and_is_linear():
    head = ForecastHead(6, 4, channels=2).double().eval()
    hidden = tokens(2, 3, 6)
    assert torch.equal(head(hidden), torch.zeros(2, 2, 3, 4).double())
    shaken(head)
    found = head(hidden)
    for channel in range(2):
        rows = slice(4 * channel, 4 * channel + 4)
        assert_agree(found[:, channel], hidden @ head.correct.weight[rows].T + head.correct.bias[rows])


@torch.no_grad()
def test_dropout_of_the_correction_acts_in_training_only():
    head = shaken(ForecastHead(6, 4, channels=2, dropout=0.5))
    hidden = tokens(2, 3, 6)
    assert torch.equal(head(hidden), head(hidden))
    head.train()
    torch.manual_seed(0)
    assert not torch.equal(head(hidden), head(hidden))


def all_seen(future: int = 0) -> tuple[Lookback, Covariates]:
    values = tokens(2, 3, 5, 7)
    nothing = torch.zeros(2, 5, 0).double()
    extras = Covariates(nothing, nothing, tokens(2, 5, 4, future, seed=1), nothing[:, 0], torch.arange(2))
    return Lookback(values, torch.ones_like(values), values[..., 0], values[..., 1]), extras


@torch.no_grad()
def test_the_direct_path_starts_at_nothing_and_is_one_matrix():
    path = LinearPath(7, 4).double()
    assert torch.equal(path(*all_seen()), torch.zeros(2, 3, 5, 4).double())
    shaken(path)
    assert_agree(path(*all_seen()), all_seen()[0].values @ path.past.weight.T + path.past.bias)


@torch.no_grad()
def test_what_is_known_ahead_acts_on_its_own_step():
    path = LinearPath(7, 4, future=2).double()
    windows, extras = all_seen(2)
    assert torch.equal(path(windows, extras), torch.zeros(2, 3, 5, 4).double()), "the effect starts at nothing"
    shaken(path)
    before = path(windows, extras)
    changed = extras.future.clone()
    changed[1, 2, 3] += 1
    differs = (path(windows, extras._replace(future=changed)) != before).nonzero()
    assert differs.tolist() == [[1, c, 2, 3] for c in range(3)]


@torch.no_grad()
def test_the_effect_of_the_future_can_bend():
    effect = shaken(FutureEffect(1), by=1.0)
    x = torch.tensor([[[[-1.0], [0.0], [1.0]]]], dtype=torch.float64)
    low, middle, high = effect(x).flatten()
    assert abs((high - middle) - (middle - low)) > 1e-3
