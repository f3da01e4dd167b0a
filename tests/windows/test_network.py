"""A network of numeric sequences: two paths that see values, gaps and shapes, whatever the neighbours and the cut."""

import json

import numpy as np
import pytest
import torch
from memory.cases import shaken
from tolerances import assert_agree
from windows.cases import make_window_network, wandering

from titans_ts.backbones.variants import VARIANTS
from titans_ts.learn import two_paths
from titans_ts.windows.kernels import SUMMARIES, summary
from titans_ts.windows.network import WindowConfig, WindowNetwork

ITEMS = wandering()


# --- what the linear path sees --------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_linear_path_sees_the_first_values_a_summary_and_the_shares():
    network = make_window_network()
    found = network.linear_features(*network.batch(ITEMS))
    assert found.shape[1] == network.linear.in_features == (5 + SUMMARIES) * 2 + network.shares.features
    for one, row in zip(ITEMS, found, strict=True):
        first = np.zeros((2, 5))
        near = np.nan_to_num((one[:5] - 9) / 1.5)
        first[:, : len(near)] = near.T
        assert_agree(row[:10], torch.from_numpy(first.ravel()))
        values = torch.from_numpy(np.nan_to_num((one - 9) / 1.5).T.copy())[None]
        told, found = row[10 : 10 + 2 * SUMMARIES], row[10 + 2 * SUMMARIES :]
        assert_agree(told, summary(values, torch.tensor([len(one)]))[0])
        assert_agree(found, network.shares(values, torch.tensor([len(one)]))[0])


@torch.no_grad()
def test_the_linear_answer_is_linear_in_what_it_sees():
    network = make_window_network()
    inputs, lengths = network.batch(ITEMS)
    expected = network.linear_features(inputs, lengths) @ network.linear.weight.T + network.linear.bias
    assert_agree(network.linear_answer(inputs, lengths), expected)
    bare = make_window_network(steps=0, dilations=())
    values, lengths = bare.batch(ITEMS)
    assert_agree(bare.linear_features(values, lengths), summary(values[:, :2], lengths))


@torch.no_grad()
def test_a_fresh_network_says_nothing_by_either_path():
    network = WindowNetwork(WindowConfig(outputs=2, channels=2, steps=3, dilations=(1,)))
    batch = network.batch(ITEMS)
    for path in (network, network.linear_answer, network.memory_answer):
        assert not path(*batch).any()


# --- gaps and levels ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_memory_tells_a_gap_from_the_level_and_the_linear_path_does_not():
    network = make_window_network()
    gap, level = [wandering((20,), missing=0.0)[0] for _ in range(2)]
    gap[7, 1], level[7, 1] = np.nan, 9.0
    inputs, lengths = network.batch([gap, level])
    linear, memory = network.linear_answer(inputs, lengths), network.memory_answer(inputs, lengths)
    assert_agree(linear[0], linear[1])
    assert not torch.allclose(memory[0], memory[1])


@torch.no_grad()
def test_nothing_but_gaps_is_answered_too():
    network = make_window_network()
    found = network(*network.batch([np.full((length, 2), np.nan) for length in (1, 3, 50)]))
    assert torch.isfinite(found).all()


@torch.no_grad()
def test_level_and_spread_are_taken_off_in_float64_whatever_the_weights_are():
    low, high = (make_window_network(channels=1).float() for _ in range(2))
    low.level, low.spread = torch.full((1, 1), 1.0).double(), torch.full((1, 1), 2.0).double()
    high.level, high.spread = low.level + 1e9, low.spread
    rows = wandering((30,), 1)
    assert_agree(high(*high.batch([rows[0] + 1e9])), low(*low.batch(rows)))


# --- the cut, the neighbours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_padding_order_and_neighbours_change_no_answer(variant):
    network = make_window_network(variant)
    together = network(*network.batch(ITEMS))
    assert_agree(network(*network.batch(ITEMS[::-1])).flip(0), together)
    longer = [*ITEMS, wandering((90,), seed=3)[0]]
    assert_agree(network(*network.batch(longer))[:-1], together)
    for one, found in zip(ITEMS, together, strict=True):
        assert_agree(network(*network.batch([one]))[0], found)


@pytest.mark.parametrize("tokens_at_once", [1, 2, 7])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_how_many_tokens_are_read_at_once_does_not_count(variant, tokens_at_once, monkeypatch):
    network = make_window_network(variant)
    batch = network.batch(ITEMS)
    whole = network(*batch)
    monkeypatch.setattr(two_paths, "TOKENS_AT_ONCE", tokens_at_once)
    assert_agree(network(*batch), whole)


@torch.no_grad()
def test_all_of_a_long_sequence_is_read():
    network = make_window_network()
    long = wandering((400,), missing=0.0, seed=5)[0]
    found = network.memory_answer(*network.batch([long]))
    for place in (0, 200, 399):
        changed = long.copy()
        changed[place] += 5
        assert not torch.equal(network.memory_answer(*network.batch([changed])), found), place


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter_of_both_paths(variant):
    network = make_window_network(variant, patch_length=1)
    network(*network.batch(ITEMS)).square().sum().backward()
    without = [name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"stem", "backbone", "head", "linear"}


# --- from a file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"steps": 0, "channels": 3}, {"dilations": (), "layers": 0}], ids=str)
@torch.no_grad()
def test_a_configuration_builds_the_same_network_again(settings):
    network = make_window_network(**settings)
    config = WindowConfig.from_dict(json.loads(json.dumps(network.config.to_dict())))
    assert config == network.config
    again = shaken(WindowNetwork(config), seed=9)
    again.load_state_dict(network.state_dict())
    items = wandering(channels=config.channels)
    assert torch.equal(again(*again.batch(items)), network(*network.batch(items)))
    assert torch.equal(again.level, network.level)
    assert again.share == network.share
