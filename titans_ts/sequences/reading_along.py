"""What a reader holds of sequences, and how much each step surprised its memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.heads.sequence import Pooled
from titans_ts.interventions import observed_writes
from titans_ts.networks.reader import ReaderNetwork
from titans_ts.sequences.batches import batches_by_length

TOKENS_AT_ONCE = 4096
"""Tokens of a sequence read in one call; bounds what a long one holds and changes no answer."""
SIDE_BY_SIDE = 64
"""Sequences of a batch; changes nothing else."""


@torch.no_grad()
def described(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return mean, maximum and last of what a reader holds after each patch of a sequence, ``(n, 3 d)``."""
    network.eval()
    found = np.zeros((len(items), 3 * network.config.backbone.width))
    for places, inputs, lengths in _batches(network, items):
        pooled = Pooled.nothing(inputs.new_zeros(len(places), network.config.backbone.width))
        for hidden, counts in _parts(network, inputs, lengths):
            pooled = pooled.add(hidden, counts)
        found[places] = pooled.features().cpu().numpy()
    return found


@torch.no_grad()
def surprises(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return how much each step of each sequence ``(t, c)`` surprised the memory, read from its learned start.

    The root mean square over layers and heads of a write's norm ``|x||g|`` before clipping; every step of a patch has the
    patch's value.

    Returns
    -------
    list of ndarray (t,)
    """
    network.eval()
    found: list[NDArray[np.float64]] = [np.zeros(0)] * len(items)
    for places, inputs, lengths in _batches(network, items):
        squares = []
        with observed_writes(network) as seen:
            for _ in _parts(network, inputs, lengths):
                norms = torch.stack([torch.cat(pieces, dim=-1) for pieces in seen])  # memory, store layer, b, h, n
                squares.append(norms.square().mean(dim=(0, 1, 3)))
                for pieces in seen:
                    pieces.clear()
        values = torch.cat(squares, dim=1).sqrt().cpu().numpy().repeat(network.config.patch_length, axis=1)
        for row, place in zip(values, places, strict=True):
            found[place] = row[: len(items[place])]
    return found


def _batches(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    for places in batches_by_length([len(one) for one in items], SIDE_BY_SIDE):
        yield places, *network.batch([items[i] for i in places])


def _parts(network: ReaderNetwork, inputs: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Read a batch part by part, the state carried along; yields what is held ``(b, n, d)``, and how many of it count."""
    state, patch = network.initial_state(len(inputs)), network.config.patch_length
    step = TOKENS_AT_ONCE * patch
    for first in range(0, inputs.shape[-1], step):
        hidden, state = network.read(inputs[..., first : first + step], lengths - first, state)
        yield hidden, (-(-(lengths - first) // patch)).clamp(0, hidden.shape[1])
