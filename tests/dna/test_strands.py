"""Strands and the other strand: padding changes nothing."""

import numpy as np
import pytest
import torch
from dna.cases import as_batch, random_codes

from titans_ts.dna import bases
from titans_ts.dna.strands import one_hot, reverse_complement_codes, reverse_complement_one_hot, reverse_each

SEQUENCES = [random_codes(length, seed=length, uncertain=0.1) for length in (23, 1, 8, 2, 17)]


def strands(codes, *, beyond=0):
    padded, lengths = as_batch(codes, beyond=beyond)
    return one_hot(padded).double(), lengths


# --- strands --------------------------------------------------------------------------------------------------------


def test_one_hot_is_one_at_the_base_and_nothing_at_n():
    codes, _ = as_batch(SEQUENCES)
    expected = np.eye(5)[codes.numpy()][..., :4].transpose(0, 2, 1)
    assert np.array_equal(one_hot(codes).numpy(), expected)
    assert one_hot(codes).sum(1).equal((codes < bases.N).float())


@pytest.mark.parametrize("beyond", [0, 5])
def test_the_other_strand_is_that_of_each_sequence_alone(beyond):
    codes, lengths = as_batch(SEQUENCES, beyond=beyond)
    turned = reverse_complement_codes(codes, lengths)
    expected, _ = as_batch([bases.reverse_complement(one) for one in SEQUENCES], beyond=beyond)
    assert torch.equal(turned, expected)
    assert torch.equal(reverse_complement_one_hot(one_hot(codes), lengths), one_hot(expected))


@pytest.mark.parametrize("beyond", [0, 5])
def test_the_other_strand_of_the_other_strand_is_the_first_under_any_padding(beyond):
    codes, lengths = as_batch(SEQUENCES, beyond=beyond)
    assert torch.equal(reverse_complement_codes(reverse_complement_codes(codes, lengths), lengths), codes)
    strand = torch.randn(len(codes), 4, codes.shape[1], dtype=torch.float64)  # also what lies past an end
    assert torch.equal(reverse_complement_one_hot(reverse_complement_one_hot(strand, lengths), lengths), strand)


def test_turning_round_leaves_what_lies_past_an_end():
    x = torch.arange(24.0).reshape(2, 2, 6)
    found = reverse_each(x, torch.tensor([4, 1]))
    assert found[0].tolist() == [[3, 2, 1, 0, 4, 5], [9, 8, 7, 6, 10, 11]]
    assert torch.equal(found[1], x[1])
