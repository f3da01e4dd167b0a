"""The linear path of a DNA network: how often each short word occurs, and which base stands where.

The modules are what a network holds; a linear model fitted to the same numbers, counted sparsely, gives their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from titans_ts.dna.bases import BASES, Codes, N, reverse_complement, words
from titans_ts.dna.strands import reverse_each
from titans_ts.learn.fitting import Examples
from titans_ts.learn.two_paths import Objective, SilentLinear, sequence_loss

WORDS_AT_ONCE = 65_536
"""Places at which words are counted in one go; bounds what a long sequence holds and changes no count."""

STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""Inverse strengths of the penalty that validation chooses from, weakest last; the search ends where it stops helping."""

MOST_PLACES = 512
"""Bases of sequences of one length whose places count, at most; of others a quarter of it at either end."""


class WordPath(nn.Module):
    """A linear function of how often each word of a few bases occurs, words with an N aside.

    A count is ``sum_t prod_i strand[word_i, t + i]``, which is linear in each base, so gradients say what every base would
    have done. Without ``sizes``, the lengths of words, it is a constant.
    """

    def __init__(self, outputs: int, *, sizes: Sequence[int] = (3, 4, 5, 6)) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.output = SilentLinear(sum(4**size for size in self.sizes), outputs)

    def densities(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return the share of places at which each word stands, ``(b, words)``, words of one size side by side."""
        found = []
        for size in self.sizes:
            counted = strand.new_zeros(len(strand), 4**size)
            for first in range(0, strand.shape[-1] - size + 1, WORDS_AT_ONCE):
                part = strand[..., first : first + WORDS_AT_ONCE + size - 1]
                halves = _products(part, 0, size // 2, size), _products(part, size // 2, size, size)
                counted = counted + torch.einsum("bit,bjt->bij", *halves).flatten(1)
            found.append(counted / (lengths[:, None] - size + 1).clamp_min(1))
        return torch.cat(found, dim=1) if found else strand.new_zeros(len(strand), 0)

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, 4, t)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.densities(strand, lengths))
        return answers


class PlacePath(nn.Module):
    """A linear function of which base stands at so many places from the start, and from the end; none past the other end."""

    def __init__(self, outputs: int, *, from_start: int, from_end: int) -> None:
        super().__init__()
        self.from_start, self.from_end = from_start, from_end
        self.output = SilentLinear(BASES * (from_start + from_end), outputs, bias=False)

    def indicators(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return the bases of each place, ``(b, 4 (from_start + from_end))``, the four of a place side by side."""
        found = []
        for x, count in ((strand, self.from_start), (reverse_each(strand, lengths), self.from_end)):
            part = F.pad(x[..., :count], (0, max(count - x.shape[-1], 0)))
            found.append(part.transpose(1, 2).flatten(1))
        return torch.cat(found, dim=1)

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, 4, t)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.indicators(strand, lengths))
        return answers


def _products(strand: Tensor, first: int, end: int, size: int) -> Tensor:
    """Return products over the bases ``first`` to ``end`` of every window, ``(b, 4 ** (end - first), windows)``."""
    windows = strand.shape[-1] - size + 1
    found = strand.new_ones(len(strand), 1, windows)
    for i in range(first, end):
        found = torch.einsum("bit,bjt->bijt", found, strand[..., i : i + windows]).flatten(1, 2)
    return found


class LinearPath:
    """A penalised linear model of words, on one strand or both, and single bases at ``places`` from start and end.

    ``error`` is the least loss on validation, infinite without one; ``strength`` the inverse penalty that gave it.
    """

    def __init__(self, objective: Objective, *, words_of_both: bool = False, places: tuple[int, int] = (0, 0)) -> None:
        self.objective, self.words_of_both, self.places = objective, words_of_both, places

    def fit(self, X: Any, targets: np.ndarray, weights: np.ndarray, validation: tuple[Any, ...] | None) -> LinearPath:
        """Fit to ``(n, features)``; ``validation`` holds the same three of what chooses the penalty."""
        spread = np.sqrt(np.maximum(X.multiply(X).mean(0) - np.square(X.mean(0)), 0))
        most = np.abs(X).max(0).toarray().ravel() if X.shape[1] else np.zeros(0)
        self.scale = 1 / np.where(spread > 1e-6 * most, spread, np.inf)  # what never varies has no say
        self.error, self.strength = np.inf, STRENGTHS[len(STRENGTHS) // 2]
        if validation is not None:
            asked, *truth = validation
            for strength in STRENGTHS:
                self.coefficients, self.intercept = self._fit(X, targets, weights, strength)
                error = self._error(self.answers(asked), *truth)
                if error >= self.error:
                    break
                self.error, self.strength = error, strength
        self.coefficients, self.intercept = self._fit(X, targets, weights, self.strength)
        return self

    def answers(self, X: Any) -> np.ndarray:
        """Return ``(n, outputs)`` for ``(n, features)``."""
        found: np.ndarray = X @ self.coefficients + self.intercept
        return found

    def install(self, words: WordPath, places: PlacePath) -> None:
        """Make this the linear path of a network."""
        with torch.no_grad():
            count = words.output.in_features
            words.output.weight.copy_(torch.from_numpy(self.coefficients[:count].T))
            places.output.weight.copy_(torch.from_numpy(self.coefficients[count:].T))
            words.output.bias.copy_(torch.from_numpy(self.intercept))

    def _fit(self, X: Any, targets: np.ndarray, weights: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients ``(features, outputs)``, and intercepts."""
        if not X.shape[1]:
            return np.zeros((0, self._outputs(targets))), self._constant(targets, weights)
        scaled = X.multiply(self.scale).tocsr()
        if self.objective == "numbers":
            model: Any = Ridge(alpha=1 / strength).fit(scaled, targets, sample_weight=weights)
        else:
            model = LogisticRegression(C=strength, max_iter=300).fit(scaled, targets, sample_weight=weights)
        coefficients = np.atleast_2d(model.coef_).T * self.scale[:, None]
        return coefficients, np.broadcast_to(model.intercept_, coefficients.shape[1]).astype(float)

    def _outputs(self, targets: np.ndarray) -> int:
        if self.objective == "numbers":
            return int(targets.shape[1])
        return 1 if self.objective == "binary" else int(targets.max()) + 1

    def _constant(self, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the best answer without seeing anything, ``(outputs,)``."""
        if self.objective == "numbers":
            return np.average(targets, axis=0, weights=weights)
        shares = np.log(np.bincount(targets, weights=weights) + 0.5)
        return shares[1:] - shares[:1] if self.objective == "binary" else shares

    def _error(self, answers: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        losses = sequence_loss(self.objective, torch.from_numpy(answers), torch.from_numpy(targets))
        return float(np.average(losses.numpy(), weights=weights))


def fit_linear_path(
    training: Examples,
    validation: Examples | None,
    objective: Objective,
    *,
    sizes: Sequence[int],
    symmetric: bool,
) -> LinearPath:
    """Fit linear models of words, of one strand or both (both if ``symmetric``), without and with places; return the best.

    Validation decides; without it no places are seen.
    """
    parts = [training] if validation is None else [training, validation]
    kinds: tuple[bool, ...] = (symmetric,) if symmetric or validation is None else (False, True)
    sights = ((0, 0),) if validation is None else ((0, 0), usual_places(training.items))
    counts = {both: [word_densities(part.items, sizes, both_strands=both) for part in parts] for both in kinds}
    found = []
    for places in sights:
        seen = [place_indicators(part.items, places, both_strands=symmetric) for part in parts]
        for both, counted in counts.items():
            known = [
                (sparse.hstack([X, P], format="csr"), part.targets, part.weights)
                for X, P, part in zip(counted, seen, parts, strict=True)
            ]
            path = LinearPath(objective, words_of_both=both, places=places)
            found.append(path.fit(*known[0], known[1] if validation is not None else None))
    return min(found, key=lambda path: path.error)


def word_densities(codes: Sequence[Codes], sizes: Sequence[int], *, both_strands: bool = False) -> Any:
    """Return the share of places at which each word stands, sparse ``(n, words)``, as `WordPath` counts it."""
    if both_strands:
        return _mean_over_strands(word_densities, codes, sizes)
    lengths = np.array([len(one) for one in codes])
    joined = np.concatenate([np.append(one, np.uint8(N)) for one in codes])  # no word crosses an N
    owner = np.repeat(np.arange(len(codes)), lengths + 1)
    blocks = []
    for size in sizes:
        word, whole = words(joined, size)
        rows = owner[: len(word)][whole]
        share = 1.0 / np.maximum(lengths - size + 1, 1)[rows]
        blocks.append(sparse.coo_array((share, (rows, word[whole])), shape=(len(codes), 4**size)).tocsr())
    return sparse.hstack(blocks, format="csr") if blocks else sparse.csr_array((len(codes), 0))


def place_indicators(codes: Sequence[Codes], places: tuple[int, int], *, both_strands: bool = False) -> Any:
    """Return which base stands where, sparse ``(n, 4 places)``, as `PlacePath` sees it."""
    if both_strands:
        return _mean_over_strands(place_indicators, codes, places)
    blocks = []
    for count, way in zip(places, (1, -1), strict=True):
        table = np.full((len(codes), count), N, np.uint8)
        for row, one in zip(table, codes, strict=True):
            part = one[::way][:count]
            row[: len(part)] = part
        rows, where = np.nonzero(table < N)
        cells = (np.ones(len(rows)), (rows, BASES * where + table[rows, where]))
        blocks.append(sparse.coo_array(cells, shape=(len(codes), BASES * count)).tocsr())
    return sparse.hstack(blocks, format="csr")


def _mean_over_strands(features: Callable[..., Any], codes: Sequence[Codes], what: Any) -> Any:
    return (features(codes, what) + features([reverse_complement(one) for one in codes], what)) / 2


def usual_places(codes: Sequence[Codes]) -> tuple[int, int]:
    """Return how many places from start and from end to see: all where lengths agree, else those near either end."""
    lengths = [len(one) for one in codes]
    if min(lengths) == max(lengths) <= MOST_PLACES:
        return lengths[0], 0
    near = min(int(np.median(lengths)), min(lengths), MOST_PLACES // 4)
    return near, near
