"""Exact slots: lists and loops by the letter, any cut, what decides who stays, and that they begin without a say."""

import pytest
import torch
from memory.cases import assert_any_cut_equals_the_whole, shaken, to_mean_square_one, tokens
from tolerances import assert_agree
from torch import Tensor

from titans_ts.backbones.state import pack
from titans_ts.memory import slots as slots_module
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.presets import PRESETS
from titans_ts.memory.slots import ExactSlots, SlotsCarry
from titans_ts.ops import Gates, memory_recurrent
from titans_ts.ops.chunked import open_memory, write_memory


def exact_slots(heads: int = 2, width: int = 3, *, slots: int = 5, block: int = 4) -> ExactSlots:
    return shaken(ExactSlots(heads, width, slots=slots, block=block), by=0.5)


def pairs(length: int, *, batch: int = 2, heads: int = 2, width: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    """Return queries, keys, values and scores; a third of the scores are alike."""
    q, k, v = (tokens(batch, heads, length, width, seed=seed + i) for i in range(3))
    scores = tokens(batch, heads, length, seed=seed + 3).abs()
    return q, k, v, torch.where(scores < 0.4, 0.25, scores)


def by_letter(module: ExactSlots, q: Tensor, k: Tensor, v: Tensor, scores: Tensor) -> Tensor:
    """Read sequence by sequence, head by head, token by token, from a list of the pairs that are kept."""
    found = torch.zeros_like(v)
    for b in range(len(q)):
        for h in range(q.shape[1]):
            kept: list[tuple[int, float]] = []  # places and scores
            query = to_mean_square_one(q[b, h]) * module.query_norm.weight[h]
            key = to_mean_square_one(k[b, h]) * module.key_norm.weight[h]
            for t in range(q.shape[2]):
                begun = t - t % module.block
                seen = [place for place, _ in kept] + list(range(begun, t + 1))
                weights = [module.power[h] * (scores[b, h, place] + 1e-6).log() for place in seen]
                products = [query[t] @ key[place] + weight for place, weight in zip(seen, weights, strict=True)]
                logits = torch.stack([*products, module.sink[h]])
                shares = logits.softmax(0)[:-1]
                found[b, h, t] = module.strength[h] * sum(a * v[b, h, i] for a, i in zip(shares, seen, strict=True))
                if (t + 1) % module.block == 0:
                    for place in range(begun, t + 1):
                        kept.append((place, float(scores[b, h, place])))
                        if len(kept) > module.slots:  # the least leaves, the newest of the least where several are
                            kept.remove(min(kept, key=lambda one: (round(one[1] * 1e6), -one[0])))
    return found


def folded(module: ExactSlots, given: tuple[Tensor, ...], sizes: list[int], position: int = 0) -> tuple[Tensor, SlotsCarry]:
    state, found = module.initial_state(len(given[0])), []
    for piece in zip(*(x.split(sizes, dim=2) for x in given), strict=True):
        read, state = module(*piece, position, state)
        found.append(read)
        position += piece[0].shape[2]
    return torch.cat(found, dim=2), state


@pytest.mark.parametrize(("slots", "block"), [(5, 4), (1, 2), (40, 4), (6, 16), (3, 7)])
@pytest.mark.parametrize("chunk", [1, 10, 64])
@torch.no_grad()
def test_are_what_lists_and_loops_give(monkeypatch, slots, block, chunk):
    monkeypatch.setattr(slots_module, "CHUNK_TOKENS", chunk)
    module, given = exact_slots(slots=slots, block=block), pairs(37)
    assert_agree(folded(module, given, [37])[0], by_letter(module, *given))


@pytest.mark.parametrize("chunk", [4, 64])
@pytest.mark.parametrize("at_once", [1, 2**22])
def test_any_cut_equals_the_whole_gradients_too(monkeypatch, chunk, at_once):
    monkeypatch.setattr(slots_module, "CHUNK_TOKENS", chunk)
    monkeypatch.setattr(slots_module, "PRODUCTS_AT_ONCE", at_once)
    module = exact_slots()

    def run(sizes: list[int]) -> list[Tensor]:
        given = tuple(x.clone().requires_grad_() for x in pairs(37))
        found, state = folded(module, given, sizes)
        module.zero_grad()
        (found * tokens(*found.shape, seed=9)).sum().backward()
        assert given[3].grad is None, "the choice has no gradient"
        return [found, *state, *(x.grad for x in given[:3]), *(x.grad.clone() for x in module.parameters())]

    whole = run([37])
    for sizes in ([1] * 37, [3, 0, 1, 9, 8, 16], [36, 1]):
        for got, true in zip(run(sizes), whole, strict=True):
            assert_agree(got, true, name=str(sizes))


@torch.no_grad()
def test_recall_sees_all_that_a_carry_holds_and_keeps_nothing():
    module, given, asked = exact_slots(slots=5, block=4), pairs(14), tokens(2, 2, 3, 3, seed=8)
    _, state = folded(module, given, [14])
    found = module.recall(asked, state)
    for b in range(2):
        for h in range(2):
            held = [*range(5), 5, 6]  # slots, then the two tokens of the block that is being read
            queries = to_mean_square_one(asked[b, h]) * module.query_norm.weight[h]
            weights = module.power[h] * (state.scores[b, h, held] + 1e-6).log()
            logits = torch.cat([queries @ state.keys[b, h, held].T + weights, module.sink[h].expand(3, 1)], dim=1)
            true = module.strength[h] * logits.softmax(1)[:, :-1] @ state.values[b, h, held]
            assert_agree(found[b, h], true)
    assert not module.recall(asked, module.initial_state(2)).any()


@torch.no_grad()
def test_the_largest_stay_whatever_their_age_and_among_equal_ones_the_older():
    module = exact_slots(1, 1, slots=3, block=2)
    scores = torch.tensor([1.0, 9.0, 2.0, 2.0 + 3e-7, 7.0, 1.0, 2.0 - 3e-7, 2.0 + 2e-6, 0.0, 8.0, 1.0, 1.0])
    values = torch.arange(12.0, dtype=torch.float64).reshape(1, 1, 12, 1)
    given = values, values, values, scores.double().reshape(1, 1, 12)

    def after(length: int) -> list[float]:
        return folded(module, tuple(x[:, :, :length] for x in given), [length])[1].values[0, 0, :3, 0].tolist()

    assert after(4) == [1.0, 2.0, 3.0]  # 9 2 2; the second 2 came when there was room
    assert after(8) == [1.0, 4.0, 7.0]  # 9 7 and 2 + 2e-6, by more than a tie
    assert after(12) == [1.0, 9.0, 4.0]


@torch.no_grad()
def test_what_is_not_finite_stays_in_its_own_sequence():
    module, given = exact_slots(), pairs(30)
    clean, state = folded(module, given, [30])
    for x in given:
        x[0, :, 5] = float("nan")
    found, broken = folded(module, given, [30])
    assert_agree(found[1], clean[1])
    for x, true in zip(broken, state, strict=True):
        assert_agree(x[1], true[1])


@torch.no_grad()
def test_the_state_is_of_constant_size_finite_and_empty_where_nothing_was_read():
    module = exact_slots(slots=5, block=4)
    sizes = {}
    for length in (0, 3, 4, 37):
        _, state = folded(module, pairs(length), [length])
        assert all(x.isfinite().all() for x in state)
        held = (state.scores >= 0).sum(-1)
        assert (held == min(length - length % 4, 5) + length % 4).all()
        assert not state.keys[state.scores < 0].any()
        assert not state.values[state.scores < 0].any()
        sizes[length] = [x.shape for x in state]
    assert len({str(x) for x in sizes.values()}) == 1


# --- the score --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_the_score_is_the_step_times_the_gradient_at_the_stores_output(name):
    """Token by token at the anchor of the reference loop, by autograd."""
    torch.manual_seed(0)
    ridge = PRESETS[name].rule.objective == "ridge"
    layer = shaken(NeuralMemory(8, heads=2, memory=name, refresh_every=4, write_bound=None if ridge else 0.05))
    q, k, v = (tokens(2, 2, 21, 4, seed=i) for i in range(3))
    v = torch.nn.functional.pad(v, (0, 1), value=1.0) if layer.preset.normaliser else v
    gates, initial, norm = layer.gates(tokens(2, 21, 8, seed=4)), layer.store(), layer._store_norm()
    start = layer.initial_state(2).store
    kept = initial if layer.gates.forgetting else None
    _, _, scores = write_memory(q, k, v, gates, open_memory(start, layer.rule, initial=kept, norm=norm))
    state, true = start, []
    for t in range(21):
        here = slice(t, t + 1)
        one = Gates(*(None if gate is None else gate[:, :, here] for gate in gates))
        key, value, before = k[:, :, here], v[:, :, here], state
        _, state = memory_recurrent(q[:, :, here], key, value, one, layer.rule, state, initial=initial, norm=norm)
        share = 1.0
        if layer.rule.read_from == "decayed" and one.log_retention is not None:
            share = one.log_retention.exp()[..., None]
        hidden = key
        for depth, weights in enumerate(state.anchor or before.weights):
            hidden = (torch.nn.functional.silu(hidden) if depth else hidden) @ weights
        hidden = (share * hidden).detach().requires_grad_()
        said = hidden if norm is None else norm(hidden, key)
        factor = layer.rule.loss_factor / 2
        loss = -(said * value).sum() if layer.rule.objective == "dot" else factor * (said - value).square().sum()
        (gradient,) = torch.autograd.grad(loss, hidden)
        step = one.log_step.exp()
        if layer.rule.step == "implicit":
            step = step / (1 + step * key.square().sum(-1))
        true.append(step * gradient.norm(dim=-1))
    assert_agree(scores, torch.cat(true, dim=-1))
    assert not scores.requires_grad


# --- in the layer -----------------------------------------------------------------------------------------------------

FORMS = {
    **{name: {"memory": name} for name in PRESETS},
    "a refresh of one": {"refresh_every": 1},
    "damped": {"damping": True},
    "clipped": {"write_bound": 0.05},
}


def layer_of(**settings: object) -> NeuralMemory:
    torch.manual_seed(0)
    return shaken(NeuralMemory(8, heads=2, **{"refresh_every": 4, "slots": 3, **settings}))


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_any_cut_of_a_layer_equals_the_whole(form):
    assert_any_cut_equals_the_whole(layer_of(**FORMS[form]), tokens(2, 19, 8))


@pytest.mark.parametrize("name", PRESETS)
def test_an_untrained_layer_answers_as_without_and_lambda_learns(name):
    x = tokens(2, 40, 8).float()
    answers = []
    for slots in (0, 5):
        torch.manual_seed(0)
        layer = NeuralMemory(8, heads=2, refresh_every=4, memory=name, slots=slots)
        answers.append(layer(x, layer.initial_state(2))[0])
    assert torch.equal(*answers)
    answers[1].square().sum().backward()
    assert (layer.slots.strength.grad != 0).all()
    with torch.no_grad():
        layer.slots.strength.fill_(1.0)
        assert (layer(x, layer.initial_state(2))[0] - answers[0]).abs().max() > 1e-3


def test_gradients_of_a_layer_reach_every_parameter_and_any_cut_has_the_same():
    layer, x = layer_of(), tokens(2, 23, 8)

    def run(sizes: list[int]) -> dict[str, Tensor]:
        state, loss = layer.initial_state(2), 0.0
        for piece, weight in zip(x.split(sizes, 1), tokens(2, 23, 8, seed=1).split(sizes, 1), strict=True):
            y, state = layer(piece, state)
            loss = loss + (y * weight).sum()
        layer.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in layer.named_parameters()}

    whole = run([23])
    assert all(grad.abs().max() > 0 for grad in whole.values())
    for sizes in ([5, 1, 17], [4] * 5 + [3]):
        for name, grad in run(sizes).items():
            assert_agree(grad, whole[name], name=name)


@torch.no_grad()
def test_silent_it_keeps_pairs_all_the_same_and_the_observer_sees_what_it_saw():
    layer, x, seen = layer_of(), tokens(2, 23, 8), []
    _, state = layer(x, layer.initial_state(2))
    layer.silent, layer.observer = True, seen.append
    y, silent = layer(x, layer.initial_state(2))
    assert not y.any()
    assert all(torch.equal(a, b) for a, b in zip(pack(state).values(), pack(silent).values(), strict=True))
    assert seen[0].surprise.shape == (2, 2, 2, 23)


@torch.no_grad()
def test_in_float32_few_pairs_are_swapped_between_cuts_and_the_answer_moves_little():
    """Rounding may let another pair in where two scores lie close; periodic tokens bring many that do."""
    torch.manual_seed(0)
    layer = NeuralMemory(16, heads=2, refresh_every=4, slots=8).eval()
    layer.slots.strength.fill_(1.0)
    noise = torch.randn(4, 600, 16, generator=torch.Generator().manual_seed(1))
    period = noise[:, :20].repeat(1, 30, 1)
    for x, most in ((noise, 0.01), (period, 0.2)):
        whole, last = layer(x, layer.initial_state(4))
        state, answers = layer.initial_state(4), []
        for piece in x.split([1, 2, 7, 90, 100, 400], dim=1):
            y, state = layer(piece, state)
            answers.append(y)
        apart = (last.slots.keys[:, :, :8] - state.slots.keys[:, :, :8]).abs().amax(-1) > 1e-3
        assert apart.float().mean() <= most
        assert (torch.cat(answers, 1) - whole).abs().max() < 1e-3 * whole.abs().max()


@pytest.mark.slow
@torch.no_grad()
def test_a_million_tokens_leave_a_state_of_the_same_size_and_take_the_same_time_each():
    from time import process_time

    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, refresh_every=16, slots=16).eval()
    layer.slots.strength.fill_(1.0)
    generator = torch.Generator().manual_seed(1)
    state = layer.initial_state(1)
    shapes, seconds = [x.shape for x in pack(state).values()], []
    for _ in range(10):
        x = torch.randn(1, 100_000, 8, generator=generator)
        began = process_time()
        y, state = layer(x, state)
        seconds.append(process_time() - began)
        assert y.isfinite().all()
        assert [x.shape for x in pack(state).values()] == shapes
        assert all(x.isfinite().all() for x in pack(state).values())
    assert max(seconds[5:]) < 1.5 * max(seconds[:5])
