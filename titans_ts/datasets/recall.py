"""Recall tasks made to order: the answer stands once, far back in the sequence, so that only memory can give it.

There are four: multi-query associative recall (arXiv 2312.04927), RULER's needles in a haystack (2404.06654), one or
several, and the first of these for a series of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from titans_ts.datasets.series import Seed

Task = Literal["associative", "needle", "multikey", "motif"]
TASKS: tuple[Task, ...] = ("associative", "needle", "multikey", "motif")
NEEDLES = ("pass-key", "number", "word")

FILLERS, KEYS, VALUES, LETTERS, DIGITS = 16, 32, 32, 16, 10
PAIRS, KEY_LETTERS, ANSWER_DIGITS = 8, 4, 4
MULTIKEYS = 4  # needles of one sequence of "multikey"
CUE, MOTIF, MOTIFS = 8, 8, 2  # steps of a cue, steps of the motif that follows it, and such pairs in a series
_NEEDLE, _ASK = 0, 1  # marks of the needle and of the question
_FIRST_LETTER = 2 + FILLERS
VOCABULARY: dict[Task, int] = {
    "associative": FILLERS + KEYS + VALUES,
    "needle": 2 + FILLERS + LETTERS + DIGITS,
    "multikey": 2 + FILLERS + LETTERS + DIGITS,
    "motif": 0,
}
SHORTEST = 64
NEAREST = CUE + MOTIF  # least `distance`: a motif that stands right before its question


@dataclass(frozen=True)
class RecallSet:
    """Sequences and what is asked of them: tokens of int64, or for ``"motif"`` numbers of float32."""

    inputs: NDArray[np.generic]  # (n, t), or (n, t, 1) for "motif"
    targets: NDArray[np.generic]  # (n, t), the answer at each token; -1 (NaN) where nothing is asked
    kinds: NDArray[np.int64]  # (n,), which of NEEDLES a sequence holds; 0 for the other tasks
    distances: NDArray[np.int64]  # (n,), fewest steps from what was seen to the first question about it


def make_recall(
    task: Task, *, length: int = 128, sequences: int = 32, distance: int | None = None, random_state: Seed = 0
) -> RecallSet:
    """Make sequences that ask for what they said long before.

    Only a memory that reaches back that far can answer, so scores at growing lengths tell how long a memory holds. To teach
    one, begin with a small ``distance`` and let it grow: a curriculum.

    Parameters
    ----------
    task : {"associative", "needle", "multikey", "motif"}
        ``"associative"``: the first third holds 8 keys, each followed by its value. Half of the last third are keys again,
        and their values are asked. ``"needle"``: a marked key and a number of 4 digits stand anywhere but in the last
        quarter, and the number is asked at the end. The haystack is one sentence again and again (pass-key), random words
        (number), or random words that share letters with a key of 4 letters (word). ``"multikey"``: four marked keys, each
        with its number, stand among random words, and one number is asked. ``"motif"``: in a noisy series two cues of 8
        steps are each followed by a motif of 8 steps. At the end one cue comes again, and its motif is asked.
    length : int, default=128
        Tokens t, at least 64.
    sequences : int, default=32
        How many, n, at least 1.
    distance : int or None, default=None
        Most steps between what is seen and a question about it, from 16 to ``length``. Pairs and questions of
        ``"associative"`` then stand anywhere, and a question is about any of the pairs that stand so near before it. In the
        other tasks distances are uniform, from the shortest possible up to it. With None the answer stands far back, as
        above.
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
        If the task is unknown, or the length, the number of sequences or the distance is out of its range.

    Examples
    --------
    >>> made = make_recall("associative", length=96, sequences=2)
    >>> int((made.targets[0] >= 0).sum()), bool(made.distances.min() >= 32)
    (16, True)
    >>> bool(make_recall("needle", distance=20).distances.max() <= 20)
    True
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not known; choose one of {', '.join(TASKS)}")
    if length < SHORTEST:
        raise ValueError(f"length must be {SHORTEST} tokens or more, for the answer to stand far back; got {length}")
    if sequences < 1:
        raise ValueError(f"sequences must be 1 or more, got {sequences}")
    if distance is not None and not NEAREST <= distance <= length:
        raise ValueError(f"distance must be from {NEAREST} to length={length} steps, or None; got {distance}")
    chance = np.random.default_rng(random_state)
    if task == "associative":
        return _far_pairs(length, sequences, chance) if distance is None else _pairs(length, sequences, distance, chance)
    make = {"needle": _needles, "multikey": _multikeys, "motif": _motifs}[task]
    return make(length, sequences, distance, chance)


def _some(of: int, count: int, sequences: int, chance: np.random.Generator) -> NDArray[np.int64]:
    """Return ``(n, count)`` different numbers below ``of`` for each sequence, in an order of chance."""
    return chance.random((sequences, of)).argsort(axis=1)[:, :count]


def _put(into: NDArray[np.generic], places: NDArray[np.int64], pieces: NDArray[np.generic]) -> None:
    """Write pieces ``(n, m, width)`` into ``(n, t)``, each from its place ``(n, m)`` on."""
    spots = places[..., None] + np.arange(pieces.shape[-1])
    into[np.arange(len(into))[:, None, None], spots] = pieces


def _dictionary(sequences: int, chance: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return keys and values ``(n, pairs)``."""
    keys = FILLERS + _some(KEYS, PAIRS, sequences, chance)
    return keys, FILLERS + KEYS + chance.integers(VALUES, size=keys.shape)


def _far_pairs(length: int, sequences: int, chance: np.random.Generator) -> RecallSet:
    """Return sequences with pairs in their first third and questions in their last."""
    third = length // 3
    inputs = chance.integers(FILLERS, size=(sequences, length))
    keys, values = _dictionary(sequences, chance)
    shown = 2 * _some(third // 2, PAIRS, sequences, chance)
    asked = length - 1 - _some(third, third // 2, sequences, chance)
    return _asking(inputs, keys, values, shown, asked, chance.integers(PAIRS, size=asked.shape))


def _pairs(length: int, sequences: int, distance: int, chance: np.random.Generator) -> RecallSet:
    """Return sequences with pairs anywhere, and questions at a share of all other tokens about a pair not long before."""
    inputs = chance.integers(FILLERS, size=(sequences, length))
    keys, values = _dictionary(sequences, chance)
    cells = _some(length // 2, length // 2, sequences, chance)  # of two tokens each
    shown, free = 2 * cells[:, :PAIRS], 2 * cells[:, PAIRS:]
    asked = free[:, : free.shape[1] // 2] + chance.integers(2, size=(sequences, free.shape[1] // 2))
    apart = asked[..., None] - shown[:, None]  # (n, questions, pairs)
    near = (apart > 0) & (apart <= distance)
    which = np.where(near, chance.random(near.shape), -1).argmax(axis=2)
    return _asking(inputs, keys, values, shown, np.where(near.any(axis=2), asked, -1), which)


def _asking(
    inputs: NDArray[np.int64],
    keys: NDArray[np.int64],
    values: NDArray[np.int64],
    shown: NDArray[np.int64],
    asked: NDArray[np.int64],
    which: NDArray[np.int64],
) -> RecallSet:
    """Return sequences with pairs where they are shown, and questions about some where they are asked (-1: nowhere)."""
    _put(inputs, shown, np.stack([keys, values], axis=2))
    targets = np.full(inputs.shape, -1)
    row, question = np.nonzero(asked >= 0)
    there = row, asked[row, question]
    about = row, which[row, question]
    inputs[there], targets[there] = keys[about], values[about]
    apart = np.where(asked >= 0, asked - np.take_along_axis(shown, which, axis=1), inputs.shape[1])
    return RecallSet(inputs, targets, np.zeros(len(inputs), dtype=np.int64), apart.min(axis=1))


def _places(
    length: int, question: int, width: int, pieces: int, sequences: int, distance: int | None, chance: np.random.Generator
) -> NDArray[np.int64]:
    """Return where pieces of a width stand before the question at the end, ``(n, pieces)``; the first one is asked for."""
    begins = length - question
    nearest, most = (width + length // 4, begins) if distance is None else (width, min(distance, begins))
    step = width if pieces > 1 else 1
    first = chance.integers((most - nearest) // step + 1, size=(sequences, 1))
    others = _some((begins - nearest) // step, pieces - 1, sequences, chance)
    return begins - nearest - step * np.concatenate([first, others + (others >= first)], axis=1)


def _needles(length: int, sequences: int, distance: int | None, chance: np.random.Generator) -> RecallSet:
    kinds = np.arange(sequences) % len(NEEDLES)
    words = 2 + chance.integers(FILLERS, size=(sequences, length))
    words[kinds == 0] = 2 + np.arange(length) % 8
    letters = np.where(chance.random(words.shape) < 0.3, _FIRST_LETTER + chance.integers(LETTERS, size=words.shape), words)
    words[kinds == 2] = letters[kinds == 2]
    targets, distances = np.full(words.shape, -1), np.empty(sequences, dtype=np.int64)
    for kind in range(min(len(NEEDLES), sequences)):
        here = slice(kind, None, len(NEEDLES))
        keys = chance.integers(LETTERS, size=(len(words[here]), 1, KEY_LETTERS if kind == 2 else 1))
        distances[here] = _hide(keys, words[here], targets[here], distance, chance)
    return RecallSet(words, targets, kinds, distances)


def _multikeys(length: int, sequences: int, distance: int | None, chance: np.random.Generator) -> RecallSet:
    words = 2 + chance.integers(FILLERS, size=(sequences, length))
    targets = np.full(words.shape, -1)
    distances = _hide(_some(LETTERS, MULTIKEYS, sequences, chance)[..., None], words, targets, distance, chance)
    return RecallSet(words, targets, np.zeros(sequences, dtype=np.int64), distances)


def _hide(
    keys: NDArray[np.int64],
    words: NDArray[np.int64],
    targets: NDArray[np.int64],
    distance: int | None,
    chance: np.random.Generator,
) -> NDArray[np.int64]:
    """Write needles with keys ``(n, needles, letters)`` into words ``(n, t)``, ask for the first; return distances."""
    sequences, needles, letters = keys.shape
    question = letters + ANSWER_DIGITS  # a mark, the key, and all digits but the last
    keys = _FIRST_LETTER + keys
    numbers = _FIRST_LETTER + LETTERS + chance.integers(DIGITS, size=(sequences, needles, ANSWER_DIGITS))
    places = _places(words.shape[1], question, question + 1, needles, sequences, distance, chance)
    mark = np.full((sequences, needles, 1), _NEEDLE)
    _put(words, places, np.concatenate([mark, keys, numbers], axis=2))
    words[:, -question:] = np.concatenate([mark[:, 0] - _NEEDLE + _ASK, keys[:, 0], numbers[:, 0, :-1]], axis=1)
    targets[:, -ANSWER_DIGITS:] = numbers[:, 0]
    return words.shape[1] - question - 1 - places[:, 0]


def _motifs(length: int, sequences: int, distance: int | None, chance: np.random.Generator) -> RecallSet:
    inputs = 0.1 * chance.standard_normal((sequences, length))
    targets = np.full((sequences, length), np.nan)
    whole = CUE + MOTIF
    pieces = chance.standard_normal((sequences, MOTIFS, whole))
    places = _places(length, whole, whole, MOTIFS, sequences, distance, chance)
    _put(inputs, places, pieces)
    inputs[:, -whole:] = pieces[:, 0]
    targets[:, -MOTIF - 1 : -1] = pieces[:, 0, CUE:]  # the next step, at every step from the cue's last on
    distances = length - whole - places[:, 0]
    kinds = np.zeros(sequences, dtype=np.int64)
    return RecallSet(inputs[..., None].astype(np.float32), targets.astype(np.float32), kinds, distances)
