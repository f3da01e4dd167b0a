"""Streams that a linear memory reads, and what the base says of them."""

import numpy as np
import torch

LOOKBACK, HORIZON, PATCH = 24, 12, 4


def panel(streams=3, rows=400, seed=0):
    """Streams whose next rows the base forecasts by zero, though each follows an own rhythm that it cannot know."""
    generator = np.random.default_rng(seed)
    time = np.arange(rows)
    tides = [np.sin(2 * np.pi * time / generator.uniform(7, 19) + i) for i in range(streams)]
    return torch.from_numpy(np.array(tides) + 0.1 * generator.standard_normal((streams, rows)))


def boundaries(rows, patch=PATCH):
    return patch * torch.arange(1, rows.shape[1] // patch + 1)


def asked(rows, ends, horizon=HORIZON):
    """What the base says, and the unit of its errors."""
    return torch.zeros(len(rows), len(ends), horizon, dtype=torch.float64), torch.ones(len(rows), len(ends)).double()


def read_all(memory, rows, horizon=HORIZON):
    ends = boundaries(rows, memory.patch_length)
    return memory.read(rows, ends, *asked(rows, ends, horizon), memory.initial(len(rows)))
