"""The direct path of an estimator of numeric sequences: ridge regression on values by their step, or on shares of kernels.

Which of them, and how strong the penalty is, leaving one sequence out at a time decides, so that none has to be spared for
it; the same left-out answers say how sure of itself a classifier may be, and how good the path is where it was not fitted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import RidgeCV
from torch import Tensor

from titans_ts.blocks.scale import Scale
from titans_ts.learn.batches import batches_by_length
from titans_ts.learn.losses import Objective, sequence_loss
from titans_ts.learn.supervised import Labelled
from titans_ts.windows.containers import as_windows, common_scale
from titans_ts.windows.kernels import KERNELS, SUMMARIES, KernelShares, dilations, summary

PENALTIES = tuple(np.logspace(-3, 5, 17))
MOST_FEATURES = 2_500
MOST_NUMBERS = 40_000_000
"""Sequences times features, at most: fewer thresholds where there are many sequences."""
FEW_THRESHOLDS = 2
"""Of a kernel, where there are channels to choose from."""
LEARNED_FROM = 512
"""Sequences that thresholds are taken from, at most."""
LEAST_SPREAD = 1e-3
"""Of a feature that is told from rounding: sequences that were standardised one by one all have the same level."""
SUREST = 50.0


class KernelPath(NamedTuple):
    """A fitted direct path.

    Attributes
    ----------
    scale : Scale
        What sequences are standardised by.
    steps : int
        Steps whose values it sees.
    shares : KernelShares
        What it sees of shapes.
    coefficients, intercept : ndarray
        ``(outputs, features)`` and ``(outputs,)``.
    held_out : ndarray
        ``(n, outputs)``: what it says of each training sequence without having seen that one.
    loss : float
        Of those.
    """

    scale: Scale
    steps: int
    shares: KernelShares
    coefficients: NDArray[np.float64]
    intercept: NDArray[np.float64]
    held_out: NDArray[np.float64]
    loss: float

    def install(self, network: Any) -> None:
        """Make this a network's linear path."""
        with torch.no_grad():
            network.level.copy_(self.scale.level)
            network.spread.copy_(self.scale.spread)
            network.shares.load_state_dict(self.shares.state_dict())
            network.linear.weight.copy_(torch.from_numpy(self.coefficients))
            network.linear.bias.copy_(torch.from_numpy(self.intercept))


def fit_kernel_path(known: Labelled, objective: Objective, outputs: int, *, seed: int) -> KernelPath:
    """Fit ridge regression to values, to shares of kernels and to both, and return what is best on what was left out.

    Level, spread and ends of a sequence are always seen.
    """
    chance = np.random.default_rng(seed)
    scale = common_scale(known.items)
    lengths, channels = [len(one) for one in known.items], known.items[0].shape[1]
    shares = _learned_shares(known.items, scale, chance)
    summaries, described = _described(known.items, scale, shares)
    shapes = np.hstack([summaries, described])
    views: list[tuple[int, KernelShares, NDArray[np.float64]]] = [(0, shares, shapes)]
    if len(set(lengths)) == 1 and lengths[0] * channels <= MOST_FEATURES:
        values = _values(known.items, scale)
        silent = KernelShares(channels, dilations=(), thresholds=1)
        views = [(lengths[0], silent, np.hstack([values, summaries])), *views]
        views += [(lengths[0], shares, np.hstack([values, shapes]))]
    found = []
    for steps, kernels, features in views:
        coefficients, intercept, held_out, loss = _ridge(features, known, objective, outputs)
        found.append(KernelPath(scale, steps, kernels, coefficients, intercept, held_out, loss))
    return min(found, key=lambda path: path.loss)


def _learned_shares(items: list[NDArray[np.float64]], scale: Scale, chance: np.random.Generator) -> KernelShares:
    """Return kernels for sequences of usual length, their thresholds taken from some of them."""
    channels = items[0].shape[1]
    kinds = dilations(int(np.median([len(one) for one in items])))
    most = min(MOST_FEATURES, MOST_NUMBERS // len(items)) // KERNELS
    if channels > 1:  # other channels are worth more than other thresholds
        kinds *= max(most // (len(kinds) * FEW_THRESHOLDS), 1)
    shares = KernelShares(channels, dilations=kinds, thresholds=max(most // len(kinds), 1)).double()
    some = chance.permutation(len(items))[:LEARNED_FROM]
    inputs, lengths = _batch([items[i] for i in some], scale)
    shares.learn(inputs, lengths, chance)
    return shares


def _batch(items: list[NDArray[np.float64]], scale: Scale) -> tuple[Tensor, Tensor]:
    """Return standardised values ``(b, c, t)``, without the mask of what is missing."""
    inputs, lengths = as_windows(items, scale, device=torch.device("cpu"), dtype=torch.float64)
    return inputs[:, : items[0].shape[1]], lengths


@torch.no_grad()
def _described(
    items: list[NDArray[np.float64]], scale: Scale, shares: KernelShares
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the summary of each sequence, and its shares of kernels."""
    found = np.zeros((len(items), SUMMARIES * items[0].shape[1])), np.zeros((len(items), shares.features))
    for places in batches_by_length([len(one) for one in items], 256):
        batch = _batch([items[i] for i in places], scale)
        found[0][places], found[1][places] = summary(*batch).numpy(), shares(*batch).numpy()
    return found


def _values(items: list[NDArray[np.float64]], scale: Scale) -> NDArray[np.float64]:
    inputs, _ = _batch(items, scale)
    found: NDArray[np.float64] = inputs.flatten(1).numpy()
    return found


def _ridge(
    features: NDArray[np.float64], known: Labelled, objective: Objective, outputs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Return coefficients, intercepts, what is said of sequences that were left out, and the loss of that."""
    spread = features.std(0)
    scale = np.where(spread > LEAST_SPREAD, spread, np.inf)  # what never varies has no say
    targets = _as_numbers(known.targets, objective, outputs)
    model = RidgeCV(PENALTIES, scoring="neg_mean_squared_error", store_cv_results=True)
    model.fit(features / scale, targets, sample_weight=known.weights)
    left_out = model.cv_results_.reshape(len(targets), targets.shape[1], len(PENALTIES))[..., PENALTIES.index(model.alpha_)]
    sureness = 1.0 if objective == "numbers" else _sureness(left_out, known, objective)
    coefficients = sureness * np.atleast_2d(model.coef_) / scale
    intercept = sureness * np.atleast_1d(model.intercept_)
    return coefficients, intercept, sureness * left_out, _loss(sureness * left_out, known, objective)


def _as_numbers(targets: np.ndarray, objective: Objective, outputs: int) -> NDArray[np.float64]:
    """Return what ridge regression is to meet, ``(n, outputs)``: classes as -1 and 1."""
    if objective == "numbers":
        return targets
    if objective == "binary":
        return 2.0 * targets[:, None] - 1
    return 2.0 * np.eye(outputs)[targets] - 1


def _loss(answers: NDArray[np.float64], known: Labelled, objective: Objective) -> float:
    losses = sequence_loss(objective, torch.from_numpy(answers), torch.from_numpy(known.targets))
    return float(np.average(losses.numpy(), weights=known.weights))


def _sureness(answers: NDArray[np.float64], known: Labelled, objective: Objective) -> float:
    """Return the factor that turns answers into log-odds, with the least loss on sequences that were left out.

    As if each class had been met once more where the answer is wrong: a few sequences told apart without a mistake do not
    make a model certain (Platt 1999).
    """
    outputs = answers.shape[1]
    wrong = -np.eye(outputs) if objective == "classes" else np.array([[-1.0], [1.0]])
    truth = np.arange(outputs) if objective == "classes" else np.array([1, 0])
    more = Labelled(
        [],
        np.concatenate([known.targets, truth]),
        np.concatenate([known.weights, np.full(len(truth), known.weights.mean())]),
    )
    said = np.concatenate([answers, wrong])
    found = minimize_scalar(
        lambda log: _loss(np.exp(log) * said, more, objective), bounds=(np.log(1e-2), np.log(SUREST)), method="bounded"
    )
    return float(np.exp(found.x))
