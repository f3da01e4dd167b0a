"""Answers about whole sequences: what the tokens say together, how often each short word occurs, which base stands where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from titans_ts.dna.bases import Codes, N, reverse_complement
from titans_ts.dna.strands import BASES, reverse_in_place
from titans_ts.learn.fitting import Examples
from titans_ts.learn.losses import Objective, sequence_loss
from titans_ts.learn.two_paths import SilentLinear

WORDS_AT_ONCE = 65_536
"""Places at which words are counted in one go; bounds what a long sequence holds and changes no count."""


class WordPath(nn.Module):
    """A linear function of how often each word of a few bases occurs: the floor that a memory must improve on.

    Words with an N are not counted. What is counted is ``sum_t prod_i strand[word_i, t + i]``, which is linear in each
    base, so that gradients say what every possible base would have done.

    Parameters
    ----------
    outputs : int
        Numbers answered.
    sizes : sequence of int
        Lengths of words; none leaves a constant.

    Examples
    --------
    >>> from titans_ts.dna.strands import one_hot
    >>> path = WordPath(1, sizes=(1,))
    >>> path.densities(one_hot(torch.tensor([[0, 0, 3, 4]])), torch.tensor([4])).tolist()
    [[0.5, 0.0, 0.0, 0.25]]
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
                halves = _words(part, 0, size // 2, size), _words(part, size // 2, size, size)
                counted = counted + torch.einsum("bit,bjt->bij", *halves).flatten(1)
            found.append(counted / (lengths[:, None] - size + 1).clamp_min(1))
        return torch.cat(found, dim=1) if found else strand.new_zeros(len(strand), 0)

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, 4, t)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.densities(strand, lengths))
        return answers


class PlacePath(nn.Module):
    """A linear function of which base stands where, counted from the start and from the end.

    Parameters
    ----------
    outputs : int
        Numbers answered.
    from_start, from_end : int
        Places counted; a place that a sequence does not reach says nothing.

    Examples
    --------
    >>> from titans_ts.dna.strands import one_hot
    >>> path = PlacePath(1, from_start=1, from_end=1)
    >>> path.indicators(one_hot(torch.tensor([[0, 2, 4]])), torch.tensor([2])).tolist()  # A first, G last
    [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(self, outputs: int, *, from_start: int, from_end: int) -> None:
        super().__init__()
        self.from_start, self.from_end = from_start, from_end
        self.output = SilentLinear(BASES * (from_start + from_end), outputs, bias=False)

    def indicators(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Return the bases of each place, ``(b, 4 (from_start + from_end))``, the four of a place side by side."""
        found = []
        for x, count in ((strand, self.from_start), (reverse_in_place(strand, lengths), self.from_end)):
            part = F.pad(x[..., :count], (0, max(count - x.shape[-1], 0)))
            found.append(part.transpose(1, 2).flatten(1))
        return torch.cat(found, dim=1)

    def forward(self, strand: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, 4, t)`` to ``(b, outputs)``."""
        answers: Tensor = self.output(self.indicators(strand, lengths))
        return answers


def _words(strand: Tensor, first: int, end: int, size: int) -> Tensor:
    """Return products over the bases ``first`` to ``end`` of every window, ``(b, 4 ** (end - first), windows)``."""
    windows = strand.shape[-1] - size + 1
    found = strand.new_ones(len(strand), 1, windows)
    for i in range(first, end):
        found = torch.einsum("bit,bjt->bijt", found, strand[..., i : i + windows]).flatten(1, 2)
    return found


STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""Inverse strengths of the penalty that validation chooses from, weakest last; the search ends where it stops helping."""

MOST_PLACES = 512
"""Bases of sequences of one length whose places count, at most; of others a quarter of it at either end."""


def word_densities(codes: Sequence[Codes], sizes: Sequence[int], *, both_strands: bool = False) -> Any:
    """Return the share of places at which each word stands, as :class:`titans_ts.dna.paths.WordPath` counts it.

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
    """Return which base stands where, as :class:`titans_ts.dna.paths.PlacePath` sees it.

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

    def install(self, network: Any) -> None:
        """Make this the linear path of a :class:`titans_ts.dna.network.SequenceNetwork`."""
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
    training: Examples,
    validation: Examples | None,
    objective: Objective,
    *,
    sizes: Sequence[int],
    symmetric: bool,
) -> LinearPath:
    """Fit linear models of words, of one strand or of both, without places and with them, and return the best.

    Parameters
    ----------
    training, validation : Examples
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
