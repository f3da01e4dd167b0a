"""The memory layer: the layer by the letter, any cut, what it carries, and how it lives and cannot die."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from memory.cases import assert_any_cut_equals_the_whole, memory_by_letter, recalled_by_letter, shaken, tokens
from tolerances import assert_agree

from titans_ts.backbones.state import pack
from titans_ts.blocks.layers import split_heads
from titans_ts.memory import neural_memory
from titans_ts.memory.gates import FORGETTING_MIN, MOMENTUM_MAX, STEP_MAX, WRITE_BOUND
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.presets import PRESETS
from titans_ts.ops import Gates, memory_chunked, read_store

FORMS = {
    "deep": {},
    "linear": {"memory": "titans_linear"},
    "three layers": {"depth": 3, "expansion": 1.5},
    "no momentum": {"momentum": False},
    "keeps everything": {"forgetting": False},
    "bare": {"convolution": 1, "output_gate": False, "momentum": False, "forgetting": False},
    "refresh of one": {"refresh_every": 1},
    "unclipped": {"write_bound": float("inf")},
    "tight": {"write_bound": 0.05},
}


def memory(heads: int = 2, refresh_every: int = 4, **settings: object) -> NeuralMemory:
    torch.manual_seed(0)
    return shaken(NeuralMemory(8, heads=heads, **{"refresh_every": refresh_every, **settings}))


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_is_its_parts_put_together(form):
    layer = memory(**FORMS[form])
    x = tokens(2, 23, 8)
    found, carry = layer(x, layer.initial_state(2))
    true, store = memory_by_letter(layer, x)
    assert_agree(found, true, name="output")
    for kind in ("weights", "momentum", "anchor"):
        for a, b in zip(getattr(carry.store, kind) or (), getattr(store, kind) or (), strict=True):
            assert_agree(a, b, name=kind)
    assert carry.store.position == 23
    assert (carry.store.momentum is None) == (not layer.gates.momentum)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_any_cut_equals_the_whole(form):
    assert_any_cut_equals_the_whole(memory(**FORMS[form]), tokens(2, 19, 8))


@pytest.mark.parametrize("form", ["deep", "linear"])
@torch.no_grad()
def test_chunk_size_changes_nothing(form):
    x = tokens(2, 40, 8)
    layer = memory(**FORMS[form])
    answers = []
    for chunk_size in (1, 3, 4, 10, 64):
        layer.chunk_size = chunk_size
        answers.append(layer(x, layer.initial_state(2))[0])
    for answer in answers[1:]:
        assert_agree(answer, answers[0])


@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_tokens_read_at_once_change_nothing(monkeypatch, at_once):
    """A long call is read in parts: the same outputs, state, gradients, and every write observed once."""
    layer, x = memory(), tokens(2, 23, 8)

    def run() -> list[torch.Tensor]:
        pieces: list[torch.Tensor] = []
        layer.observer = lambda written: pieces.append(written.surprise)
        y, carry = layer(x, layer.initial_state(2))
        (y * tokens(2, 23, 8, seed=1)).sum().backward()
        found = [
            y,
            torch.cat(pieces, dim=-1),
            *(w.double() for w in pack(carry).values()),
            layer.project.weight.grad.clone(),
        ]
        layer.zero_grad()
        return found

    whole = run()
    monkeypatch.setattr(neural_memory, "TOKENS_AT_ONCE", at_once)
    for a, b in zip(run(), whole, strict=True):
        assert_agree(a, b)


@torch.no_grad()
def test_refresh_every_does_change_answers():
    """It is part of the model; were it ignored, the test of cuts would not notice."""
    x = tokens(1, 20, 8)
    answers = [layer(x, layer.initial_state(1))[0] for layer in (memory(refresh_every=1), memory(refresh_every=8))]
    assert (answers[0] - answers[1]).abs().max() > 1e-3


@torch.no_grad()
def test_reading_asks_given_weights_and_writes_nothing():
    layer = memory()
    x, asked = tokens(2, 9, 8), tokens(2, 5, 8, seed=1)
    _, carry = layer(x, layer.initial_state(2))
    before = [w.clone() for w in carry.store.weights]
    assert_agree(
        layer.read(split_heads(asked, 2), 9, carry.store.weights), recalled_by_letter(layer, asked, carry.store.weights)
    )
    assert all(torch.equal(a, b) for a, b in zip(before, carry.store.weights, strict=True))


@torch.no_grad()
def test_the_observer_sees_every_write_once():
    layer = memory(write_bound=0.05)
    pieces = []
    layer.observer = lambda written: pieces.append(written.surprise)
    layer(tokens(3, 21, 8), layer.initial_state(3))
    norms = torch.cat(pieces, dim=-1)
    assert norms.shape == (2, 3, 2, 21)  # store layers, b, h, t
    assert (norms > 0.05).any(), "the norms are those before clipping"


def test_gradients_reach_every_parameter():
    layer = memory()
    y, _ = layer(tokens(2, 20, 8), layer.initial_state(2))
    y.square().sum().backward()
    without = [name for name, x in layer.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"


@torch.no_grad()
def test_under_autocast_the_memory_stays_in_float32():
    """A memory kept or computed in bfloat16 forgets: small writes beside large weights are rounded away."""
    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, refresh_every=4)
    x = tokens(2, 50, 8).float()
    exact, true = layer(x, layer.initial_state(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, carry = layer(x, layer.initial_state(2))
    assert found.dtype == torch.bfloat16
    for name, w in pack(carry.store).items():
        if w.is_floating_point():
            assert w.dtype == torch.float32, name
            assert_agree(w.bfloat16(), pack(true.store)[name], name=name)
    assert not torch.equal(carry.store.weights[0].bfloat16().float(), carry.store.weights[0]), "rounded to bfloat16"
    assert (found.float() - exact).abs().max() < 0.1 * exact.abs().max()


@torch.no_grad()
def test_under_autocast_small_writes_are_not_lost():
    """From a large memory, one token in bfloat16 would move nothing; in float32 it moves it as float64 does."""
    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, refresh_every=1)
    for w in layer.store.layers:
        w.add_(2.0)
    x = tokens(1, 1, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, carry = layer(x, layer.initial_state(1))
    moved = [(a - b).abs().max() for a, b in zip(carry.store.weights, layer.store.layers, strict=True)]
    assert all(0 < m < 0.1 for m in moved), moved


@pytest.mark.parametrize("heads", [1, 2, 3, 4])
@torch.no_grad()
def test_keys_start_as_queries_those_of_the_later_heads_one_token_back(heads):
    torch.manual_seed(0)
    layer = NeuralMemory(48, heads=heads)
    x = tokens(1, 30, 48).float()
    mixed, _ = layer.convolution(layer.project(x), layer.convolution.initial_tail(1))
    q, k, _ = (part.unflatten(-1, (heads, -1)) for part in mixed.chunk(3, dim=-1))
    alike = {back: F.cosine_similarity(q[:, : 30 - back], k[:, back:], dim=-1).mean((0, 1)) for back in (0, 1)}
    back = [int(head >= heads // 2) for head in range(heads)]
    assert all(alike[back[head]][head] > 0.9 for head in range(heads)), alike
    assert all(alike[1 - back[head]][head] < 0.7 for head in range(heads)), alike


@pytest.mark.parametrize("memory", ["titans", "titans_linear", "deltanet"])
@torch.no_grad()
def test_before_training_a_token_reads_what_followed_upon_its_like(memory):
    """The first of each pair comes again, and its second is told from the seconds of the others; chance is a sixth."""
    torch.manual_seed(0)
    layer = NeuralMemory(64, heads=2, memory=memory, refresh_every=1)
    firsts, seconds = tokens(6, 64).float(), tokens(6, 64, seed=1).float()
    x = torch.cat([torch.stack([firsts, seconds], 1).flatten(0, 1), firsts])[None]
    mixed, _ = layer.convolution(layer.project(x), layer.convolution.initial_tail(1))
    values = mixed.chunk(3, dim=-1)[2][0, 1:12:2, 32:]
    seen: list[torch.Tensor] = []
    layer.norm.register_forward_hook(lambda _, __, out: seen.append(out[0, 1, 12:]))
    layer(x, layer.initial_state(1))
    found = F.cosine_similarity(seen[0][:, None], values - values.mean(0), dim=-1).argmax(1)
    assert (found == torch.arange(6)).float().mean() > 0.6, found


def test_settings_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match=r"width must be a multiple of heads, got width=10 and heads=4"):
        NeuralMemory(10, heads=4)
    with pytest.raises(ValueError, match=r"memory='tape' is not known; choose one of .*titans, titans_linear"):
        NeuralMemory(8, memory="tape")
    with pytest.raises(ValueError, match="depth must be 1 or more"):
        NeuralMemory(8, depth=0)


def test_the_preset_decides_bound_and_depth():
    layer = NeuralMemory(8, heads=2, memory="titans_linear", depth=3)
    assert len(layer.store.layers) == 1
    assert layer.rule.write_bound == PRESETS["titans_linear"].rule.write_bound
    assert NeuralMemory(8, heads=2, write_bound=0.5).rule.write_bound == 0.5
    assert NeuralMemory(8, heads=2, write_bound=float("inf")).rule.write_bound is None


# --- it cannot die (P5) -----------------------------------------------------------------------------------------------


def learned_error(layer: NeuralMemory, state, rule) -> torch.Tensor:
    """Return, a head, the error left after showing a few keys and values again and again (1: nothing learned)."""
    torch.manual_seed(1)
    keys, values = torch.randn(2, 1, layer.heads, 4, 8, dtype=torch.float64)
    keys = torch.nn.functional.normalize(keys, dim=-1)
    shown = 200
    k, v = keys.repeat(1, 1, shown, 1), values.repeat(1, 1, shown, 1)
    half = torch.full(k.shape[:3], 0.5, dtype=torch.float64)
    gates = Gates((STEP_MAX * half).log(), torch.full_like(half, -1e-4), (MOMENTUM_MAX * half).log())
    _, state = memory_chunked(k, k, v, gates, rule, state, initial=layer.store())
    return (read_store(state.weights, keys) - values).square().sum((0, 2, 3)) / values.square().sum((0, 2, 3))


@torch.no_grad()
def after_reading(layer: NeuralMemory, x: torch.Tensor, forget_towards: str):
    layer.rule = replace(layer.rule, forget_towards=forget_towards)
    return layer(x, layer.initial_state(1))[1].store


@pytest.mark.parametrize("depth", [2, 3])
@torch.no_grad()
def test_after_quiet_it_learns_as_a_fresh_one_does(depth):
    """20,000 tokens of nothing: forgetting leads to the learned start, from where all can be learned."""
    torch.manual_seed(0)
    layer = NeuralMemory(16, heads=2, depth=depth, refresh_every=16).double()
    layer.gates.project.bias[2:4] = torch.tensor([1.0, 5.9], dtype=torch.float64)  # retention: short and long
    busy, quiet = tokens(1, 192, 16), torch.zeros(1, 20_000, 16, dtype=torch.float64)
    x = torch.cat([busy, quiet], 1)
    fresh = learned_error(layer, layer.initial_state(1).store, layer.rule)
    assert (fresh < 0.3).all(), f"the fresh memory does not learn: {fresh}"
    kept = learned_error(layer, after_reading(layer, x, "initial"), layer.rule)
    assert (kept - fresh).abs().max() < 0.01, f"{kept} against {fresh} fresh"
    dead = learned_error(layer, after_reading(layer, x, "zero"), layer.rule)
    assert (dead > 0.99).all(), f"zero is a fixed point, yet it learned: {dead}"


# --- it cannot blow up (P5) -------------------------------------------------------------------------------------------


def adversary(layer: NeuralMemory, length: int, calls: int):
    """Open every gate to its bound and yield the carry of each call on values that all pull one way, without end."""
    bias = layer.gates.project.bias
    layer.gates.project.weight.zero_()
    bias.fill_(1e4)
    q = k = torch.nn.functional.normalize(torch.ones(1, layer.heads, length // calls, 4), dim=-1)
    store = layer.initial_state(1).store
    gates = layer.gates(torch.zeros(1, length // calls, 8))
    v = torch.full_like(k, 1e12)
    for _ in range(calls):
        read, store = memory_chunked(q, k, v, gates, layer.rule, store, initial=layer.store(), chunk_size=64)
        yield read, store


def soak(length: int) -> None:
    """Hold the docstring's bounds at every look, and show that the adversary comes close to them."""
    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, refresh_every=64).eval()
    initial = layer.store()
    momentum_bound = STEP_MAX * WRITE_BOUND / (1 - MOMENTUM_MAX)
    bound = momentum_bound / FORGETTING_MIN
    reached = 0.0
    for read, store in adversary(layer, length, calls=max(length // 10_000, 1)):
        assert torch.isfinite(read).all()
        norms = [s.norm(dim=(-1, -2)).max() for s in store.momentum]
        moved = [(w - w0).norm(dim=(-1, -2)).max() for w, w0 in zip(store.weights, initial, strict=True)]
        assert max(norms) <= momentum_bound * 1.001, f"momentum {max(norms):.3f} above {momentum_bound:.3f}"
        assert max(moved) <= bound * 1.001 < 4e4 * 1.001, f"memory {max(moved):.0f} above {bound:.0f}"
        reached = max(reached, float(max(moved)) / bound)
    assert reached > 0.95 * (1 - (1 - FORGETTING_MIN) ** length), f"only {reached:.2f} of the bound: a weak adversary"


@torch.no_grad()
@pytest.mark.slow
def test_stays_bounded_through_100_000_adversarial_tokens():
    soak(100_000)


@pytest.mark.slow
@torch.no_grad()
def test_stays_bounded_through_a_million_adversarial_tokens():
    soak(1_000_000)


@torch.no_grad()
def test_without_the_bound_the_same_adversary_wins():
    """The contrast that shows what the clip is for."""
    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, refresh_every=64, write_bound=float("inf"))
    last = None
    for _, store in adversary(layer, 640, calls=10):
        last = store
    assert not all(torch.isfinite(w).all() and w.abs().max() < 1e5 for w in last.weights)


@pytest.mark.parametrize("loud", [1e-30, 1e6, 1e30])
@torch.no_grad()
def test_tokens_of_any_size_stay_finite(loud):
    layer = NeuralMemory(8, heads=2, refresh_every=4)
    x = tokens(2, 40, 8).float() * loud
    y, carry = layer(x, layer.initial_state(2))
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(w).all() for w in pack(carry.store).values())
