"""Small networks of numeric sequences whose every part does something, and sequences to read."""

import numpy as np
import torch
from dna.cases import BACKBONE
from memory.cases import shaken

from titans_ts.backbones.config import BackboneConfig
from titans_ts.windows.network import WindowConfig, WindowNetwork
from titans_ts.windows.reader import ReaderConfig, ReaderNetwork

LENGTHS = (41, 1, 26, 3, 40)


def wandering(lengths=LENGTHS, channels=2, *, missing=0.1, seed=0):
    """Return sequences ``(t, c)`` on a level of their own, with gaps."""
    chance = np.random.default_rng(seed)
    found = [10 + chance.normal(size=(length, channels)).cumsum(0) for length in lengths]
    for one in found:
        one[chance.random(one.shape) < missing] = np.nan
    return found


def make_window_network(variant: str = "mac", *, layers: int = 1, **settings: object) -> WindowNetwork:
    """Return a float64 network of two outputs in evaluation mode, of which both paths speak, on a scale of its own."""
    torch.manual_seed(0)
    sizes = {
        "outputs": 2, "channels": 2, "steps": 5, "dilations": (1, 3), "thresholds": 2, "kernel": 5, "patch_length": 4,
        **settings,
    }  # fmt: skip
    config = WindowConfig(**sizes, backbone=BackboneConfig(variant, **{**BACKBONE, "layers": layers}))
    network = shaken(WindowNetwork(config))
    network.level += 9
    network.spread *= 1.5
    values, lengths = network.batch(wandering(channels=config.channels, seed=7))
    network.shares.learn(values[:, : config.channels], lengths, np.random.default_rng(0))
    network.share.fill_(0.6)
    return network


def make_reader(variant: str = "mac", *, layers: int = 1, **settings: object) -> ReaderNetwork:
    """Return a float64 reader in evaluation mode, on a scale of its own."""
    torch.manual_seed(0)
    backbone = BackboneConfig(variant, **{**BACKBONE, "layers": layers})
    network = shaken(ReaderNetwork(ReaderConfig(**{"channels": 2, "patch_length": 4, **settings}, backbone=backbone)))
    network.level += 9
    network.spread *= 1.5
    return network
