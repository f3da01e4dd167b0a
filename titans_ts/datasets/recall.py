"""Recall tasks made to order: the answer stands once, far back in the sequence, so that only memory can give it.

There are three: multi-query associative recall (arXiv 2312.04927), RULER's needles in a haystack (2404.06654), and the
first of these for a series of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from titans_ts.datasets.series import Seed

Task = Literal["associative", "needle", "motif"]
TASKS: tuple[Task, ...] = ("associative", "needle", "motif")
NEEDLES = ("pass-key", "number", "word")

FILLERS, KEYS, VALUES, LETTERS, DIGITS = 16, 32, 32, 16, 10
PAIRS, KEY_LETTERS, ANSWER_DIGITS = 8, 4, 4
CUE, MOTIF, MOTIFS = 8, 8, 2  # steps of a cue, steps of the motif that follows it, and such pairs in a series
_NEEDLE, _ASK = 0, 1  # marks of the needle and of the question
VOCABULARY: dict[Task, int] = {
    "associative": FILLERS + KEYS + VALUES,
    "needle": 2 + FILLERS + LETTERS + DIGITS,
    "motif": 0,
}
SHORTEST = 64


@dataclass(frozen=True)
class RecallSet:
    """Sequences and what is asked of them: tokens of int64, or for ``"motif"`` numbers of float32."""

    inputs: NDArray[np.generic]  # (n, t), or (n, t, 1) for "motif"
    targets: NDArray[np.generic]  # (n, t), the answer at each token; -1 (NaN) where nothing is asked
    kinds: NDArray[np.int64]  # (n,), which of NEEDLES a sequence holds; 0 for the other tasks
    distances: NDArray[np.int64]  # (n,), fewest steps from what was seen to the first question about it


def make_recall(task: Task, *, length: int = 128, sequences: int = 32, random_state: Seed = 0) -> RecallSet:
    """Make sequences that ask for what they said long before.

    Only a memory that reaches back that far can answer, so scores at growing lengths tell how long a memory holds.

    Parameters
    ----------
    task : {"associative", "needle", "motif"}
        ``"associative"``: the first third holds 8 keys, each followed by its value. Half of the last third are keys again,
        and their values are asked. ``"needle"``: a marked key and a number of 4 digits stand anywhere but in the last
        quarter, and the number is asked at the end. The haystack is one sentence again and again (pass-key), random words
        (number), or random words that share letters with a key of 4 letters (word). ``"motif"``: in a noisy series two
        cues of 8 steps are each followed by a motif of 8 steps. At the end one cue comes again, and its motif is asked.
    length : int, default=128
        Tokens t, at least 64.
    sequences : int, default=32
        How many, n, at least 1.
    random_state : int, numpy.random.Generator or None, default=0
        Seed or generator; None draws a fresh seed.

    Returns
    -------
    RecallSet
        ``inputs`` ``(n, t)`` of int64, or ``(n, t, 1)`` of float32 for ``"motif"``; ``targets`` ``(n, t)``, the answer at
        each token, or -1 (NaN) where nothing is asked; ``kinds`` ``(n,)``, which needle a sequence holds, or 0;
        ``distances`` ``(n,)``, the fewest steps from what was seen to a question about it.

    Raises
    ------
    ValueError
        If the task is unknown, or the length or the number of sequences is too small.

    Examples
    --------
    >>> made = make_recall("associative", length=96, sequences=2)
    >>> int((made.targets[0] >= 0).sum()), bool(made.distances.min() >= 32)
    (16, True)
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not known; choose one of {', '.join(TASKS)}")
    if length < SHORTEST:
        raise ValueError(f"length must be {SHORTEST} tokens or more, for the answer to stand far back; got {length}")
    if sequences < 1:
        raise ValueError(f"sequences must be 1 or more, got {sequences}")
    chance = np.random.default_rng(random_state)
    return {"associative": _associative, "needle": _needles, "motif": _motifs}[task](length, sequences, chance)


def _associative(length: int, sequences: int, chance: np.random.Generator) -> RecallSet:
    inputs = chance.integers(FILLERS, size=(sequences, length))
    targets = np.full((sequences, length), -1)
    distances = np.empty(sequences, dtype=np.int64)
    third = length // 3
    for i in range(sequences):
        keys = FILLERS + chance.choice(KEYS, PAIRS, replace=False)
        values = FILLERS + KEYS + chance.integers(VALUES, size=PAIRS)
        shown = 2 * chance.choice(third // 2, PAIRS, replace=False)
        asked = length - 1 - chance.choice(third, third // 2, replace=False)
        which = chance.integers(PAIRS, size=len(asked))
        inputs[i, shown], inputs[i, shown + 1] = keys, values
        inputs[i, asked], targets[i, asked] = keys[which], values[which]
        distances[i] = (asked - shown[which]).min()
    return RecallSet(inputs, targets, np.zeros(sequences, dtype=np.int64), distances)


def _needles(length: int, sequences: int, chance: np.random.Generator) -> RecallSet:
    first_letter, first_digit = 2 + FILLERS, 2 + FILLERS + LETTERS
    kinds = np.arange(sequences) % len(NEEDLES)
    inputs = np.empty((sequences, length), dtype=np.int64)
    targets = np.full((sequences, length), -1)
    distances = np.empty(sequences, dtype=np.int64)
    for i, kind in enumerate(kinds):
        words = 2 + (np.arange(length) % 8 if kind == 0 else chance.integers(FILLERS, size=length))
        if kind == 2:
            words = np.where(chance.random(length) < 0.3, first_letter + chance.integers(LETTERS, size=length), words)
        letters = KEY_LETTERS if kind == 2 else 1
        key = first_letter + chance.integers(LETTERS, size=letters)
        answer = first_digit + chance.integers(DIGITS, size=ANSWER_DIGITS)
        needle, question = np.array([_NEEDLE, *key, *answer]), np.array([_ASK, *key, *answer[:-1]])
        begins = length - len(question)
        place = chance.integers(begins - length // 4 - len(needle) + 1)
        words[place : place + len(needle)], words[begins:] = needle, question
        inputs[i], targets[i, -ANSWER_DIGITS:] = words, answer
        distances[i] = length - ANSWER_DIGITS - (place + 1 + letters)
    return RecallSet(inputs, targets, kinds, distances)


def _motifs(length: int, sequences: int, chance: np.random.Generator) -> RecallSet:
    inputs = 0.1 * chance.standard_normal((sequences, length))
    targets = np.full((sequences, length), np.nan)
    distances = np.empty(sequences, dtype=np.int64)
    whole, begins = CUE + MOTIF, length - CUE - MOTIF
    for i in range(sequences):
        pieces = chance.standard_normal((MOTIFS, whole))
        slots = (begins - length // 4) // whole
        places = whole * chance.choice(slots, MOTIFS, replace=False)
        for place, piece in zip(places, pieces, strict=True):
            inputs[i, place : place + whole] = piece
        asked = chance.integers(MOTIFS)
        inputs[i, begins:] = pieces[asked]
        targets[i, -MOTIF - 1 : -1] = pieces[asked, CUE:]  # the next step, at every step from the cue's last on
        distances[i] = begins - places[asked]
    kinds = np.zeros(sequences, dtype=np.int64)
    return RecallSet(inputs[..., None].astype(np.float32), targets.astype(np.float32), kinds, distances)
