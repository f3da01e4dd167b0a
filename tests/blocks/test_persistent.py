"""Persistent tokens."""

import torch

from titans_ts.blocks.layers import PersistentTokens


def test_every_sequence_sees_the_same_learned_tokens():
    torch.manual_seed(0)
    tokens = PersistentTokens(3, 2, 4)
    keys, values = tokens(5)
    for found, learned in ((keys, tokens.keys), (values, tokens.values)):
        assert found.shape == (5, 2, 3, 4)
        assert all(torch.equal(one, learned) for one in found)
    assert not torch.equal(keys, values)
    keys.sum().backward()
    assert torch.equal(tokens.keys.grad, torch.full((2, 3, 4), 5.0)), "all sequences teach the same tokens"


def test_none_is_allowed():
    keys, values = PersistentTokens(0, 2, 4)(5)
    assert keys.shape == values.shape == (5, 2, 0, 4)
