"""Sequences of numbers as a batch: precise differences, a mask of what is missing, silence past the end."""

import numpy as np
import pytest
import torch
from tolerances import assert_agree

from titans_ts.blocks.scale import FARTHEST, Scale
from titans_ts.windows.containers import as_windows, common_scale

NAN = np.nan
CPU = torch.device("cpu")


def sequences(lengths=(7, 1, 12, 4), channels=3, *, missing=0.2, level=0.0, seed=0):
    chance = np.random.default_rng(seed)
    found = [level + 2 * chance.normal(size=(length, channels)) for length in lengths]
    for one in found:
        one[chance.random(one.shape) < missing] = NAN
    return found


def batch(items, scale=None, dtype=torch.float64):
    return as_windows(items, common_scale(items) if scale is None else scale, device=CPU, dtype=dtype)


# --- the scale ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, -1e3, 1e9])
def test_level_and_spread_are_mean_and_deviation_over_all_steps_of_all_sequences(level):
    items = sequences(level=level)
    found, steps = common_scale(items), np.concatenate(items)
    assert found.level.dtype == found.spread.dtype == torch.float64
    np.testing.assert_allclose(found.level, np.nanmean(steps, 0)[None], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.spread, np.nanstd(steps, 0)[None], rtol=1e-6)


def test_neither_order_nor_cut_of_sequences_changes_the_scale():
    items = sequences()
    found = common_scale(items)
    for other in (items[::-1], [np.concatenate(items)], [row[None] for one in items for row in one]):
        for x, y in zip(common_scale(other), found, strict=True):
            assert_agree(x, y)


def test_a_channel_that_does_not_vary_or_was_not_measured_has_a_spread_of_one():
    steps = np.column_stack([np.full(6, 7.0), np.full(6, NAN), [5.0, *[NAN] * 5], np.arange(6.0)])
    found = common_scale([steps[:2], steps[2:]])
    assert found.level.tolist() == [[7.0, 0.0, 5.0, 2.5]]
    assert found.spread[0, :3].tolist() == [1.0, 1.0, 1.0]
    assert found.spread[0, 3] == pytest.approx(np.arange(6).std())


def test_the_largest_numbers_do_not_overflow():
    found = common_scale([np.array([[1e300], [-1e300]])])
    assert found.spread.tolist() == [[pytest.approx(1e300)]]


# --- the batch ------------------------------------------------------------------------------------------------------


def by_loop(items, level, spread):
    """Return inputs and lengths, number by number."""
    channels, longest = items[0].shape[1], max(len(one) for one in items)
    found = np.zeros((len(items), 2 * channels, longest))
    for i, one in enumerate(items):
        for step, row in enumerate(one):
            for channel, value in enumerate(row):
                if np.isnan(value):
                    found[i, channels + channel, step] = 1
                else:
                    found[i, channel, step] = (value - level[channel]) / spread[channel]
    return found, [len(one) for one in items]


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_a_slow_loop(channels):
    items = sequences(channels=channels)
    level, spread = np.arange(channels) + 0.5, np.arange(channels) + 2.0
    inputs, lengths = batch(items, Scale(torch.tensor(level)[None], torch.tensor(spread)[None]))
    expected, ends = by_loop(items, level, spread)
    assert_agree(inputs, torch.from_numpy(expected))
    assert lengths.tolist() == ends


def test_a_high_level_takes_no_digit_off_what_lies_on_it():
    rows = np.arange(8.0)[:, None]
    low, high = (batch([rows + level], dtype=torch.float32)[0] for level in (0.0, 1e9))
    assert low.dtype == torch.float32
    assert_agree(high, low)
    assert low[0, 0].std(correction=0) == pytest.approx(1, abs=1e-6)


def test_padding_and_neighbours_change_nothing():
    items, scale = sequences(), common_scale(sequences())
    together, lengths = batch(items, scale)
    for one, row, length in zip(items, together, lengths, strict=True):
        alone, _ = batch([one], scale)
        assert torch.equal(row[:, :length], alone[0])
        assert not row[:, length:].any(), "neither values nor gaps past the end"


def test_what_is_missing_is_told_from_what_lies_at_the_level():
    inputs, _ = batch([np.array([[2.0, NAN], [NAN, 3.0]])], Scale(torch.tensor([[2.0, 3.0]]).double(), torch.ones(1, 2)))
    assert inputs[0].tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


def test_what_is_given_is_left_alone():
    items, scale = sequences(), common_scale(sequences())
    before = [one.copy() for one in items]
    batch(items, scale)[0].fill_(5.0)
    for one, other in zip(items, before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert torch.equal(scale.level, common_scale(before).level)


def test_rows_of_any_size_stay_finite():
    inputs, _ = batch([np.array([[1e300], [-1e300], [0.0]])], Scale(torch.zeros(1, 1), torch.ones(1, 1)), torch.float32)
    assert inputs[0, 0].tolist() == pytest.approx([FARTHEST, -FARTHEST, 0.0])
    assert torch.isfinite(inputs.square().sum())
