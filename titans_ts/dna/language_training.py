"""The training of a language model of DNA on long streams, the memory carried along, a step every few hundred bases.

The direct path counts the training records first. In training it leaves the base that is asked out of its counts, so that
the mixture learns how far each order can be trusted on bases that were not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.state import map_tensors
from titans_ts.dna.bases import Codes, N, reverse_complement
from titans_ts.dna.language import LanguageCarry, LanguageNetwork, log_likelihoods
from titans_ts.dna.strands import as_codes, reverse_complement_codes
from titans_ts.files.facts import fits, require
from titans_ts.learn import distributed
from titans_ts.learn.run import Losses, Piece, Run, RunConfig, mixed_precision

VALIDATION_BASES = 131_072
"""Bases that an evaluation reads, at most: the first of the validation part, in as many streams as a step has."""

FEW_RECORDS = 10
"""Below so many records, the end of each is held out, not whole ones."""


@dataclass(frozen=True)
class LanguageTrainingConfig(RunConfig):
    """How a language model is trained."""

    max_steps: int = 1500
    batch_size: int = 16  # streams read side by side
    segment: int = 256  # bases between two steps; the memory is carried over them, gradients are not
    crop: int = 16_384  # bases of a stream, at most; then it begins anew elsewhere, with a fresh memory
    weight_decay: float = 0.01
    direct_factor: float = 2.0  # learning rate of the mixture of contexts, as a multiple
    evaluate_every: int = 100
    patience: int = 30  # evaluations; the error falls most while the learning rate falls, and that is last


class LanguageTraining(Run):
    """One training of a language model, in place; its direct path has counted ``records``.

    ``validation`` chooses the weights, and may be empty; ``watching`` goes to :class:`titans_ts.learn.run.Run`.
    """

    label = "language"
    config: LanguageTrainingConfig

    def __init__(
        self,
        network: LanguageNetwork,
        records: list[Codes],
        validation: list[Codes],
        config: LanguageTrainingConfig,
        **watching: Any,
    ) -> None:
        super().__init__(network, config, **watching)
        self.records, self.validation = records, _streams(validation, config.batch_size)
        lengths = np.array([len(one) for one in records], dtype=float)
        self.shares = lengths / lengths.sum()
        self.streams = torch.zeros(config.batch_size, 0, dtype=torch.uint8)
        self.read = 0  # bases of the present streams that steps have read
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, x in network.named_parameters():
            groups.setdefault((name.startswith("direct."), x.ndim >= 2), []).append(x)
        self.optimize(
            [
                {
                    "params": members,
                    "weight_decay": config.weight_decay if matrix and not direct else 0.0,
                    "peak": config.learning_rate * (config.direct_factor if direct else 1.0),
                }
                for (direct, matrix), members in groups.items()
            ]
        )

    def run(self) -> None:
        """Train to the end and restore the best weights."""
        with self.begun():
            for _ in self.take(self.config.max_steps):
                segment = self._segment()
                self.done(partial(self._losses, segment), len(segment), self._error if self.validation else None)
        self.best.restore(self.network)

    def _segment(self) -> Tensor:
        """Return the next codes ``(b, segment)`` of the streams; where these are at their end, begin others."""
        config = self.config
        if self.read >= self.streams.shape[1]:
            crops = []
            for place in self.chance.choice(len(self.records), config.batch_size, p=self.shares):
                record = self.records[place]
                begin = int(self.chance.integers(max(len(record) - config.crop, 0) + 1))
                crop = record[begin : begin + config.crop]
                crops.append(reverse_complement(crop) if self.chance.random() < 0.5 else crop)
            self.streams, _ = as_codes(crops, self.network.device)
            self.read, self.states = 0, {}
        found = self.streams[:, self.read : self.read + config.segment]
        self.read += config.segment
        return found

    def _losses(self, segment: Tensor, piece: Piece) -> Losses:
        """Return the nats of the bases of some streams of a segment; their state goes on, its gradient does not."""
        network, codes = self.training_network(), segment[piece.places]
        state = self.states[piece.number] if piece.number in self.states else network.initial_state(len(codes))
        with mixed_precision(self.config.precision, network.device):
            logits, state = self._read(codes, state)
        self.states[piece.number] = map_tensors(Tensor.detach, state)
        targets = codes.long().masked_fill(codes >= N, -1)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum")
        return Losses(loss, (targets >= 0).sum())

    def _read(self, codes: Tensor, state: LanguageCarry) -> tuple[Tensor, LanguageCarry]:
        """Return logits of codes, and the state after them; both sides of a base are those within the segment."""
        network = self.network
        logits, _, after = network(codes, map_tensors(Tensor.detach, state), held_out=True)
        if network.config.both_sides:
            lengths = torch.full((len(codes),), codes.shape[1], device=codes.device)
            turned = reverse_complement_codes(codes, lengths)
            back = network(turned, network.initial_state(len(codes)), held_out=True).logits
            logits = network.from_both_sides(logits, back, lengths)
        return logits, after

    def _error(self) -> float:
        """Return the validation part's nats a base."""

        def read(places: slice) -> list[np.ndarray]:
            some = self.validation[places]
            return log_likelihoods(self.network, some, batch_size=len(some))

        values = np.concatenate(list(chain.from_iterable(distributed.shared(read, len(self.validation)))))
        return -float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else 0.0

    def _data(self) -> Iterable[Any]:
        return [*self.records, *self.validation]

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return also the present streams."""
        tensors, facts = super().kept()
        return tensors | {"streams": self.streams}, facts | {"read": self.read}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put back what :meth:`kept` returned."""
        super().restore(tensors, facts)
        streams, read = tensors["streams"], facts["read"]
        codes = streams.dtype == torch.uint8 and streams.ndim == 2 and len(streams) == self.config.batch_size
        require(codes and bool((streams <= N).all()), "its streams are no codes of bases")
        require(fits(read, int) and read > 0, "what was read of its streams is no count")
        self.streams, self.read = streams.to(self.network.device), read
        first = self.network.initial_state(len(streams))
        after = self.network.backbone.state_after(len(streams), min(read, streams.shape[1]))
        self.restore_state(first._replace(backbone=after), tensors, len(streams))


def _streams(records: list[Codes], batch: int) -> list[Codes]:
    """Return the bases that an evaluation reads, in about as many pieces as are read side by side."""
    found: list[Codes] = []
    left = VALIDATION_BASES
    longest = max(VALIDATION_BASES // batch, 1)
    for record in records:
        for first in range(0, len(record), longest):
            if left > 0:
                found.append(record[first : first + longest][:left])
                left -= len(found[-1])
    return found


def hold_out(records: list[Codes], fraction: float, chance: np.random.Generator) -> tuple[list[Codes], list[Codes]]:
    """Return what is trained on and what chooses: records by chance, or where there are few, the end of each."""
    wanted = fraction * sum(len(one) for one in records)
    if wanted < 1:
        return records, []
    if len(records) < FEW_RECORDS:
        cuts = [len(one) - int(len(one) * fraction) for one in records]
        pairs = [(one[:cut], one[cut:]) for one, cut in zip(records, cuts, strict=True)]
        return [a for a, _ in pairs], [b for _, b in pairs if len(b)]
    order = chance.permutation(len(records))
    taken = np.cumsum([len(records[i]) for i in order])
    count = min(int(np.searchsorted(taken, wanted)) + 1, len(records) - 1)
    chosen = set(order[:count].tolist())
    return [one for i, one in enumerate(records) if i not in chosen], [records[i] for i in sorted(chosen)]
