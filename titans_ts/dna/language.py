"""The network of a language model of DNA, and what is asked of it: likelihoods, embeddings, samples, states of records.

It predicts the next base from the contexts just before it and from a memory of all that was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone, State
from titans_ts.backbones.state import map_tensors, pack, unpack_checked
from titans_ts.dna.bases import BASES, Codes, N, reverse_complement
from titans_ts.dna.contexts import LONGEST_CONTEXT, ContextPath, leave_out
from titans_ts.dna.strands import as_codes, reverse_complement_one_hot
from titans_ts.files.facts import fits, require
from titans_ts.learn.batches import batches_by_length

START = N + 1
"""The token before a record's first base."""


@dataclass(frozen=True)
class LanguageConfig:
    """Everything that is needed to build a language model's network again."""

    orders: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10, 12, 16)  # lengths of contexts that are counted; empty for none
    both_sides: bool = False  # whether a base is predicted from what stands before and after it, or before it alone
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LanguageConfig:
        """Return the configuration of a model file."""
        values = {**values, "orders": tuple(values["orders"])}
        known = all(order in range(1, LONGEST_CONTEXT + 1) for order in values["orders"])
        require(known, f"orders must be from 1 to {LONGEST_CONTEXT}")
        return cls(**{**values, "backbone": BackboneConfig.from_dict(values["backbone"])})


class LanguageCarry(NamedTuple):
    """What is kept of the bases read so far: of fixed size."""

    backbone: State  # the memory, which has read all but the last base
    tail: Tensor  # (b, longest order + 1) codes: the last bases
    opinions: Tensor  # (b, orders, 4): what each order said about the last base


class Reading(NamedTuple):
    """What a network says after each of ``t`` tokens."""

    logits: Tensor  # (b, t, 4) of the next base
    hidden: Tensor  # (b, t, d)
    carry: LanguageCarry  # to go on with


class LanguageNetwork(nn.Module):
    """``sum_o (loudness_o + heard_o(memory)) opinion_o + own(memory)``: the memory's parts start at zero.

    A token is the base just read, what each order of contexts had said about it, and what they say about the next one. So
    the memory can learn which orders have been right of late.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        width, kinds = config.backbone.width, len(config.orders)
        self.direct = ContextPath(config.orders)
        self.embedding = nn.Embedding(START + 1, width)
        self.verdicts = nn.Linear(kinds + BASES, width, bias=False)
        self.backbone = Backbone(config.backbone)
        self.head = nn.Linear(width, kinds + BASES)  # how loud each order is heard, and a word of its own
        self.agreement = nn.Parameter(torch.tensor(0.75))  # of the two sides: they share the middle's surroundings
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number that the network computes in."""
        return self.head.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.head.weight.device

    def initial_state(self, batch: int) -> LanguageCarry:
        """Return the state before the first base."""
        kinds = len(self.config.orders)
        tail = torch.full((batch, max(self.config.orders, default=0) + 1), N, dtype=torch.uint8, device=self.device)
        tail[:, -1] = START
        opinions = torch.zeros(batch, kinds, BASES, dtype=self.dtype, device=self.device)
        return LanguageCarry(self.backbone.initial_state(batch), tail, opinions)

    def forward(self, codes: Tensor, state: LanguageCarry, *, held_out: bool = False) -> Reading:
        """Predict each of ``(b, t)`` bases from those before it, and read on.

        With ``held_out`` the contexts leave these very bases out of their counts: for training on what they have counted.
        """
        before = torch.cat([state.tail[:, -1:], codes[:, :-1].to(torch.uint8)], dim=1)
        found = self.read(before, state, targets=codes if held_out else None)
        return found._replace(carry=self.follow(found.carry, codes[:, -1:]))

    def from_both_sides(self, there: Tensor, back: Tensor, lengths: Tensor) -> Tensor:
        """Join the predictions of each base from before it and, on the other strand, from after it: ``(b, t, 4)``.

        The network reads both strands with the same weights, so a sequence and its reverse complement are as likely.
        """
        turned = reverse_complement_one_hot(back.transpose(1, 2), lengths).transpose(1, 2)
        return self.agreement * (there + turned)

    def follow(self, carry: LanguageCarry, last: Tensor) -> LanguageCarry:
        """Return the carry with the base ``(b, 1)`` that came; the memory reads it with the next call."""
        return carry._replace(tail=torch.cat([carry.tail[:, 1:], last.to(torch.uint8)], dim=1))

    def read(
        self, tokens: Tensor, state: LanguageCarry, *, targets: Tensor | None = None, strand: Tensor | None = None
    ) -> Reading:
        """Read tokens ``(b, t)``, the first of which is the last of ``state.tail``, and predict what follows each.

        ``targets`` ``(b, t)`` are left out of the counts of contexts. ``strand`` ``(b, 4, t)`` is one-hot, for gradients.
        """
        context = torch.cat([state.tail[:, :-1], tokens.to(torch.uint8)], dim=1)
        counts = self.direct.counts(context)[:, state.tail.shape[1] - 1 :]
        if targets is not None:
            counts = leave_out(counts, context, targets, self.config.orders)
        opinions, loudness = self.direct(counts)
        earlier = torch.cat([state.opinions[:, None], opinions[:, :-1]], dim=1)
        was = tokens.clamp_max(BASES - 1).long()[:, :, None, None].expand(-1, -1, earlier.shape[2], 1)
        verdict = earlier.gather(-1, was)[..., 0] * (tokens < N)[..., None]
        mixed = (loudness[..., None] * opinions).sum(2)
        carry = LanguageCarry(state.backbone, context[:, -state.tail.shape[1] :], opinions[:, -1])
        if not self.config.backbone.layers:
            return Reading(mixed, mixed.new_zeros(*tokens.shape, self.config.backbone.width), carry)
        known = torch.cat([verdict, mixed], dim=-1).detach()
        hidden, memory = self.backbone(self._embedded(tokens, strand) + self.verdicts(known), state.backbone)
        heard, own = self.head(hidden).split([opinions.shape[2], BASES], dim=-1)
        logits = mixed + (heard[..., None] * opinions).sum(2) + own
        return Reading(logits, hidden, carry._replace(backbone=memory))

    def _embedded(self, tokens: Tensor, strand: Tensor | None) -> Tensor:
        if strand is None:
            embedded: Tensor = self.embedding(tokens.long())
            return embedded
        unknown = 1 - strand.sum(1, keepdim=True)
        return torch.cat([strand, unknown], dim=1).transpose(1, 2) @ self.embedding.weight[: N + 1]


BASES_AT_ONCE = 4096
"""Bases of a sequence read in one call; bounds what a long record holds and never changes an answer."""


@torch.no_grad()
def log_likelihoods(network: LanguageNetwork, codes: Sequence[Codes], *, batch_size: int = 32) -> list[NDArray[np.float32]]:
    """Return the natural log-probability of every base of every sequence ``(t,)``, NaN where it is N.

    Each sequence is read with a fresh memory, ``batch_size`` of them side by side.
    """
    network.eval()
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(codes)
    for places in batches_by_length([len(one) for one in codes], batch_size):
        padded, lengths = as_codes([codes[i] for i in places], network.device)
        logits = torch.cat([part.logits for part in readings(network, padded)], dim=1)
        if network.config.both_sides:
            turned, _ = as_codes([reverse_complement(codes[i]) for i in places], network.device)
            back = torch.cat([part.logits for part in readings(network, turned)], dim=1)
            logits = network.from_both_sides(logits, back, lengths)
        values = of_bases(logits, padded).cpu().numpy()
        for i, row in zip(places, values, strict=True):
            found[i] = row[: len(codes[i])]
    return found


def readings(network: LanguageNetwork, codes: Tensor) -> Iterator[Reading]:
    """Read a batch of codes ``(b, t)`` from a fresh memory, piece by piece."""
    state = network.initial_state(len(codes))
    for first in range(0, codes.shape[1], BASES_AT_ONCE):
        part = network(codes[:, first : first + BASES_AT_ONCE], state)
        state = part.carry
        yield part


@dataclass(frozen=True, eq=False)
class RecordState:
    """What is kept of a record that is read piece by piece: of fixed size."""

    carry: LanguageCarry
    n_seen: int = 0  # bases read
    scored: int = 0  # those of them that were not N
    total: float = 0.0  # sum of the natural log-probabilities of the latter

    @classmethod
    def fresh(cls, network: LanguageNetwork) -> RecordState:
        """Return the state before a record's first base."""
        with torch.no_grad():
            return cls(map_tensors(Tensor.clone, network.initial_state(1)))

    @classmethod
    def restored(cls, network: LanguageNetwork, fact: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RecordState:
        """Return the state that a file keeps; one that no record so long could have left is refused."""
        n_seen, scored, total = fact["n_seen"], fact["scored"], fact["total"]
        counted = fits(n_seen, int) and fits(scored, int) and 0 <= scored <= n_seen and fits(total, float)
        require(counted, f"the counts of the record {fact['id']!r} do not fit each other")
        like = cls.fresh(network).carry._replace(backbone=network.backbone.state_after(1, n_seen))
        carry: LanguageCarry = unpack_checked(like, tensors)
        require(int(carry.tail.max()) <= START, f"the bases of the record {fact['id']!r} are none")
        return cls(map_tensors(lambda x: x.to(network.device), carry), n_seen, scored, total)

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
    """Return the mean of what a network holds after each base, ``(n, d)``; over both strands if it reads both."""
    network.eval()
    strands = [list(codes)] + ([[reverse_complement(one) for one in codes]] if network.config.both_sides else [])
    found = np.zeros((len(codes), network.config.backbone.width))
    for strand in strands:
        for places in batches_by_length([len(one) for one in strand], batch_size):
            padded, lengths = as_codes([strand[i] for i in places], network.device)
            total = torch.zeros(len(places), found.shape[1], dtype=torch.float64, device=network.device)
            for first, part in zip(range(0, padded.shape[1], BASES_AT_ONCE), readings(network, padded), strict=True):
                steps = torch.arange(first, first + part.hidden.shape[1], device=network.device)
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
