"""Sequences of unequal lengths as batches in which none is cut and padding changes no answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

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
        For training: order the sequences by chance, sort them by length within pools, and the batches by chance again. By
        default shortest first.

    Examples
    --------
    >>> list(batches_by_length([5, 2, 9, 2], 2))
    [[1, 3], [0, 2]]
    """
    known = np.asarray(lengths)
    order = np.arange(len(known)) if chance is None else chance.permutation(len(known))
    pool = max(len(known), 1) if chance is None else _POOL * size
    for first in range(0, len(order), pool):
        part = order[first : first + pool]
        part = part[np.argsort(known[part], kind="stable")]
        found = list(_cut(part, known, size))
        for i in range(len(found)) if chance is None else chance.permutation(len(found)):
            yield found[i]


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
