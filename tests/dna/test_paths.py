"""What tokens say together, words and places: counted as by hand, as the network counts them, weighed by validation."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from dna.cases import as_batch, make_sequence_network, random_codes
from memory.cases import shaken, tokens
from scipy import sparse
from tolerances import assert_agree

from titans_ts.dna import paths as sequence
from titans_ts.dna.bases import decode, reverse_complement
from titans_ts.dna.paths import MOST_PLACES, LinearPath, PlacePath, WordPath, place_indicators, usual_places, word_densities
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


# --- the linear model --------------------------------------------------------------------------------------------------


CHANCE = np.random.default_rng(0)
X = word_densities([random_codes(60, seed=seed) for seed in range(80)], (1, 2))
ONES = np.ones(80)


def test_words_are_counted_as_the_network_counts_them():
    codes, lengths = as_batch(SEQUENCES)
    expected = WordPath(1, sizes=SIZES).densities(one_hot(codes).double(), lengths)
    np.testing.assert_allclose(word_densities(SEQUENCES, SIZES).toarray(), expected, rtol=1e-12)
    assert word_densities(SEQUENCES, ()).shape == (5, 0)


def test_on_both_strands_it_is_the_mean():
    turned = [reverse_complement(one) for one in SEQUENCES]
    there, back = (word_densities(strand, SIZES).toarray() for strand in (SEQUENCES, turned))
    for strand in (SEQUENCES, turned):
        found = word_densities(strand, SIZES, both_strands=True).toarray()
        np.testing.assert_allclose(found, (there + back) / 2, rtol=1e-12)


@pytest.mark.parametrize("places", [(4, 3), (50, 0), (0, 0)])
def test_places_are_seen_as_the_network_sees_them_and_on_both_strands_as_the_mean(places):
    path, found = PlacePath(1, from_start=places[0], from_end=places[1]), []
    for strand in (SEQUENCES, [reverse_complement(one) for one in SEQUENCES]):
        codes, lengths = as_batch(strand)
        found.append(path.indicators(one_hot(codes), lengths).numpy())
    np.testing.assert_array_equal(place_indicators(SEQUENCES, places).toarray(), found[0])
    np.testing.assert_array_equal(
        place_indicators(SEQUENCES, places, both_strands=True).toarray(), (found[0] + found[1]) / 2
    )


def test_of_one_length_every_place_counts_and_else_those_near_the_ends():
    def of(*lengths):
        return usual_places([np.zeros(length, np.uint8) for length in lengths])

    near = MOST_PLACES // 4
    assert of(60, 60) == (60, 0)
    assert of(60, 40) == (40, 40)
    assert of(MOST_PLACES, MOST_PLACES) == (MOST_PLACES, 0)
    assert of(MOST_PLACES + 1, MOST_PLACES + 1) == of(999, 1000) == (near, near)


def targets_of(objective, signal):
    share = signal * X.toarray()[:, 0]
    noisy = share + 0.02 * CHANCE.normal(size=80)
    return {
        "numbers": np.column_stack([noisy, -noisy]),
        "binary": (noisy > np.median(noisy)).astype(int),
        "classes": np.digitize(noisy, np.quantile(noisy, [1 / 3, 2 / 3])),
    }[objective]


@pytest.mark.parametrize("objective", ["numbers", "binary", "classes"])
def test_the_penalty_is_strong_for_noise_and_weak_for_a_signal(objective):
    strengths = []
    for signal in (0, 20):
        y = targets_of(objective, signal)
        model = LinearPath(objective).fit(X[:50], y[:50], ONES[:50], (X[50:], y[50:], ONES[50:]))
        strengths.append(model.strength)
    assert strengths[0] < strengths[1]


@pytest.mark.parametrize("places", [(0, 0), (4, 3)])
@pytest.mark.parametrize(("objective", "outputs"), [("numbers", 2), ("binary", 1), ("classes", 3)])
def test_what_is_installed_answers_as_the_model_does(objective, outputs, places):
    codes = [random_codes(60, seed=seed) for seed in range(80)]
    features = sparse.hstack([X, place_indicators(codes, places)], format="csr")
    model = LinearPath(objective).fit(features, targets_of(objective, 5), ONES, None)
    network = make_sequence_network(outputs=outputs, word_sizes=(1, 2), places=places)
    model.install(network.words, network.places)
    padded, lengths = as_batch(codes)
    with torch.no_grad():
        found = network.linear_answer(one_hot(padded).double(), lengths)
    np.testing.assert_allclose(found, model.answers(features), rtol=1e-9, atol=1e-9)


def test_a_word_that_is_as_frequent_everywhere_has_no_weight():
    constant = sparse.csr_array(np.column_stack([np.full(80, 0.25), X.toarray()[:, 0]]))
    model = LinearPath("numbers").fit(constant, targets_of("numbers", 5), ONES, None)
    assert (model.coefficients[0] == 0).all()
    assert (model.coefficients[1] != 0).all()
