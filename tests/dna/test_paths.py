"""What tokens say together, and words counted: in parts as at once, against a counter of strings, linear in each base."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from dna.cases import as_batch, random_codes
from memory.cases import shaken, tokens
from tolerances import assert_agree

from titans_ts.dna import paths as sequence
from titans_ts.dna.bases import decode
from titans_ts.dna.paths import PlacePath, WordPath
from titans_ts.dna.strands import one_hot
from titans_ts.learn.two_paths import Pooled, SequenceHead

SEQUENCES = [random_codes(length, seed=length, uncertain=0.08) for length in (40, 3, 1, 17, 6)]
SIZES = (1, 2, 3, 5)


def strands(codes, *, beyond=0):
    padded, lengths = as_batch(codes, beyond=beyond)
    return one_hot(padded).double(), lengths


# --- pooled ---------------------------------------------------------------------------------------------------------

COUNTS = torch.tensor([9, 1, 4, 6])


def test_pooled_is_mean_greatest_and_last_of_what_counts():
    x = tokens(4, 9, 3)
    x[1, 1:] = 1e6  # past the end
    found = Pooled.nothing(x[:, 0]).add(x, COUNTS).features()
    for row, one, count in zip(found, x, COUNTS, strict=True):
        assert_agree(row, torch.cat([one[:count].mean(0), one[:count].amax(0), one[count - 1]]))


@pytest.mark.parametrize("sizes", [[1] * 9, [2, 7], [5, 3, 1]])
def test_pooled_in_parts_equals_at_once(sizes):
    x = tokens(4, 9, 3)
    whole = Pooled.nothing(x[:, 0]).add(x, COUNTS)
    parts, first = Pooled.nothing(x[:, 0]), 0
    for piece in x.split(sizes, dim=1):
        parts = parts.add(piece, (COUNTS - first).clamp(0, piece.shape[1]))
        first += piece.shape[1]
    assert_agree(parts.features(), whole.features())
    assert torch.equal(parts.tokens, COUNTS)


def test_a_head_starts_at_zero_and_then_reads_all_three():
    torch.manual_seed(0)
    pooled = tokens(4, 3 * 6)
    head = SequenceHead(6, 2).double()
    assert torch.equal(head(pooled), torch.zeros(4, 2).double())
    shaken(head)
    pooled.requires_grad_()
    head(pooled).square().sum().backward()
    assert (pooled.grad.abs() > 0).all()


# --- words ----------------------------------------------------------------------------------------------------------


def counted(text):
    """Return the share of places of every word, by a counter of strings."""
    found = []
    for size in SIZES:
        places = len(text) - size + 1
        seen = Counter(text[i : i + size] for i in range(places))
        found += [seen["".join(word)] / max(places, 1) for word in product("ACGT", repeat=size)]
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("beyond", [0, 11])
def test_densities_are_those_of_a_counter_of_strings_without_n(beyond):
    found = WordPath(1, sizes=SIZES).densities(*strands(SEQUENCES, beyond=beyond))
    assert_agree(found, torch.stack([counted(decode(one)) for one in SEQUENCES]))


@pytest.mark.parametrize("at_once", [1, 7, 39])
def test_how_many_places_are_counted_at_once_does_not_count(at_once, monkeypatch):
    path = WordPath(1, sizes=SIZES)
    whole = path.densities(*strands(SEQUENCES))
    monkeypatch.setattr(sequence, "WORDS_AT_ONCE", at_once)
    assert_agree(path.densities(*strands(SEQUENCES)), whole)


def test_words_are_linear_in_each_base_so_that_the_gradient_is_the_exact_change():
    torch.manual_seed(0)
    path = shaken(WordPath(1, sizes=SIZES))
    strand, lengths = strands([random_codes(12, seed=2, uncertain=0.2)])
    (gradient,) = torch.autograd.grad(path(strand.requires_grad_(), lengths).sum(), strand)
    with torch.no_grad():
        start = path(strand, lengths)
        for place in range(12):
            for base in range(4):
                changed = strand.clone()
                changed[0, base, place] += 1
                assert_agree(path(changed, lengths) - start, gradient[None, 0, base, place, None], name=f"{place}, {base}")


def test_words_speak_by_their_density_times_a_weight():
    torch.manual_seed(0)
    path = shaken(WordPath(3, sizes=SIZES))
    strand, lengths = strands(SEQUENCES)
    expected = path.densities(strand, lengths) @ path.output.weight.T + path.output.bias
    assert_agree(path(strand, lengths), expected)
    assert torch.equal(WordPath(2, sizes=SIZES).double()(strand, lengths), torch.zeros(5, 2).double()), "at the start"


def test_without_words_a_constant_is_left():
    path = WordPath(2, sizes=()).double()
    with torch.no_grad():
        path.output.bias.copy_(torch.tensor([1.0, -2.0]))
    assert path(*strands(SEQUENCES)).tolist() == [[1.0, -2.0]] * 5


def test_words_of_eight_bases_lie_in_alphabetical_order():
    found = WordPath(1, sizes=(8,)).densities(*strands([np.array([3, 0, 0, 0, 0, 0, 0, 1], np.uint8)]))
    assert found.nonzero().tolist() == [[0, 3 * 4**7 + 1]]


# --- places ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("from_start", "from_end"), [(4, 3), (50, 0), (0, 9), (0, 0)])
@pytest.mark.parametrize("beyond", [0, 11])
def test_places_are_the_bases_counted_from_either_end_as_far_as_a_sequence_reaches(beyond, from_start, from_end):
    found = PlacePath(1, from_start=from_start, from_end=from_end).indicators(*strands(SEQUENCES, beyond=beyond))
    for row, text in zip(found, map(decode, SEQUENCES), strict=True):
        places = text[:from_start].ljust(from_start, "N") + text[::-1][:from_end].ljust(from_end, "N")
        assert row.tolist() == [float(base == each) for base in places for each in "ACGT"]


def test_places_start_silent_and_are_linear_in_each_base():
    path = PlacePath(2, from_start=3, from_end=2).double()
    strand, lengths = strands(SEQUENCES)
    assert torch.equal(path(strand, lengths), torch.zeros(5, 2).double())
    shaken(path)
    assert_agree(path(strand, lengths), path.indicators(strand, lengths) @ path.output.weight.T)
    (gradient,) = torch.autograd.grad(path(strand.requires_grad_(), lengths)[0, 1], strand)
    expected = torch.zeros_like(strand)
    for column, weight in zip([0, 1, 2, 39, 38], path.output.weight[1].detach().split(4), strict=True):
        expected[0, :, column] = weight
    assert_agree(gradient, expected)
