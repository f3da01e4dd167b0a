"""Changes of single bases, contributions, and the network as a plain module: against the network asked by hand."""

import numpy as np
import pytest
import torch
from dna.cases import make_sequence_network, random_codes

from titans_ts.dna.bases import N, encode
from titans_ts.dna.explain import OneHotModule, base_contributions, mutants
from titans_ts.dna.strands import averaged, one_hot
from titans_ts.learn.two_paths import answer_all

SEQUENCE = random_codes(40, seed=2, uncertain=0.1)


def as_strand(codes):
    return one_hot(torch.from_numpy(codes)[None]).double()


def test_every_single_base_change_comes_once_and_n_is_left_out():
    found = mutants(SEQUENCE)
    known = (SEQUENCE < N).sum()
    assert len(found.codes) == 3 * known < 120
    assert len({one.tobytes() for one in found.codes}) == len(found.codes)
    for changed, position, alternative in zip(*found, strict=True):
        assert np.flatnonzero(changed != SEQUENCE).tolist() == [position]
        assert changed[position] == alternative != SEQUENCE[position]
        assert SEQUENCE[position] < N
    assert (np.diff(found.positions) >= 0).all()


def test_nothing_but_n_has_no_changes():
    found = mutants(encode("NNN"))
    assert [len(part) for part in found] == [0, 0, 0]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("layers", [0, 1])
def test_contributions_are_the_slope_at_each_base_less_its_mean(layers, average):
    network = make_sequence_network(layers=layers)
    module = OneHotModule(network, average=average)
    found = base_contributions(network, SEQUENCE, output=1, average=average)
    assert found.shape == (40, 4)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12)
    steps = 1e-5 * torch.eye(160).double().reshape(160, 40, 4).transpose(1, 2)  # one entry each
    with torch.no_grad():
        slopes = (module(as_strand(SEQUENCE) + steps) - module(as_strand(SEQUENCE) - steps))[:, 1].numpy() / 2e-5
    slopes = slopes.reshape(40, 4)
    np.testing.assert_allclose(found, slopes - slopes.mean(1, keepdims=True), rtol=1e-5, atol=1e-7)


def test_the_linear_path_alone_changes_by_exactly_the_difference_of_two_contributions():
    network = make_sequence_network(layers=0)
    found = base_contributions(network, SEQUENCE, output=0, average=False)
    changed = mutants(SEQUENCE)
    answers = answer_all(network, [SEQUENCE, *changed.codes]).numpy()[:, 0]
    expected = found[changed.positions, changed.alternatives] - found[changed.positions, SEQUENCE[changed.positions]]
    np.testing.assert_allclose(answers[1:] - answers[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("average", [False, True])
def test_a_module_answers_as_the_network_does_and_lets_gradients_through(average):
    network = make_sequence_network().train()
    module = OneHotModule(network, average=average)
    strand = as_strand(SEQUENCE).requires_grad_()
    answers = module(strand)
    np.testing.assert_allclose(
        answers.detach(), answer_all(network, [SEQUENCE], average=averaged if average else None), rtol=1e-12
    )
    answers.sum().backward()
    assert (strand.grad.abs().amax(1) > 0).all()
    assert not network.training, "it is asked, no longer trained"
