"""What a network says of many sequences, from one strand or from both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from titans_ts.inputs.dna import reverse_complement
from titans_ts.networks.two_paths import TwoPaths
from titans_ts.sequences.batches import batches_by_length

READ_AT_ONCE = 256
"""Sequences of a batch; changes nothing else."""

Path = Literal["both", "linear", "memory"]

Answering = Callable[[Tensor, Tensor], Tensor]
"""Sequences ``(b, c, t)`` and lengths ``(b,)`` to ``(b, outputs)``."""


def averaged(answer: Answering) -> Answering:
    """Return the mean of an answer to a strand and to its reverse complement: the same for either."""

    def from_both(strand: Tensor, lengths: Tensor) -> Tensor:
        return (answer(strand, lengths) + answer(reverse_complement(strand, lengths), lengths)) / 2

    return from_both


@torch.no_grad()
def answer_all(network: TwoPaths, items: Sequence[Any], *, average: bool = False, by: Path = "both") -> Tensor:
    """Return what a network says of each sequence, ``(n, outputs)``.

    Parameters
    ----------
    network : TwoPaths
        Put into evaluation mode.
    items : sequence of ndarray (t, ...)
        What the network makes batches of: bases, or rows of numbers.
    average : bool, default=False
        Whether to average the answers to both strands of DNA.
    by : {"both", "linear", "memory"}, default="both"
        Which path answers.
    """
    network.eval()
    paths: dict[str, Answering] = {"both": network, "linear": network.linear_answer, "memory": network.memory_answer}
    if by not in paths:
        raise ValueError(f"by={by!r} is not known; choose one of {', '.join(map(repr, paths))}")
    if by == "memory" and network.is_linear:
        raise ValueError("by='memory': layers=0, so that this model has no memory to answer; ask by='linear'")
    answer = paths[by]
    answer = averaged(answer) if average else answer
    found = torch.zeros(len(items), network.outputs, dtype=network.dtype, device=network.device)
    for places in batches_by_length([len(one) for one in items], READ_AT_ONCE):
        found[torch.as_tensor(places)] = answer(*network.batch([items[i] for i in places]))
    return found
