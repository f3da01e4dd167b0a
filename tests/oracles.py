"""Every memory of the table once more, from its paper, in another form and with numpy: what one head reads.

Each oracle is given one head of one sequence after the convolution and answers with what is read, before the layer's norm.
A row of :data:`titans_ts.memory.presets.PRESETS` without an oracle here fails its test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray


@dataclass
class Head:
    """What one head of one sequence is given.

    Attributes
    ----------
    q, k, v : ndarray (t, w)
        After convolution and SiLU, before anything that a memory does to them.
    gates : list of ndarray (t,)
        What the gates' projection gave, in the order step, retention, momentum, of those there are.
    rate : float
        ``A`` of memories that decay by ``exp(-A dt)``.
    index, refresh_every : int
        Which head it is; tokens of a mini-batch.
    start : list of ndarray
        Learned first weights.
    penalty : float
        ``lambda`` of a ridge.
    norm : tuple of ndarray
        Weight and bias of a store with a normalised residual.
    """

    q: ndarray
    k: ndarray
    v: ndarray
    gates: list[ndarray]
    rate: float = 1.0
    index: int = 0
    refresh_every: int = 1
    start: Sequence[ndarray] = ()
    norm: Sequence[ndarray] = field(default_factory=tuple)
    penalty: float = 1.0


def sigmoid(x: ndarray) -> ndarray:
    return 1 / (1 + np.exp(-x))


def softplus(x: ndarray) -> ndarray:
    return np.logaddexp(0, x)


def silu(x: ndarray) -> ndarray:
    return x * sigmoid(x)


def unit(x: ndarray) -> ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def linear_attention(head: Head) -> ndarray:
    """2006.16236, section 3: attention with ``elu + 1`` in place of the exponential, all pairs at once."""
    q, k = (np.where(x > 0, x + 1, np.exp(x)) for x in (head.q, head.k))
    scores = np.tril(q @ k.T)
    return scores / scores.sum(1, keepdims=True) @ head.v


def retnet(head: Head) -> ndarray:
    """2307.08621, equation 5: the parallel form, pairs of entries as complex numbers that turn with the position."""
    n, width = head.q.shape
    pairs = width // 2
    turn = np.exp(1j * np.arange(n)[:, None] * 10_000.0 ** (-np.arange(pairs) / pairs))
    q, k = ((x[:, :pairs] + 1j * x[:, pairs : 2 * pairs]) * turn for x in (head.q / width**0.5, head.k))
    apart = np.arange(n)[:, None] - np.arange(n)
    decay = np.where(apart >= 0, (1 - 2.0 ** (-5 - head.index)) ** apart.clip(0), 0)
    return (q @ k.conj().T).real * decay @ head.v


def mamba2(head: Head) -> ndarray:
    """2405.21060: the semiseparable matrix ``L * C B^T`` applied to ``dt x``."""
    dt = softplus(head.gates[0])
    total = np.cumsum(dt)
    mask = np.tril(np.exp(-head.rate * (total[:, None] - total)))
    return (mask * (head.q @ head.k.T / head.q.shape[1] ** 0.5)) @ (dt[:, None] * head.v)


def deltanet(head: Head) -> ndarray:
    """2406.06484, equation 8: pseudo-values ``(I + tril(diag(beta) K K^T, -1))^-1 diag(beta) V``."""
    q, k, beta = unit(head.q), unit(head.k), sigmoid(head.gates[0])[:, None]
    pseudo = np.linalg.inv(np.eye(len(k)) + np.tril(beta * (k @ k.T), -1)) @ (beta * head.v)
    return np.tril(q @ k.T) @ pseudo


def gated_deltanet(head: Head) -> ndarray:
    """2412.06464, equation 10: ``S alpha (I - beta k k^T) + beta v k^T``, values by keys."""
    q, k, beta = unit(head.q), unit(head.k), sigmoid(head.gates[0])
    alpha = np.exp(-head.rate * softplus(head.gates[1]))
    state, read = np.zeros((head.v.shape[1], k.shape[1])), []
    for t in range(len(q)):
        state = state @ (alpha[t] * (np.eye(k.shape[1]) - beta[t] * np.outer(k[t], k[t]))) + beta[t] * np.outer(
            head.v[t], k[t]
        )
        read.append(state @ q[t])
    return np.array(read)


def momentum_deltanet(head: Head) -> ndarray:
    """2605.05838: memory above momentum as one state, moved on by one matrix a token."""
    q, k, width = unit(head.q), unit(head.k), head.k.shape[1]
    theta, keep, share = sigmoid(head.gates[0]) / 3, (1 - 4.1e-5) * sigmoid(head.gates[1]), sigmoid(head.gates[2]) / 2
    state, read = np.zeros((2 * width, head.v.shape[1])), []
    for t in range(len(q)):
        erased, carried = theta[t] * np.outer(k[t], k[t]), share[t] * np.eye(width)
        move = keep[t] * np.block([[np.eye(width) - erased, carried], [-erased, carried]])
        state = move @ state + theta[t] * np.outer(np.tile(k[t], 2), head.v[t])
        read.append(q[t] @ state[:width])
    return np.array(read)


def mesa(head: Head) -> ndarray:
    """2506.05233: the ridge fitted anew to all tokens at every token, with the least squares of a stacked system."""
    q, k, (first,) = unit(head.q), unit(head.k), head.start
    weight, keep, read = sigmoid(head.gates[0]), (1 - 4.1e-5) * sigmoid(head.gates[1]), []
    penalty = np.sqrt(head.penalty) * np.eye(k.shape[1])
    for t in range(len(q)):
        root = np.sqrt(weight[: t + 1] * np.append(np.cumprod(keep[t:0:-1])[::-1], 1))[:, None]
        rows, values = np.vstack([root * k[: t + 1], penalty]), np.vstack([root * head.v[: t + 1], penalty @ first])
        read.append(q[t] @ np.linalg.lstsq(rows, values, rcond=None)[0])
    return np.array(read)


def longhorn(head: Head) -> ndarray:
    """2407.14207, before theorem 3.1: ``argmin |S - S_{t-1}|^2 + beta |S k - v|^2``, by its normal equations."""
    beta, width = sigmoid(head.gates[0]), head.k.shape[1]
    state, read = np.zeros((head.v.shape[1], width)), []
    for t, (q, k, v) in enumerate(zip(head.q / width**0.5, head.k, head.v, strict=True)):
        state = np.linalg.solve((np.eye(width) + beta[t] * np.outer(k, k)).T, (state + beta[t] * np.outer(v, k)).T).T
        read.append(state @ q)
    return np.array(read)


def back_propagated(weights: Sequence[ndarray], k: ndarray, error_of: Callable[[ndarray], ndarray]) -> tuple[list, list]:
    """Return each layer's input and error, by the chain rule from the error of what the last layer gives."""
    inputs, before = [k], []
    for layer in weights[:-1]:
        before.append(inputs[-1] @ layer)
        inputs.append(silu(before[-1]))
    errors = [error_of(inputs[-1] @ weights[-1])]
    for layer, z in zip(weights[:0:-1], before[::-1], strict=True):
        errors.insert(0, (layer @ errors[0]) * sigmoid(z) * (1 + z * (1 - sigmoid(z))))
    return inputs, errors


def forward(weights: Sequence[ndarray], x: ndarray) -> ndarray:
    for layer in weights[:-1]:
        x = silu(x @ layer)
    return x @ weights[-1]


def clipped(x: ndarray, g: ndarray, bound: float) -> ndarray:
    """Return the write of one token, no longer than the bound."""
    write = np.outer(x, g)
    return write * min(1.0, bound / np.linalg.norm(write))


def ttt(head: Head) -> ndarray:
    """2407.04620, section 2: mini-batches of gradient steps on ``|k + LN(f(k)) - v|^2``, each from its first weights."""
    q, k, step = unit(head.q), unit(head.k), sigmoid(head.gates[0]) / head.q.shape[1]
    scale, shift = head.norm
    weights, read = list(head.start), []

    def around(x: ndarray, hidden: ndarray) -> ndarray:
        return x + (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-6) * scale + shift

    for t in range(len(q)):
        if t % head.refresh_every == 0:
            anchor = weights

        def error_of(hidden: ndarray, t: int = t) -> ndarray:
            d, width = 2 * (around(k[t], hidden) - head.v[t]) * scale, len(hidden)
            spread = np.sqrt(hidden.var() + 1e-6)
            normal = (hidden - hidden.mean()) / spread
            jacobian = (np.eye(width) - 1 / width - np.outer(normal, normal) / width) / spread
            return jacobian @ d

        inputs, errors = back_propagated(anchor, k[t], error_of)
        weights = [w - step[t] * clipped(x, g, 2.0) for w, x, g in zip(weights, inputs, errors, strict=True)]
        read.append(around(q[t], forward(weights, q[t])))
    return np.array(read)


def titans(head: Head) -> ndarray:
    """2501.00663, equations 12 to 15, one token and one layer at a time, forgetting towards the learned start."""
    q, k = unit(head.q), unit(head.k)
    step, keep, inertia = (top * sigmoid(x) for top, x in zip((0.08, 1 - 4.1e-5, 0.9), head.gates, strict=True))
    weights, momentum, read = list(head.start), [np.zeros_like(w) for w in head.start], []
    for t in range(len(q)):
        if t % head.refresh_every == 0:
            anchor = weights
        inputs, errors = back_propagated(anchor, k[t], lambda found, t=t: 2 * (found - head.v[t]))
        writes = [step[t] * clipped(x, g, 2.0) for x, g in zip(inputs, errors, strict=True)]
        momentum = [inertia[t] * s - write for s, write in zip(momentum, writes, strict=True)]
        weights = [w0 + keep[t] * (w - w0) + s for w0, w, s in zip(head.start, weights, momentum, strict=True)]
        read.append(forward(weights, q[t]))
    return np.array(read)


def omega(head: Head) -> ndarray:
    """2505.23735, equations 9 to 13: at every token the mean gradient of the last four, at the memory of the mini-batch."""
    q, k = unit(head.q), unit(head.k)
    step, keep, inertia = (top * sigmoid(x) for top, x in zip((0.08, 1 - 4.1e-5, 0.9), head.gates, strict=True))
    weights, momentum, read = list(head.start), [np.zeros_like(w) for w in head.start], []
    for t in range(len(q)):
        if t % head.refresh_every == 0:
            anchor = weights
        momentum = [inertia[t] * s for s in momentum]
        for i in range(max(t - 3, 0), t + 1):
            inputs, errors = back_propagated(anchor, k[i], lambda found, i=i: 2 * (found - head.v[i]))
            momentum = [s - step[i] / 4 * clipped(x, g, 2.0) for s, x, g in zip(momentum, inputs, errors, strict=True)]
        weights = [w0 + keep[t] * (w - w0) + s for w0, w, s in zip(head.start, weights, momentum, strict=True)]
        read.append(forward(weights, q[t]))
    return np.array(read)


ORACLES: dict[str, Callable[[Head], ndarray]] = {
    "linear_attention": linear_attention,
    "retnet": retnet,
    "mamba2": mamba2,
    "deltanet": deltanet,
    "gated_deltanet": gated_deltanet,
    "momentum_deltanet": momentum_deltanet,
    "mesa": mesa,
    "longhorn": longhorn,
    "ttt_linear": ttt,
    "ttt_mlp": ttt,
    "titans_linear": titans,
    "titans": titans,
    "omega": omega,
}
