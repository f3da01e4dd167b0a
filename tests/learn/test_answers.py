"""Answers to many sequences: whatever lies beside them, in any order, from one strand or both, by any path."""

import numpy as np
import pytest
import torch
from dna.cases import make_sequence_network, random_codes

from titans_ts.dna.bases import reverse_complement
from titans_ts.dna.strands import averaged
from titans_ts.learn import batches
from titans_ts.learn import batches as answers
from titans_ts.learn.batches import answer_all

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
    monkeypatch.setattr(answers, "READ_AT_ONCE", size)
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
