"""Observe what a network's memories write, or silence a part of it, for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from titans_ts.backbones.stack import require_memory
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.written import Observation

Seen = TypeVar("Seen")


@contextmanager
def observed(network: nn.Module, look: Callable[[Observation], Seen]) -> Iterator[list[list[Seen]]]:
    """Collect what ``look`` returns of every piece written inside the block: a list a memory, in the order of layers."""
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
    """Collect the surprise ``(layers of the store, b, h, tokens)`` of every piece, as :func:`observed` does."""
    return observed(network, lambda written: written.surprise)


@contextmanager
def silenced(network: nn.Module) -> Iterator[None]:
    """Let every memory return zeros inside the block; a network without a memory is refused."""
    require_memory(network, to_be="silenced")
    with silent(network, (nn.Module,)):
        yield


@contextmanager
def silent(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[None]:
    """Let the modules of some kinds that can be silent return zeros inside the block."""
    memories: list[Any] = [module for module in network.modules() if isinstance(module, kinds) and hasattr(module, "silent")]
    for memory in memories:
        memory.silent = True
    try:
        yield
    finally:
        for memory in memories:
            memory.silent = False
