"""A network watched, or with a part of it silenced, for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from titans_ts.backbones.stack import require_memory
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.written import Factors, Written
from titans_ts.networks.forecast import ForecastNetwork
from titans_ts.networks.recollection import Recollection

Seen = TypeVar("Seen")


@contextmanager
def observed(network: nn.Module, look: Callable[[Written], Seen]) -> Iterator[list[list[Seen]]]:
    """Collect what is seen of everything that is written inside the block: a list of pieces for each memory.

    Parameters
    ----------
    network : nn.Module
        Whatever holds memories.
    look : callable
        What to keep of a piece. All that was written would be much to keep of a long history.

    Yields
    ------
    list of list
        For each memory, in the order of the layers, what ``look`` returned of each piece, in the order of the tokens.

    Examples
    --------
    >>> memory = NeuralMemory(16, heads=2)
    >>> with observed(memory, lambda written: written.keys.shape[2]) as tokens:
    ...     _ = memory(torch.randn(3, 50, 16), memory.initial_state(3))
    >>> tokens
    [[50]]
    """
    memories = [module for module in network.modules() if isinstance(module, NeuralMemory)]
    seen: list[list[Seen]] = [[] for _ in memories]
    for memory, pieces in zip(memories, seen, strict=True):
        memory.observer = lambda written, pieces=pieces: pieces.append(look(written))
    try:
        yield seen
    finally:
        for memory in memories:
            memory.observer = None


def observed_writes(network: nn.Module) -> AbstractContextManager[list[list[Tensor]]]:
    """Collect the surprise ``(layers of the store, b, h, tokens)`` of all that is written, as :func:`observed` does."""
    return observed(network, lambda written: written.surprise)


def observed_gates(network: nn.Module) -> AbstractContextManager[list[list[Factors]]]:
    """Collect retention, step size and momentum of all that is written, as :func:`observed` does.

    They are those that the memory uses: a token and head each, as plain factors rather than logarithms.

    Examples
    --------
    >>> memory = NeuralMemory(16, heads=2, momentum=False)
    >>> with observed_gates(memory) as seen:
    ...     _ = memory(torch.randn(3, 50, 16), memory.initial_state(3))
    >>> [gates] = seen[0]
    >>> gates.retention.shape, bool((gates.retention < 1).all()), float(gates.momentum.max())
    (torch.Size([3, 2, 50]), True, 0.0)
    """
    return observed(network, Written.factors)


@contextmanager
def silenced(network: nn.Module) -> Iterator[None]:
    """Let every memory return zeros inside the block: what a network is worth without its memory, if it has one."""
    require_memory(network, to_be="silenced")
    with _silent(network, (NeuralMemory, Recollection)):
        yield


@contextmanager
def direct_only(network: ForecastNetwork) -> Iterator[None]:
    """Leave the memory's corrections out inside the block: the direct linear path as it was trained beside them."""
    handle = network.head.register_forward_hook(lambda _module, _inputs, out: torch.zeros_like(out))
    try:
        with _silent(network, (Recollection,)):
            yield
    finally:
        handle.remove()


@contextmanager
def _silent(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[None]:
    """Let the memories of some kinds return zeros inside the block."""
    memories: list[Any] = [module for module in network.modules() if isinstance(module, kinds)]
    for memory in memories:
        memory.silent = True
    try:
        yield
    finally:
        for memory in memories:
            memory.silent = False
