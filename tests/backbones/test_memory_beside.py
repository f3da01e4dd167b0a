"""MAG, MAL and LMM: by their equations, and what each branch is given."""

import pytest
import torch
from backbones.cases import make_backbone
from backbones.oracles import gate_by_letter, layer_by_letter
from memory.cases import memory_by_letter, tokens
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.memory_beside import build_memory

# --- MAG ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"window": 1}, {"window": 100}, {"persistent_tokens": 0, "convolution": 1}], ids=str
)
@torch.no_grad()
def test_equals_equations_26_to_28(settings):
    layer = make_backbone("mag", layers=1, **settings).blocks[0].sequence_layer
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], gate_by_letter(layer, x))


@torch.no_grad()
def test_the_branches_do_not_see_each_other():
    """Both are given the same tokens: replacing what the memory writes leaves attention's carry alone."""
    layer = make_backbone("mag", layers=1).blocks[0].sequence_layer
    x = tokens(2, 9, 8)
    _, before = layer(x, layer.initial_state(2))
    layer.memory.project.weight.mul_(2)
    _, after = layer(x, layer.initial_state(2))
    assert torch.equal(before.attention.keys, after.attention.keys)
    assert not torch.equal(before.memory.store.weights[0], after.memory.store.weights[0])


# --- MAL ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"window": 1}, {"window": 100}, {"persistent_tokens": 0, "convolution": 1}], ids=str
)
@torch.no_grad()
def test_equals_equations_29_to_31(settings):
    layer = make_backbone("mal", layers=1, **settings).blocks[0].sequence_layer
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], layer_by_letter(layer, x))


@torch.no_grad()
def test_attention_sees_what_the_memory_returned():
    layer = make_backbone("mal", layers=1).blocks[0].sequence_layer
    x = tokens(2, 9, 8)
    _, before = layer(x, layer.initial_state(2))
    layer.memory.output.weight.neg_()
    _, after = layer(x, layer.initial_state(2))
    assert not torch.equal(before.attention.keys, after.attention.keys)
    assert torch.equal(before.memory.store.weights[0], after.memory.store.weights[0])


# --- LMM ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_is_the_memory():
    layer = make_backbone("lmm", layers=1).blocks[0].sequence_layer
    x = tokens(2, 11, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], memory_by_letter(layer.memory, x)[0])


def test_every_setting_reaches_the_memory():
    config = BackboneConfig(
        "lmm", "titans", 12, heads=3, memory_depth=3, memory_expansion=1.5, refresh_every=7, convolution=5,
        momentum=False, forgetting=False,
    )  # fmt: skip
    memory = build_memory(config)
    assert [tuple(w.shape) for w in memory.store.layers] == [(3, 4, 6), (3, 6, 6), (3, 6, 4)]
    assert memory.rule.refresh_every == 7
    assert memory.convolution.kernel == 5
    assert (memory.gates.momentum, memory.gates.forgetting) == (False, False)
    assert len(build_memory(BackboneConfig("lmm", "titans_linear", memory_depth=3)).store.layers) == 1
