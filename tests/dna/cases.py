"""Small DNA networks whose every part does something, and sequences to read."""

from collections.abc import Sequence

import numpy as np
import torch
from memory.cases import shaken

from titans_ts.backbones.config import BackboneConfig
from titans_ts.dna.bases import Codes, N
from titans_ts.dna.language import LanguageConfig, LanguageNetwork
from titans_ts.dna.network import SequenceConfig, SequenceNetwork

BACKBONE = {
    "width": 8, "heads": 2, "layers": 1, "refresh_every": 4, "window": 6, "persistent_tokens": 2, "convolution": 3,
}  # fmt: skip


def random_codes(length: int, *, seed: int = 0, uncertain: float = 0.0) -> Codes:
    """Return bases by chance, some of them N."""
    chance = np.random.default_rng(seed)
    codes = chance.integers(0, 4, length, dtype=np.uint8)
    return np.where(chance.random(length) < uncertain, np.uint8(N), codes)


def recurring_codes(length: int, *, seed: int = 0, period: int = 40, noise: float = 0.05) -> Codes:
    """Return a stretch again and again, with errors: contexts of every length come back."""
    chance = np.random.default_rng(seed)
    codes = np.resize(chance.integers(0, 4, period, dtype=np.uint8), length)
    return np.where(chance.random(length) < noise, chance.integers(0, 4, length), codes).astype(np.uint8)


def make_sequence_network(variant: str = "mac", *, layers: int = 1, **settings: object) -> SequenceNetwork:
    """Return a float64 network of two outputs in evaluation mode, of which linear path and memory speak about alike."""
    torch.manual_seed(0)
    sizes = {"outputs": 2, "word_sizes": (1, 2, 3), "kernel": 5, "patch_length": 4, "places": (3, 2), **settings}
    config = SequenceConfig(**sizes, backbone=BackboneConfig(variant, **{**BACKBONE, "layers": layers}))
    network = shaken(SequenceNetwork(config))
    network.share.fill_(0.6)
    return network


def make_language_network(
    variant: str = "mac", *, learned: Sequence[Codes] = (), layers: int = 1, **settings: object
) -> LanguageNetwork:
    """Return a float64 network in evaluation mode that has counted some records."""
    torch.manual_seed(0)
    settings = {"orders": (1, 2, 5, 16), **settings}
    config = LanguageConfig(**settings, backbone=BackboneConfig(variant, **{**BACKBONE, "layers": layers}))
    network = shaken(LanguageNetwork(config))
    network.direct.learn(learned or [recurring_codes(300)])
    return network


def as_batch(codes: Sequence[Codes], *, beyond: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes ``(b, t)``, N past the ends and ``beyond`` bases more, and their lengths."""
    longest = max(map(len, codes)) + beyond
    rows = [np.concatenate([one, np.full(longest - len(one), N, np.uint8)]) for one in codes]
    return torch.from_numpy(np.stack(rows)), torch.tensor([len(one) for one in codes])
