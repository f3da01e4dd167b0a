"""How likely a language model finds sequences, base by base, read in pieces with the memory carried along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.bases import Codes, N, reverse_complement
from titans_ts.inputs.dna import as_codes
from titans_ts.networks.language import LanguageCarry, LanguageNetwork
from titans_ts.sequences.batches import batches_by_length
from titans_ts.state import map_tensors, pack

BASES_AT_ONCE = 4096
"""Bases of a sequence read in one call; bounds what a long record holds and never changes an answer."""


@torch.no_grad()
def log_likelihoods(network: LanguageNetwork, codes: Sequence[Codes], *, batch_size: int = 32) -> list[NDArray[np.float32]]:
    """Return the natural log-probability of every base of every sequence, NaN where it is N.

    Parameters
    ----------
    network : LanguageNetwork
        Put into evaluation mode.
    codes : sequence of ndarray (t,)
        Bases; each sequence is read with a fresh memory.
    batch_size : int, default=32
        Sequences side by side.

    Returns
    -------
    list of ndarray (t,)
    """
    network.eval()
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(codes)
    for places in batches_by_length([len(one) for one in codes], batch_size):
        padded, lengths = as_codes([codes[i] for i in places], network.device)
        said = torch.cat([part.logits for part in readings(network, padded)], dim=1)
        if network.config.both_sides:
            turned, _ = as_codes([reverse_complement(codes[i]) for i in places], network.device)
            back = torch.cat([part.logits for part in readings(network, turned)], dim=1)
            said = network.from_both_sides(said, back, lengths)
        values = of_bases(said, padded).cpu().numpy()
        for i, row in zip(places, values, strict=True):
            found[i] = row[: len(codes[i])]
    return found


class Part(NamedTuple):
    """What a piece of a batch gave: logits ``(b, t, 4)`` of its bases, hidden ``(b, t, d)``, and its first base."""

    logits: Tensor
    hidden: Tensor
    first: int


def readings(network: LanguageNetwork, codes: Tensor) -> Iterator[Part]:
    """Read a batch of codes ``(b, t)`` from a fresh memory, piece by piece."""
    state = network.initial_state(len(codes))
    for first in range(0, codes.shape[1], BASES_AT_ONCE):
        logits, hidden, state = network(codes[:, first : first + BASES_AT_ONCE], state)
        yield Part(logits, hidden, first)


@dataclass(frozen=True, eq=False)
class RecordState:
    """What is kept of a record that is read piece by piece: of fixed size.

    Attributes
    ----------
    carry : LanguageCarry
        The memory and the last few bases.
    n_seen, scored : int
        Bases read, and those of them that were not N.
    total : float
        Sum of the natural log-probabilities of the latter.
    """

    carry: LanguageCarry
    n_seen: int = 0
    scored: int = 0
    total: float = 0.0

    @classmethod
    def fresh(cls, network: LanguageNetwork) -> RecordState:
        """Return the state before a record's first base."""
        with torch.no_grad():
            return cls(map_tensors(Tensor.clone, network.initial_state(1)))

    @property
    def mean(self) -> float:
        """Mean log-probability of the bases read, in nats; NaN before the first."""
        return self.total / self.scored if self.scored else float("nan")

    @property
    def nbytes(self) -> int:
        """Bytes that the state takes, whatever was read."""
        return sum(x.numel() * x.element_size() for x in pack(self.carry).values())

    @torch.no_grad()
    def read(self, network: LanguageNetwork, codes: Codes) -> RecordState:
        """Return the state after more bases ``(t,)``."""
        network.eval()
        carry, total, scored = self.carry, self.total, self.scored
        for first in range(0, len(codes), BASES_AT_ONCE):
            piece = torch.from_numpy(codes[None, first : first + BASES_AT_ONCE]).to(network.device)
            logits, _, carry = network(piece, carry)
            total += float(of_bases(logits, piece).double().nansum())
            scored += int((piece < N).sum())
        return RecordState(map_tensors(Tensor.clone, carry), self.n_seen + len(codes), scored, total)


@torch.no_grad()
def embeddings(network: LanguageNetwork, codes: Sequence[Codes], *, batch_size: int = 32) -> NDArray[np.float64]:
    """Return the mean of what a network holds after each base, over both strands for one that reads both; ``(n, d)``."""
    network.eval()
    strands = [list(codes)] + ([[reverse_complement(one) for one in codes]] if network.config.both_sides else [])
    found = np.zeros((len(codes), network.config.backbone.width))
    for strand in strands:
        for places in batches_by_length([len(one) for one in strand], batch_size):
            padded, lengths = as_codes([strand[i] for i in places], network.device)
            total = torch.zeros(len(places), found.shape[1], dtype=torch.float64, device=network.device)
            for part in readings(network, padded):
                steps = torch.arange(part.first, part.first + part.hidden.shape[1], device=network.device)
                total += part.hidden.masked_fill((steps >= lengths[:, None])[..., None], 0).double().sum(1)
            found[places] += (total / lengths[:, None]).cpu().numpy() / len(strands)
    return found


@torch.no_grad()
def sampled(
    network: LanguageNetwork,
    count: int,
    length: int,
    prompt: Codes | None,
    temperature: float,
    chance: np.random.Generator,
) -> NDArray[np.uint8]:
    """Write ``(count, length)`` codes, base by base, after a prompt."""
    network.eval()
    state = network.initial_state(count)
    if prompt is not None:
        for first in range(0, len(prompt), BASES_AT_ONCE):
            piece = torch.from_numpy(prompt[first : first + BASES_AT_ONCE]).to(network.device).expand(count, -1)
            state = network(piece, state).carry
    found = np.zeros((count, length), np.uint8)
    for i in range(length):
        logits, _, state = network.read(state.tail[:, -1:], state)
        shares = (logits[:, 0] / temperature).double().softmax(-1).cumsum(-1).cpu().numpy()
        found[:, i] = (chance.random((count, 1)) > shares).sum(1).clip(max=N - 1)
        state = network.follow(state, torch.from_numpy(found[:, i : i + 1]).to(network.device))
    return found


def of_bases(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the log-probability of each base, ``(b, t)``; NaN where it is N."""
    values = logits.log_softmax(-1).gather(-1, codes.clamp_max(N - 1).long()[..., None])[..., 0]
    return values.masked_fill(codes >= N, torch.nan)
