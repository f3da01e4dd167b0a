"""Likelihoods: pieces, halves and neighbours change nothing; what is written follows what was counted."""

import numpy as np
import pytest
import torch
from dna.cases import make_language_network, random_codes, recurring_codes

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.state import pack
from titans_ts.dna import language as likelihood
from titans_ts.dna.bases import N, decode, encode, reverse_complement
from titans_ts.dna.language import LanguageConfig, LanguageNetwork, RecordState, embeddings, log_likelihoods, sampled

SEQUENCES = [recurring_codes(70), random_codes(1), random_codes(33, seed=1, uncertain=0.2), np.full(5, N, np.uint8)]


def close(found, expected, tolerance=1e-10):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# --- base by base ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both_sides", [False, True])
def test_likelihoods_are_the_log_softmax_of_the_logits_and_nan_at_n(both_sides):
    network = make_language_network(both_sides=both_sides)
    found = log_likelihoods(network, SEQUENCES)
    for one, values in zip(SEQUENCES, found, strict=True):
        assert np.array_equal(np.isnan(values), one == N)
        assert len(values) == len(one)
    codes = torch.from_numpy(SEQUENCES[0][None])
    with torch.no_grad():
        said = network(codes, network.initial_state(1)).logits[0]
        if both_sides:
            turned = torch.from_numpy(reverse_complement(SEQUENCES[0])[None])
            back = network(turned, network.initial_state(1)).logits[0]
            said = network.agreement * (said + back.flip(0, 1))
    shares = torch.exp(said) / torch.exp(said).sum(-1, keepdim=True)
    close(found[0], np.log(shares.numpy()[np.arange(70), SEQUENCES[0]]))


@pytest.mark.parametrize("both_sides", [False, True])
def test_neighbours_and_order_change_nothing(both_sides):
    network = make_language_network(both_sides=both_sides)
    together = log_likelihoods(network, SEQUENCES)
    close([log_likelihoods(network, [one])[0] for one in SEQUENCES], together)
    close(log_likelihoods(network, SEQUENCES[::-1])[::-1], together)
    close(log_likelihoods(network, SEQUENCES, batch_size=2), together)
    single = [x.numpy() for x in map(torch.from_numpy, log_likelihoods(network.float(), SEQUENCES))]
    close([log_likelihoods(network, [one])[0] for one in SEQUENCES], single, 1e-6)


@pytest.mark.parametrize("bases", [3, 64])
@pytest.mark.parametrize("both_sides", [False, True])
def test_how_many_bases_are_read_at_once_changes_nothing(both_sides, bases, monkeypatch):
    network = make_language_network(both_sides=both_sides)
    whole, held = log_likelihoods(network, SEQUENCES), embeddings(network, SEQUENCES)
    monkeypatch.setattr(likelihood, "BASES_AT_ONCE", bases)
    close(log_likelihoods(network, SEQUENCES), whole)
    close(embeddings(network, SEQUENCES), held)


def test_from_both_sides_either_strand_is_as_likely_base_by_base():
    network = make_language_network(both_sides=True)
    turned = log_likelihoods(network, [reverse_complement(one) for one in SEQUENCES])
    close([values[::-1] for values in turned], log_likelihoods(network, SEQUENCES))


# --- records, piece by piece ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[35], [1, 2, 69], [30, 60]], ids=str)
def test_a_record_in_pieces_is_as_likely_as_whole(cuts, monkeypatch):
    network = make_language_network()
    record = np.concatenate([recurring_codes(50), np.full(3, N, np.uint8), recurring_codes(17)])
    whole = RecordState.fresh(network).read(network, record)
    state = RecordState.fresh(network)
    monkeypatch.setattr(likelihood, "BASES_AT_ONCE", 16)
    for piece in np.split(record, cuts):
        state = state.read(network, piece)
    assert (state.n_seen, state.scored) == (whole.n_seen, whole.scored) == (70, 67)
    close([state.total, state.mean], [whole.total, whole.mean])
    close([x.double() for x in pack(state.carry).values()], [x.double() for x in pack(whole.carry).values()])
    close([whole.total], [np.nansum(log_likelihoods(network, [record])[0])])
    assert state.nbytes == whole.nbytes == RecordState.fresh(network).nbytes


def test_reading_leaves_the_state_before_as_it_was():
    network = make_language_network()
    before = RecordState.fresh(network).read(network, SEQUENCES[0])
    kept = {name: x.clone() for name, x in pack(before.carry).items()}
    before.read(network, SEQUENCES[2])
    assert all(torch.equal(x, kept[name]) for name, x in pack(before.carry).items())
    assert np.isnan(RecordState.fresh(network).mean)


# --- embeddings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both_sides", [False, True])
def test_an_embedding_is_the_mean_of_what_is_held_after_each_base(both_sides):
    network = make_language_network(both_sides=both_sides)
    strands = [[one, reverse_complement(one)] if both_sides else [one] for one in SEQUENCES]
    with torch.no_grad():
        held = [
            np.mean([network(torch.from_numpy(x[None]), network.initial_state(1)).hidden[0].mean(0) for x in strand], 0)
            for strand in strands
        ]
    close(embeddings(network, SEQUENCES), held)
    close(embeddings(network, SEQUENCES, batch_size=1), held)


# --- writing --------------------------------------------------------------------------------------------------------


def contexts_alone(orders, record):
    """Return a network that says what it has counted, and hardly anything else."""
    network = LanguageNetwork(LanguageConfig(orders=orders, backbone=BackboneConfig(layers=0))).double()
    network.direct.learn([record])
    with torch.no_grad():
        network.direct.log_prior.fill_(-30.0)
        network.direct.mix[2].bias.fill_(10.0)
    return network


def write(network, count, length, *, prompt=None, temperature=1.0, seed=0):
    return sampled(network, count, length, prompt, temperature, np.random.default_rng(seed))


def test_a_deterministic_cycle_is_written_on():
    cycle = encode("ACGT" * 50)  # its own reverse complement: both strands say the same
    found = write(contexts_alone((1,), cycle), 5, 40, prompt=encode("GGAC"))
    assert {decode(row) for row in found} == {"GTAC" * 10}


def test_letters_come_as_often_as_the_network_says():
    record = encode("AC" * 30 + "AG" * 30)  # after A, C or G; and T on the other strand
    network = contexts_alone((1,), record)
    with torch.no_grad():
        network.direct.mix[2].bias.fill_(np.log(np.e - 1))  # as loud as it is sure
        said = network(torch.zeros(1, 2, dtype=torch.uint8), network.initial_state(1)).logits[0, 1].softmax(-1).numpy()
    assert said.max() < 0.6
    first = write(network, 4000, 1, prompt=encode("A"))[:, 0]
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, said, atol=0.03)
    cold = write(network, 4000, 1, prompt=encode("A"), temperature=0.5)[:, 0]
    np.testing.assert_allclose(np.bincount(cold, minlength=4) / 4000, said**2 / (said**2).sum(), atol=0.03)


def test_the_same_seed_writes_the_same_letters_and_another_others():
    network = make_language_network()
    assert np.array_equal(write(network, 3, 30), write(network, 3, 30))
    assert not np.array_equal(write(network, 3, 30), write(network, 3, 30, seed=1))
    assert write(network, 3, 30).max() < N


def test_what_is_written_is_scored_as_it_was_chosen(monkeypatch):
    network = make_language_network()
    prompt = recurring_codes(45)
    (whole,) = write(network, 1, 20, prompt=prompt, temperature=1e-6)
    monkeypatch.setattr(likelihood, "BASES_AT_ONCE", 8)
    (pieces,) = write(network, 1, 20, prompt=prompt, temperature=1e-6)
    assert np.array_equal(whole, pieces)
    codes = torch.from_numpy(np.concatenate([prompt, whole])[None])
    with torch.no_grad():
        likeliest = network(codes, network.initial_state(1)).logits[0, 45:].argmax(-1)
    assert np.array_equal(whole, likeliest), "nearly without chance, each is the likeliest after those before it"
