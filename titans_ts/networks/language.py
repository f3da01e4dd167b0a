"""A language model of DNA: which base comes next, from contexts just before it and a memory of all that was read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone, State
from titans_ts.bases import N
from titans_ts.heads.contexts import BASES, ContextPath, leave_out
from titans_ts.inputs.dna import reverse_complement

START = N + 1
"""The token before a record's first base."""


@dataclass(frozen=True)
class LanguageConfig:
    """Everything that is needed to build a language model's network again.

    Parameters
    ----------
    orders : tuple of int
        Lengths of contexts that the direct path counts; empty for none.
    both_sides : bool
        Whether a base is told from what stands before and after it, and not from what stands before it alone.
    backbone : BackboneConfig
        The middle of the network.
    """

    orders: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10, 12, 16)
    both_sides: bool = False
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LanguageConfig:
        """Return the configuration of a model file."""
        values = {**values, "orders": tuple(values["orders"])}
        return cls(**{**values, "backbone": BackboneConfig(**values["backbone"])})


class LanguageCarry(NamedTuple):
    """What is kept of the bases read so far: of fixed size.

    Attributes
    ----------
    backbone : tuple
        The memory; it has read all but the last base.
    tail : Tensor
        ``(b, longest order + 1)`` codes: the last bases.
    opinions : Tensor
        ``(b, orders, 4)``: what each order said about the last base.
    """

    backbone: State
    tail: Tensor
    opinions: Tensor


class Reading(NamedTuple):
    """What a network says after each of ``t`` tokens.

    Attributes
    ----------
    logits : Tensor
        ``(b, t, 4)`` of the next base.
    hidden : Tensor
        ``(b, t, d)``.
    carry : LanguageCarry
        To go on with.
    """

    logits: Tensor
    hidden: Tensor
    carry: LanguageCarry


class LanguageNetwork(nn.Module):
    """``sum_o (loudness_o + heard_o(memory)) opinion_o + own(memory)``: the memory's parts start at zero.

    A token is the base just read, what each order of contexts had said about it, and what they say about the next one; so
    the memory can learn which of them has been right of late.

    Parameters
    ----------
    config : LanguageConfig
        Settings.

    Examples
    --------
    >>> network = LanguageNetwork(LanguageConfig(orders=(1, 2), backbone=BackboneConfig(width=16, heads=2, layers=1)))
    >>> network.read(torch.tensor([[0, 1, 2]]), network.initial_state(1)).logits.shape
    torch.Size([1, 3, 4])
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
        """Foretell each of ``(b, t)`` bases from those before it, and read on.

        Parameters
        ----------
        codes : Tensor
            ``(b, t)``, A C G T N.
        state : LanguageCarry
            After the bases before.
        held_out : bool, default=False
            Whether the direct path leaves these very bases out of its counts: for training on what it has counted.

        Returns
        -------
        Reading
            Its logits are about ``codes``; its carry has read them.
        """
        before = torch.cat([state.tail[:, -1:], codes[:, :-1].to(torch.uint8)], dim=1)
        found = self.read(before, state, targets=codes if held_out else None)
        return found._replace(carry=self.follow(found.carry, codes[:, -1:]))

    def from_both_sides(self, there: Tensor, back: Tensor, lengths: Tensor) -> Tensor:
        """Put together what is said of each base from before it and, on the other strand, from after it; ``(b, t, 4)``.

        The network reads both strands with the same weights, so that a sequence and its reverse complement are told alike.
        """
        turned = reverse_complement(back.transpose(1, 2), lengths).transpose(1, 2)
        return self.agreement * (there + turned)

    def follow(self, carry: LanguageCarry, last: Tensor) -> LanguageCarry:
        """Return the carry with the base ``(b, 1)`` that came; the memory reads it with the next call."""
        return carry._replace(tail=torch.cat([carry.tail[:, 1:], last.to(torch.uint8)], dim=1))

    def read(
        self, tokens: Tensor, state: LanguageCarry, *, targets: Tensor | None = None, strand: Tensor | None = None
    ) -> Reading:
        """Read tokens ``(b, t)``, the first of which is the last of ``state.tail``, and foretell what follows each.

        Parameters
        ----------
        tokens : Tensor
            ``(b, t)``: bases, or ``START``.
        state : LanguageCarry
            Before them.
        targets : Tensor, optional
            ``(b, t)``: what follows each token, to be left out of the counts of contexts.
        strand : Tensor, optional
            ``(b, 4, t)``: the tokens once more, as one-hot bases through which gradients flow; counts are constants to them.
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
