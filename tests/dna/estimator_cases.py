"""Small DNA estimators whose memory counts, and sequences to read."""

import numpy as np
import torch

from titans_ts import DNAClassifier, DNALanguageModel, DNARegressor, make_dna_motifs
from titans_ts.dna.bases import decode, encode, reverse_complement

BACKBONE = {"width": 8, "heads": 2, "window": 6, "refresh_every": 4, "persistent_tokens": 2}
SMALL = {**BACKBONE, "word_sizes": (1, 2, 3), "kernel": 5, "patch_length": 4, "max_steps": 2, "random_state": 0}
LANGUAGE = {**BACKBONE, "context_orders": (1, 2, 5, 12), "batch_size": 4, "max_steps": 2, "random_state": 0}

SEQUENCES, CLASSES = make_dna_motifs(40, length=(15, 45), random_state=1)
LABELS = np.where(CLASSES == 1, "promoter", "other")
NUMBERS = np.array([10 + 5 * text.count("A") / len(text) for text in SEQUENCES])
OTHERS = ["ACGTTGCAACGT", "N", "a", "GGGNNCA" * 11, *make_dna_motifs(4, length=(12, 60), random_state=2)[0]]
"""Sequences of other lengths than those learned from: one base, and many more among them."""


def loosen(estimator, share=0.5):
    """Let the memory's word count: its heads start at zero, and would hide every fault of it."""
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in estimator.network_.named_parameters():
            if name.startswith("head."):
                weight += 0.3 * torch.randn(weight.shape, generator=chance).to(weight)
        for name, value in (("share", share), ("balance", torch.tensor([0.0, 1.0]))):
            if hasattr(estimator.network_, name):
                getattr(estimator.network_, name).copy_(torch.as_tensor(value))
    return estimator


def classifier(X=SEQUENCES, y=LABELS, **arguments):
    return loosen(DNAClassifier(**{**SMALL, **arguments}).fit(X, y))


def regressor(X=SEQUENCES, y=NUMBERS, **arguments):
    return loosen(DNARegressor(**{**SMALL, **arguments}).fit(X, y))


def language_model(X=SEQUENCES, **arguments):
    return loosen(DNALanguageModel(**{**LANGUAGE, **arguments}).fit(X))


def turned(sequences):
    """Return the other strand of each."""
    return [decode(reverse_complement(encode(text))) for text in sequences]


def close(found, expected, tolerance=1e-6):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def write_fasta(path, sequences, *, ends="\n"):
    """Write records 0, 1, ... and return the path."""
    path.write_bytes("".join(f">{i}{ends}{text}{ends}" for i, text in enumerate(sequences)).encode())
    return path


def weights(estimator):
    """Return all that was learned, as text."""
    return {name: x.clone() for name, x in estimator.network_.state_dict().items()}


def same_weights(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)
