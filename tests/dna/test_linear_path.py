"""The direct path of a DNA estimator: counted as the network counts, its penalty chosen on validation."""

import numpy as np
import pytest
import torch
from dna.cases import as_batch, make_sequence_network, random_codes
from scipy import sparse

from titans_ts.dna.bases import reverse_complement
from titans_ts.dna.paths import MOST_PLACES, LinearPath, PlacePath, WordPath, place_indicators, usual_places, word_densities
from titans_ts.dna.strands import one_hot

SIZES = (1, 2, 3, 5)
SEQUENCES = [random_codes(length, seed=length, uncertain=0.08) for length in (40, 3, 1, 17, 6)]
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
