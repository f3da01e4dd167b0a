"""Sequences of unequal lengths as batches in which none is cut and padding changes no answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

STEPS_AT_ONCE = 131_072
"""Steps of a batch, bases or rows, padding included; a longer sequence is a batch of its own."""
_POOL = 50  # batches among which sequences of like length meet


def batches_by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the places of sequences, shortest first: ``size`` at once, or fewer where they are long."""
    known = np.asarray(lengths)
    return _cut(np.argsort(known, kind="stable"), known, size)


class BatchSampler:
    """Batches without end for training; what is still to come of a pass is in plain sight, to be kept and put back.

    Each pass orders the sequences by chance, sorts them by length within pools, and their batches by chance again.
    """

    def __init__(self, lengths: Sequence[int], size: int, chance: np.random.Generator) -> None:
        self.lengths, self.size, self.chance = np.asarray(lengths), size, chance
        self.order = np.zeros(0, np.int64)  # places that this pass has still to cut into batches
        self.batches: list[list[int]] = []  # of the present pool, still to come

    @property
    def left(self) -> bool:
        """Whether this pass has still a batch to give."""
        return bool(len(self.order) or self.batches)

    def one_pass(self) -> Iterator[list[int]]:
        """Yield the batches of one pass, in which every place comes once."""
        yield next(self)
        while self.left:
            yield next(self)

    def __next__(self) -> list[int]:
        if not self.left:
            self.order = self.chance.permutation(len(self.lengths))
        if not self.batches:
            pool, self.order = np.split(self.order, [_POOL * self.size])
            found = list(_cut(pool[np.argsort(self.lengths[pool], kind="stable")], self.lengths, self.size))
            self.batches = [found[i] for i in self.chance.permutation(len(found))]
        return self.batches.pop(0)


def _cut(order: np.ndarray, lengths: np.ndarray, size: int) -> Iterator[list[int]]:
    """Cut places, shortest first, into batches of bounded size."""
    batch: list[int] = []
    for place in order:
        if batch and (len(batch) == size or (len(batch) + 1) * lengths[place] > STEPS_AT_ONCE):
            yield batch
            batch = []
        batch.append(int(place))
    if batch:
        yield batch
