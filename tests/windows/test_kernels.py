"""Shares of kernels against a loop over steps and weights; padding, neighbours and level change none."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from memory.cases import tokens
from tolerances import assert_agree

from titans_ts.windows.kernels import KERNELS, MARGIN, MOST_DILATIONS, SUMMARIES, WEIGHTS, KernelShares, dilations, summary

LENGTHS = (30, 1, 17, 9, 24)


def sequences(channels=2, lengths=LENGTHS, *, seed=0):
    return [tokens(channels, length, seed=seed + length).cumsum(-1) for length in lengths]


def as_batch(items, *, beyond=0, fill=0.0):
    """Return ``(b, c, t)``, something past the ends, and lengths."""
    lengths = torch.tensor([one.shape[-1] for one in items])
    found = torch.full((len(items), len(items[0]), int(lengths.max()) + beyond), fill, dtype=torch.float64)
    for row, one in zip(found, items, strict=True):
        row[:, : one.shape[-1]] = one
    return found, lengths


def make_shares(channels=2, *, steps=(1, 3), thresholds=2, items=None, seed=0):
    shares = KernelShares(channels, dilations=steps, thresholds=thresholds).double()
    shares.learn(*as_batch(sequences(channels) if items is None else items), np.random.default_rng(seed))
    return shares


def responses_by_loop(one, dilation, kernel, chosen):
    """Return the response of one kernel at each step of one sequence ``(c, t)``, weight by weight."""
    steps, found = np.arange(one.shape[-1]), np.zeros(one.shape[-1])
    for channel in np.flatnonzero(chosen):
        row = one[channel].numpy()
        for place in range(WEIGHTS):
            weight = 2.0 if place in kernel else -1.0
            found += weight * row[np.clip(steps + dilation * (place - 4), 0, len(row) - 1)]
    return found


def by_loop(shares, one):
    """Return the features of one sequence, in the order dilation, threshold, kernel."""
    found = np.zeros(shares.levels.shape)
    for i, dilation in enumerate(shares.dilations):
        for k, kernel in enumerate(combinations(range(WEIGHTS), 3)):
            response = responses_by_loop(one, dilation, kernel, shares.chosen[i, k])
            for j in range(shares.thresholds):
                found[i, j, k] = np.mean(response > float(shares.levels[i, j, k]))
    return torch.from_numpy(found.ravel())


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_a_slow_loop(channels):
    items, shares = sequences(channels), make_shares(channels)
    found = shares(*as_batch(items))
    assert found.shape[1] == shares.features == 2 * 2 * 84
    for one, row in zip(items, found, strict=True):
        assert_agree(row, by_loop(shares, one))
    assert len(torch.unique(found)) > 20


def test_padding_and_neighbours_change_nothing():
    items, shares = sequences(), make_shares()
    together = shares(*as_batch(items, beyond=11, fill=99.0))
    for one, row in zip(items, together, strict=True):
        assert torch.equal(shares(*as_batch([one]))[0], row)
    assert torch.equal(shares(*as_batch(items[::-1])).flip(0), together)


def test_a_share_is_a_part_of_the_steps():
    items, shares = sequences(), make_shares()
    found = shares(*as_batch(items))
    assert found.min() == 0
    assert found.max() == 1
    counts = found * torch.tensor(LENGTHS)[:, None]
    assert_agree(counts, counts.round())


def test_level_says_nothing_and_scale_and_direction_do():
    shares = make_shares()
    values, lengths = as_batch(sequences())
    found = shares(values, lengths)
    shifted = values + torch.tensor([3.0, -40.0])[:, None]
    assert (shares(shifted, lengths) != found).double().mean() < 1e-3, "weights sum to zero, up to rounding at a threshold"
    for other in (values * 3, -values, values.flip(-1)):
        assert (shares(other, lengths) != found).double().mean() > 0.2


@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
def test_a_constant_sequence_never_exceeds_a_threshold_above_zero(value):
    items = [torch.full((1, length), value, dtype=torch.float64) for length in (1, 8, 30)]
    constant = make_shares(1, items=items)
    assert not constant(*as_batch(items)).any(), "thresholds from constant sequences are a margin above zero"
    shares = make_shares(1)
    expected = (shares.levels < 0).double().flatten()
    for row in shares(*as_batch(items)):
        assert torch.equal(row, expected)


def test_without_dilations_there_are_no_features():
    shares = KernelShares(2, dilations=(), thresholds=1)
    shares.learn(*as_batch(sequences()), np.random.default_rng(0))
    assert shares.features == 0
    assert shares(*as_batch(sequences())).shape == (len(LENGTHS), 0)


def test_answers_follow_the_dtype_of_the_sequence():
    shares = make_shares()
    values, lengths = as_batch(sequences())
    found = shares.float()(values.float(), lengths)
    assert found.dtype == torch.float32
    assert (found.double() - make_shares()(values, lengths)).abs().max() <= 1 / min(LENGTHS[2:]), "a step or two apart"


# --- what is learned ------------------------------------------------------------------------------------------------


def test_each_kernel_has_its_own_three_weights_of_two():
    kernels = KernelShares(1, dilations=(1,), thresholds=1).kernels
    assert KERNELS == len(kernels) == len({tuple(one) for one in kernels.tolist()}) == 84
    assert ((kernels == 2).sum(1) == 3).all()
    assert ((kernels == -1).sum(1) == 6).all()


def test_thresholds_are_quantiles_of_the_response_to_one_sequence():
    items = sequences(1)
    shares = make_shares(1, thresholds=5, items=items)
    levels = shares.levels.numpy() - MARGIN
    assert (np.diff(levels, axis=1) >= 0).all(), "in order"
    for i, dilation in enumerate(shares.dilations):
        for k, kernel in enumerate(combinations(range(WEIGHTS), 3)):
            seen = [responses_by_loop(one, dilation, kernel, [1]) for one in items]
            assert any(one.min() - 1e-9 <= levels[i, 0, k] and levels[i, -1, k] <= one.max() + 1e-9 for one in seen)


def test_of_the_sequence_it_was_taken_from_a_threshold_leaves_any_share_alike():
    one = sequences(1, (400,))
    found = make_shares(1, thresholds=20, items=one)(*as_batch(one))
    assert found.mean() == pytest.approx(0.5, abs=0.03)
    assert found.std() == pytest.approx(12**-0.5, abs=0.03), "evenly from 0 to 1"


def test_subsets_of_channels_are_any_and_never_empty():
    chosen = make_shares(4, items=sequences(4, (20,)), steps=(1, 2, 3)).chosen
    sizes = chosen.sum(-1)
    assert ((chosen == 0) | (chosen == 1)).all()
    assert set(sizes.flatten().tolist()) <= {1, 2, 3, 4}
    assert len(set(sizes.flatten().tolist())) >= 3
    assert (chosen.mean((0, 1)) > 0.2).all(), "each channel is seen"
    assert not torch.equal(chosen[0], chosen[1])
    assert (make_shares(1).chosen == 1).all()


def test_channels_that_no_kernel_chose_are_not_seen():
    shares = make_shares(3)
    shares.chosen[..., 1] = 0
    values, lengths = as_batch(sequences(3))
    found = shares(values, lengths)
    values[:, 1] = 1e6
    assert torch.equal(shares(values, lengths), found)
    values[:, 0] = 1e6
    assert not torch.equal(shares(values, lengths), found)


def test_what_lies_past_the_end_is_not_learned_from():
    expected = make_shares().levels
    for fill in (0.0, 1e6):
        shares = KernelShares(2, dilations=(1, 3), thresholds=2).double()
        shares.learn(*as_batch(sequences(), beyond=90, fill=fill), np.random.default_rng(0))
        assert_agree(shares.levels, expected)
    assert len(torch.unique(expected)) > 200


def test_the_same_chance_gives_the_same_and_a_copy_answers_alike():
    one, same, other = make_shares(), make_shares(), make_shares(seed=1)
    assert torch.equal(one.levels, same.levels)
    assert torch.equal(one.chosen, same.chosen)
    assert not torch.equal(one.levels, other.levels)
    copy = KernelShares(2, dilations=(1, 3), thresholds=2).double()
    copy.load_state_dict(one.state_dict())
    assert torch.equal(copy(*as_batch(sequences())), one(*as_batch(sequences())))
    assert not list(one.parameters()), "nothing is trained"


# --- the summary ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_summary_is_mean_spread_least_greatest_first_and_last(channels):
    items = sequences(channels)
    found = summary(*as_batch(items, beyond=5, fill=99.0))
    assert found.shape == (len(items), SUMMARIES * channels)
    for one, row in zip(items, found, strict=True):
        rows = one.numpy()
        told = [rows.mean(1), rows.std(1), rows.min(1), rows.max(1), rows[:, 0], rows[:, -1]]
        assert_agree(row, torch.from_numpy(np.concatenate(told)))


# --- dilations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 8, 9, 10, 17, 50, 100, 1000, 10**6, 10**9])
def test_dilations_grow_from_one_to_what_a_sequence_holds(length):
    found = dilations(length)
    assert found[0] == 1
    assert all(isinstance(x, int) for x in found)
    assert all(a < b for a, b in pairwise(found))
    assert len(found) <= MOST_DILATIONS
    longest = max((length - 1) // (WEIGHTS - 1), 1)
    assert found[-1] <= longest, "a kernel fits into the sequence"
    assert found[-1] >= longest / 2, "and spans most of it"


def test_longer_sequences_have_as_many_dilations_or_more():
    counts = [len(dilations(length)) for length in range(1, 3000)]
    assert counts[0] == 1
    assert max(counts) >= 6
