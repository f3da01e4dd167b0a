"""Windowed attention and the Hopfield update against one query at a time, and what each query may not see."""

from itertools import product

import numpy as np
import pytest
import torch
from memory.cases import tokens
from ops.cases import assert_covers, covering_rows
from tolerances import assert_agree
from torch.utils._python_dispatch import TorchDispatchMode

from titans_ts.ops.attention import causal_attention, windowed_association, windowed_attention

WINDOWS = (1, 2, 5, 16, 100)
LENGTHS = (1, 5, 6, 23)
LEVELS = {"window": WINDOWS, "length": LENGTHS, "past": (0, 1, 4, 5, 40), "always": (0, 3)}
ROWS = covering_rows(**LEVELS)


def attention_inputs(length: int, past: int, always: int = 0, *, seed: int = 0):
    """Return queries, keys, values and what is always visible."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)

    beside = (normal(always, 4), normal(always, 5)) if always else None
    return 2 * normal(length, 4), normal(past + length, 4), normal(past + length, 5), beside


def by_loop(q, k, v, *, window, always=None):
    """Attend with one query at a time to a list of what it sees."""
    outputs = []
    past = k.shape[2] - q.shape[2]
    for t in range(q.shape[2]):
        first = max(past + t - window + 1, 0)
        keys, values = k[:, :, first : past + t + 1], v[:, :, first : past + t + 1]
        if always is not None:
            keys, values = torch.cat([always[0], keys], 2), torch.cat([always[1], values], 2)
        scores = (keys @ q[:, :, t, :, None])[..., 0] / q.shape[-1] ** 0.5
        shares = scores.exp() / scores.exp().sum(-1, keepdim=True)
        outputs.append((shares[..., None] * values).sum(2))
    return torch.stack(outputs, 2)


def test_every_pair_of_settings_occurs():
    assert_covers(ROWS, LEVELS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_equals_a_loop(row):
    hold_to_the_loop(**row)


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
def test_equals_a_loop_everywhere(window):
    for length, past, always in product(*list(LEVELS.values())[1:]):
        hold_to_the_loop(window, length, past, always)


def hold_to_the_loop(window, length, past, always):
    """Hold outputs and gradients to one query at a time."""
    q, k, v, beside = attention_inputs(length, past, always)
    inputs = [x.requires_grad_() for x in (q, k, v, *(beside or ()))]
    found = windowed_attention(q, k, v, window=window, always=beside)
    true = by_loop(q, k, v, window=window, always=beside)
    assert_agree(found, true, name="output")
    weight = torch.linspace(-1, 1, true.numel(), dtype=torch.float64).reshape(true.shape)
    gradients = zip(*(torch.autograd.grad((x * weight).sum(), inputs) for x in (found, true)), strict=True)
    for name, (fast, slow) in zip(("q", "k", "v", "always k", "always v"), gradients, strict=False):
        assert_agree(fast, slow, name=f"gradient of {name}")


@pytest.mark.parametrize(("window", "always"), list(zip(WINDOWS, (0, 3, 0, 3, 3), strict=True)))
def test_any_cut_equals_the_whole(window, always):
    """Only the last ``window - 1`` keys and values need to be carried over a cut."""
    q, k, v, beside = attention_inputs(23, 7, always)
    whole = windowed_attention(q, k, v, window=window, always=beside)
    for cut in (0, 1, 2, 4, 5, 6, 11, 15, 16, 17, 22, 23):
        first = windowed_attention(q[:, :, :cut], k[:, :, : 7 + cut], v[:, :, : 7 + cut], window=window, always=beside)
        kept = max(7 + cut - (window - 1), 0)
        second = windowed_attention(q[:, :, cut:], k[:, :, kept:], v[:, :, kept:], window=window, always=beside)
        assert_agree(torch.cat([first, second], 2), whole, name=f"output, {cut=}")


@pytest.mark.parametrize("window", [1, 5, 16])
def test_sees_its_window_and_nothing_else(window):
    """Change one token: exactly the queries from it on, for one window, answer differently."""
    q, k, v, beside = attention_inputs(23, 7, 2)
    before = windowed_attention(q, k, v, window=window, always=beside)
    for place in range(30):
        changed_k, changed_v = k.clone(), v.clone()
        changed_k[:, :, place] += 1
        changed_v[:, :, place] += 1
        after = windowed_attention(q, changed_k, changed_v, window=window, always=beside)
        differs = (after != before).any(-1).all(0).all(0)
        query = torch.arange(23) + 7
        assert torch.equal(differs, (query >= place) & (query < place + window)), place


def test_always_visible_tokens_are_seen_by_all():
    q, k, v, (always_k, always_v) = attention_inputs(23, 7, 2)
    before = windowed_attention(q, k, v, window=5, always=(always_k, always_v))
    after = windowed_attention(q, k, v, window=5, always=(always_k, always_v + 1))
    assert (after > before).all()


def test_large_scores_stay_finite():
    q, k, v, beside = attention_inputs(23, 7, 2)
    found = windowed_attention(1e4 * q, k, v, window=5, always=beside)
    assert torch.isfinite(found).all()


def test_cost_grows_with_the_length_and_not_with_its_square():
    class LargestTensor(TorchDispatchMode):
        entries = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                self.entries = max(self.entries, made.numel())
            return made

    q, k, v = torch.randn(3, 1, 1, 1024, 4).requires_grad_().unbind()
    with LargestTensor() as largest:
        windowed_attention(q, k, v, window=8).sum().backward()
        assert 0 < largest.entries < 1024 * 8 * 10
        assert (q @ k.mT).shape[-1] == 1024
    assert largest.entries == 1024**2, "the recorder is blind"


def test_no_tokens():
    q, k, v, _ = attention_inputs(0, 7)
    assert windowed_attention(q, k, v, window=5).shape == (2, 3, 0, 5)


def test_refuses():
    q, k, v, _ = attention_inputs(5, 0)
    with pytest.raises(ValueError, match="window must be 1 or more tokens, got 0"):
        windowed_attention(q, k, v, window=0)
    with pytest.raises(ValueError, match="there are 4 keys for 5 queries; expected at least as many"):
        windowed_attention(q, k[:, :, 1:], v[:, :, 1:], window=2)
    with pytest.raises(ValueError, match=r"queries has shape \(3, 5, 4\); expected 4 axes, \(b, h, t, k\)"):
        windowed_attention(q[0], k, v, window=2)


@pytest.mark.parametrize("past", [0, 1, 3, 22, 23, 24, 60])
def test_all_of_the_past_equals_a_loop(past):
    """Shorter than the queries, as long, longer: it is computed in two ways."""
    for length in LENGTHS:
        hold_all_of_the_past(length, past)


def hold_all_of_the_past(length, past):
    q, k, v, _ = attention_inputs(length, past)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    found, true = causal_attention(q, k, v), by_loop(q, k, v, window=past + length)
    assert_agree(found, true, name="output")
    weight = torch.linspace(-1, 1, true.numel(), dtype=torch.float64).reshape(true.shape)
    gradients = zip(*(torch.autograd.grad((x * weight).sum(), inputs) for x in (found, true)), strict=True)
    for name, (fast, slow) in zip("qkv", gradients, strict=True):
        assert_agree(fast, slow, name=f"gradient of {name}")


def test_all_of_the_past_of_nothing_is_nothing_and_more_queries_than_keys_are_refused():
    q, k, v, _ = attention_inputs(5, 2)
    assert causal_attention(q[:, :, :0], k, v).shape == (2, 3, 0, 5)
    with pytest.raises(ValueError, match="there are 3 keys for 5 queries; expected at least as many"):
        causal_attention(q, k[:, :, :3], v[:, :, :3])


# --- the Hopfield update --------------------------------------------------------------------------------------------


BETAS = torch.tensor([0.2, 1.0, 6.0], dtype=torch.float64)


def patterns_of(length: int, past: int = 0, always: int = 0, *, seed: int = 0):
    """Return states, stored patterns, projections and what is always visible."""
    states, stored, projected = (
        tokens(2, 3, *shape, seed=seed + i) for i, shape in enumerate([(length, 4), (past + length, 4), (past + length, 5)])
    )
    beside = (tokens(2, 3, always, 4, seed=seed + 3), tokens(2, 3, always, 5, seed=seed + 4)) if always else None
    return 2 * states, stored, projected, beside


def seen_by(stored, beside, place, window):
    """Return, as numpy, the patterns that the token at a place of ``stored`` sees."""
    first = max(place - window + 1, 0)
    within = stored[:, :, first : place + 1]
    return (within if beside is None else torch.cat([beside, within], 2)).numpy()


def lse(scores):
    """Return the logarithm of a sum of exponentials."""
    return scores.max() + np.log(np.exp(scores - scores.max()).sum())


@pytest.mark.parametrize("updates", [1, 2, 5])
@pytest.mark.parametrize(("window", "past", "always"), [(1, 0, 0), (4, 0, 3), (4, 7, 0), (50, 2, 3)])
def test_equals_one_state_at_a_time(window, past, always, updates):
    states, stored, projected, beside = patterns_of(9, past, always)
    found = windowed_association(states, stored, projected, beta=BETAS, window=window, updates=updates, always=beside)
    for b, h, t in np.ndindex(2, 3, 9):
        patterns = seen_by(stored, beside and beside[0], past + t, window)[b, h]
        meanings = seen_by(projected, beside and beside[1], past + t, window)[b, h]
        xi = states[b, h, t].numpy()
        for _ in range(updates):
            scores = BETAS[h].item() * patterns @ xi
            shares = np.exp(scores - lse(scores))
            xi = shares @ patterns
        assert_agree(found[b, h, t], torch.from_numpy(shares @ meanings), name=f"{(b, h, t)}")


def test_one_update_at_attentions_temperature_is_attention():
    states, stored, projected, beside = patterns_of(9, 3, 2)
    beta = torch.full((3,), 0.5, dtype=torch.float64)
    found = windowed_association(states, stored, projected, beta=beta, window=4, always=beside)
    assert_agree(found, windowed_attention(states, stored, projected, window=4, always=beside))


@pytest.mark.parametrize("always", [0, 3])
def test_the_energy_never_rises_and_is_bounded(always):
    """Theorem 1, and ``0 <= E <= 2 M^2`` for states no longer than the longest pattern (equation 2)."""
    window, past = 5, 2
    states, stored, _, beside = patterns_of(9, past, always)
    both = None if beside is None else (beside[0], beside[0])
    trail = [states] + [
        windowed_association(states, stored, stored, beta=BETAS, window=window, updates=n, always=both) for n in range(1, 9)
    ]
    falls = 0
    for b, h, t in np.ndindex(2, 3, 9):
        patterns, beta = seen_by(stored, beside and beside[0], past + t, window)[b, h], BETAS[h].item()
        longest = (patterns**2).sum(-1).max()
        energies = []
        for xi in (one[b, h, t].numpy() for one in trail):
            constant = np.log(len(patterns)) / beta + longest / 2
            energies.append(-lse(beta * patterns @ xi) / beta + xi @ xi / 2 + constant)
        assert (np.diff(energies) <= 1e-12).all(), (b, h, t)
        assert min(energies) >= -1e-12
        assert max(energies[1:]) <= 2 * longest
        falls += energies[2] < energies[1] - 1e-6
    assert falls > 20, "updates after the first must do something"


def test_a_cold_network_finds_the_nearest_pattern_and_a_hot_one_the_mean():
    stored = torch.nn.functional.one_hot(torch.arange(4)).double()[None, None]
    states = stored + 0.3 * tokens(1, 1, 4, 4)
    cold, hot = (
        windowed_association(states, stored, stored, beta=torch.tensor([beta]).double(), window=4, updates=9)
        for beta in (200.0, 1e-9)
    )
    nearest = torch.stack([stored[0, 0, : t + 1][(stored[0, 0, : t + 1] @ states[0, 0, t]).argmax()] for t in range(4)])
    assert_agree(cold[0, 0], nearest)
    assert_agree(hot[0, 0], torch.stack([stored[0, 0, : t + 1].mean(0) for t in range(4)]).float())


def test_gradients_go_through_every_update():
    inputs = [x.requires_grad_() for x in (*patterns_of(3)[:3], BETAS.clone())]

    def found(states, stored, projected, beta):
        return windowed_association(states, stored, projected, beta=beta, window=2, updates=3)

    assert torch.autograd.gradcheck(found, inputs)


def test_no_updates_are_refused_by_name():
    states, stored, projected, _ = patterns_of(3)
    with pytest.raises(ValueError, match="updates must be 1 or more, got 0"):
        windowed_association(states, stored, projected, beta=BETAS, window=2, updates=0)
