"""Weights with which candidate forecasts are averaged, chosen by what they made of rows that were known later."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

Array = NDArray[np.float64]

MOST_BLOCKS = 3
"""Blocks of the horizon with weights of their own, at most."""
LARGEST = 30.0
"""Sizes that one error counts for at most, so that a stream which hardly ever changes does not outweigh all others."""
FAR = 8.0
"""Errors below so many of a random walk's are never cut."""
LEAST_WEIGHT = 0.02
"""Candidates with less than this in every block are dropped."""
CAUTION = 1.0
"""How strongly weights are held near equal ones, in parts of the loss of a single stream."""
SHARPNESS = 0.02
"""Distance from 0, in sizes, below which the absolute loss is rounded."""
FOLDS = 4
"""Parts of the groups that are left out in turn, to judge ways to choose weights."""
LEAST_GROUPS = 8
"""With fewer groups nothing is judged: one set of weights is held near equal ones."""


class Mixture(NamedTuple):
    """Weights of candidates, and what they are worth."""

    weights: Tensor  # k f, at least 0, sum 1 for each step
    losses: Tensor  # k, mean absolute error of each candidate alone, in sizes
    loss: float  # that of the mixture, on groups left out where there are enough of them
    blocks: int  # of the horizon, with weights of their own; 0 where weights are equal


def farthest(steps: Tensor, season: int) -> Tensor:
    """Return the sizes that an error counts for at most at each of ``steps``, from 1: :data:`LARGEST`, or more far ahead.

    What is cut must be out of the ordinary. Errors of a random walk grow by the square root of the step: at step 720 of rows
    without a season they have 27 sizes, and if all above 30 counted alike, the worst candidate would go unseen.

    >>> farthest(torch.tensor([1, 48, 720]), 1)
    tensor([ 30.0000,  55.4256, 214.6625], dtype=torch.float64)
    """
    return (FAR * (steps.double() / season).sqrt()).clamp_min(LARGEST)


def mix(forecasts: Tensor, weights: Tensor) -> Tensor:
    """Average candidates.

    Parameters
    ----------
    forecasts : Tensor ``(..., k, f)``
        What each candidate foretells.
    weights : Tensor ``(k, f)``
        Those of a :class:`Mixture`. The horizon may be shorter than that of the weights.

    Returns
    -------
    Tensor ``(..., f)``
        Candidates of weight 0 do not count, whatever they foretell.
    """
    used = weights.amax(-1) > 0
    return (forecasts[..., used, :] * weights[used, : forecasts.shape[-1]].to(forecasts)).sum(-2)


def choose_weights(
    forecasts: Tensor,
    truths: Tensor,
    size: Tensor,
    groups: Tensor,
    *,
    most: Tensor | float = LARGEST,
    caution: float = CAUTION,
) -> Mixture:
    """Choose weights on the simplex by absolute errors of windows whose truths were not known to the candidates.

    Equal weights, one set for the whole horizon, and a set for each of at most three blocks of it are judged on groups that
    are left out in turn; the simplest counts whose loss is within a standard error of the best. Every set is drawn towards
    the simpler one, the more strongly the fewer groups there are. With fewer than eight groups one set is taken unjudged.

    Parameters
    ----------
    forecasts : Tensor ``(w, k, f)``
        What ``k`` candidates foretold in each window.
    truths : Tensor ``(w, f)``
        What came; NaN where missing.
    size : Tensor ``(w,)``
        Unit of the errors of each window, positive; windows without one (0 or NaN) do not count.
    groups : Tensor ``(w,)``
        Number of the stream of each window, or, for a single stream, of the time: windows of one group stand together, and
        groups count alike.
    most : Tensor ``(f,)`` or float
        Sizes that an error counts for at most, of each step: :func:`farthest`.
    caution : float
        How strongly few groups are held near equal weights.

    Returns
    -------
    Mixture
        Equal weights where there is nothing to choose by.
    """
    _, k, f = forecasts.shape
    scaled = ((forecasts - truths[:, None]) / size[:, None, None]).double()
    limit = torch.as_tensor(most, dtype=torch.float64)
    errors = scaled.clamp(-limit, limit).numpy()
    known = np.isfinite(errors).all(1) & (size > 0).numpy()[:, None]  # w f
    known_rows = known.any(1)
    _, group, each = np.unique(groups.numpy()[known_rows], return_inverse=True, return_counts=True)
    equal = np.full((k, f), 1 / k)
    if not len(each):
        return Mixture(torch.from_numpy(equal), torch.full((k,), float("nan"), dtype=torch.float64), float("nan"), 0)
    part = _Windows(np.where(known[:, None], errors, 0)[known_rows], known[known_rows], group, caution)
    losses = torch.from_numpy(np.array([part.losses(row).mean() for row in np.eye(k)[:, :, None].repeat(f, 2)]))
    blocks, loss = _judged(part, f)
    return Mixture(torch.from_numpy(_dropped(part, blocks)), losses, loss, blocks)


class _Windows(NamedTuple):
    """Errors in sizes, 0 where missing, of windows that belong to groups."""

    errors: Array  # w k f
    known: NDArray[np.bool_]  # w f
    group: NDArray[np.int64]  # w, from 0 on
    caution: float

    def of(self, windows: NDArray[np.bool_]) -> _Windows:
        """Return some of the windows, their groups counted from 0 on."""
        _, group = np.unique(self.group[windows], return_inverse=True)
        return _Windows(self.errors[windows], self.known[windows], group, self.caution)

    def losses(self, weights: Array) -> Array:
        """Return the mean absolute error of each group ``(g,)`` for weights ``(k, f)``."""
        missed = np.abs(np.einsum("wkf,kf->wf", self.errors, weights)).sum(1)
        return np.bincount(self.group, missed) / np.bincount(self.group, self.known.sum(1))


def _judged(part: _Windows, f: int) -> tuple[int, float]:
    """Return how many blocks have weights of their own, and the loss of that on groups left out."""
    groups = int(part.group.max()) + 1
    if groups < LEAST_GROUPS:
        return 1, float(part.losses(_solved(part, [0, 1])[1]).mean())
    fold = np.random.default_rng(0).permutation(groups) * FOLDS // groups
    ways = sorted({0, 1, min(MOST_BLOCKS, f)})
    left_out = np.zeros((len(ways), groups))
    for each in range(FOLDS):
        inside = fold[part.group] != each
        for row, weights in zip(left_out, _solved(part.of(inside), ways), strict=True):
            row[fold == each] = part.of(~inside).losses(weights)
    best = int(left_out.mean(1).argmin())
    worse = left_out - left_out[best]
    near = worse.mean(1) <= worse.std(1, ddof=1) / np.sqrt(groups)
    simplest = int(near.argmax())
    return ways[simplest], float(left_out[simplest].mean())


def _solved(part: _Windows, ways: list[int]) -> list[Array]:
    """Return the weights ``(k, f)`` of each way, the number of blocks; each is drawn to the one before."""
    _, k, f = part.errors.shape
    found = np.full((k, f), 1 / k)
    answers = []
    for blocks in ways:
        for steps in np.array_split(np.arange(f), blocks) if blocks else []:
            found = found.copy()
            found[:, steps] = _solve(part, steps, found[:, steps[0]])[:, None]
        answers.append(found)
    return answers


def _solve(part: _Windows, steps: NDArray[np.int64], prior: Array) -> Array:
    """Return weights ``(k,)`` of least loss over ``steps``, plus how far they are from the prior."""
    weight = part.known[:, steps] / np.bincount(part.group, part.known[:, steps].sum(1))[part.group].clip(1)[:, None]
    of_window = weight.ravel() > 0
    errors = part.errors[:, :, steps].transpose(0, 2, 1).reshape(-1, len(prior))[of_window]
    weight = weight.ravel()[of_window]
    if not len(weight):
        return prior
    weight = weight / weight.sum()
    scale = float(weight @ np.abs(errors @ prior))
    held = part.caution * scale / (part.group.max() + 1)

    def loss(logits: Array) -> tuple[float, Array]:
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        missed = errors @ shares
        size = np.sqrt(missed**2 + SHARPNESS**2)
        slope = (weight * missed / size) @ errors
        away = shares - prior  # slope in the logits of -sum(prior * log(shares))
        value = float(weight @ size) - held * float(prior @ np.log(np.maximum(shares, 1e-300)))
        return value, shares * (slope - shares @ slope) + held * away

    start = np.log(np.maximum(prior, 1e-3))
    logits = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def _dropped(part: _Windows, blocks: int) -> Array:
    """Return weights ``(k, f)`` of ``blocks`` blocks without candidates that hardly count."""
    _, k, f = part.errors.shape
    ways = sorted({0, min(blocks, 1), blocks})
    weights = _solved(part, ways)[-1]
    kept = weights.max(1) >= LEAST_WEIGHT
    if blocks and not kept.all():
        weights = np.zeros((k, f))
        weights[kept] = _solved(part._replace(errors=part.errors[:, kept]), ways)[-1]
    return weights
