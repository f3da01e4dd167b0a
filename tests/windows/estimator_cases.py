"""Small estimators of numeric sequences whose memory counts, and sequences to read."""

import numpy as np
import torch

from titans_ts import TitansAnomalyDetector, TitansClassifier, TitansEmbedder, TitansRegressor

BACKBONE = {
    "layers": 1, "width": 8, "heads": 2, "memory_depth": 2, "window": 6, "refresh_every": 4, "persistent_tokens": 2,
}  # fmt: skip
TRAINING = {
    "max_steps": 2, "learning_rate": 2e-3, "batch_size": 16, "validation_fraction": 0.1, "patience": 10, "dropout": 0.1,
    "random_state": 0,
}  # fmt: skip
FORETOLD = {**BACKBONE, **TRAINING, "patch_length": 4}
SUPERVISED = {**FORETOLD, "kernel": 5, "caution": 1.0}


def rhythms(n=40, length=24, periods=(6.0, 9.0), *, noise=0.3, seed=0):
    """Return windows ``(n, t)`` of sines that begin anywhere, and which of the periods each has, in turn."""
    chance = np.random.default_rng(seed)
    which = np.arange(n) % len(periods)
    turns = np.arange(length) / np.array(periods)[which, None] + chance.random((n, 1))
    return 5 + np.sin(2 * np.pi * turns) + noise * chance.normal(size=(n, length)), which


TABLE, CLASSES = rhythms()
LABELS = np.where(CLASSES == 1, "slow", "fast")
NUMBERS = 10 + 3 * TABLE[:, -8:].mean(1)
OTHERS = [
    np.full((1, 1), 5.0),
    np.full((30, 1), np.nan),
    np.full((17, 1), 4.0),
    *[row[: 24 - 5 * i, None] for i, row in enumerate(rhythms(4, seed=1)[0])],
    rhythms(1, 150, seed=2)[0].T,
    np.where(np.arange(40) % 7 == 0, np.nan, rhythms(1, 40, seed=3)[0][0])[:, None],
]
"""Sequences of other lengths than those learned from: one step, nothing measured, a constant, and some with gaps."""

KINDS = {
    "classifier": (TitansClassifier, SUPERVISED, LABELS, "decision_function"),
    "regressor": (TitansRegressor, SUPERVISED, NUMBERS, "predict"),
    "embedder": (TitansEmbedder, FORETOLD, None, "transform"),
    "detector": (TitansAnomalyDetector, FORETOLD, None, "score_samples"),
}
"""Each estimator with small arguments, what it learns from beside TABLE, and the question that says most."""


def unfitted(kind, **arguments):
    estimator, settings, _, _ = KINDS[kind]
    return estimator(**{**settings, **arguments})


def beside(kind, n=40):
    """Return what is learned from beside the first n windows, as arguments."""
    y = KINDS[kind][2]
    return () if y is None else (np.resize(y, n),)


def fitted(kind, X=TABLE, *y, **arguments):
    """Fit in no time, and let the memory's word count."""
    return loosen(unfitted(kind, **arguments).fit(X, *(y or beside(kind, len(X)))))


def ask(model, X):
    """Put the question of an estimator's kind."""
    (question,) = [question for estimator, _, _, question in KINDS.values() if isinstance(model, estimator)]
    return getattr(model, question)(X)


def loosen(estimator, share=0.5):
    """Let the memory's word count: a head that starts at zero would hide every fault of it."""
    chance = torch.Generator().manual_seed(3)
    network = estimator.network_
    if hasattr(network, "head"):
        with torch.no_grad():
            for x in network.head.parameters():
                x += 0.3 * torch.randn(x.shape, generator=chance).to(x)
            network.share.fill_(share)
            network.balance.copy_(torch.tensor([0.0, 1.0]))
    return estimator


def close(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def weights(estimator):
    """Return a copy of all that was learned, by name."""
    return {name: x.clone() for name, x in estimator.network_.state_dict().items()}


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def interrupt(_run, _report):
    """End training as a person would."""
    raise KeyboardInterrupt
