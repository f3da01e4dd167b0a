"""Places and motifs: padding, neighbours and the cut change nothing."""

import numpy as np
import pytest
import torch
from dna.cases import as_batch, random_codes
from memory.cases import shaken
from tolerances import assert_agree

from titans_ts.blocks.motifs import POSITION_SCALES, MotifStem, places
from titans_ts.dna.strands import one_hot

SEQUENCES = [random_codes(length, seed=length, uncertain=0.1) for length in (23, 1, 8, 2, 17)]


def strands(codes, *, beyond=0):
    padded, lengths = as_batch(codes, beyond=beyond)
    return one_hot(padded).double(), lengths


def make_stem(kernel=5, patch_length=4, width=6):
    torch.manual_seed(0)
    return shaken(MotifStem(4, width, kernel=kernel, patch_length=patch_length))


# --- places ---------------------------------------------------------------------------------------------------------


def test_places_are_bounded_and_seen_alike_from_both_ends():
    for length in (1, 2, 37, 100_000):
        found = places(torch.tensor([length]), 0, length)
        assert found.min() >= 0
        assert found.max() <= 1
        start, end = found.split(POSITION_SCALES, dim=1)
        assert torch.equal(start.flip(-1), end)
    oracle = [np.exp(-min(step, 99) / 2**scale) for scale in range(POSITION_SCALES) for step in (0, 3)]
    np.testing.assert_allclose(places(torch.tensor([9]), 0, 9)[0, :POSITION_SCALES, [0, 3]].flatten(), oracle, rtol=1e-6)


def test_places_of_a_part_are_those_of_the_whole():
    lengths = torch.tensor([30, 7])
    assert torch.equal(places(lengths, 5, 12), places(lengths, 0, 30)[..., 5:12])


# --- motifs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "patch_length"), [(5, 4), (1, 1), (11, 8), (3, 50)])
@torch.no_grad()
def test_padding_and_neighbours_change_no_token(kernel, patch_length):
    stem = make_stem(kernel, patch_length)
    tokens, counts, _ = stem(*strands(SEQUENCES, beyond=9))
    for one, row, count in zip(SEQUENCES, tokens, counts, strict=True):
        alone, own, _ = stem(*strands([one]))
        assert own.tolist() == [count] == [-(-len(one) // patch_length)]
        assert_agree(row[:count], alone[0])


@pytest.mark.parametrize("patches", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "patch_length"), [(5, 4), (1, 1), (11, 3), (9, 8)])
@torch.no_grad()
def test_read_in_parts_equals_the_whole(kernel, patch_length, patches):
    stem = make_stem(kernel, patch_length)
    strand, lengths = strands(SEQUENCES)
    whole, counts, _ = stem(strand, lengths)
    step = patches * patch_length
    parts = [stem(strand, lengths, first=first, end=first + step) for first in range(0, strand.shape[-1], step)]
    assert_agree(torch.cat([tokens for tokens, _, _ in parts], 1), whole)
    assert torch.equal(torch.stack([part for _, part, _ in parts]).sum(0), counts)


@torch.no_grad()
def test_a_token_is_the_strongest_response_of_its_stretch():
    each, pooled = make_stem(patch_length=1), make_stem(patch_length=4)
    strand, lengths = strands([random_codes(22, seed=3)])
    responses, tokens = each(strand, lengths)[0][0], pooled(strand, lengths)[0][0]
    assert_agree(tokens, torch.stack([part.amax(0) for part in responses.split(4)]))


@torch.no_grad()
def test_a_base_is_seen_as_far_as_the_two_kernels_reach():
    stem = make_stem(kernel=5, patch_length=1)
    strand, lengths = strands([random_codes(40, seed=1)])
    changed = strand.clone()
    changed[0, :, 20] = changed[0, :, 20].roll(1)
    differs = (stem(strand, lengths)[0] != stem(changed, lengths)[0]).any(-1)[0]
    assert differs.nonzero()[:, 0].tolist() == list(range(20 - stem.margin, 21 + stem.margin))


def test_gradients_reach_every_base_as_if_each_sequence_were_alone():
    stem = make_stem(patch_length=1)
    strand, lengths = strands(SEQUENCES, beyond=3)
    strand.requires_grad_()
    tokens, counts, _ = stem(strand, lengths)
    inside = torch.arange(tokens.shape[1]) < counts[:, None]
    (tokens.square().sum(-1) * inside).sum().backward()
    assert (strand.grad.abs().amax(1)[inside] > 0).all(), "N, which is four zeros, among them"
    one, _ = strands(SEQUENCES[2:3])
    (again,) = torch.autograd.grad(stem(one.requires_grad_(), lengths[2:3])[0].square().sum(), one)
    assert_agree(strand.grad[2, :, : lengths[2]], again[0])
