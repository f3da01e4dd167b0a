"""DNA made to order: sequences that carry motifs, or only the letters the motifs are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from titans_ts.datasets.arguments import typed
from titans_ts.datasets.series import Seed
from titans_ts.dna.bases import LETTERS, Codes, N, decode, encode, reverse_complement

_DRAWS, _SWAPS_PER_BASE = 20, 20


@typed
def make_dna_motifs(
    n_sequences: int = 1000,
    *,
    length: int | tuple[int, int] = 100,
    motifs: Sequence[str] = ("TATAAA", "CCAAT"),
    n_classes: int = 2,
    strands: Literal["both", "forward"] = "both",
    noise: float = 0.0,
    random_state: Seed = 0,
) -> tuple[list[str], NDArray[np.int64]]:
    """Make sequences that carry the motifs of their class at random places; counting letters does not tell the class.

    The classes from 1 on get the motifs in turn; class 0 has none. A sequence carries each motif of its class once, and
    the letters of all other motifs scattered, so that every class has the same composition. Motifs do not overlap. Before
    noise, no sequence holds a motif of another class, on either strand, not even by chance.

    Parameters
    ----------
    n_sequences : int, default=1000
        How many, at least 1; classes are as equal in size as can be, in random order.
    length : int or (int, int), default=100
        Bases of a sequence, or the shortest and the longest length, both included. All motifs must fit side by side.
    motifs : sequence of str, default=("TATAAA", "CCAAT")
        Words in A, C, G and T, at least one for each class but 0. None may lie in one of another class, on either
        strand.
    n_classes : int, default=2
        At least 2.
    strands : {"both", "forward"}, default="both"
        ``"both"`` plants half of the motifs as their reverse complement, ``"forward"`` none.
    noise : float, default=0.0
        Probability that a base, in a motif or not, is replaced by one of the three others, in [0, 1].
    random_state : int, numpy.random.Generator or None, default=0
        Seed or generator; None draws a fresh seed.

    Returns
    -------
    sequences : list of str, length n_sequences
        Letters ``ACGT``.
    labels : ndarray of int64, shape (n_sequences,)
        The class of each.

    Raises
    ------
    ValueError
        If an argument is out of range, or the motifs are too short to be kept out; the message names it.

    Examples
    --------
    >>> sequences, labels = make_dna_motifs(6, length=30, motifs=["TATAAA"], strands="forward")
    >>> ["TATAAA" in sequence for sequence in sequences] == (labels == 1).tolist()
    True
    """
    if n_sequences < 1:
        raise ValueError(f"n_sequences={n_sequences!r} must be at least 1")
    if strands not in ("both", "forward"):
        raise ValueError(f"strands={strands!r} is unknown; take 'both' or 'forward'")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise={noise!r} must be a probability, 0 to 1")
    words = _motif_codes(motifs, n_classes)
    shortest, longest = _length_range(length, sum(map(len, words)))
    rng = np.random.default_rng(random_state)
    labels = rng.permutation(np.arange(n_sequences) % n_classes).astype(np.int64)
    sequences = []
    for label in labels:
        t = int(rng.integers(shortest, longest, endpoint=True))
        codes = _sequence(words, int(label), n_classes, t, strands, rng)
        is_wrong = rng.random(t) < noise
        codes[is_wrong] = (codes[is_wrong] + rng.integers(1, N, size=int(is_wrong.sum()), dtype=np.uint8)) % N
        sequences.append(decode(codes))
    return sequences, labels


def _motif_codes(motifs: Sequence[str], n_classes: int) -> list[Codes]:
    """Return the motifs as codes, refusing what cannot tell the classes apart."""
    if n_classes < 2:
        raise ValueError(f"n_classes={n_classes!r} must be at least 2")
    if isinstance(motifs, str):
        raise ValueError(f"motifs={motifs!r} is a single str; wrap it in a list")
    if len(motifs) < n_classes - 1:
        raise ValueError(f"motifs has {len(motifs)} words for {n_classes - 1} classes that carry one; add some")
    words = [encode(motif, name=f"motifs[{i}]") for i, motif in enumerate(motifs)]
    for i, word in enumerate(words):
        if (word == N).any():
            raise ValueError(f"motifs[{i}]={motifs[i]!r} holds a letter of uncertainty; expected {LETTERS[:N]} alone")
        for j, other in enumerate(words):
            if (i - j) % (n_classes - 1) and any(each in word.tobytes() for each in _both(other)):
                raise ValueError(
                    f"motifs[{i}]={motifs[i]!r} holds motifs[{j}]={motifs[j]!r} of another class, on one strand or the "
                    "other; take another word"
                )
    return words


def _length_range(length: int | tuple[int, int], least: int) -> tuple[int, int]:
    """Return shortest and longest length, refusing one that cannot hold the motifs."""
    shortest, longest = (length, length) if isinstance(length, int) else length
    if shortest > longest:
        raise ValueError(f"length={length!r}: the shortest comes first; swap them")
    if shortest < least:
        raise ValueError(f"length={length!r} is too short: the motifs together have {least} bases")
    return shortest, longest


def _sequence(words: list[Codes], label: int, n_classes: int, t: int, strands: str, rng: np.random.Generator) -> Codes:
    """Return one sequence of t codes: its own motifs in a background that holds none of the others."""
    owner = [1 + i % (n_classes - 1) for i in range(len(words))]
    foreign = [each for word, own in zip(words, owner, strict=True) if own != label for each in _both(word)]
    for _ in range(_DRAWS):
        turned = [reverse_complement(word) if strands == "both" and rng.random() < 0.5 else word for word in words]
        own = [word for word, home in zip(turned, owner, strict=True) if home == label]
        scattered = [word for word, home in zip(turned, owner, strict=True) if home != label]
        free = rng.integers(0, N, size=t - sum(map(len, words)), dtype=np.uint8)
        background = rng.permutation(np.concatenate([free, *scattered]))
        codes, is_motif = _plant(own, background, rng)
        if _cleared(codes, is_motif, foreign, rng):
            return codes
    raise ValueError(
        f"motifs cannot be kept out of {t} random bases, {decode(min(words, key=len))!r} least; take longer ones"
    )


def _plant(own: list[Codes], background: Codes, rng: np.random.Generator) -> tuple[Codes, NDArray[np.bool_]]:
    """Return the background with the motifs set into it, all places alike, and where they are."""
    own = [own[i] for i in rng.permutation(len(own))]
    n_places = len(background) + len(own)
    cuts = np.sort(rng.choice(n_places, size=len(own), replace=False)) - np.arange(len(own))
    parts, marks, before = [], [], 0
    for cut, word in zip(cuts, own, strict=True):
        parts += [background[before:cut], word]
        marks += [np.zeros(cut - before, dtype=bool), np.ones(len(word), dtype=bool)]
        before = cut
    parts.append(background[before:])
    marks.append(np.zeros(len(background) - before, dtype=bool))
    return np.concatenate(parts), np.concatenate(marks)


def _cleared(codes: Codes, is_motif: NDArray[np.bool_], foreign: list[bytes], rng: np.random.Generator) -> bool:
    """Swap bases of the background, in place, until no foreign motif is left; say whether that came to be."""
    free = np.flatnonzero(~is_motif)
    for _ in range(_SWAPS_PER_BASE * len(codes)):
        text = codes.tobytes()
        place, word = min(((text.find(each), each) for each in foreign if each in text), default=(-1, b""))
        if place < 0:
            return True
        movable = place + np.flatnonzero(~is_motif[place : place + len(word)])
        if not len(movable):  # two motifs that touch have made a third
            return False
        a, b = rng.choice(movable), rng.choice(free)
        codes[[a, b]] = codes[[b, a]]
    return False


def _both(word: Codes) -> tuple[bytes, bytes]:
    """Return both strands of a word, to be searched for."""
    return word.tobytes(), reverse_complement(word).tobytes()
