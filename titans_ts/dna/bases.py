"""The letters of DNA as numbers: A 0, C 1, G 2, T (and U) 3; N and every other letter of uncertainty 4.

One byte a base, one alphabet for the whole library. Lower case (soft-masked repeats) counts as upper case.

>>> encode("ACGTn").tolist(), decode(reverse_complement(encode("AACG")))
([0, 1, 2, 3, 4], 'CGTT')
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]

LETTERS = "ACGTN"
BASES = 4
"""Codes below it are bases."""
N = 4
UNCERTAIN = "NRYSWKMBDHV"  # IUPAC, NC-IUB 1984: any base, or one of two or three
_NO_BASE = 255
_PROTEIN = "EFILPQZXJO*"


def _code_of_byte() -> Codes:
    table = np.full(256, _NO_BASE, dtype=np.uint8)
    for letters, codes in (("ACGT", range(4)), ("U", [3]), (UNCERTAIN, [N] * len(UNCERTAIN))):
        for letter, code in zip(letters, codes, strict=True):
            table[ord(letter)] = table[ord(letter.lower())] = code
    return table


_CODE_OF_BYTE = _code_of_byte()
_LETTER_OF_CODE = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, N], dtype=np.uint8)


def encode(text: str, *, name: str = "sequence", start_0based: int = 0) -> Codes:
    """Turn letters into codes ``(t,)``, by one look-up a letter.

    IUPAC letters of either case: ``ACGTU``, and ``NRYSWKMBDHV``, which all become N. Anything else is refused: a gap, a
    digit, white space, a letter of protein. The message says ``name``, the letter and its position, counted from 1, where
    the text begins at ``start_0based`` of its record.

    >>> encode("acguR").tolist()
    [0, 1, 2, 3, 4]
    >>> encode("ACG-T", name="chr1")
    Traceback (most recent call last):
    ValueError: chr1: '-' at position 4 (counted from 1) is no letter of DNA; remove the gaps of an alignment first
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} is {type(text).__name__}; expected a str of DNA letters")
    if not text:
        raise ValueError(f"{name} is empty; expected at least one base: drop it")
    codes = _CODE_OF_BYTE[np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)]
    if codes.max() == _NO_BASE:
        place = int(codes.argmax())
        raise ValueError(
            f"{name}: {text[place]!r} at position {start_0based + place + 1} (counted from 1) is no letter of DNA; "
            f"{_remedy(text[place])}"
        )
    return codes


def decode(codes: Codes) -> str:
    """Turn codes ``(t,)`` back into the letters ``ACGTN``.

    Lower case, U and other letters of uncertainty than N do not come back.

    >>> decode(encode("acgut"))
    'ACGTT'
    """
    codes = _checked(codes)
    if codes.ndim != 1:
        raise ValueError(f"codes have shape {codes.shape}; expected one sequence (t,): decode them one by one")
    return _LETTER_OF_CODE[codes].tobytes().decode("ascii")


def reverse_complement(codes: Codes) -> Codes:
    """Read ``(..., t)`` from the other strand: the complement of each base, back to front; N stays N.

    >>> decode(reverse_complement(encode("ACCNT")))
    'ANGGT'
    """
    return _COMPLEMENT[_checked(codes)[..., ::-1]]


def words(codes: NDArray[Any], size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the number of the word at every place of ``(t,)``, in base 4, and whether it holds no N.

    >>> [part.tolist() for part in words(encode("AACTN"), 2)]
    [[0, 1, 7, 16], [True, True, True, False]]
    """
    places = max(len(codes) - size + 1, 0)
    word, whole = np.zeros(places, np.int64), np.ones(places, bool)
    for i in range(size):
        base = codes[i : i + places]
        word, whole = BASES * word + base, whole & (base < N)
    return word, whole


def _checked(codes: Codes) -> Codes:
    """Return the codes as an array, refusing what are none."""
    codes = np.asarray(codes)
    if codes.dtype != np.uint8:
        raise ValueError(f"codes are of dtype {codes.dtype}; expected uint8, as `encode` gives them")
    if codes.size and codes.max() > N:
        place = [int(each) for each in np.argwhere(codes > N)[0]]
        raise ValueError(f"codes hold {int(codes[tuple(place)])} at index {place}; expected 0 to {N} ({LETTERS})")
    return codes


def _remedy(letter: str) -> str:
    """Say what to do about a letter that is none of DNA."""
    if letter in "-.~":
        return "remove the gaps of an alignment first"
    if letter.isspace() or letter.isdigit():
        return "remove white space and numbers first"
    if letter.upper() in _PROTEIN:
        return "is this protein? Write N for a base that is not known"
    return f"expected {LETTERS[:4]}, U or an IUPAC letter ({UNCERTAIN}); write N for a base that is not known"
