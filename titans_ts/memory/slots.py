"""Exact slots: beside the store, the pairs of key and value that surprised it most are kept as they are."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.blocks.layers import HeadNorm

BLOCK = 16
"""Tokens of a block, counted from position 0, where the memory reads itself anew at every token."""
TIE = 1e-6
"""Scores are compared as whole multiples of this, so that rounding seldom decides; among equal ones the older stays."""
CHUNK_TOKENS = 64
"""Tokens, about, that look at one choice of slots and at one another; changes no answer."""
PRODUCTS_AT_ONCE = 2**22
"""Products of a query and a key, about, that are made at once; changes no answer."""
_EMPTY = -1.0


class SlotsCarry(NamedTuple):
    """What slots carry: the pairs kept, best first, then those of the block that is being read; 0 where empty."""

    keys: Tensor  # (b, h, slots + block - 1, k), normalised
    values: Tensor  # (b, h, slots + block - 1, v)
    scores: Tensor  # (b, h, slots + block - 1); -1 where empty


class _Choice(NamedTuple):
    """Which pairs ``p`` chunks of ``n`` tokens see, and which are kept; places count from the first slot on."""

    slots: Tensor  # places of the pairs kept before each chunk, (b, h, p, slots)
    visible: Tensor  # whether a block of a chunk sees a slot or a token of the chunk, (b, h, p, blocks, slots + n)
    kept: Tensor  # places of the pairs kept in the end, best first, (b, h, slots)
    filled: Tensor  # whether such a place holds a pair, (b, h, slots)


class ExactSlots(nn.Module):
    """Keep the pairs with the largest scores so far, of any age, and read ``lambda softmax(g_q(q) . g_k(k) + p log s) v``.

    A query sees the pairs that were kept when its block began, those of its block up to its own, and a null sink with a
    learned logit and the value 0. ``g_q`` and ``g_k`` bring queries and keys to root mean square 1 and scale them by learned
    gains: keys of length 1 would make the softmax flat. ``lambda``, one a head, starts at 0. What is kept has no gradient,
    the pairs have. (arXiv 2607.02303, for any store.)

    A pair counts by its score s to a learned power, 1 at the start (not in the paper): a question kept beside its answer has
    the same key and was hardly written.
    """

    def __init__(self, heads: int, head_width: int, *, slots: int, block: int = BLOCK) -> None:
        super().__init__()
        self.slots, self.block = slots, block
        self.query_norm = HeadNorm(heads, head_width)
        self.key_norm = HeadNorm(heads, head_width)
        self.sink = nn.Parameter(torch.zeros(heads))
        self.strength = nn.Parameter(torch.zeros(heads))  # lambda
        self.power = nn.Parameter(torch.ones(heads))  # p

    def initial_state(self, batch: int) -> SlotsCarry:
        """Return the carry before the first token: nothing is kept."""
        heads, _, width = self.key_norm.weight.shape
        places = self.slots + self.block - 1
        empty = self.sink.new_zeros(batch, heads, places, width)
        return SlotsCarry(empty, empty, self.sink.new_full((batch, heads, places), _EMPTY))

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, scores: Tensor, position: int, state: SlotsCarry
    ) -> tuple[Tensor, SlotsCarry]:
        """Return what queries ``(b, h, t, k)`` find, ``(b, h, t, v)``, and the carry after their pairs.

        ``scores``, ``(b, h, t)``, are those of the pairs, and ``position`` is that of the first.
        """
        if not q.shape[2]:
            return v, state
        done = position % self.block
        total = done + q.shape[2]  # tokens since the block began
        whole = total - total % self.block  # of these in whole blocks
        size = min(max(CHUNK_TOKENS // self.block, 1), -(-total // self.block)) * self.block
        after = -total % size

        def joined(before: Tensor, new: Tensor) -> Tensor:
            """Return the slots, the tokens of the block before these, and these, filled up to whole chunks."""
            return F.pad(torch.cat([before[:, :, : self.slots + done].to(new.dtype), new], dim=2), (0, 0, 0, after))

        scores = scores.detach().clamp(max=torch.finfo(scores.dtype).max)[..., None]
        keys, values = joined(state.keys, self.key_norm(k)), joined(state.values, v)
        scores = joined(state.scores[..., None], scores)
        choice = self._choose(scores[..., 0], whole, size)
        weights = self._log_weights(scores[..., 0])
        queries = F.pad(self.query_norm(q), (0, 0, done, after)).unflatten(2, (-1, size))
        found = self._read(queries, keys, values, weights, choice)[:, :, done:total] * self.strength[:, None, None]
        rest = torch.arange(self.slots + whole, self.slots + total, device=q.device).expand(*choice.kept.shape[:2], -1)
        places = torch.cat([choice.kept, rest], dim=2)
        filled = F.pad(choice.filled, (0, total - whole), value=True)[..., None]
        spare = self.block - 1 - (total - whole)

        def kept(x: Tensor, empty: float = 0.0) -> Tensor:
            return F.pad(torch.where(filled, _taken(x, places), empty), (0, 0, 0, spare), value=empty)

        return found, SlotsCarry(kept(keys), kept(values), kept(scores, _EMPTY)[..., 0])

    def recall(self, q: Tensor, state: SlotsCarry) -> Tensor:
        """Return what queries ``(b, h, t, k)`` find among all pairs of a carry, ``(b, h, t, v)``, keeping nothing."""
        weights = torch.where(state.scores < 0, -torch.inf, self._log_weights(state.scores)).to(q.dtype)
        bias = torch.cat([self.sink.to(q.dtype).expand(len(q), -1)[..., None], weights], dim=-1)
        keys, values = (F.pad(x.to(q.dtype), (0, 0, 1, 0)) for x in (state.keys, state.values))
        shares = (self.query_norm(q) @ keys.mT + bias[:, :, None]).softmax(dim=-1)
        return shares @ values * self.strength[:, None, None]

    def _log_weights(self, scores: Tensor) -> Tensor:
        return self.power[:, None] * (scores.clamp_min(0) + TIE).log()

    def _choose(self, scores: Tensor, whole: int, size: int) -> _Choice:
        """Choose among slots and tokens, ``(b, h, slots + p n)`` scores; only ``whole`` tokens may be kept.

        Equal scores in the order of age, sorted without moving equal ones, are a total order: it does not matter when
        which pairs are compared.
        """
        slots, block, device = self.slots, self.block, scores.device
        ranks = (scores.double() / TIE).round_()
        ranks[:, :, slots + whole :] = _EMPTY
        best, ranks = ranks[:, :, :slots], ranks[:, :, slots:].unflatten(2, (-1, size))
        kept = torch.arange(slots, device=device).expand_as(best)
        own = torch.arange(size, device=device)
        before, sorted_ranks, orders = [], [], []
        for chunk in range(ranks.shape[2]):
            best, order = torch.cat([best, ranks[:, :, chunk]], dim=2).sort(dim=2, descending=True, stable=True)
            before.append(kept)
            sorted_ranks.append(best)
            orders.append(order)
            places = (slots + chunk * size + own).expand(*kept.shape[:2], -1)
            best, kept = best[:, :, :slots], torch.cat([kept, places], dim=2).gather(2, order[:, :, :slots])
        sorted_rank, order = torch.stack(sorted_ranks, dim=2), torch.stack(orders, dim=2)
        # A slot is there for all, a token for the blocks after its own; of what is there, the first in the order are kept.
        there_from = F.pad(own // block + 1, (slots, 0))[order]
        there = there_from[:, :, :, None] <= torch.arange(size // block, device=device)[:, None]
        there &= (sorted_rank >= 0)[:, :, :, None]
        there &= there.cumsum(-1, dtype=torch.int32) <= slots
        in_slots = torch.empty_like(there).scatter_(-1, order[:, :, :, None].expand_as(there), there)
        in_slots[..., slots:] |= own // block == torch.arange(size // block, device=device)[:, None]
        return _Choice(torch.stack(before, dim=2), in_slots, kept, best >= 0)

    def _read(self, queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor, choice: _Choice) -> Tensor:
        """Read with queries ``(b, h, p, n, k)`` the pairs ``(b, h, slots + p n, .)`` that they see: ``(b, h, p n, v)``.

        ``weights``, ``(b, h, slots + p n)``, are added to the products. The null sink is a first pair of zeros.
        """
        batch, heads, _, size, _ = queries.shape
        together = max(PRODUCTS_AT_ONCE // (batch * heads * size * (self.slots + size)), 1)
        weights = torch.cat(
            [
                weights.gather(2, choice.slots.flatten(2)).view_as(choice.slots),
                weights[:, :, self.slots :].unflatten(2, (-1, size)),
            ],
            dim=3,
        )
        bias = torch.where(choice.visible, weights[:, :, :, None], -torch.inf)
        sink = self.sink[:, None, None, None].expand(*bias.shape[:-1], 1)
        later = F.pad(bias.new_full((size, size), -torch.inf).triu(1), (1 + self.slots, 0)).unflatten(0, (-1, self.block))
        parts = [x.split(together, dim=2) for x in (queries, choice.slots, torch.cat([sink, bias], dim=-1))]
        own = [x[:, :, self.slots :].unflatten(2, (-1, size)).split(together, dim=2) for x in (keys, values)]
        found = []
        for q, slots, added, *chunk in zip(*parts, *own, strict=True):
            places = slots.flatten(2)
            k, v = (
                torch.cat(
                    [
                        x.new_zeros(1).expand(*slots.shape[:3], 1, x.shape[3]),
                        _taken(x, places).unflatten(2, slots.shape[2:]),
                        new,
                    ],
                    dim=3,
                )
                for x, new in zip((keys, values), chunk, strict=True)
            )
            logits = (q @ k.mT).unflatten(3, (-1, self.block)) + added[:, :, :, :, None]
            shares = (logits + later).softmax(dim=-1)
            found.append((shares.flatten(3, 4) @ v).flatten(2, 3))
        return torch.cat(found, dim=2)


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """Return the rows of ``(b, h, n, v)`` at places ``(b, h, m)``."""
    return x.gather(2, places[..., None].expand(-1, -1, -1, x.shape[3]))
