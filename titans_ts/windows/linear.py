"""The linear path of an estimator of numeric sequences: ridge regression on values by their step, or on shares of kernels.

Leave-one-out errors choose between them and set the penalty, so that no sequence has to be held out. The same left-out
answers say how sure of itself a classifier may be, and how good the path is where it was not fitted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from titans_ts.blocks.scale import Scale
from titans_ts.learn.batches import batches_by_length
from titans_ts.learn.fitting import Examples
from titans_ts.learn.two_paths import Objective, sequence_loss
from titans_ts.windows.containers import batch_of_windows, common_scale
from titans_ts.windows.kernels import KERNELS, SUMMARIES, KernelShares, dilations, summary

PENALTIES = tuple(np.logspace(-3, 5, 17))
MOST_FEATURES = 2_500
MOST_NUMBERS = 40_000_000  # sequences times features: fewer thresholds where there are many sequences
FEW_THRESHOLDS = 2  # of a kernel, where there are channels to choose from
LEARNED_FROM = 512  # sequences that thresholds are taken from, at most
LEAST_SPREAD = 1e-3  # of a feature; less is rounding: sequences standardised one by one all have the same level
SUREST = 50.0


class KernelPath(NamedTuple):
    """A fitted linear path."""

    scale: Scale  # what sequences are standardised by
    steps: int  # whose values it sees
    shares: KernelShares  # what it sees of shapes
    coefficients: NDArray[np.float64]  # outputs, features
    intercept: NDArray[np.float64]  # outputs
    held_out: NDArray[np.float64]  # n, outputs: its answer to each training sequence without having seen that one
    loss: float  # of those answers

    def install(self, network: Any) -> None:
        """Make this a network's linear path."""
        with torch.no_grad():
            network.level.copy_(self.scale.level)
            network.spread.copy_(self.scale.spread)
            network.shares.load_state_dict(self.shares.state_dict())
            network.linear.weight.copy_(torch.from_numpy(self.coefficients))
            network.linear.bias.copy_(torch.from_numpy(self.intercept))


def fit_kernel_path(known: Examples, objective: Objective, outputs: int, *, seed: int) -> KernelPath:
    """Fit ridge regression to values, to shares of kernels and to both; return the one with the least leave-one-out loss.

    Level, spread and ends of a sequence are always seen.
    """
    chance = np.random.default_rng(seed)
    scale = common_scale(known.items)
    lengths, channels = [len(one) for one in known.items], known.items[0].shape[1]
    shares = _learned_shares(known.items, scale, chance)
    summaries, shapes = _summaries_and_shares(known.items, scale, shares)
    views = [(0, shares, np.hstack([summaries, shapes]))]
    if len(set(lengths)) == 1 and lengths[0] * channels <= MOST_FEATURES:
        values = _batch(known.items, scale)[0].flatten(1).numpy()
        none = KernelShares(channels, dilations=(), thresholds=1)
        views.insert(0, (lengths[0], none, np.hstack([values, summaries])))
        views.append((lengths[0], shares, np.hstack([values, summaries, shapes])))
    paths = [KernelPath(scale, steps, seen, *_ridge(x, known, objective, outputs)) for steps, seen, x in views]
    return min(paths, key=lambda path: path.loss)


def _learned_shares(items: list[NDArray[np.float64]], scale: Scale, chance: np.random.Generator) -> KernelShares:
    """Return kernels for sequences of median length, their thresholds taken from some of the sequences."""
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
    inputs, lengths = batch_of_windows(items, scale, device=torch.device("cpu"), dtype=torch.float64)
    return inputs[:, : items[0].shape[1]], lengths


@torch.no_grad()
def _summaries_and_shares(
    items: list[NDArray[np.float64]], scale: Scale, shares: KernelShares
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the summary of each sequence ``(n, 6 c)``, and its shares of kernels ``(n, features)``."""
    found = np.zeros((len(items), SUMMARIES * items[0].shape[1])), np.zeros((len(items), shares.features))
    for places in batches_by_length([len(one) for one in items], 256):
        batch = _batch([items[i] for i in places], scale)
        found[0][places], found[1][places] = summary(*batch).numpy(), shares(*batch).numpy()
    return found


def _ridge(
    features: NDArray[np.float64], known: Examples, objective: Objective, outputs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Return coefficients, intercepts, the answers to sequences that were left out, and their loss."""
    from sklearn.linear_model import RidgeCV  # a tenth of the time of an import of the classifier

    spread = features.std(0)
    scale = np.where(spread > LEAST_SPREAD, spread, np.inf)  # what never varies does not count
    targets = _as_numbers(known.targets, objective, outputs)
    model = RidgeCV(PENALTIES, scoring="neg_mean_squared_error", store_cv_results=True)
    model.fit(features / scale, targets, sample_weight=known.weights)
    left_out = model.cv_results_.reshape(len(targets), targets.shape[1], len(PENALTIES))[..., PENALTIES.index(model.alpha_)]
    sureness = 1.0 if objective == "numbers" else _sureness(left_out, known, objective)
    coefficients = sureness * np.atleast_2d(model.coef_) / scale
    intercept = sureness * np.atleast_1d(model.intercept_)
    return coefficients, intercept, sureness * left_out, _loss(sureness * left_out, known, objective)


def _as_numbers(targets: np.ndarray, objective: Objective, outputs: int) -> NDArray[np.float64]:
    """Return the targets of ridge regression, ``(n, outputs)``: classes as -1 and 1."""
    if objective == "numbers":
        return targets
    if objective == "binary":
        return 2.0 * targets[:, None] - 1
    return 2.0 * np.eye(outputs)[targets] - 1


def _loss(answers: NDArray[np.float64], known: Examples, objective: Objective) -> float:
    """Return the weighted mean loss of answers ``(n, outputs)``."""
    losses = sequence_loss(objective, torch.from_numpy(answers), torch.from_numpy(known.targets))
    return float(np.average(losses.numpy(), weights=known.weights))


def _sureness(answers: NDArray[np.float64], known: Examples, objective: Objective) -> float:
    """Return the factor with the least loss that turns left-out answers into log-odds.

    One more sequence of each class, answered wrongly, is counted in: a few sequences told apart without a mistake do not
    make a model certain (Platt 1999).
    """
    outputs = answers.shape[1]
    wrong = -np.eye(outputs) if objective == "classes" else np.array([[-1.0], [1.0]])
    truth = np.arange(outputs) if objective == "classes" else np.array([1, 0])
    more = Examples(
        [],
        np.concatenate([known.targets, truth]),
        np.concatenate([known.weights, np.full(len(truth), known.weights.mean())]),
    )
    all_answers = np.concatenate([answers, wrong])
    found = minimize_scalar(
        lambda log: _loss(np.exp(log) * all_answers, more, objective),
        bounds=(np.log(1e-2), np.log(SUREST)),
        method="bounded",
    )
    return float(np.exp(found.x))
