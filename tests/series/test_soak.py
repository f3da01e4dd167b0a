"""P5: a memory that has read a million rows of anything is bounded, and learns as one that has read nothing else."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from series.estimator_cases import fitted, wave

from titans_ts.memory import gates, neural_memory
from titans_ts.ops import read_store

ROWS = 1_000_000
KINDS = ("ETTh1", "a constant", "white noise", "spikes")


def one_memory(variant, patch_length):
    """Return a forecaster of one channel and one layer, with as many tokens between two refreshes as by default."""
    size = {"patch_length": patch_length, "lookback": 64, "layers": 1, "refresh_every": 16}
    return fitted(wave(2000, 1), variant=variant, **size)


@pytest.fixture(scope="module")
def soaked():
    """Make forecasters, and tell what a memory of each recalls that has read nothing else; each is made once."""
    made = {}

    def make(variant, patch_length):
        if (variant, patch_length) not in made:
            forecaster = one_memory(variant, patch_length)
            made[variant, patch_length] = forecaster, recall(forecaster.forget(), patch_length)
        return made[variant, patch_length]

    return make


@pytest.fixture
def rows_of(request):
    """Make rows of one kind; without real data, those of ETTh1 are skipped."""

    def make(kind, rows=ROWS):
        if kind == "ETTh1":
            path = request.getfixturevalue("data_home") / "series" / "ETTh1.csv"
            return np.resize(pd.read_csv(path)["OT"].to_numpy(), rows)
        if kind == "a constant":
            return np.full(rows, 3.0)
        if kind == "white noise":
            return np.random.default_rng(1).normal(size=rows)
        X = wave(rows, 1)[:, 0]
        X[::997] *= 1e6
        return X

    return make


def store_of(state):
    (carry,) = state.backbone
    return getattr(carry, "memory", carry).store


def recall(forecaster, patch_length):
    """Show four patches 500 times, and return the share of them that the longest-lived head does not give back.

    The error of ``M(k)`` against ``v``, squared, as a share of ``v`` squared: of the memory afterwards, and of the learned
    start. Nothing recalled is 1, as of a dead memory; one that is full, or thrown about, is near it or above.
    """
    seen, real = [], neural_memory.write_memory

    def noting(q, k, v, *rest, **more):
        seen.append((k, v))
        return real(q, k, v, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_memory, "write_memory", noting)
        forecaster.update(np.tile(np.random.default_rng(5).normal(size=4 * patch_length), 500))
    keys, values = (torch.cat(parts, dim=2)[:, -1:, -4:] for parts in zip(*seen, strict=True))

    def missed(state):
        found = read_store([w[:, -1:].detach() for w in store_of(state).weights], keys)
        return float((found - values).square().sum() / values.square().sum())

    return SimpleNamespace(after=missed(forecaster.states_[None]), start=missed(forecaster.reader_.fresh_state()))


def assert_bounded(forecaster):
    """Hold the state to the bounds that ``titans_ts.memory.gates`` and ``titans_ts.ops.WriteRule`` state."""
    assert np.isfinite(forecaster.predict(level=[80]).to_numpy()).all()
    bound = gates.STEP_MAX * gates.WRITE_BOUND / (1 - gates.MOMENTUM_MAX)
    store, start = store_of(forecaster.states_[None]), store_of(forecaster.reader_.fresh_state())
    for weights, first, momentum in zip(store.weights, start.weights, store.momentum, strict=True):
        moved = (weights - first).flatten(2).norm(dim=-1)
        assert 0 < moved.min() <= moved.max() <= bound / gates.FORGETTING_MIN <= 4e4
        assert momentum.flatten(2).norm(dim=-1).max() <= bound


MEMORIES = [("mac", 32), ("mac", 16), ("mag", 16), ("mal", 16), ("lmm", 16)]
"""Patches of 32 rows make 31,250 tokens of a million rows, patches of 16 rows 62,500."""
QUICK = {
    ("ETTh1", "mag", 16), ("a constant", "mal", 16), ("white noise", "lmm", 16),
    ("spikes", "lmm", 16), ("spikes", "mac", 32),
}  # fmt: skip
"""Every kind of rows and every variant at least once; the others are slow tests."""
CASES = [(kind, *memory) for kind in KINDS for memory in MEMORIES]
SOAKED = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize(("kind", "variant", "patch_length"), SOAKED)
def test_a_million_rows_leave_the_memory_bounded_and_able_to_learn(kind, variant, patch_length, soaked, rows_of):
    forecaster, fresh = soaked(variant, patch_length)
    assert fresh.after < 0.1 < 0.5 < fresh.start, "the measure tells a memory that learned from one that did not"
    forecaster.forget().update(rows_of(kind))
    assert forecaster.n_seen_ == ROWS
    assert_bounded(forecaster)
    assert recall(forecaster, patch_length).after < fresh.after + 0.05


@pytest.mark.parametrize(
    "kind", ["white noise", "spikes", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ETTh1", "a constant"))]
)
@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
def test_gates_wide_open_cannot_blow_it_up(kind, variant, rows_of):
    """The largest steps and momentum, as training might make them: unclipped, MAC and LMM were NaN within 3,125 tokens."""
    forecaster = one_memory(variant, 32)
    for part in forecaster.network_.modules():
        if isinstance(part, gates.TokenGates):
            with torch.no_grad():
                step, _, momentum = part.project.bias.chunk(3)
                step += 10
                momentum += 10
    forecaster.forget().update(rows_of(kind, 100_000))
    assert_bounded(forecaster)
