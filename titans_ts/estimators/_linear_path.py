"""The direct path of a DNA estimator: scikit-learn's linear models of words and places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from titans_ts.bases import Codes, N, reverse_complement
from titans_ts.estimators._supervised import Labelled
from titans_ts.heads.losses import Objective, sequence_loss
from titans_ts.networks.sequence import SequenceNetwork

STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""Inverse strengths of the penalty that validation chooses from, weakest last; the search ends where it stops helping."""

MOST_PLACES = 512
"""Bases of sequences of one length whose places count, at most; of others a quarter of it at either end."""


def word_densities(codes: Sequence[Codes], sizes: Sequence[int], *, both_strands: bool = False) -> Any:
    """Return the share of places at which each word stands, as :class:`titans_ts.heads.sequence.WordPath` counts it.

    Parameters
    ----------
    codes : sequence of ndarray (t,)
        Bases.
    sizes : sequence of int
        Lengths of words.
    both_strands : bool, default=False
        Whether to average over a sequence and its reverse complement.

    Returns
    -------
    scipy.sparse.csr_array (n, words)
        Words with an N are not counted.

    Examples
    --------
    >>> word_densities([np.array([0, 0, 3, 4], np.uint8)], (1,)).toarray().tolist()
    [[0.5, 0.0, 0.0, 0.25]]
    """
    if both_strands:
        there, back = (word_densities(x, sizes) for x in (codes, [reverse_complement(one) for one in codes]))
        return (there + back) / 2
    lengths = np.array([len(one) for one in codes])
    joined = np.concatenate([np.append(one, np.uint8(N)) for one in codes]).astype(np.int64)  # no word crosses an N
    owner = np.repeat(np.arange(len(codes)), lengths + 1)
    blocks = []
    for size in sizes:
        windows = max(len(joined) - size + 1, 0)
        word, whole = np.zeros(windows, np.int64), np.ones(windows, bool)
        for i in range(size):
            base = joined[i : i + windows]
            word, whole = 4 * word + base, whole & (base < N)
        rows = owner[:windows][whole]
        share = 1.0 / np.maximum(lengths - size + 1, 1)[rows]
        blocks.append(sparse.coo_array((share, (rows, word[whole])), shape=(len(codes), 4**size)).tocsr())
    return sparse.hstack(blocks, format="csr") if blocks else sparse.csr_array((len(codes), 0))


def place_indicators(codes: Sequence[Codes], places: tuple[int, int], *, both_strands: bool = False) -> Any:
    """Return which base stands where, as :class:`titans_ts.heads.sequence.PlacePath` sees it.

    Parameters
    ----------
    codes : sequence of ndarray (t,)
        Bases.
    places : tuple of int
        Places from the start, and from the end.
    both_strands : bool, default=False
        Whether to average over a sequence and its reverse complement.

    Returns
    -------
    scipy.sparse.csr_array (n, 4 places)

    Examples
    --------
    >>> place_indicators([np.array([0, 2], np.uint8)], (1, 1)).toarray().tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    if both_strands:
        there, back = (place_indicators(x, places) for x in (codes, [reverse_complement(one) for one in codes]))
        return (there + back) / 2
    blocks = []
    for count, way in zip(places, (1, -1), strict=True):
        table = np.full((len(codes), count), N, np.uint8)
        for row, one in zip(table, codes, strict=True):
            part = one[::way][:count]
            row[: len(part)] = part
        rows, where = np.nonzero(table < N)
        cells = (np.ones(len(rows)), (rows, N * where + table[rows, where]))
        blocks.append(sparse.coo_array(cells, shape=(len(codes), N * count)).tocsr())
    return sparse.hstack(blocks, format="csr")


def usual_places(codes: Sequence[Codes]) -> tuple[int, int]:
    """Return how many places from the start and from the end a direct path should see.

    All, from the start, where sequences are of one length and lie over one another; else those near either end.

    Examples
    --------
    >>> usual_places([np.zeros(70, np.uint8)] * 2), usual_places([np.zeros(70, np.uint8), np.zeros(30, np.uint8)])
    ((70, 0), (30, 30))
    """
    lengths = [len(one) for one in codes]
    if min(lengths) == max(lengths) <= MOST_PLACES:
        return lengths[0], 0
    near = min(int(np.median(lengths)), min(lengths), MOST_PLACES // 4)
    return near, near


class LinearModel:
    """A penalised linear model of words and places, its penalty chosen on validation.

    Parameters
    ----------
    objective : {"binary", "classes", "numbers"}
        What is asked.

    Attributes
    ----------
    error, strength : float
        Least loss on validation, infinite without one, and the inverse strength of the penalty that gave it.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def fit(self, X: Any, targets: np.ndarray, weights: np.ndarray, validation: tuple[Any, ...] | None) -> LinearModel:
        """Fit to densities; ``validation`` holds the same three of what chooses the penalty."""
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
        """Return ``(n, outputs)`` for densities."""
        found: np.ndarray = X @ self.coefficients + self.intercept
        return found

    def install(self, network: SequenceNetwork) -> None:
        """Make this a network's linear path."""
        with torch.no_grad():
            words = network.words.output.in_features
            network.words.output.weight.copy_(torch.from_numpy(self.coefficients[:words].T))
            network.places.output.weight.copy_(torch.from_numpy(self.coefficients[words:].T))
            network.words.output.bias.copy_(torch.from_numpy(self.intercept))

    def _fit(self, X: Any, targets: np.ndarray, weights: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients ``(words, outputs)`` on densities, and intercepts."""
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


class LinearPath(NamedTuple):
    """A fitted direct path, and what it sees.

    Attributes
    ----------
    model : LinearModel
        Fitted.
    words_of_both : bool
        Whether it counts the words of both strands.
    places : tuple of int
        Places from the start and from the end at which it sees single bases.
    """

    model: LinearModel
    words_of_both: bool
    places: tuple[int, int]


def fit_linear_path(
    training: Labelled,
    validation: Labelled | None,
    objective: Objective,
    *,
    sizes: Sequence[int],
    symmetric: bool,
) -> LinearPath:
    """Fit linear models of words, of one strand or of both, without places and with them, and return the best.

    Parameters
    ----------
    training, validation : Labelled
        What is fitted, and what decides; without the latter no places are seen.
    objective : {"binary", "classes", "numbers"}
        What is asked.
    sizes : sequence of int
        Lengths of words.
    symmetric : bool
        Whether training knows no difference between strands: then everything is seen on both.
    """
    parts = [training] if validation is None else [training, validation]
    kinds: tuple[bool, ...] = (symmetric,) if symmetric or validation is None else (False, True)
    sights = ((0, 0),) if validation is None else ((0, 0), usual_places(training.items))
    words = {both: [word_densities(part.items, sizes, both_strands=both) for part in parts] for both in kinds}
    found = []
    for places in sights:
        where = [place_indicators(part.items, places, both_strands=symmetric) for part in parts]
        for both, counted in words.items():
            known = [
                (sparse.hstack([X, P], format="csr"), part.targets, part.weights)
                for X, P, part in zip(counted, where, parts, strict=True)
            ]
            model = LinearModel(objective).fit(*known[0], known[1] if validation is not None else None)
            found.append(LinearPath(model, both, places))
    return min(found, key=lambda path: path.model.error)
