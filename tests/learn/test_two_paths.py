"""Two paths in one answer: their share and balance, and the memory's read part by part, whatever the stem."""

import numpy as np
import pytest
import torch
from dna.cases import BACKBONE, make_sequence_network, random_codes
from memory.cases import shaken, tokens
from tolerances import assert_agree
from torch import nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.variants import VARIANTS
from titans_ts.dna.bases import reverse_complement
from titans_ts.dna.strands import averaged
from titans_ts.learn import batches, two_paths
from titans_ts.learn.two_paths import TwoPaths, answer_all


class Counted(nn.Module):
    """A stem that projects every pair of steps, and tells in each token how many it has read before: it carries a state."""

    patch_length = 2

    def __init__(self, width):
        super().__init__()
        self.project = nn.Linear(4, width)

    def initial_state(self, batch):
        return torch.zeros(batch, dtype=torch.float64)

    def forward(self, inputs, lengths, state, *, first=0, end=None):
        part = inputs[..., first:end]
        inside = torch.arange(part.shape[-1]) < (lengths - first)[:, None]
        part = part * inside[:, None]
        part = nn.functional.pad(part, (0, -part.shape[-1] % 2))
        pairs = part.unflatten(-1, (-1, 2)).movedim(2, 1).flatten(2)
        read = state[:, None] + torch.arange(1, pairs.shape[1] + 1)
        counts = -(-(lengths - first).clamp(0, inside.shape[1]) // 2)
        return self.project(pairs) + 0.1 * read[..., None], counts, read[:, -1]


class Sums(TwoPaths):
    """A linear path that sees what a sequence sums to."""

    linear_parts = ("sums",)

    def __init__(self, variant="mac", layers=1, outputs=3):
        backbone = BackboneConfig(variant, **{**BACKBONE, "layers": layers})
        super().__init__(Counted(backbone.width), backbone, outputs)
        self.sums = nn.Linear(2, outputs)

    def linear_answer(self, inputs, lengths):
        inside = torch.arange(inputs.shape[-1]) < lengths[:, None]
        return self.sums((inputs * inside[:, None]).sum(-1))


LENGTHS = (33, 2, 1, 18)


def make(variant="mac", **settings):
    torch.manual_seed(0)
    return shaken(Sums(variant, **settings))


def batch(lengths=LENGTHS, *, beyond=0):
    longest = max(lengths) + beyond
    return torch.stack([tokens(2, longest, seed=length) for length in lengths]), torch.tensor(lengths)


# --- share and balance ----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_at_first_the_memory_answers_alone_and_says_nothing():
    network = Sums().double()
    assert network.share == 1
    assert network.balance.tolist() == [0, 1]
    assert not network(*batch()).any()


@pytest.mark.parametrize("balance", [(0.0, 1.0), (0.5, 0.5), (0.9, 0.4)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@torch.no_grad()
def test_the_answer_goes_from_the_linear_path_towards_the_balance(share, balance):
    network = make()
    network.share.fill_(share)
    network.balance.copy_(torch.tensor(balance, dtype=torch.float64))
    linear, memory = network.linear_answer(*batch()), network.memory_answer(*batch())
    assert not torch.allclose(linear, memory)
    expected = (1 - share + share * balance[0]) * linear + share * balance[1] * memory
    assert_agree(network(*batch()), expected)
    assert_agree(network.mixed(linear, memory), expected)


@torch.no_grad()
def test_without_layers_the_linear_path_answers_alone():
    network = make(layers=0)
    assert network.is_linear
    assert torch.equal(network(*batch()), network.linear_answer(*batch()))
    assert not make().is_linear


# --- the memory's answer --------------------------------------------------------------------------------------------


@torch.no_grad()
def test_features_are_mean_greatest_and_last_of_what_is_said_of_the_tokens():
    network = make()
    inputs, lengths = batch()
    found = network.features(inputs, lengths)
    for i, length in enumerate(lengths.tolist()):
        one, own = inputs[i : i + 1, :, :length], lengths[i : i + 1]
        read, _, _ = network.stem(one, own, network.stem.initial_state(1))
        said, _ = network.backbone(read, network.backbone.initial_state(1))
        assert said.shape[1] == -(-length // 2)
        assert_agree(found[i], torch.cat([said[0].mean(0), said[0].amax(0), said[0, -1]]))


@pytest.mark.parametrize("tokens_at_once", [1, 2, 7, 16])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_how_many_tokens_are_read_at_once_does_not_count(variant, tokens_at_once, monkeypatch):
    network = make(variant)
    whole = network(*batch(beyond=5))
    monkeypatch.setattr(two_paths, "TOKENS_AT_ONCE", tokens_at_once)
    assert_agree(network(*batch(beyond=5)), whole)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_neighbours_order_and_padding_change_no_answer(variant):
    network = make(variant)
    inputs, lengths = batch(beyond=9)
    together = network(inputs, lengths)
    assert_agree(network(inputs.flip(0), lengths.flip(0)).flip(0), together)
    for i, length in enumerate(lengths.tolist()):
        assert_agree(network(inputs[i : i + 1, :, :length], lengths[i : i + 1])[0], together[i])


def test_gradients_reach_every_parameter_and_step_and_the_mixture_is_none():
    network = make()
    network.share.fill_(0.6)
    inputs, lengths = batch()
    network(inputs.requires_grad_(), lengths).square().sum().backward()
    without = [name for name, x in network.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"
    inside = torch.arange(inputs.shape[-1]) < lengths[:, None]
    assert (inputs.grad.abs().amax(1) > 0).equal(inside)
    assert {"share", "balance"} <= set(network.state_dict()) - set(dict(network.named_parameters()))


def test_what_a_network_must_say_for_itself():
    base = TwoPaths(Counted(8), BackboneConfig(**BACKBONE), 1)
    for act in (lambda: base.batch([]), lambda: base.linear_answer(*batch())):
        with pytest.raises(NotImplementedError):
            act()
    assert base.dtype == torch.float32
    assert base.double().dtype == torch.float64
    assert base.device == torch.device("cpu")


# --- answers to many sequences --------------------------------------------------------------------------------------

SEQUENCES = [random_codes(length, seed=length, uncertain=0.05) for length in (60, 1, 33, 2, 61, 60, 7)]


def close(found, expected, tolerance=1e-6):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("average", [None, averaged])
def test_neighbours_and_order_change_nothing(average, dtype):
    network = make_sequence_network().to(dtype)
    together = answer_all(network, SEQUENCES, average=average)
    assert together.dtype == dtype
    alone = torch.cat([answer_all(network, [one], average=average) for one in SEQUENCES])
    close(alone, together, 1e-6 if dtype == torch.float32 else 1e-12)
    order = np.random.default_rng(0).permutation(len(SEQUENCES))
    close(answer_all(network, [SEQUENCES[i] for i in order], average=average), together[order])
    beside = answer_all(network, [SEQUENCES[1], random_codes(500)], average=average)
    close(beside[0], together[1])


@pytest.mark.parametrize(("bases", "size"), [(1, 256), (100, 256), (10**6, 2)])
def test_how_much_is_read_at_once_changes_nothing(bases, size, monkeypatch):
    network = make_sequence_network()
    whole = answer_all(network, SEQUENCES)
    monkeypatch.setattr(batches, "STEPS_AT_ONCE", bases)
    monkeypatch.setattr(two_paths, "READ_AT_ONCE", size)
    close(answer_all(network, SEQUENCES), whole, 1e-12)


@pytest.mark.parametrize("by", ["both", "linear", "memory"])
def test_averaged_it_is_the_mean_over_strands_and_so_the_same_for_either(by):
    network = make_sequence_network()
    there, back = (
        [answer_all(network, strand, average=average, by=by) for average in (None, averaged)]
        for strand in (SEQUENCES, [reverse_complement(one) for one in SEQUENCES])
    )
    close(there[1], (there[0] + back[0]) / 2, 1e-12)
    close(back[1], there[1], 1e-12)
    assert not np.allclose(there[0], back[0])


def test_each_path_answers_for_itself():
    network = make_sequence_network()
    both, linear, memory = (answer_all(network, SEQUENCES, by=by) for by in ("both", "linear", "memory"))
    close(both, 0.4 * linear + 0.6 * memory, 1e-12)
    assert not np.allclose(linear, memory)


def test_it_answers_without_dropout_and_leaves_no_gradient():
    network = make_sequence_network()
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    network.train()
    first = answer_all(network, SEQUENCES)
    assert torch.equal(answer_all(network, SEQUENCES), first)
    assert not first.requires_grad
