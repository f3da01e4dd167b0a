"""Presets: every row makes a memory that runs, and says where it comes from."""

import pytest
import torch
from memory.cases import memory_by_letter, shaken, tokens
from tolerances import assert_agree

from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.presets import PRESETS, find_preset


@pytest.mark.parametrize("name", PRESETS)
@torch.no_grad()
def test_every_preset_equals_the_reference(name):
    torch.manual_seed(0)
    layer = shaken(NeuralMemory(8, heads=2, memory=name, refresh_every=4))
    x = tokens(2, 14, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], memory_by_letter(layer, x)[0])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_that_forgets_is_bounded_and_names_its_source(name):
    preset = find_preset(name)
    assert "arXiv" in preset.source
    assert preset.rule.write_bound is not None or not preset.forgetting
    layer = NeuralMemory(8, heads=2, memory=name)
    assert layer.gates.forgetting == preset.forgetting
    assert layer.gates.momentum == preset.momentum


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="memory='titan' is not known; choose one of .*titans.*titans_linear"):
        find_preset("titan")
