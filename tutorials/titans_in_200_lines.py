"""Titans (arXiv 2501.00663) in one file: from a series to its forecast, token by token, equation by equation.

One series, one channel, one look-back; the memory is context of attention (MAC). There is no batch axis. Letters behind
a line are the axes of its result: t tokens, d model width, h heads, k width of a head, e inner width of a memory, n what
attention sees, l rows of the look-back, f rows of the horizon, q quantiles. "Ours" marks what is not the paper's letter.

The library solves a base in closed form where a linear path stands here. With such a path and damping=False its network
finds the same numbers in chunks, many times as fast: tests/test_titans_in_200_lines.py puts the weights of one in here and
compares the forecasts. Run as it stands, the file shows a memory learn.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, rms_norm, sigmoid, silu, softplus

LARGEST_STEP, LARGEST_MOMENTUM, LEAST_FORGETTING, LARGEST_WRITE = 0.08, 0.9, 4.1e-5, 2.0  # ours: no memory can blow up

matrix = partial(nn.Linear, bias=False)


class Settings(NamedTuple):
    """Sizes of the network."""

    lookback: int = 168
    horizon: int = 24
    patch: int = 6  # rows of a token
    width: int = 32
    heads: int = 4
    layers: int = 2
    window: int = 8  # tokens of a segment
    refresh_every: int = 4  # tokens that take their gradients at one reading of the memory
    persistent: int = 4  # tokens that attention always sees
    kernel: int = 4  # tokens that a convolution mixes
    quantiles: int = 3  # the one in the middle is the median


def look_back(rows: Tensor, end: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the rows before an origin on their own scale, which of them are missing, and that scale."""
    seen = rows[max(end - length, 0) : end]
    level, spread = seen.mean(), seen.std(correction=0).clamp_min(1e-3)
    before = rows.new_zeros(length - len(seen))  # the series had not begun
    return torch.cat([before, (seen - level) / spread]), torch.cat([before + 1, 0 * seen]), level, spread  # l, l


def mixed(past: list[Tensor], filters: Tensor) -> Tensor:
    """Return the last token after a causal convolution with the few before it, and SiLU (section 4.4)."""
    recent = torch.stack(past[-len(filters) :])
    return silu((filters[-len(recent) :] * recent).sum(0))


class Held(NamedTuple):
    """What a memory holds; each pair is one weight a layer, (h k e) and (h e k)."""

    memory: tuple[Tensor, Tensor]  # M_t
    momentum: tuple[Tensor, Tensor]  # S_t
    anchor: tuple[Tensor, Tensor]  # the memory at the last refresh
    surprise: Tensor  # 2 h, norms of the last gradient


def read(memory: tuple[Tensor, Tensor], query: Tensor) -> Tensor:
    """Read without writing, y = M*(q), a memory that is an MLP of two layers (eq 15)."""
    return silu(query @ memory[0]) @ memory[1]  # h 1 k


def gradient(memory: tuple[Tensor, Tensor], key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the surprise: the gradient of ||M(k) - v||^2 with respect to both layers (eqs 8 and 12)."""
    before = key @ memory[0]  # h 1 e
    inside = silu(before)  # h 1 e
    error = 2 * (inside @ memory[1] - value)  # h 1 k
    slope = sigmoid(before) * (1 + before * (1 - sigmoid(before)))  # h 1 e, of SiLU
    return key.mT @ (error @ memory[1].mT * slope), inside.mT @ error  # h k e, h e k


class NeuralMemory(nn.Module):
    """A memory a head, trained while it reads (section 3)."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        d, h, k, e = s.width, s.heads, s.width // s.heads, 2 * s.width // s.heads
        self.heads, self.refresh_every = h, s.refresh_every
        self.start = nn.ParameterList([torch.randn(h, k, e) / k**0.5, 0.1 * torch.randn(h, e, k) / e**0.5])  # M_0
        self.project, self.output = matrix(d, 3 * d), matrix(d, d)  # W_Q, W_K and W_V; what is read
        self.filters = nn.Parameter(torch.eye(s.kernel)[:, -1:].repeat(1, 3 * d))  # at first the present token alone
        self.gates = nn.Linear(d, 3 * h)  # theta, 1 - alpha, eta; heads begin with half-lives from 8 to 4,000 tokens
        self.gates.bias.data = torch.cat([torch.linspace(-1, 2, h), torch.linspace(2.4, 8.7, h), torch.ones(h)])
        self.norm, self.output_gate = nn.Parameter(torch.ones(h, 1, k)), nn.Linear(d, d)

    def fresh(self) -> Held:
        """Return what is held before the first token: M_0, and no momentum."""
        start, zero = tuple(self.start), tuple(torch.zeros_like(w) for w in self.start)
        return Held(start, zero, start, zero[0].new_zeros(2, self.heads))

    def write(self, t: int, key: Tensor, value: Tensor, gates: Tensor, held: Held) -> Held:
        """Write token t: one step of gradient descent, with momentum and forgetting."""
        theta, kept, eta = sigmoid(gates).view(3, self.heads, 1, 1)
        theta, kept, eta = LARGEST_STEP * theta, (1 - LEAST_FORGETTING) * kept, LARGEST_MOMENTUM * eta
        # The gradient is that of M_t' with t' = t - mod(t, b): b tokens share a reading   (section 3.2)
        anchor = held.memory if t % self.refresh_every == 0 else held.anchor
        grads = gradient(anchor, key, value)
        norms = [grad.norm(dim=(1, 2), keepdim=True) for grad in grads]
        grads = [grad * LARGEST_WRITE / norm.clamp_min(LARGEST_WRITE) for grad, norm in zip(grads, norms, strict=True)]
        # S_t = eta S_{t-1} - theta grad: past surprise, and that of this moment   (eqs 10 and 14)
        momentum = tuple(eta * s - theta * grad for s, grad in zip(held.momentum, grads, strict=True))
        # M_t = (1 - alpha) M_{t-1} + S_t   (eq 13; ours: it forgets towards M_0, for at M = 0 there is no gradient)
        memory = tuple(m_0 + kept * (m - m_0) + s for m_0, m, s in zip(self.start, held.memory, momentum, strict=True))
        return Held(memory, momentum, anchor, torch.stack(norms).view(2, -1))

    def recall(self, memory: tuple[Tensor, Tensor], query: Tensor) -> Tensor:
        """Read with a query of length 1, and bring what each head says to one size."""
        found = read(memory, normalize(query, dim=-1))  # h 1 k
        return (rms_norm(found, found.shape[-1:], eps=1e-6) * self.norm).flatten()  # d

    def forward(self, t: int, token: Tensor, held: Held, past: list[Tensor]) -> tuple[Tensor, Held]:
        """Write token t, then read the memory with its query."""
        past.append(self.project(token))
        query, key, value = mixed(past, self.filters).view(3, self.heads, 1, -1)  # h 1 k each   (eq 11)
        held = self.write(t, normalize(key, dim=-1), value, self.gates(token), held)
        return self.output(self.recall(held.memory, query) * silu(self.output_gate(token))), held  # d


class MemoryAsContext(nn.Module):
    """Attention sees persistent tokens, what the memory recalls and the segment; the memory writes what comes of it."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        d, self.heads, self.window = s.width, s.heads, s.window
        self.persistent = nn.Parameter(0.02 * torch.randn(2, s.heads, s.persistent, d // s.heads))  # keys, values   (eq 19)
        self.project, self.recalled = matrix(d, 4 * d), matrix(d, 2 * d)  # W_Q of eq 21 and attention's three; h
        self.filters = nn.Parameter(torch.eye(s.kernel)[:, -1:].repeat(1, 4 * d))
        self.memory, self.attended, self.output = NeuralMemory(s), matrix(d, d), matrix(d, d)
        self.norm, self.norm_x, self.norm_y, self.norm_m, self.norm_f = (nn.RMSNorm(d, eps=1e-6) for _ in range(5))
        self.opening, self.expand, self.contract = nn.Parameter(torch.ones(d)), matrix(d, 4 * d), matrix(2 * d, d)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return what becomes of tokens, and how each surprised the memory."""
        held, past, past_y, outputs, surprises = self.memory.fresh(), [], [], [], []
        for t, x in enumerate(self.norm(tokens)):
            if t % self.window == 0:  # a segment begins: all of it recalls from the memory of now
                memory, context = held.memory, self.persistent
            past.append(self.project(x))
            query, q, *own = mixed(past, self.filters).view(4, self.heads, 1, -1)  # h 1 k each
            h = self.memory.recall(memory, query)  # d, h_t = M*_{t-1}(q_t)   (eq 21)
            h = self.recalled(h).view(2, self.heads, 1, -1)  # its key and its value
            context = torch.cat([context, h, torch.stack(own)], dim=2)  # 2 h n k, [persistent | h | S] so far   (eq 22)
            shares = (q @ context[0].mT / math.sqrt(q.shape[-1])).softmax(-1)  # h 1 n
            y = x + self.attended((shares @ context[1]).flatten())  # d, y_t = Attn(.)   (eq 23; ours: x is added)
            recalled, held = self.memory(t, self.norm_x(y), held, past_y)  # d, M_t = M_{t-1}(y_t)   (eq 24)
            m = self.norm_m(recalled)  # ours: it passes beside the gate too, or it is told only by what attention says
            outputs.append(self.output(self.norm_y(y) * silu(m + self.opening) + m))  # d, o_t = y_t (x) M*_t(y_t)   (eq 25)
            surprises.append(held.surprise)
        tokens = tokens + torch.stack(outputs)  # t d
        gate, inside = self.expand(self.norm_f(tokens)).chunk(2, dim=-1)  # a feed-forward layer, as in every Transformer
        return tokens + self.contract(silu(gate) * inside), torch.stack(surprises)  # t d, t 2 h


class Titans(nn.Module):
    """Ours: a linear path from the look-back to the horizon, and what the memory of the whole history adds to it."""

    def __init__(self, s: Settings) -> None:
        super().__init__()
        self.settings, self.embed = s, nn.Linear(2 * s.patch + 2, s.width)
        self.layers, self.norm = nn.ModuleList(MemoryAsContext(s) for _ in range(s.layers)), nn.RMSNorm(s.width, eps=1e-6)
        self.direct, self.head = nn.Linear(s.lookback, s.horizon), nn.Linear(s.width, s.horizon)
        self.widths, self.growth = nn.Linear(s.width, s.horizon), nn.Parameter(torch.zeros(s.horizon, s.quantiles - 1))
        self.register_buffer("stretch", torch.ones(s.quantiles))

    def forward(self, rows: Tensor, level: float, spread: float) -> tuple[Tensor, Tensor, Tensor]:
        """Forecast what follows two rows or more of a long-run level and spread: point, quantiles, and past surprise."""
        p, rows, tokens, surprises = self.settings.patch, (rows - level) / spread, [], []
        for end in (*range(p, len(rows), p), len(rows)):  # a token a patch, and one of the last rows, wherever they end
            values, missing, own_level, own_spread = look_back(rows, end, self.settings.lookback)
            scale = torch.stack([own_level.asinh(), own_spread.log()])
            tokens.append(self.embed(torch.cat([values[-p:], missing[-p:], scale])))
        tokens = torch.stack(tokens)  # t d
        for layer in self.layers:
            tokens, found = layer(tokens)
            surprises.append(found)
        hidden = self.norm(tokens[-1])  # d
        point = self.direct(values) + self.head(hidden)  # f
        lower, upper = softplus(self.growth).chunk(2, dim=1)  # steps outwards from the median
        distances = torch.cat([-lower.cumsum(1).flip(1), torch.zeros_like(lower[:, :1]), upper.cumsum(1)], dim=1)  # f q
        quantiles = point[:, None] + softplus(self.widths(hidden))[:, None] * (self.stretch * distances).sort(1).values
        point, quantiles = ((x * own_spread + own_level) * spread + level for x in (point, quantiles))  # f, f q
        return point, quantiles, torch.stack(surprises).square().mean((0, 2, 3)).sqrt()  # t


if __name__ == "__main__":  # with random weights: nothing is trained, and yet the memory learns, for that is how it reads
    torch.manual_seed(0)
    rows = torch.sin(torch.arange(40 * 24) * math.pi / 12) + 0.05 * torch.randn(40 * 24)  # hours of 40 days
    rows[30 * 24 : 31 * 24] = torch.randn(24)  # day 31 is like no other
    with torch.no_grad():
        *_, surprise = Titans(Settings())(rows, 0.0, 1.0)
    for day, mean in enumerate(surprise.view(40, -1).mean(1).tolist(), start=1):
        print(f"day {day:2d}: surprise {mean:.2f} {'#' * round(50 * mean)}")
