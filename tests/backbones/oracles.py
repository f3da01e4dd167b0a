"""Every backbone by its paper's equations: dense, from position 0, a memory read again from its start each time."""

import numpy as np
import torch
from blocks.cases import attend, attention_by_letter
from memory.cases import by_convolving, memory_by_letter, per_head, recalled_by_letter, silu, to_mean_square_one, together
from torch import Tensor, nn

from titans_ts.backbones.baselines import HopfieldAssociation, LongShortTermMemory
from titans_ts.backbones.memory_as_context import MemoryAsContext
from titans_ts.backbones.memory_beside import MemoryAsGate, MemoryAsLayer, MemoryOnly
from titans_ts.backbones.stack import Backbone
from titans_ts.blocks.attention import WindowAttention
from titans_ts.blocks.layers import NormalisedGate


def normed(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    return to_mean_square_one(x) * norm.weight


def joined(gate: NormalisedGate, y: Tensor, m: Tensor) -> Tensor:
    """Return ``y (x) m`` in the form that this library chose."""
    remembered = normed(gate.remembered_norm, m)
    return (
        normed(gate.attended_norm, y) * silu(remembered + gate.opening) + gate.passes * remembered
    ) @ gate.output.weight.T


def context_by_letter(layer: MemoryAsContext, x: Tensor) -> Tensor:
    """Walk over segments S by equations 21 to 25; every token attends alone."""
    b, t, d = x.shape
    mixed = by_convolving(x @ layer.project.weight.T, layer.convolution.filters)
    asked, q, k, v = mixed.split(d, dim=-1)
    always_k, always_v = (p.expand(b, -1, -1, -1) for p in (layer.persistent.keys, layer.persistent.values))
    written = x[:, :0]  # everything that the memory has been given so far
    outputs = []
    for begin in range(0, t, layer.window):
        here = slice(begin, min(begin + layer.window, t))
        _, memory = memory_by_letter(layer.memory, written)  # M_{t-1}: as the segment begins
        h = recalled_by_letter(layer.memory, asked[:, here], memory.weights)  # eq 21
        h_k, h_v = (per_head(part, layer.heads) for part in (h @ layer.recalled.weight.T).split(d, dim=-1))
        s_q, s_k, s_v = (per_head(part[:, here], layer.heads) for part in (q, k, v))
        rows = []
        for i in range(s_q.shape[2]):  # eqs 22, 23
            keys = torch.cat([always_k, h_k[:, :, : i + 1], s_k[:, :, : i + 1]], 2)
            values = torch.cat([always_v, h_v[:, :, : i + 1], s_v[:, :, : i + 1]], 2)
            all_visible = torch.ones(1, keys.shape[2], dtype=torch.bool)
            rows.append(attend(s_q[:, :, i : i + 1], keys, values, all_visible))
        y = x[:, here] + together(torch.cat(rows, 2)) @ layer.attended.weight.T
        written = torch.cat([written, normed(layer.norm, y)], 1)  # eq 24
        read, _ = memory_by_letter(layer.memory, written)
        outputs.append(joined(layer.gate, y, read[:, here]))  # eq 25
    return torch.cat(outputs, 1)


def gate_by_letter(layer: MemoryAsGate, x: Tensor) -> Tensor:
    """Equations 26 to 28."""
    return joined(layer.gate, attention_by_letter(layer.attention, x), memory_by_letter(layer.memory, x)[0])


def layer_by_letter(layer: MemoryAsLayer, x: Tensor) -> Tensor:
    """Equations 29 to 31."""
    return attention_by_letter(layer.attention, normed(layer.norm, memory_by_letter(layer.memory, x)[0]))


def alone_by_letter(layer: MemoryOnly, x: Tensor) -> Tensor:
    return memory_by_letter(layer.memory, x)[0]


def numpy_softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def parts_by_letter(layer: WindowAttention | HopfieldAssociation, x: Tensor) -> list[np.ndarray]:
    """Return the three projected and mixed parts of a sequence, ``(b, h, t, k)`` each."""
    mixed = by_convolving(x @ layer.project.weight.T, layer.convolution.filters)
    return [per_head(part, layer.heads).detach().numpy() for part in mixed.split(x.shape[-1], dim=-1)]


def full_attention_by_letter(layer: WindowAttention, x: Tensor) -> Tensor:
    """One softmax a head and token, over the learned tokens and all tokens so far."""
    q, k, v = parts_by_letter(layer, x)
    always_k, always_v = (p.detach().numpy() for p in (layer.persistent.keys, layer.persistent.values))
    found = np.empty_like(v)
    for b, h, t in np.ndindex(q.shape[:3]):
        keys, values = np.vstack([always_k[h], k[b, h, : t + 1]]), np.vstack([always_v[h], v[b, h, : t + 1]])
        found[b, h, t] = numpy_softmax(keys @ q[b, h, t] / np.sqrt(q.shape[-1])) @ values
    return together(torch.from_numpy(found)) @ layer.output.weight.T


def lstm_by_letter(layer: LongShortTermMemory, x: Tensor) -> Tensor:
    """One cell after the other: ``c <- f c + i g``, ``h <- o tanh(c)``."""
    lstm, outputs = layer.lstm, []
    h = c = torch.zeros_like(x[:, 0])
    for token in x.unbind(1):
        raw = token @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = raw.chunk(4, dim=-1)
        c = c / (1 + (-f).exp()) + torch.tanh(g) / (1 + (-i).exp())
        h = torch.tanh(c) / (1 + (-o).exp())
        outputs.append(h)
    return torch.stack(outputs, 1)


def normed_patterns(patterns: np.ndarray) -> np.ndarray:
    """Return patterns along the last axis with mean 0 and mean square 1."""
    centred = patterns - patterns.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


def hopfield_by_letter(layer: HopfieldAssociation, x: Tensor) -> Tensor:
    """One state at a time: ``xi <- X softmax(beta X^T xi)``, and the last softmax over the projections."""
    states, stored, projected = parts_by_letter(layer, x)
    learned, meanings = (p.detach().numpy() for p in (layer.learned.keys, layer.learned.values))
    found = np.empty_like(projected)
    for b, h, t in np.ndindex(states.shape[:3]):
        seen = slice(max(t - layer.window + 1, 0), t + 1)
        patterns = normed_patterns(np.vstack([learned[h], stored[b, h, seen]]))
        beta, xi = np.exp(layer.log_beta[h].item()), normed_patterns(states[b, h, t])
        for _ in range(layer.updates):
            shares = numpy_softmax(beta * patterns @ xi)
            xi = patterns.T @ shares
        found[b, h, t] = shares @ np.vstack([meanings[h], projected[b, h, seen]])
    return together(torch.from_numpy(found)) @ layer.output.weight.T


BY_LETTER = {
    "mac": context_by_letter,
    "mag": gate_by_letter,
    "mal": layer_by_letter,
    "lmm": alone_by_letter,
    "attention": attention_by_letter,
    "full_attention": full_attention_by_letter,
    "lstm": lstm_by_letter,
    "hopfield": hopfield_by_letter,
}


def backbone_by_letter(backbone: Backbone, x: Tensor) -> Tensor:
    """Return what a whole stack makes of a sequence from its start."""
    for block in backbone.blocks:
        x = x + BY_LETTER[backbone.config.variant](block.sequence_layer, normed(block.sequence_norm, x))
        if block.feedforward is not None:
            gate, inner = (normed(block.feedforward_norm, x) @ block.feedforward.expand.weight.T).chunk(2, dim=-1)
            x = x + (silu(gate) * inner) @ block.feedforward.contract.weight.T
    return normed(backbone.norm, x)
