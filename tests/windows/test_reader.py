"""A reader: what it foretells depends on what was read before and nothing else, whatever the cut and the neighbours."""

import json

import numpy as np
import pytest
import torch
from memory.cases import shaken
from tolerances import assert_agree
from windows.cases import make_reader, wandering

from titans_ts.backbones.config import VARIANTS
from titans_ts.windows.reader import ReaderConfig, ReaderNetwork

ITEMS = wandering()
P = 4


def read(network, items=ITEMS, *, beyond=0):
    inputs, lengths = network.batch(items)
    inputs = torch.nn.functional.pad(inputs, (0, beyond))
    return network(inputs, lengths, network.initial_state(len(items)))


def patches_of(items=ITEMS):
    return [-(-len(one) // P) for one in items]


# --- patches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_hold_values_and_what_was_measured_of_them(channels):
    network, items = make_reader(channels=channels), wandering(channels=channels)
    values, measured = network.patches(*network.batch(items))
    for i, one in enumerate(items):
        for place, value in np.ndenumerate(one):
            step, channel = place
            at = (i, step // P, channel, step % P)
            assert bool(measured[at]) == ~np.isnan(value)
            if measured[at]:
                assert float(values[at]) == pytest.approx((value - 9) / 1.5, rel=1e-12)
    assert measured.sum() == sum((~np.isnan(one)).sum() for one in items), "nothing past the end"


# --- neighbours, cuts, causality ------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_padding_and_neighbours_change_nothing(variant, adapts):
    network = make_reader(variant, adapts=adapts)
    together, losses = read(network, beyond=7), network.losses(*network.batch(ITEMS))
    for i, (one, count) in enumerate(zip(ITEMS, patches_of(), strict=True)):
        alone = read(network, [one])
        for name in ("hidden", "foretold", "errors", "measured", "surprise"):
            assert_agree(getattr(together, name)[i, :count], getattr(alone, name)[0], name=name)
        assert not together.errors[i, count:].any()
        assert_agree(losses[i : i + 1], network.losses(*network.batch([one])))
    assert_agree(network.losses(*network.batch(ITEMS[::-1])).flip(0), losses)


@pytest.mark.parametrize("sizes", [[1] * 11, [3, 1, 7], [10, 1]], ids=str)
@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_any_cut_between_patches_equals_the_whole(variant, adapts, sizes):
    network = make_reader(variant, adapts=adapts)
    inputs, lengths = network.batch(ITEMS)
    whole, state, first, parts = read(network), network.initial_state(len(ITEMS)), 0, []
    for piece in inputs.split([P * size for size in sizes[:-1]] + [inputs.shape[-1] - P * sum(sizes[:-1])], dim=-1):
        parts.append(network(piece, lengths - first, state))
        state, first = parts[-1].state, first + piece.shape[-1]
    for name in ("hidden", "foretold", "errors", "surprise"):
        assert_agree(torch.cat([getattr(part, name) for part in parts], 1), getattr(whole, name), name=name)


@pytest.mark.parametrize("adapts", [False, True])
@torch.no_grad()
def test_what_is_foretold_knows_nothing_of_what_comes(adapts):
    network = make_reader(adapts=adapts)
    one = wandering((40,), missing=0.0)[0]
    found = read(network, [one])
    for patch in (1, 5, 9):
        changed = one.copy()
        changed[P * patch :] += 2
        again = read(network, [changed])
        assert torch.equal(again.foretold[0, :patch], found.foretold[0, :patch])
        assert torch.equal(again.surprise[0, :patch], found.surprise[0, :patch])
        assert not torch.equal(again.foretold[0, patch], found.foretold[0, patch])
        assert not torch.equal(again.surprise[0, patch], found.surprise[0, patch])


# --- errors, surprise, loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapts", [False, True])
@torch.no_grad()
def test_errors_are_what_was_not_foretold_and_surprise_their_root_mean_square(adapts):
    network = make_reader(adapts=adapts)
    for one in ITEMS:
        found = read(network, [one])
        values, measured = network.patches(*network.batch([one]))
        for patch in range(1, patches_of([one])[0]):
            known = measured[0, patch] > 0
            off = (values[0, patch] - found.foretold[0, patch - 1])[known]
            assert_agree(found.errors[0, patch][known], off)
            assert not found.errors[0, patch][~known].any()
            assert float(found.surprise[0, patch]) == pytest.approx(float(off.square().mean().sqrt()) if len(off) else 0.0)


@torch.no_grad()
def test_the_first_patch_is_measured_by_the_same_whatever_follows():
    network = make_reader()
    first = [read(network, [np.concatenate([np.full((P, 2), 4.0), one])]).errors[0, 0] for one in ITEMS]
    zero = read(network, [np.full((1, 2), 9.0)]).errors[0, 0, :, 0]
    for errors in first:
        assert_agree(errors, first[0])
    assert_agree(first[0][:, 0] - zero, torch.full((2,), -5 / 1.5, dtype=torch.float64))


@torch.no_grad()
def test_losses_are_hubers_averaged_over_what_was_measured():
    network = make_reader()
    found = network.losses(*network.batch(ITEMS))
    for i, one in enumerate(ITEMS):
        errors = [float(e) for e in read(network, [one]).errors.abs().flatten() if e > 0]
        expected = sum(0.5 * e**2 if e <= 1 else e - 0.5 for e in errors) / int((~np.isnan(one)).sum())
        assert float(found[i]) == pytest.approx(expected, rel=1e-10)


@torch.no_grad()
def test_nothing_but_gaps_is_read_and_costs_nothing():
    network = make_reader()
    found = read(network, [np.full((length, 2), np.nan) for length in (1, 3, 50)])
    assert torch.isfinite(found.hidden).all()
    assert not found.surprise.any()
    assert not network.losses(*network.batch([np.full((9, 2), np.nan)])).any()


@torch.no_grad()
def test_a_number_beside_a_gap_counts_and_what_the_gap_hides_does_not():
    network = make_reader()
    one = wandering((24,), missing=0.0)[0]
    inputs, lengths = network.batch([one])
    inputs[0, 2:, 9] = 1  # nothing was measured at step 9
    found = network(inputs, lengths, network.initial_state(1))
    assert found.measured[0, 2].sum() == 6
    assert found.surprise[0, 2] > 0
    assert not torch.equal(found.hidden, read(network, [one]).hidden)


@torch.no_grad()
def test_what_is_read_is_learned_only_where_it_adapts():
    one = wandering((40,), missing=0.0)[0]
    changed = one.copy()
    changed[:P] += 3
    for adapts in (False, True):
        network = make_reader(adapts=adapts, layers=0)  # every patch is held on its own
        found, again = read(network, [one]), read(network, [changed])
        assert torch.equal(again.foretold[0, 5:], found.foretold[0, 5:]) != adapts


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant, adapts):
    network = make_reader(variant, adapts=adapts)
    network.losses(*network.batch(ITEMS)).sum().backward()
    without = [name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"


# --- from a file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"channels": 3, "patch_length": 1}, {"layers": 0, "adapts": True}], ids=str)
@torch.no_grad()
def test_a_configuration_builds_the_same_reader_again(settings):
    network = make_reader(**settings)
    config = ReaderConfig.from_dict(json.loads(json.dumps(network.config.to_dict())))
    assert config == network.config
    again = shaken(ReaderNetwork(config), seed=9)
    again.load_state_dict(network.state_dict())
    items = wandering(channels=config.channels)
    assert torch.equal(again.losses(*again.batch(items)), network.losses(*network.batch(items)))
    assert (again.dtype, again.device) == (torch.float64, torch.device("cpu"))
