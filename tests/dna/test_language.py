"""The network of a language model: any cut equals the whole; likelihoods, embeddings and samples by hand."""

import json

import numpy as np
import pytest
import torch
from dna.cases import as_batch, make_language_network, random_codes, recurring_codes
from memory.cases import shaken
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.state import pack
from titans_ts.backbones.variants import VARIANTS
from titans_ts.dna import language as likelihood
from titans_ts.dna.bases import N, decode, encode, reverse_complement
from titans_ts.dna.language import LanguageConfig, LanguageNetwork, RecordState, embeddings, log_likelihoods, sampled
from titans_ts.dna.strands import reverse_complement_one_hot

RECORD = recurring_codes(300)
SEQUENCES = [recurring_codes(50), random_codes(50, seed=1, uncertain=0.1), recurring_codes(50, seed=3)]
BATCH = as_batch(SEQUENCES)[0]


def by_token(network, codes):
    """Return logits of each base, read one token at a time."""
    state, found = network.initial_state(len(codes)), []
    for i in range(codes.shape[1]):
        logits, _, state = network.read(state.tail[:, -1:], state)
        found.append(logits)
        state = network.follow(state, codes[:, i : i + 1])
    return torch.cat(found, 1), state


def assert_same_carry(found, expected):
    for name, value in pack(expected).items():
        assert_agree(pack(found)[name].double(), value.double(), name=name)


# --- in pieces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1, 49], [49, 1], [3, 20, 1, 26], [10] * 5], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_any_cut_equals_the_whole(variant, sizes):
    network = make_language_network(variant)
    whole = network(BATCH, network.initial_state(3))
    state, logits, hidden = network.initial_state(3), [], []
    for piece in BATCH.split(sizes, dim=1):
        said, held, state = network(piece, state)
        logits.append(said)
        hidden.append(held)
    assert_agree(torch.cat(logits, 1), whole.logits)
    assert_agree(torch.cat(hidden, 1), whole.hidden)
    assert_same_carry(state, whole.carry)


@pytest.mark.parametrize("orders", [(), (1, 2, 5, 16)])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_token_by_token_equals_the_whole(variant, orders):
    network = make_language_network(variant, orders=orders)
    logits, state = by_token(network, BATCH)
    whole = network(BATCH, network.initial_state(3))
    assert_agree(logits, whole.logits)
    assert_same_carry(state, whole.carry)


@torch.no_grad()
def test_what_is_carried_does_not_grow():
    network = make_language_network()
    sizes = []
    for length in (1, 3, 50):
        carry = network(BATCH[:, :length], network.initial_state(3)).carry
        sizes.append({name: x.shape for name, x in pack(carry).items()})
    assert sizes[0] == sizes[1] == sizes[2]


@pytest.mark.parametrize("place", [0, 1, 23, 49])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_base_is_told_from_those_before_it_alone(variant, place):
    network = make_language_network(variant)
    changed = BATCH.clone()
    changed[:, place] = (changed[:, place] + 1) % N
    before, after = (network(codes, network.initial_state(3)).logits for codes in (BATCH, changed))
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    seen = 6 if variant in ("attention", "hopfield") else 50  # the window
    assert (before != after).any(-1)[:, place + 1 : place + 1 + seen].all(), "and from each of them"


@torch.no_grad()
def test_neighbours_in_the_batch_change_nothing():
    network = make_language_network()
    together = network(BATCH, network.initial_state(3)).logits
    for i in range(3):
        assert_agree(network(BATCH[i : i + 1], network.initial_state(1)).logits[0], together[i])


# --- both sides -----------------------------------------------------------------------------------------------------


def from_both_sides(network, sequences):
    said = []
    for strand in (sequences, [reverse_complement(one) for one in sequences]):
        codes, lengths = as_batch(strand)
        said.append(network(codes, network.initial_state(len(codes))).logits)
    return network.from_both_sides(*said, lengths), lengths


@pytest.mark.parametrize("variant", ["mac", "attention"])
@torch.no_grad()
def test_from_both_sides_the_two_strands_are_told_alike(variant):
    network = make_language_network(variant, both_sides=True)
    sequences = [*SEQUENCES, random_codes(7, seed=4), random_codes(1, seed=5)]
    there, lengths = from_both_sides(network, sequences)
    back, _ = from_both_sides(network, [reverse_complement(one) for one in sequences])
    assert_agree(reverse_complement_one_hot(back.transpose(1, 2), lengths).transpose(1, 2), there)


@torch.no_grad()
def test_from_both_sides_a_base_is_told_from_all_but_itself():
    network = make_language_network(both_sides=True)
    said, _ = from_both_sides(network, SEQUENCES)
    changed = [one.copy() for one in SEQUENCES]
    for one in changed:
        one[20] = (one[20] + 1) % N
    differs = (from_both_sides(network, changed)[0] != said).any(-1)
    assert not differs[:, 20].any()
    assert differs[:, :20].all()
    assert differs[:, 21:].all()


# --- held out -------------------------------------------------------------------------------------------------------


def said_without(network, record, place, order):
    """Return what is said of a base by a network that has counted every stretch of a record but the one that asks."""
    stretches = [record[i : i + order + 1] for i in range(len(record) - order) if i + order != place]
    network.direct.learn(stretches)
    return network(torch.from_numpy(record[None]), network.initial_state(1)).logits[0, place]


@pytest.mark.parametrize("order", [2, 4, 10])
@torch.no_grad()
def test_held_out_is_as_if_the_asked_occurrence_had_never_been_counted(order):
    record = recurring_codes(90)
    network = make_language_network(learned=[record], orders=(order,), layers=0)
    codes = torch.from_numpy(record[None])
    known = network(codes, network.initial_state(1)).logits[0]
    held_out = network(codes, network.initial_state(1), held_out=True).logits[0]
    assert not torch.allclose(known[order:], held_out[order:]), "it matters"
    for place in range(order, len(record)):
        assert_agree(held_out[place], said_without(network, record, place, order), name=f"base {place}")


@pytest.mark.parametrize("order", [1, 3])
@torch.no_grad()
def test_held_out_leaves_a_word_that_is_its_own_reverse_complement_out_of_both_strands(order):
    record = encode("ACGTCATGGATCTTAAGCGC")  # ACGT, CATG, GATC, TTAA and GCGC read alike on both
    network = make_language_network(learned=[record], orders=(order,), layers=0)
    codes = torch.from_numpy(record[None])
    held_out = network(codes, network.initial_state(1), held_out=True).logits[0]
    for place in range(order, len(record)):
        assert_agree(held_out[place], said_without(network, record, place, order), name=f"base {place}")


@torch.no_grad()
def test_held_out_leaves_nothing_out_where_no_base_is_asked():
    network = make_language_network(learned=[encode("ACGTT" * 9)], orders=(1, 2), layers=0)
    codes = torch.from_numpy(encode("ACGNACGT")[None])  # T often followed ACG, but here N does
    said = [network(codes, network.initial_state(1), held_out=held_out).logits[0] for held_out in (False, True)]
    assert not torch.allclose(said[0][7], said[1][7])
    assert_agree(said[1][3], said[0][3])


@torch.no_grad()
def test_held_out_reaches_the_memory_too():
    network = make_language_network(learned=[RECORD])
    codes = torch.from_numpy(RECORD[None, :60])
    known, held_out = (network(codes, network.initial_state(1), held_out=x).hidden for x in (False, True))
    assert not torch.allclose(known, held_out)


# --- N, layers, files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_n_is_read_and_the_rest_goes_on(variant):
    network = make_language_network(variant)
    codes = torch.from_numpy(np.stack([np.full(40, N, np.uint8), np.where(np.arange(40) % 7 == 3, N, RECORD[:40])]))
    found = network(codes.to(torch.uint8), network.initial_state(2), held_out=True)
    assert torch.isfinite(found.logits).all()
    direct = network.direct.counts(codes)[1]
    assert not direct[3:5, 1].any(), "no context with N was counted"
    assert direct[2, 0].any()


@torch.no_grad()
def test_without_layers_contexts_alone_speak():
    network = make_language_network(layers=0)
    said, hidden, _ = network(BATCH, network.initial_state(3))
    opinions, loudness = network.direct(network.direct.counts(BATCH))
    mixed = (loudness[..., None] * opinions).sum(2)
    assert_agree(said[:, 1:], mixed[:, :-1])
    assert torch.equal(said[:, 0], torch.zeros(3, 4).double()), "nothing is known of the first base"
    assert hidden.shape == (3, 50, 8)
    assert not hidden.any()


@torch.no_grad()
def test_the_memory_starts_without_a_word_to_say():
    torch.manual_seed(0)
    config = make_language_network().config
    network = LanguageNetwork(config).double().eval()
    network.direct.learn([RECORD])
    said = network(BATCH, network.initial_state(3)).logits
    opinions, loudness = network.direct(network.direct.counts(BATCH))
    assert_agree(said[:, 1:], (loudness[..., None] * opinions).sum(2)[:, :-1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant):
    network = make_language_network(variant, both_sides=True)
    said, _ = from_both_sides(network, SEQUENCES)
    said.square().sum().backward()
    without = [name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"


@pytest.mark.parametrize("settings", [{}, {"both_sides": True, "orders": ()}], ids=str)
@torch.no_grad()
def test_a_configuration_builds_the_same_network_again(settings):
    network = make_language_network(**settings)
    config = LanguageConfig.from_dict(json.loads(json.dumps(network.config.to_dict())))
    assert config == network.config
    again = shaken(LanguageNetwork(config), seed=9)
    again.load_state_dict(network.state_dict())
    again.direct.set_tables(network.direct.tables())
    said = [one(BATCH, one.initial_state(3)).logits for one in (network, again)]
    assert torch.equal(*said)


# --- likelihoods, embeddings, samples ----------------------------------------------------------------------------------


UNEQUAL = [recurring_codes(70), random_codes(1), random_codes(33, seed=1, uncertain=0.2), np.full(5, N, np.uint8)]


def close(found, expected, tolerance=1e-10):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# --- base by base ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both_sides", [False, True])
def test_likelihoods_are_the_log_softmax_of_the_logits_and_nan_at_n(both_sides):
    network = make_language_network(both_sides=both_sides)
    found = log_likelihoods(network, UNEQUAL)
    for one, values in zip(UNEQUAL, found, strict=True):
        assert np.array_equal(np.isnan(values), one == N)
        assert len(values) == len(one)
    codes = torch.from_numpy(UNEQUAL[0][None])
    with torch.no_grad():
        said = network(codes, network.initial_state(1)).logits[0]
        if both_sides:
            turned = torch.from_numpy(reverse_complement(UNEQUAL[0])[None])
            back = network(turned, network.initial_state(1)).logits[0]
            said = network.agreement * (said + back.flip(0, 1))
    shares = torch.exp(said) / torch.exp(said).sum(-1, keepdim=True)
    close(found[0], np.log(shares.numpy()[np.arange(70), UNEQUAL[0]]))


@pytest.mark.parametrize("both_sides", [False, True])
def test_neighbours_and_order_change_nothing(both_sides):
    network = make_language_network(both_sides=both_sides)
    together = log_likelihoods(network, UNEQUAL)
    close([log_likelihoods(network, [one])[0] for one in UNEQUAL], together)
    close(log_likelihoods(network, UNEQUAL[::-1])[::-1], together)
    close(log_likelihoods(network, UNEQUAL, batch_size=2), together)
    single = [x.numpy() for x in map(torch.from_numpy, log_likelihoods(network.float(), UNEQUAL))]
    close([log_likelihoods(network, [one])[0] for one in UNEQUAL], single, 1e-5)


@pytest.mark.parametrize("bases", [3, 64])
@pytest.mark.parametrize("both_sides", [False, True])
def test_how_many_bases_are_read_at_once_changes_nothing(both_sides, bases, monkeypatch):
    network = make_language_network(both_sides=both_sides)
    whole, held = log_likelihoods(network, UNEQUAL), embeddings(network, UNEQUAL)
    monkeypatch.setattr(likelihood, "BASES_AT_ONCE", bases)
    close(log_likelihoods(network, UNEQUAL), whole)
    close(embeddings(network, UNEQUAL), held)


def test_from_both_sides_either_strand_is_as_likely_base_by_base():
    network = make_language_network(both_sides=True)
    turned = log_likelihoods(network, [reverse_complement(one) for one in UNEQUAL])
    close([values[::-1] for values in turned], log_likelihoods(network, UNEQUAL))


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
    before = RecordState.fresh(network).read(network, UNEQUAL[0])
    kept = {name: x.clone() for name, x in pack(before.carry).items()}
    before.read(network, UNEQUAL[2])
    assert all(torch.equal(x, kept[name]) for name, x in pack(before.carry).items())
    assert np.isnan(RecordState.fresh(network).mean)


# --- embeddings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both_sides", [False, True])
def test_an_embedding_is_the_mean_of_what_is_held_after_each_base(both_sides):
    network = make_language_network(both_sides=both_sides)
    strands = [[one, reverse_complement(one)] if both_sides else [one] for one in UNEQUAL]
    with torch.no_grad():
        held = [
            np.mean([network(torch.from_numpy(x[None]), network.initial_state(1)).hidden[0].mean(0) for x in strand], 0)
            for strand in strands
        ]
    close(embeddings(network, UNEQUAL), held)
    close(embeddings(network, UNEQUAL, batch_size=1), held)


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
