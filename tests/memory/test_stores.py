"""The learned start of a memory."""

import pytest
import torch

from titans_ts.memory.gates import LAST_LAYER, Store


@pytest.mark.parametrize(("depth", "sizes"), [(1, [(3, 5)]), (2, [(3, 6), (6, 5)]), (3, [(3, 6), (6, 6), (6, 5)])])
def test_layers_chain_from_key_to_value(depth, sizes):
    store = Store(2, 3, 5, depth=depth)
    assert [tuple(w.shape) for w in store()] == [(2, *size) for size in sizes]
    assert all(isinstance(w, torch.nn.Parameter) for w in store())


def test_a_unit_key_meets_weights_of_its_own_size():
    torch.manual_seed(0)
    first, last = Store(4, 64, 64, expansion=1.0)()
    assert first.square().mean().item() == pytest.approx(1 / 64, rel=0.05)
    assert last.square().mean().item() == pytest.approx(LAST_LAYER**2 / 64, rel=0.05)


def test_heads_and_seeds_differ():
    torch.manual_seed(0)
    a, b = Store(2, 4, 4), Store(2, 4, 4)
    assert not torch.equal(a.layers[0], b.layers[0])
    assert not torch.equal(a.layers[0][0], a.layers[0][1])


def test_no_layers_are_refused():
    with pytest.raises(ValueError, match="depth must be 1 or more layers, got 0"):
        Store(2, 4, 4, depth=0)
