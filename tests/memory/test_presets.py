"""Presets: every row equals its paper, whole, in any cut and token by token, and can be learned."""

import numpy as np
import pytest
import torch
from memory.cases import (
    assert_any_cut_equals_the_whole,
    by_convolving,
    per_head,
    shaken,
    silu,
    to_mean_square_one,
    together,
    tokens,
)
from oracles import ORACLES, Head
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone
from titans_ts.memory import presets
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.presets import PRESETS, MemoryPreset, find_preset
from titans_ts.ops import WriteRule

REFRESH = 4
every_row = pytest.mark.parametrize("name", PRESETS)


def memory(name: str, **settings: object) -> NeuralMemory:
    torch.manual_seed(0)
    layer = shaken(NeuralMemory(12, heads=2, memory=name, refresh_every=REFRESH, **settings))
    with torch.no_grad():
        if layer.gates.project is not None and name.startswith("t"):
            layer.gates.project.bias += 2  # larger steps, so that bounds bite and what is written shows
    return layer


def read_by_oracle(layer: NeuralMemory, name: str, x: torch.Tensor) -> torch.Tensor:
    """Return what every head reads, ``(b, h, t, v)``, by the oracle of the row."""
    mixed = by_convolving(x @ layer.project.weight.T, layer.convolution.filters)
    q, k, v = (per_head(part, layer.heads).numpy() for part in mixed.split(x.shape[-1], dim=-1))
    raw = np.zeros((0, *q.shape[:3]))
    if layer.gates.project is not None:
        raw = (x @ layer.gates.project.weight.T + layer.gates.project.bias).transpose(1, 2)
        raw = np.stack(raw.split(layer.heads, dim=1))  # gate b h t
    rate = np.ones(layer.heads) if layer.gates.log_rate is None else layer.gates.log_rate.exp().numpy()

    def one(b: int, h: int) -> np.ndarray:
        start = [w[h].numpy() for w in layer.store()]
        norm = () if layer.store_norm is None else [x[h].numpy() for x in layer.store_norm]
        penalty = 1.0 if layer.gates.penalty is None else 0.01 + np.log1p(np.exp(layer.gates.penalty[h].item()))
        return ORACLES[name](Head(q[b, h], k[b, h], v[b, h], list(raw[:, b, h]), rate[h], h, REFRESH, start, norm, penalty))

    return torch.from_numpy(np.array([[one(b, h) for h in range(layer.heads)] for b in range(len(x))]))


@every_row
@torch.no_grad()
def test_every_row_equals_its_oracle(name):
    layer, x = memory(name), tokens(2, 23, 12)
    found = together(to_mean_square_one(read_by_oracle(layer, name, x)) * layer.norm.weight)
    if layer.output_gate is not None:
        found = found * silu(x @ layer.output_gate.weight.T + layer.output_gate.bias)
    assert_agree(layer(x, layer.initial_state(2))[0], found @ layer.output.weight.T, name=name)


@every_row
@torch.no_grad()
def test_any_cut_and_token_by_token_equal_the_whole(name):
    assert_any_cut_equals_the_whole(memory(name), tokens(2, 19, 12))


@every_row
def test_gradients_reach_every_parameter(name):
    layer = memory(name)
    y, _ = layer(tokens(2, 20, 12), layer.initial_state(2))
    (y * tokens(2, 20, 12, seed=1)).sum().backward()
    without = [path for path, x in layer.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"


@every_row
@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
@torch.no_grad()
def test_every_row_stands_in_every_variant(name, variant):
    torch.manual_seed(0)
    config = BackboneConfig(variant, name, width=8, heads=2, layers=1, window=5, refresh_every=REFRESH)
    backbone, x = shaken(Backbone(config)), tokens(1, 17, 8)
    whole, _ = backbone(x, backbone.initial_state(1))
    first, state = backbone(x[:, :7], backbone.initial_state(1))
    rest, _ = backbone(x[:, 7:], state)
    assert torch.isfinite(whole).all()
    assert_agree(torch.cat([first, rest], 1), whole)


@every_row
def test_every_row_names_its_source_and_has_the_parts_it_says(name):
    preset = find_preset(name)
    assert "arXiv" in preset.source
    layer = NeuralMemory(8, heads=2, memory=name, refresh_every=REFRESH)
    assert layer.gates.forgetting == (preset.retention is not None)
    assert layer.gates.momentum == preset.momentum
    assert layer.rule.refresh_every == (REFRESH if preset.anchored else 1)
    assert preset.rule.write_bound is not None or not preset.momentum or preset.step == "spectral"


@torch.no_grad()
def test_a_row_added_at_run_time_is_a_memory_like_every_other(monkeypatch):
    """The steps of adding one: a row, an oracle, a source (and a line in the changelog)."""
    toy = MemoryPreset(
        WriteRule(objective="dot", forget_towards="zero", write_bound=None),
        "arXiv 2006.16236, without its normaliser",
        features="plain",
    )
    monkeypatch.setitem(presets.PRESETS, "toy", toy)
    monkeypatch.setitem(ORACLES, "toy", lambda head: np.tril(head.q @ head.k.T / head.q.shape[1] ** 0.5) @ head.v)
    test_every_row_equals_its_oracle("toy")
    test_any_cut_and_token_by_token_equal_the_whole("toy")
    test_every_row_stands_in_every_variant("toy", "mac")
    with torch.enable_grad():
        test_gradients_reach_every_parameter("toy")


# --- keys with products of their entries ------------------------------------------------------------------------------

wider = pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if not preset.norm])


@wider
def test_wider_keys_any_cut_and_gradients(name):
    layer, x = memory(name, key_degree=2), tokens(2, 19, 12)
    assert layer.store()[0].shape[1] == 6 + 21
    with torch.no_grad():
        assert_any_cut_equals_the_whole(layer, x)
    (layer(x, layer.initial_state(2))[0] * tokens(2, 19, 12, seed=1)).sum().backward()
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in layer.parameters())


@torch.no_grad()
def test_wider_keys_are_those_of_a_kernel():
    """Linear attention whose weights are ``(s + s^2) / 2``, with ``s`` the cosine of what query and key were."""
    layer, x = memory("linear_attention", key_degree=2), tokens(2, 23, 12)
    mixed = by_convolving(x @ layer.project.weight.T, layer.convolution.filters)
    q, k, v = (per_head(part, 2) for part in mixed.split(12, dim=-1))
    q, k = (torch.where(x > 0, x + 1, x.exp()) for x in (q, k))
    cosines = q @ k.mT / q.norm(dim=-1)[..., None] / k.norm(dim=-1)[..., None, :]
    weights = ((cosines + cosines.square()) / 2).tril()
    found = together(to_mean_square_one(weights / weights.sum(-1, keepdim=True) @ v) * layer.norm.weight)
    assert_agree(layer(x, layer.initial_state(2))[0], found @ layer.output.weight.T)


@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
@torch.no_grad()
def test_wider_keys_stand_in_every_variant(variant):
    torch.manual_seed(0)
    backbone = shaken(Backbone(BackboneConfig(variant, width=8, heads=2, layers=1, window=5, key_degree=2)))
    x, state = tokens(1, 17, 8), backbone.initial_state(1)
    first, after = backbone(x[:, :7], state)
    assert_agree(torch.cat([first, backbone(x[:, 7:], after)[0]], 1), backbone(x, state)[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key_degree": 3}, "key_degree must be 1 or 2, got 3"),
        ({"key_degree": 2, "memory": "ttt_mlp"}, "memory='ttt_mlp' adds"),
    ],
)
def test_keys_that_no_memory_can_have_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**settings)
    with pytest.raises(ValueError, match=message):
        NeuralMemory(8, **settings)


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="memory='titan' is not known; choose one of .*titans.*titans_linear"):
        find_preset("titan")
