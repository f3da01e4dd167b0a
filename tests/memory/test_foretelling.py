"""A memory that foretells: by the letter, whatever the cut; written by the delta rule or left as training left it."""

import pytest
import torch
from memory.cases import shaken, to_unit, tokens
from tolerances import assert_agree

from titans_ts.memory.foretelling import LARGEST_ERROR, ForetellingMemory
from titans_ts.memory.gates import FORGETTING_MIN

WIDTH, VALUES, TOKENS = 6, 3, 19


def make(*, adapts=True):
    torch.manual_seed(0)
    return shaken(ForetellingMemory(WIDTH, VALUES, adapts=adapts), by=0.5)


def sequence(n=TOKENS, batch=2, *, scale=1.0):
    written = (tokens(batch, n, seed=5) > -0.8).double()
    return tokens(batch, n, WIDTH, seed=1), tokens(batch, n, VALUES, seed=2, scale=scale), written


def by_letter(memory, hidden, values, written):
    """Return what is said and what was wrong, token by token, of one sequence."""
    start = memory.store()[0][0]
    weights, key = start, to_unit(memory.first_key)
    said, errors = [], []
    for held, value, write in zip(hidden, values, written, strict=True):
        error = value - key @ weights
        errors.append(error)
        if memory.gates is not None:
            step, retention = torch.sigmoid(memory.gates.project.weight @ held + memory.gates.project.bias)
            write = error * write
            most = LARGEST_ERROR * VALUES**0.5
            write = write * min(1.0, most / max(float(write.norm()), 1e-300))
            weights = start + (1 - FORGETTING_MIN) * retention * (weights - start) + step * torch.outer(key, write)
        key = to_unit(memory.key.weight @ held + memory.key.bias)
        said.append(key @ weights)
    return torch.stack(said), torch.stack(errors)


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0])  # the latter writes more than is let through
@torch.no_grad()
def test_equals_the_delta_rule_by_the_letter(scale, adapts):
    memory, given = make(adapts=adapts), sequence(scale=scale)
    said, errors, _ = memory(*given, memory.initial_state(2))
    for row, found in enumerate(zip(said, errors, strict=True)):
        for x, y in zip(found, by_letter(memory, *(part[row] for part in given)), strict=True):
            assert_agree(x, y)
    written = given[2] > 0
    assert not written.all()
    assert (errors.norm(dim=-1)[written] > LARGEST_ERROR * VALUES**0.5).any() == (scale == 30)


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("sizes", [[1] * TOKENS, [3, 1, 9, 6], [18, 1]], ids=str)
@torch.no_grad()
def test_any_cut_equals_the_whole(sizes, adapts):
    memory, given = make(adapts=adapts), sequence()
    said, errors, _ = memory(*given, memory.initial_state(2))
    state, parts = memory.initial_state(2), []
    for pieces in zip(*(x.split(sizes, dim=1) for x in given), strict=True):
        *found, state = memory(*pieces, state)
        parts.append(found)
    for whole, cut in zip((said, errors), zip(*parts, strict=True), strict=True):
        assert_agree(torch.cat(cut, 1), whole)


@torch.no_grad()
def test_it_is_causal_and_neighbours_do_not_count():
    memory, (hidden, values, written) = make(), sequence()
    said, errors, _ = memory(hidden, values, written, memory.initial_state(2))
    changed = values.clone()
    changed[0, 10:] += 1
    again, off, _ = memory(hidden, changed, written, memory.initial_state(2))
    assert torch.equal(again[0, :10], said[0, :10])
    assert torch.equal(off[0, :10], errors[0, :10])
    assert not torch.equal(again[0, 10], said[0, 10])
    alone, *_ = memory(hidden[1:], values[1:], written[1:], memory.initial_state(1))
    assert_agree(alone[0], said[1])
    assert_agree(again[1], said[1])


@torch.no_grad()
def test_what_is_not_written_leaves_no_trace():
    memory, (hidden, values, written) = make(), sequence()
    said, errors, _ = memory(hidden, values, written, memory.initial_state(2))
    changed = torch.where(written[..., None] > 0, values, 99.0)
    again, off, _ = memory(hidden, changed, written, memory.initial_state(2))
    assert_agree(again, said)
    assert_agree(off[written > 0], errors[written > 0])


@torch.no_grad()
def test_left_as_it_is_it_says_the_same_whatever_came():
    memory, (hidden, values, written) = make(adapts=False), sequence()
    said, errors, state = memory(hidden, values, written, memory.initial_state(2))
    again, off, _ = memory(hidden, values + 5, 1 - written, memory.initial_state(2))
    assert torch.equal(again, said)
    assert_agree(off, errors + 5)
    assert torch.equal(state.store.weights[0][0], memory.store()[0])


@torch.no_grad()
def test_what_follows_the_same_again_and_again_is_foretold():
    memory = make()
    memory.gates.project.bias.copy_(torch.tensor([0.0, 6.0]))  # half of an error away at each write, and little forgotten
    memory.gates.project.weight.zero_()
    hidden, values, _ = sequence(3, batch=1)
    n = 60
    said, errors, _ = memory(hidden.repeat(1, n, 1), values.repeat(1, n, 1), torch.ones(1, 3 * n), memory.initial_state(1))
    early, late = (errors[0, part].square().mean().sqrt() for part in (slice(0, 3), slice(-3, None)))
    assert late < 0.1 * early
    assert_agree(said[0, -4:-1], values[0] - errors[0, -3:], name="what it says is what it is measured by")


@pytest.mark.parametrize("adapts", [False, True])
def test_gradients_reach_every_parameter(adapts):
    memory, given = make(adapts=adapts), sequence()
    said, errors, _ = memory(*given, memory.initial_state(2))
    (said.square().sum() + errors.square().sum()).backward()
    without = [name for name, x in memory.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"
