"""Rules reproduce the memories they are named after, each written here in another form and with numpy.

The forms are those of the papers: parallel attention, a product of transition matrices, a dual mini-batch.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from ops.cases import covering_rows

from titans_ts.ops import Gates, WriteRule, fresh_state, memory_chunked, memory_recurrent

LENGTH, KEY, VALUE = 50, 3, 4
both_executions = pytest.mark.parametrize("execute", [memory_recurrent, memory_chunked])
RNG = np.random.default_rng(0)
Q, K, V = RNG.normal(size=(LENGTH, KEY)), RNG.normal(size=(LENGTH, KEY)), RNG.normal(size=(LENGTH, VALUE))
K = K / np.linalg.norm(K, axis=-1, keepdims=True)
STEP = 1 / (1 + np.exp(-RNG.normal(size=LENGTH)))
KEEP = 1 / (1 + np.exp(-2 - RNG.normal(size=LENGTH)))
INERTIA = 1 / (1 + np.exp(-RNG.normal(size=LENGTH)))


def remember(execute, rule, start, *, step=None, keep=None, inertia=None):
    """Return what one head reads, ``(t, v)``, and its last weights."""

    def tokens(x):
        return None if x is None else torch.from_numpy(np.broadcast_to(x, LENGTH).copy())[None, None]

    step, keep, inertia = (None if x is None else np.log(x) for x in (1.0 if step is None else step, keep, inertia))
    gates = Gates(tokens(step), tokens(keep), tokens(inertia))
    initial = [torch.from_numpy(w)[None] for w in start]
    state = fresh_state(initial, batch=1, momentum=inertia is not None)
    q, k, v = (torch.from_numpy(x)[None, None] for x in (Q, K, V))
    output, state = execute(q, k, v, gates, rule, state, initial=initial)
    return output[0, 0].detach().numpy(), [w[0, 0].detach().numpy() for w in state.weights]


def assert_near(found, true):
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-10 * max(1, np.abs(true).max()))


def nothing():
    return [np.zeros((KEY, VALUE))]


def something(*widths, scale=0.6):
    rng = np.random.default_rng(1)
    widths = (KEY, *widths, VALUE)
    return [scale * rng.normal(size=shape) for shape in pairwise(widths)]


HEBBIAN = {"objective": "dot", "write_bound": None, "forget_towards": "zero"}
DELTA = {"loss_factor": 1.0, "write_bound": None, "forget_towards": "zero"}


@both_executions
def test_linear_attention(execute):
    """2006.16236: causal attention without softmax."""
    found, _ = remember(execute, WriteRule(**HEBBIAN), nothing())
    assert_near(found, np.tril(Q @ K.T) @ V)


@both_executions
def test_retnet(execute):
    """2307.08621, equation 5: the parallel form, ``(Q K^T * D) V``."""
    gamma = 1 - 2.0**-5
    n = np.arange(LENGTH)
    decay = np.where(n[:, None] >= n, gamma ** (n[:, None] - n).clip(0), 0)
    found, _ = remember(execute, WriteRule(**HEBBIAN), nothing(), keep=gamma)
    assert_near(found, (Q @ K.T * decay) @ V)


@both_executions
def test_mamba2(execute):
    """2405.21060: the semiseparable matrix ``L * C B^T`` applied to ``dt x``, with decay ``exp(dt A)``."""
    dt, a = STEP, -0.3
    semiseparable = np.zeros((LENGTH, LENGTH))
    for t in range(LENGTH):
        for s in range(t + 1):
            semiseparable[t, s] = np.exp(a * dt[s + 1 : t + 1].sum()) * (Q[t] @ K[s])
    found, _ = remember(execute, WriteRule(**HEBBIAN), nothing(), step=dt, keep=np.exp(a * dt))
    assert_near(found, semiseparable @ (dt[:, None] * V))


@both_executions
def test_deltanet(execute):
    """2406.06484: ``S (I - beta k k^T) + beta v k^T``, values by keys, read by ``S q``."""
    found, (last,) = remember(execute, WriteRule(**DELTA), something(), step=STEP)
    state, read = something()[0].T, []
    for q, k, v, beta in zip(Q, K, V, STEP, strict=True):
        state = state @ (np.eye(KEY) - beta * np.outer(k, k)) + beta * np.outer(v, k)
        read.append(state @ q)
    assert_near(found, np.array(read))
    assert_near(last, state.T)


@both_executions
def test_deltanet_wy_form(execute):
    """2406.06484, equation 8: pseudo-values ``U = (I + tril(diag(beta) K K^T, -1))^-1 diag(beta) V``."""
    found, _ = remember(execute, WriteRule(**DELTA), nothing(), step=STEP)
    pseudo = np.linalg.inv(np.eye(LENGTH) + np.tril(STEP[:, None] * K @ K.T, -1)) @ (STEP[:, None] * V)
    assert_near(found, np.tril(Q @ K.T) @ pseudo)


@both_executions
def test_gated_deltanet(execute):
    """2412.06464, equation 10: ``alpha S (I - beta k k^T) + beta v k^T``. It reads the decayed memory."""
    found, _ = remember(execute, WriteRule(read_from="decayed", **DELTA), something(), step=STEP, keep=KEEP)
    other, _ = remember(execute, WriteRule(read_from="previous", **DELTA), something(), step=STEP, keep=KEEP)
    state, read = something()[0].T, []
    for q, k, v, alpha, beta in zip(Q, K, V, KEEP, STEP, strict=True):
        state = alpha * state @ (np.eye(KEY) - beta * np.outer(k, k)) + beta * np.outer(v, k)
        read.append(state @ q)
    assert_near(found, np.array(read))
    assert np.abs(other - found).max() > 0.05


@both_executions
def test_longhorn(execute):
    """2407.14207, theorem 3.1: ``(I - D k k^T)`` with ``D = beta / (1 + beta k.k)``, in full and not its diagonal."""
    theta = 3 * STEP
    found, _ = remember(execute, WriteRule(step="implicit", **DELTA), something(), step=theta)
    state, read = something()[0], []
    for q, k, v, beta in zip(Q, K, V, theta, strict=True):
        step = beta / (1 + beta * k @ k)
        state = (np.eye(KEY) - step * np.outer(k, k)) @ state + step * np.outer(k, v)
        read.append(q @ state)
    assert_near(found, np.array(read))


@both_executions
@pytest.mark.parametrize("size", [1, 5, 16, 64])
def test_ttt_linear(execute, size):
    """2407.04620, section 2.4: the dual form of mini-batch gradient steps, each from the mini-batch's first weights."""
    step = 0.1
    rule = WriteRule(refresh_every=size, write_bound=None)
    found, (last,) = remember(execute, rule, something(), step=step)
    (weights,), read = something(), []
    for start in range(0, LENGTH, size):
        q, k, v = (x[start : start + size] for x in (Q, K, V))
        error = 2 * (k @ weights - v)
        read.append(q @ weights - step * np.tril(q @ k.T) @ error)
        weights = weights - step * k.T @ error
    assert_near(found, np.concatenate(read))
    assert_near(last, weights)


def silu(z):
    return z / (1 + np.exp(-z))


def back_propagated(weights, k, v):
    """Return each layer's input and error for the loss ``|M(k) - v|^2``, by the chain rule."""
    inputs, before = [k], []
    for layer in weights[:-1]:
        before.append(inputs[-1] @ layer)
        inputs.append(silu(before[-1]))
    errors = [2 * (inputs[-1] @ weights[-1] - v)]
    for layer, z in zip(weights[:0:-1], before[::-1], strict=True):
        sigmoid = 1 / (1 + np.exp(-z))
        errors.insert(0, (layer @ errors[0]) * sigmoid * (1 + z * (1 - sigmoid)))
    return inputs, errors


TITANS = {
    "widths": ((), (5,), (5, 2), (2, 5, 3)),
    "execute": (memory_recurrent, memory_chunked),
    "size": (1, 16),
    "forget_towards": ("initial", "zero"),
    "bound": (None, 3.0),
}


@pytest.mark.parametrize("row", covering_rows(**TITANS), ids=lambda row: "-".join(map(str, list(row.values())[2:])))
def test_titans(row):
    hold_to_titans(**row)


def hold_to_titans(execute, widths, size, forget_towards, bound):
    """2501.00663, equations 12 to 15, with mini-batches and clipped writes, one token and one layer at a time."""
    step, keep = 0.05 * STEP, 1 - 0.1 * (1 - KEEP)
    rule = WriteRule(refresh_every=size, forget_towards=forget_towards, write_bound=bound)
    start = something(*widths, scale=1.0 if widths else 0.6)
    found, last = remember(execute, rule, start, step=step, keep=keep, inertia=INERTIA)
    weights, momentum = start, [np.zeros_like(w) for w in start]
    home = start if forget_towards == "initial" else [np.zeros_like(w) for w in start]
    read, clipped = [], []
    for t in range(LENGTH):
        if t % size == 0:
            anchor = weights
        inputs, errors = back_propagated(anchor, K[t], V[t])
        norms = [np.linalg.norm(np.outer(x, g)) for x, g in zip(inputs, errors, strict=True)]
        clipped += [bound is not None and norm > bound for norm in norms]
        scales = [1 if bound is None or norm <= bound else bound / norm for norm in norms]
        momentum = [
            INERTIA[t] * s - step[t] * scale * np.outer(x, g)
            for s, x, g, scale in zip(momentum, inputs, errors, scales, strict=True)
        ]
        weights = [(1 - keep[t]) * w0 + keep[t] * w + s for w0, w, s in zip(home, weights, momentum, strict=True)]
        hidden = Q[t] @ weights[0]
        for layer in weights[1:]:
            hidden = silu(hidden) @ layer
        read.append(hidden)
    assert bound is None or 0 < sum(clipped) < len(clipped), "the bound must bite, and not always"
    assert_near(found, np.array(read))
    for w, true in zip(last, weights, strict=True):
        assert_near(w, true)
