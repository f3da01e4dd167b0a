"""Attention by the letter: every pair of tokens, one softmax, a mask that is written out."""

import torch
from memory.cases import by_convolving, per_head, together
from torch import Tensor

from titans_ts.blocks.attention import WindowAttention


def softmax(scores: Tensor) -> Tensor:
    shares = (scores - scores.amax(-1, keepdim=True)).exp()
    return shares / shares.sum(-1, keepdim=True)


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """Attend with all queries to the keys that a mask ``(i, j)`` shows."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return softmax(scores.masked_fill(~visible, -1e300)) @ v


def attention_by_letter(layer: WindowAttention, x: Tensor) -> Tensor:
    """Return what a window attention makes of a whole sequence."""
    b, t, _ = x.shape
    mixed = by_convolving(x @ layer.project.weight.T, layer.convolution.filters)
    q, k, v = (per_head(part, layer.heads) for part in mixed.split(x.shape[-1], dim=-1))
    beside = layer.persistent.keys.shape[1]
    k = torch.cat([layer.persistent.keys.expand(b, -1, -1, -1), k], 2)
    v = torch.cat([layer.persistent.values.expand(b, -1, -1, -1), v], 2)
    visible = torch.zeros(t, beside + t, dtype=torch.bool)
    for i in range(t):
        visible[i, :beside] = True
        visible[i, beside + max(i - layer.window + 1, 0) : beside + i + 1] = True
    return together(attend(q, k, v, visible)) @ layer.output.weight.T
