"""A network of sequences: linear path and memory in their share, either strand alike, any cut, any neighbours."""

import json

import numpy as np
import pytest
import torch
from dna.cases import BACKBONE, as_batch, make_sequence_network, random_codes
from memory.cases import shaken
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.variants import VARIANTS
from titans_ts.dna.bases import N
from titans_ts.dna.bases import reverse_complement as turned_alone
from titans_ts.dna.language import LanguageConfig
from titans_ts.dna.network import SequenceConfig, SequenceNetwork
from titans_ts.dna.strands import one_hot, reverse_complement_one_hot
from titans_ts.learn import two_paths

SEQUENCES = [random_codes(length, seed=length, uncertain=0.05) for length in (70, 1, 33, 2, 64)]


def strands(codes, *, beyond=0):
    padded, lengths = as_batch(codes, beyond=beyond)
    return one_hot(padded).double(), lengths


# --- both strands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_made_from_both_strands_it_says_the_same_of_either(variant):
    network = make_sequence_network(variant, both_strands=True)
    strand, lengths = strands(SEQUENCES)
    found = network(strand, lengths)
    assert_agree(network(reverse_complement_one_hot(strand, lengths), lengths), found)
    assert_agree(network(*strands([turned_alone(one) for one in SEQUENCES], beyond=3)), found)
    for path in (network.linear_answer, network.memory_answer):
        assert_agree(path(reverse_complement_one_hot(strand, lengths), lengths), path(strand, lengths))
    assert not torch.allclose(found[0], found[2]), "and not the same of all"


@torch.no_grad()
def test_words_of_both_strands_are_the_same_of_either_and_the_rest_tells_them_apart():
    network = make_sequence_network(words_of_both=True)
    strand, lengths = strands(SEQUENCES)
    turned = reverse_complement_one_hot(strand, lengths)
    words = (network.words(strand, lengths) + network.words(turned, lengths)) / 2
    assert_agree(network.linear_answer(strand, lengths), words + network.places(strand, lengths))
    assert_agree(network.linear_answer(turned, lengths), words + network.places(turned, lengths))
    assert not torch.allclose(network.memory_answer(turned, lengths), network.memory_answer(strand, lengths))


@torch.no_grad()
def test_made_from_one_strand_it_tells_them_apart():
    network = make_sequence_network()
    strand, lengths = strands(SEQUENCES)
    turned = reverse_complement_one_hot(strand, lengths)
    for path in (network, network.linear_answer, network.memory_answer):
        assert not torch.allclose(path(turned, lengths), path(strand, lengths))


# --- the cut, the neighbours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens_at_once", [1, 2, 7])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_how_many_tokens_are_read_at_once_does_not_count(variant, tokens_at_once, monkeypatch):
    network = make_sequence_network(variant)
    whole = network.memory_answer(*strands(SEQUENCES))
    monkeypatch.setattr(two_paths, "TOKENS_AT_ONCE", tokens_at_once)
    assert_agree(network.memory_answer(*strands(SEQUENCES)), whole)


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_padding_and_neighbours_change_no_answer(variant, both_strands):
    network = make_sequence_network(variant, both_strands=both_strands)
    together = network(*strands(SEQUENCES, beyond=30))
    for one, found in zip(SEQUENCES, together, strict=True):
        assert_agree(network(*strands([one]))[0], found)


@torch.no_grad()
def test_all_of_a_long_sequence_is_read():
    network = make_sequence_network()
    codes = random_codes(400, seed=5)
    found = network.memory_answer(*strands([codes]))
    for place in (0, 200, 399):
        changed = codes.copy()
        changed[place] = (changed[place] + 1) % N
        assert not torch.equal(network.memory_answer(*strands([changed])), found), place


@pytest.mark.parametrize("both_strands", [False, True])
@torch.no_grad()
def test_a_language_model_reads_in_the_place_of_motifs_whatever_the_cut_and_the_neighbours(both_strands, monkeypatch):
    language = LanguageConfig((1, 2, 5), backbone=BackboneConfig(**BACKBONE))
    network = make_sequence_network(language=language, both_strands=both_strands)
    network.stem.language.direct.learn([random_codes(200, seed=6)])
    strand, lengths = strands(SEQUENCES)
    whole = network.memory_answer(strand, lengths)
    for one, found in zip(SEQUENCES, whole, strict=True):
        assert_agree(network.memory_answer(*strands([one]))[0], found)
    turned = network.memory_answer(reverse_complement_one_hot(strand, lengths), lengths)
    assert torch.allclose(turned, whole, rtol=1e-10) == both_strands
    for tokens_at_once in (1, 7):
        monkeypatch.setattr(two_paths, "TOKENS_AT_ONCE", tokens_at_once)
        assert_agree(network.memory_answer(strand, lengths), whole)


# --- two paths ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_linear_path_and_memory_speak_in_their_share():
    network = make_sequence_network()
    strand, lengths = strands(SEQUENCES)
    linear, memory = network.linear_answer(strand, lengths), network.memory_answer(strand, lengths)
    for share in (0.0, 0.3, 1.0):
        network.share.fill_(share)
        assert_agree(network(strand, lengths), (1 - share) * linear + share * memory)
    assert not torch.allclose(linear, memory)


@torch.no_grad()
def test_without_layers_only_words_and_places_speak():
    network = make_sequence_network(layers=0)
    strand, lengths = strands(SEQUENCES)
    assert torch.equal(network(strand, lengths), network.words(strand, lengths) + network.places(strand, lengths))


@torch.no_grad()
def test_nothing_but_n_is_answered_too():
    found = make_sequence_network()(*strands([np.full(length, N, np.uint8) for length in (1, 3, 50)]))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter_and_every_base(variant, both_strands):
    network = make_sequence_network(variant, both_strands=both_strands, patch_length=1)
    strand, lengths = strands(SEQUENCES)
    network(strand.requires_grad_(), lengths).square().sum().backward()
    without = [name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"
    inside = torch.arange(strand.shape[-1]) < lengths[:, None]
    assert torch.isfinite(strand.grad).all()
    assert (strand.grad.abs().amax(1)[inside] > 0).all()


# --- from a file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"both_strands": True, "word_sizes": (4,), "language": LanguageConfig()}], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_configuration_builds_the_same_network_again(variant, settings):
    network = make_sequence_network(variant, **settings)
    config = SequenceConfig.from_dict(json.loads(json.dumps(network.config.to_dict())))
    assert config == network.config
    again = shaken(SequenceNetwork(config), seed=9)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(*strands(SEQUENCES)), network(*strands(SEQUENCES)))
    assert again.share == network.share


def test_dtype_follows_the_weights():
    network = SequenceNetwork(SequenceConfig(outputs=1))
    assert network.dtype == torch.float32
    assert network.double().dtype == torch.float64
    assert network.device == torch.device("cpu")
