"""The next base from the bases just before it: counts after contexts of several lengths, mixed by how much each knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from titans_ts.dna.bases import BASES, Codes, N, reverse_complement, words
from titans_ts.files.facts import require

LONGEST_CONTEXT = 24
MOST_WORDS = 2**25
"""Words of one length that are kept; where there are more, those seen once only go."""
_MOST_OF_ONE = 2**15 - 1
_MIXING = 32


class ContextPath(nn.Module):
    """Markov models of several orders, mixed in log-odds: the floor that a memory must improve on.

    Each order counts how often A, C, G and T followed the same context in training, on either strand. Its opinion is a
    centred log-probability, louder the more often the contexts were seen. (Pratas, Hosseini, Pinho: GeCo3, GigaScience 2020;
    logistic mixing: Mahoney, PAQ, 2005.)
    """

    def __init__(self, orders: Sequence[int]) -> None:
        super().__init__()
        self.orders = tuple(orders)
        kinds = len(self.orders)
        self.set_tables({})
        self.log_prior = nn.Parameter(torch.zeros(kinds))
        self.mix: nn.Module = nn.Identity()
        if kinds:
            first, last = nn.Linear(2 * kinds, _MIXING), nn.Linear(_MIXING, kinds)
            self.mix = nn.Sequential(first, nn.GELU(), last)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, -1.0)

    def tables(self) -> dict[str, Tensor]:
        """Return what was counted: for each order the numbers of its words, sorted, and how often each was seen.

        They are no part of ``state_dict``: training, which copies that again and again, does not change them.
        """
        return {f"{kind}{order}": getattr(self, f"{kind}{order}") for order in self.orders for kind in ("words", "seen")}

    def set_tables(self, tables: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tables` returned; what is missing is empty."""
        for order in self.orders:
            for kind, number in (("words", _word_type(order)), ("seen", _count_type(order))):
                table = tables.get(f"{kind}{order}", torch.zeros(0, dtype=number))
                self.register_buffer(f"{kind}{order}", table, persistent=False)

    def restore_tables(self, tables: Mapping[str, Tensor]) -> None:
        """Put back the tables of a file; what is missing, of another kind, or no table of counts is refused by name."""
        for order in self.orders:
            words, seen = tables[f"words{order}"], tables[f"seen{order}"]
            kinds = (words.dtype, seen.dtype) == (_word_type(order), _count_type(order))
            require(
                kinds and words.ndim == 1 and words.shape == seen.shape, f"'contexts.words{order}' is no table of counts"
            )
            if len(words):
                fit = int(words[0]) >= 0 and int(words[-1]) < BASES ** (order + 1) and int(seen.min()) > 0
                require(fit and bool((words.diff() > 0).all()), f"'contexts.words{order}' is no sorted table of words")
        self.set_tables({name: x.to(self.log_prior.device) for name, x in tables.items()})

    def learn(self, records: Iterable[Codes]) -> None:
        """Count what follows each context in some records, on both strands; earlier counts are replaced."""
        known = list(records)
        tables: dict[str, Tensor] = {}
        for order in self.orders:
            numbers = [_known_words(strand, order + 1) for one in known for strand in (one, reverse_complement(one))]
            found, times = np.unique(np.concatenate(numbers), return_counts=True)
            if len(found) > MOST_WORDS:
                found, times = found[times > 1], times[times > 1]
            kind = _count_type(order)
            times = times.clip(max=_MOST_OF_ONE) if kind == torch.int16 else times
            tables[f"words{order}"] = torch.from_numpy(found).to(self.log_prior.device, _word_type(order))
            tables[f"seen{order}"] = torch.from_numpy(times).to(self.log_prior.device, kind)
        self.set_tables(tables)

    def counts(self, codes: Tensor) -> Tensor:
        """Return how often each base followed the contexts that end at each base of ``(b, t)``: ``(b, t, orders, 4)``.

        Codes above 3 are no base; a context with one was never seen.
        """
        found = [self._after(codes, order) for order in self.orders]
        return torch.stack(found, dim=2) if found else codes.new_zeros(*codes.shape, 0, BASES).float()

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Turn counts ``(b, t, orders, 4)`` into opinions of that shape, and how loud each is, ``(b, t, orders)``.

        An opinion is the log-probability over that of a guess; the mixture's logits are their sum, each times its loudness.
        """
        prior = self.log_prior.exp()[:, None]
        total = counts.sum(-1)
        opinions = torch.log(BASES * (counts + prior) / (total[..., None] + BASES * prior))
        loudness = F.softplus(self.mix(torch.cat([torch.log1p(total) / 5, opinions.amax(-1)], dim=-1)))
        return opinions, loudness

    def _after(self, codes: Tensor, order: int) -> Tensor:
        known, seen = getattr(self, f"words{order}"), getattr(self, f"seen{order}")
        padded = F.pad(codes.long(), (order - 1, 0), value=N)
        context, whole = torch.zeros_like(codes, dtype=torch.long), torch.ones_like(codes, dtype=torch.bool)
        for i in range(order):
            base = padded[:, i : i + codes.shape[1]]
            context, whole = context * BASES + base, whole & (base < N)
        context = torch.where(whole, context * BASES, -BASES)
        if not len(known):
            return torch.zeros(*codes.shape, BASES, device=codes.device)
        place = torch.searchsorted(known, context.to(known.dtype))
        found = []
        for i in range(BASES):  # words of one context lie side by side, those never seen left out
            at = place.clamp_max(len(known) - 1)
            there = known[at] == context + i
            found.append(torch.where(there, seen[at], 0))
            place = place + there
        return torch.stack(found, dim=-1).to(self.log_prior.dtype)


def leave_out(counts: Tensor, codes: Tensor, targets: Tensor, orders: Sequence[int]) -> Tensor:
    """Return counts ``(b, t, orders, 4)`` less the one occurrence of ``targets`` ``(b, t)``, in place; an N leaves nothing.

    Else training would trust contexts that know the answer by heart. A word that is its own reverse complement was counted
    twice. ``codes`` ``(b, p + t)`` stand before the targets, ``p`` the longest order or more.
    """
    length, end = targets.shape[1], codes.shape[1]
    own = F.one_hot(targets.clamp_max(BASES - 1).long(), BASES) * (targets < N)[..., None]
    word = torch.cat([codes.long(), targets[:, -1:].long()], dim=1)
    for place, order in enumerate(orders):
        turned = torch.zeros_like(targets, dtype=torch.long)
        if order % 2:
            first = end - length - order + 1  # of the first target's word, in `word`
            pairs = [
                word[:, first + i : first + i + length] + word[:, first + order - i : first + order - i + length]
                == BASES - 1
                for i in range((order + 1) // 2)
            ]
            turned = torch.stack(pairs).all(0).long()
        counts[:, :, place] -= own * (1 + turned)[..., None]
    return counts.clamp_min_(0)


def _known_words(codes: Codes, size: int) -> NDArray[np.int64]:
    """Return the number of every word of a strand that holds no N."""
    word, whole = words(codes, size)
    return word[whole]


def _word_type(order: int) -> torch.dtype:
    return torch.int32 if order <= 14 else torch.int64


def _count_type(order: int) -> torch.dtype:
    return torch.int64 if order <= 8 else torch.int16
