"""What a reader holds of many sequences, and what surprised it: as of each alone, step by step."""

import numpy as np
import pytest
import torch
from windows.cases import make_reader, wandering

from titans_ts.backbones.config import VARIANTS
from titans_ts.windows import reader as reading_along
from titans_ts.windows.reader import described, readings, surprises

ITEMS = wandering((41, 1, 26, 3, 40, 4, 90))
P = 4


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
    held, surprised = described(network, ITEMS), surprises(network, ITEMS)
    for one, row, steps in zip(ITEMS, held, surprised, strict=True):
        expected, off = patch_by_patch(network, one)
        close(row, np.concatenate([expected.mean(0), expected.max(0), expected[-1]]))
        assert len(steps) == len(one)
        close(steps, np.repeat(off, P)[: len(one)])
    assert np.ptp(np.concatenate(surprised)) > 0.1


@pytest.mark.parametrize("at_once", [(1, 1), (1, 7), (3, 2), (10, 64)], ids=str)
@pytest.mark.parametrize("variant", ["mac", "full_attention"])
def test_how_much_is_read_at_once_does_not_count(variant, at_once, monkeypatch):
    network = make_reader(variant, adapts=True)
    held, surprised = described(network, ITEMS), surprises(network, ITEMS)
    monkeypatch.setattr(reading_along, "TOKENS_AT_ONCE", at_once[0])
    monkeypatch.setattr(reading_along, "SIDE_BY_SIDE", at_once[1])
    close(described(network, ITEMS), held)
    for found, expected in zip(surprises(network, ITEMS), surprised, strict=True):
        close(found, expected)


def test_neither_order_nor_neighbours_count():
    network = make_reader(adapts=True)
    held, surprised = described(network, ITEMS), surprises(network, ITEMS)
    close(described(network, ITEMS[::-1])[::-1], held)
    for i, one in enumerate(ITEMS):
        among = [wandering((200,), seed=4)[0], one]
        close(described(network, among)[1], held[i])
        close(surprises(network, among)[1], surprised[i])


def test_readings_come_part_by_part_and_hold_no_more_than_one(monkeypatch):
    network = make_reader()
    monkeypatch.setattr(reading_along, "TOKENS_AT_ONCE", 5)
    with torch.no_grad():
        parts = [reading.hidden.shape[1] for reading in readings(network, ITEMS[:1])]
    assert parts == [5, 5, 1]


def test_every_step_of_a_patch_has_its_value_and_reading_leaves_no_trace():
    network = make_reader()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    first = surprises(network.train(), ITEMS)
    for steps in first:
        for patch in range(0, len(steps), P):
            assert len(set(steps[patch : patch + P])) == 1
    for found, expected in zip(surprises(network, ITEMS), first, strict=True):
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
