"""Batches: every place once, bounded in bases, and nothing cut."""

import numpy as np
import pytest
import torch
from dna.cases import random_codes

from titans_ts.dna.bases import N
from titans_ts.dna.strands import as_codes, as_strands
from titans_ts.learn import batches
from titans_ts.learn.batches import BatchSampler, batches_by_length

LENGTHS = np.random.default_rng(0).integers(1, 300, 500)


def chance(seed=0):
    return np.random.default_rng(seed)


def one_pass(lengths, size, source):
    return list(BatchSampler(lengths, size, source).one_pass())


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_every_place_comes_once_in_batches_of_bounded_size(seed, size, monkeypatch):
    monkeypatch.setattr(batches, "STEPS_AT_ONCE", 700)
    found = list(batches_by_length(LENGTHS, size)) if seed is None else one_pass(LENGTHS, size, chance(seed))
    assert sorted(place for batch in found for place in batch) == list(range(500))
    assert max(map(len, found)) <= size
    assert max(len(batch) * LENGTHS[batch].max() for batch in found) <= 700, "padding included"


def test_a_sequence_beyond_the_bound_is_a_batch_of_its_own(monkeypatch):
    monkeypatch.setattr(batches, "STEPS_AT_ONCE", 10)
    assert list(batches_by_length([3, 5, 40, 3, 11], 9)) == [[0, 3], [1], [4], [2]]


def test_by_default_the_shortest_come_first_and_nothing_is_left_to_chance():
    found = list(batches_by_length(LENGTHS, 16))
    assert found == list(batches_by_length(LENGTHS, 16))
    assert (np.diff(LENGTHS[np.concatenate(found)]) >= 0).all()


def test_by_chance_like_lengths_still_meet_and_the_batches_come_in_any_order():
    found = one_pass(LENGTHS, 10, chance())
    assert found == one_pass(LENGTHS, 10, chance())
    assert found != one_pass(LENGTHS, 10, chance(1))
    assert np.mean([np.ptp(LENGTHS[batch]) for batch in found]) < 20, "of 300"
    assert abs(np.corrcoef(np.arange(50), [LENGTHS[batch].mean() for batch in found])[0, 1]) < 0.5


def test_pools_let_other_sequences_meet_each_time(monkeypatch):
    monkeypatch.setattr(batches, "_POOL", 2)
    source = chance()
    first, second = ({frozenset(batch) for batch in one_pass([9] * 60, 5, source)} for _ in range(2))
    assert len(first) == len(second) == 12
    assert not first & second


def test_what_is_still_to_come_of_a_pass_can_be_put_back(monkeypatch):
    monkeypatch.setattr(batches, "_POOL", 2)
    first, second = (BatchSampler(LENGTHS, 30, chance(seed)) for seed in (0, 1))
    for _ in range(7):
        next(first)
    second.order, second.batches = first.order, [*first.batches]
    second.chance.bit_generator.state = first.chance.bit_generator.state
    assert [next(first) for _ in range(30)] == [next(second) for _ in range(30)], "through two passes"


def test_no_sequences_are_no_batches():
    assert list(batches_by_length([], 4)) == []


def test_a_batch_holds_its_sequences_whole_and_n_past_their_ends():
    sequences = [random_codes(length, seed=length, uncertain=0.2) for length in (5, 1, 12)]
    padded, lengths = as_codes(sequences, torch.device("cpu"))
    strands, again = as_strands(sequences, device=torch.device("cpu"), dtype=torch.float64)
    assert lengths.tolist() == again.tolist() == [5, 1, 12]
    assert strands.dtype == torch.float64
    for row, strand, one in zip(padded.numpy(), strands.numpy(), sequences, strict=True):
        assert np.array_equal(row[: len(one)], one)
        assert (row[len(one) :] == N).all()
        assert np.array_equal(strand[:, : len(one)], np.eye(5)[one].T[:4])
        assert not strand[:, len(one) :].any()
