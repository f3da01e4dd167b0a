"""The four backbones by the paper's equations: dense, from position 0, the memory read again from its start each time."""

import torch
from blocks.cases import attend, attention_by_letter
from memory.cases import by_convolving, memory_by_letter, per_head, recalled_by_letter, silu, to_mean_square_one, together
from torch import Tensor, nn

from titans_ts.backbones.memory_as_context import MemoryAsContext
from titans_ts.backbones.memory_as_gate import MemoryAsGate
from titans_ts.backbones.memory_as_layer import MemoryAsLayer
from titans_ts.backbones.memory_only import MemoryOnly
from titans_ts.backbones.stack import Backbone
from titans_ts.blocks.gating import NormalisedGate


def normed(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    return to_mean_square_one(x) * norm.weight


def joined(gate: NormalisedGate, y: Tensor, m: Tensor) -> Tensor:
    """Return ``y (x) m`` in the form that this library chose."""
    return (normed(gate.attended_norm, y) * silu(normed(gate.remembered_norm, m))) @ gate.output.weight.T


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
        y = together(torch.cat(rows, 2)) @ layer.attended.weight.T
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


BY_LETTER = {"mac": context_by_letter, "mag": gate_by_letter, "mal": layer_by_letter, "lmm": alone_by_letter}


def backbone_by_letter(backbone: Backbone, x: Tensor) -> Tensor:
    """Return what a whole stack makes of a sequence from its start."""
    for block in backbone.blocks:
        x = x + BY_LETTER[backbone.config.variant](block.sequence_layer, normed(block.sequence_norm, x))
        if block.feedforward is not None:
            gate, inner = (normed(block.feedforward_norm, x) @ block.feedforward.expand.weight.T).chunk(2, dim=-1)
            x = x + (silu(gate) * inner) @ block.feedforward.contract.weight.T
    return normed(backbone.norm, x)
