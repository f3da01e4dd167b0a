"""A reader: what it foretells depends on what was read before and nothing else, whatever the cut and the neighbours."""

import json

import numpy as np
import pytest
import torch
from memory.cases import shaken
from tolerances import assert_agree
from windows.cases import make_reader, wandering

from titans_ts.backbones.variants import VARIANTS
from titans_ts.windows import reader
from titans_ts.windows.reader import ReaderConfig, ReaderNetwork, embeddings, readings, surprises

ITEMS = wandering()
LONGER = wandering((41, 1, 26, 3, 40, 4, 90))
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


# --- many sequences: as of each alone, step by step -------------------------------------------------------------------


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


@torch.no_grad()
def patch_by_patch(network, one):
    """Read one sequence a patch at a time; returns what is held after each, and how far from expected each was."""
    inputs, lengths = network.batch([one])
    state, held, off = network.initial_state(1), [], []
    expected = None
    for first in range(0, len(one), P):
        found = network(inputs[..., first : first + P], lengths - first, state)
        state = found.state
        held.append(found.hidden[0, 0].numpy())
        values = ((one[first : first + P] - 9) / 1.5).T  # c p
        if expected is None:
            errors = found.errors[0, 0].numpy()[:, : values.shape[1]][~np.isnan(values)]
        else:
            errors = (values - expected[:, : values.shape[1]])[~np.isnan(values)]
        off.append(np.sqrt(np.mean(errors**2)) if errors.size else 0.0)
        expected = found.foretold[0, 0].numpy()
    return np.array(held), off


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_both_equal_a_slow_loop_over_each_sequence(variant, adapts):
    network = make_reader(variant, adapts=adapts)
    held, surprised = embeddings(network, LONGER), surprises(network, LONGER)
    for one, row, steps in zip(LONGER, held, surprised, strict=True):
        expected, off = patch_by_patch(network, one)
        close(row, np.concatenate([expected.mean(0), expected.max(0), expected[-1]]))
        assert len(steps) == len(one)
        close(steps, np.repeat(off, P)[: len(one)])
    assert np.ptp(np.concatenate(surprised)) > 0.1


@pytest.mark.parametrize("at_once", [(1, 1), (1, 7), (3, 2), (10, 64)], ids=str)
@pytest.mark.parametrize("variant", ["mac", "full_attention"])
def test_how_much_is_read_at_once_does_not_count(variant, at_once, monkeypatch):
    network = make_reader(variant, adapts=True)
    held, surprised = embeddings(network, LONGER), surprises(network, LONGER)
    monkeypatch.setattr(reader, "TOKENS_AT_ONCE", at_once[0])
    monkeypatch.setattr(reader, "SIDE_BY_SIDE", at_once[1])
    close(embeddings(network, LONGER), held)
    for found, expected in zip(surprises(network, LONGER), surprised, strict=True):
        close(found, expected)


def test_neither_order_nor_neighbours_count():
    network = make_reader(adapts=True)
    held, surprised = embeddings(network, LONGER), surprises(network, LONGER)
    close(embeddings(network, LONGER[::-1])[::-1], held)
    for i, one in enumerate(LONGER):
        among = [wandering((200,), seed=4)[0], one]
        close(embeddings(network, among)[1], held[i])
        close(surprises(network, among)[1], surprised[i])


def test_readings_come_part_by_part_and_hold_no_more_than_one(monkeypatch):
    network = make_reader()
    monkeypatch.setattr(reader, "TOKENS_AT_ONCE", 5)
    with torch.no_grad():
        parts = [reading.hidden.shape[1] for reading in readings(network, LONGER[:1])]
    assert parts == [5, 5, 1]


def test_every_step_of_a_patch_has_its_value_and_reading_leaves_no_trace():
    network = make_reader()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    first = surprises(network.train(), LONGER)
    for steps in first:
        for patch in range(0, len(steps), P):
            assert len(set(steps[patch : patch + P])) == 1
    for found, expected in zip(surprises(network, LONGER), first, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg="in evaluation mode, from the learned start")
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_a_change_surprises_where_it_is_and_not_before():
    network = make_reader()
    one = wandering((60,), missing=0.0, seed=2)[0]
    changed = one.copy()
    changed[41] += 8
    found, expected = surprises(network, [changed])[0], surprises(network, [one])[0]
    np.testing.assert_array_equal(found[:40], expected[:40])
    assert found[41] > expected[41] + 1
