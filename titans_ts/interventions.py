"""A network watched, or with a part of it silenced, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from titans_ts.backbones.stack import require_memory
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.networks.forecast import ForecastNetwork


@contextmanager
def observed_writes(network: nn.Module) -> Iterator[list[list[Tensor]]]:
    """Collect the surprise of everything that is written inside the block: a list of pieces for each memory."""
    memories = [module for module in network.modules() if isinstance(module, NeuralMemory)]
    seen: list[list[Tensor]] = [[] for _ in memories]
    for memory, pieces in zip(memories, seen, strict=True):
        memory.observer = pieces.append
    try:
        yield seen
    finally:
        for memory in memories:
            memory.observer = None


@contextmanager
def silenced(network: nn.Module) -> Iterator[None]:
    """Let every memory return zeros inside the block: what a network is worth without its memory, if it has one."""
    require_memory(network, to_be="silenced")
    handles = [
        module.register_forward_hook(lambda _module, _inputs, out: (torch.zeros_like(out[0]), out[1]))
        for module in network.modules()
        if isinstance(module, NeuralMemory)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def direct_only(network: ForecastNetwork) -> Iterator[None]:
    """Leave the memory's correction out inside the block: the direct linear path as it was trained beside it."""
    handle = network.head.register_forward_hook(lambda _module, _inputs, out: torch.zeros_like(out))
    try:
        yield
    finally:
        handle.remove()
