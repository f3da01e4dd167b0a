"""What a reader holds of sequences, and how much each step surprised its memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from titans_ts.heads.sequence import Pooled
from titans_ts.networks.reader import ReaderNetwork, Reading
from titans_ts.sequences.batches import batches_by_length

TOKENS_AT_ONCE = 4096
"""Tokens of a sequence read in one call; bounds what a long one holds and changes no answer."""
SIDE_BY_SIDE = 64
"""Sequences of a batch; changes nothing else."""


@torch.no_grad()
def described(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return mean, maximum and last of what a reader holds after each patch of a sequence, ``(n, 3 d)``."""
    width, patch = network.config.backbone.width, network.config.patch_length
    found = np.zeros((len(items), 3 * width))
    for places in batches_by_length([len(one) for one in items], SIDE_BY_SIDE):
        pooled = Pooled.nothing(torch.zeros(len(places), width, dtype=network.dtype, device=network.device))
        tokens = torch.tensor([-(-len(items[i]) // patch) for i in places], device=network.device)
        for reading in readings(network, [items[i] for i in places]):
            inside = tokens.clamp(0, reading.hidden.shape[1])
            pooled, tokens = pooled.add(reading.hidden, inside), tokens - inside
        found[places] = pooled.features().cpu().numpy()
    return found


@torch.no_grad()
def surprises(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return how much each step of each sequence ``(t, c)`` surprised the memory, read from its learned start.

    Every step of a patch has the patch's value, see :attr:`titans_ts.networks.reader.Reading.surprise`.

    Returns
    -------
    list of ndarray (t,)
    """
    found: list[NDArray[np.float64]] = [np.zeros(0)] * len(items)
    for places in batches_by_length([len(one) for one in items], SIDE_BY_SIDE):
        values = torch.cat([reading.surprise for reading in readings(network, [items[i] for i in places])], dim=1)
        rows = values.cpu().numpy().repeat(network.config.patch_length, axis=1)
        for place, row in zip(places, rows, strict=True):
            found[place] = row[: len(items[place])]
    return found


def readings(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> Iterator[Reading]:
    """Read sequences side by side from the learned start, part by part, the state carried along."""
    network.eval()
    inputs, lengths = network.batch(items)
    state, step = network.initial_state(len(items)), TOKENS_AT_ONCE * network.config.patch_length
    for first in range(0, inputs.shape[-1], step):
        reading = network(inputs[..., first : first + step], lengths - first, state)
        state = reading.state
        yield reading
