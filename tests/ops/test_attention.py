"""Windowed attention against a loop over queries, and what each query may not see."""

from itertools import product

import pytest
import torch
from ops.cases import assert_covers, covering_rows
from tolerances import assert_agree
from torch.utils._python_dispatch import TorchDispatchMode

from titans_ts.ops.attention import causal_attention, windowed_attention

WINDOWS = (1, 2, 5, 16, 100)
LENGTHS = (1, 5, 6, 23)
LEVELS = {"window": WINDOWS, "length": LENGTHS, "past": (0, 1, 4, 5, 40), "always": (0, 3)}
ROWS = covering_rows(**LEVELS)


def tokens(length: int, past: int, always: int = 0, *, seed: int = 0):
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
    q, k, v, beside = tokens(length, past, always)
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
    q, k, v, beside = tokens(23, 7, always)
    whole = windowed_attention(q, k, v, window=window, always=beside)
    for cut in (0, 1, 2, 4, 5, 6, 11, 15, 16, 17, 22, 23):
        first = windowed_attention(q[:, :, :cut], k[:, :, : 7 + cut], v[:, :, : 7 + cut], window=window, always=beside)
        kept = max(7 + cut - (window - 1), 0)
        second = windowed_attention(q[:, :, cut:], k[:, :, kept:], v[:, :, kept:], window=window, always=beside)
        assert_agree(torch.cat([first, second], 2), whole, name=f"output, {cut=}")


@pytest.mark.parametrize("window", [1, 5, 16])
def test_sees_its_window_and_nothing_else(window):
    """Change one token: exactly the queries from it on, for one window, answer differently."""
    q, k, v, beside = tokens(23, 7, 2)
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
    q, k, v, (always_k, always_v) = tokens(23, 7, 2)
    before = windowed_attention(q, k, v, window=5, always=(always_k, always_v))
    after = windowed_attention(q, k, v, window=5, always=(always_k, always_v + 1))
    assert (after > before).all()


def test_large_scores_stay_finite():
    q, k, v, beside = tokens(23, 7, 2)
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
    q, k, v, _ = tokens(0, 7)
    assert windowed_attention(q, k, v, window=5).shape == (2, 3, 0, 5)


def test_refuses():
    q, k, v, _ = tokens(5, 0)
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
    q, k, v, _ = tokens(length, past)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    found, true = causal_attention(q, k, v), by_loop(q, k, v, window=past + length)
    assert_agree(found, true, name="output")
    weight = torch.linspace(-1, 1, true.numel(), dtype=torch.float64).reshape(true.shape)
    gradients = zip(*(torch.autograd.grad((x * weight).sum(), inputs) for x in (found, true)), strict=True)
    for name, (fast, slow) in zip("qkv", gradients, strict=True):
        assert_agree(fast, slow, name=f"gradient of {name}")


def test_all_of_the_past_of_nothing_is_nothing_and_more_queries_than_keys_are_refused():
    q, k, v, _ = tokens(5, 2)
    assert causal_attention(q[:, :, :0], k, v).shape == (2, 3, 0, 5)
    with pytest.raises(ValueError, match="there are 3 keys for 5 queries; expected at least as many"):
        causal_attention(q, k[:, :, :3], v[:, :, :3])
