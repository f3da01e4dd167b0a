"""Sequences of unequal lengths as batches in which none is cut and padding changes no answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from titans_ts.learn.two_paths import TwoPaths

STEPS_AT_ONCE = 131_072
"""Steps of a batch, bases or rows, padding included; a longer sequence is a batch of its own."""
_POOL = 50  # batches among which sequences of like length meet


def batches_by_length(
    lengths: Sequence[int], size: int, *, chance: np.random.Generator | None = None
) -> Iterator[list[int]]:
    """Yield the places of sequences, those of like length together; every place once.

    Parameters
    ----------
    lengths : sequence of int
        Steps of each sequence.
    size : int
        Sequences of a batch, at most; fewer where they are long (:data:`STEPS_AT_ONCE`).
    chance : numpy.random.Generator, optional
        For training: see :class:`BatchSampler`. By default shortest first.

    Examples
    --------
    >>> list(batches_by_length([5, 2, 9, 2], 2))
    [[1, 3], [0, 2]]
    """
    if chance is None:
        known = np.asarray(lengths)
        yield from _cut(np.argsort(known, kind="stable"), known, size)
    elif len(lengths):
        batches = BatchSampler(lengths, size, chance)
        yield next(batches)
        while batches.left:
            yield next(batches)


class BatchSampler:
    """Batches without end for training, which can be taken up again at the same batch.

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


READ_AT_ONCE = 256
"""Sequences of a batch; changes nothing else."""

Path = Literal["both", "linear", "memory"]

Answering = Callable[[Tensor, Tensor], Tensor]
"""Sequences ``(b, c, t)`` and lengths ``(b,)`` to ``(b, outputs)``."""

Averaging = Callable[[Answering], Answering]


@torch.no_grad()
def answer_all(network: TwoPaths, items: Sequence[Any], *, average: Averaging | None = None, by: Path = "both") -> Tensor:
    """Return what a network says of each sequence, ``(n, outputs)``.

    Parameters
    ----------
    network : TwoPaths
        Put into evaluation mode.
    items : sequence of ndarray (t, ...)
        What the network makes batches of: bases, or rows of numbers.
    average : callable, optional
        Makes of an answer the one to give: for DNA the mean over both strands.
    by : {"both", "linear", "memory"}, default="both"
        Which path answers.
    """
    network.eval()
    paths: dict[str, Answering] = {"both": network, "linear": network.linear_answer, "memory": network.memory_answer}
    if by not in paths:
        raise ValueError(f"by={by!r} is not known; choose one of {', '.join(map(repr, paths))}")
    if by == "memory" and network.is_linear:
        raise ValueError("by='memory': layers=0, so that this model has no memory to answer; ask by='linear'")
    answer = paths[by]
    answer = answer if average is None else average(answer)
    found = torch.zeros(len(items), network.outputs, dtype=network.dtype, device=network.device)
    for places in batches_by_length([len(one) for one in items], READ_AT_ONCE):
        found[torch.as_tensor(places)] = answer(*network.batch([items[i] for i in places]))
    return found
