"""What a network says of many sequences, from one strand or from both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from titans_ts.bases import Codes
from titans_ts.inputs.dna import reverse_complement
from titans_ts.networks.sequence import SequenceNetwork
from titans_ts.sequences.batches import as_strands, batches_by_length

READ_AT_ONCE = 256
"""Sequences of a batch; changes nothing else."""

Path = Literal["both", "linear", "memory"]

Answering = Callable[[Tensor, Tensor], Tensor]
"""Strands ``(b, 4, t)`` and lengths ``(b,)`` to ``(b, outputs)``."""


def averaged(answer: Answering) -> Answering:
    """Return the mean of an answer to a strand and to its reverse complement: the same for either."""

    def from_both(strand: Tensor, lengths: Tensor) -> Tensor:
        return (answer(strand, lengths) + answer(reverse_complement(strand, lengths), lengths)) / 2

    return from_both


@torch.no_grad()
def answer_all(network: SequenceNetwork, codes: Sequence[Codes], *, average: bool = False, by: Path = "both") -> Tensor:
    """Return what a network says of each sequence, ``(n, outputs)``.

    Parameters
    ----------
    network : SequenceNetwork
        Put into evaluation mode.
    codes : sequence of ndarray (t,)
        Bases.
    average : bool, default=False
        Whether to average the answers to both strands.
    by : {"both", "linear", "memory"}, default="both"
        Which path answers.
    """
    network.eval()
    paths: dict[str, Answering] = {"both": network, "linear": network.linear_answer, "memory": network.memory_answer}
    if by not in paths:
        raise ValueError(f"by={by!r} is not known; choose one of {', '.join(map(repr, paths))}")
    answer = paths[by]
    answer = averaged(answer) if average else answer
    found = torch.zeros(len(codes), network.config.outputs, dtype=network.dtype, device=network.device)
    for places in batches_by_length([len(one) for one in codes], READ_AT_ONCE):
        strands = as_strands([codes[i] for i in places], device=network.device, dtype=network.dtype)
        found[torch.as_tensor(places)] = answer(*strands)
    return found
