"""The Hopfield update against one state at a time, and what its paper proves of it."""

import numpy as np
import pytest
import torch
from memory.cases import tokens
from tolerances import assert_agree

from titans_ts.ops.attention import windowed_association, windowed_attention

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
