"""Chance from generators of one's own: torch's global ones are neither drawn from nor seeded.

All threads share the global generators. Two fits at once would change each other's numbers through them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def seeded_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on a device; it draws what the global one would draw after ``torch.manual_seed(seed)``."""
    return torch.Generator(device).manual_seed(seed)


def drawing(seed: int) -> DrawingFrom:
    """Return the block in which a network is made: its first weights are those after ``torch.manual_seed(seed)``."""
    return DrawingFrom(seeded_generator(seed))


class DrawingFrom(TorchDispatchMode):
    """Let everything that this thread draws inside the block come from one generator: the first weights of a network.

    It looks at every operation of torch, so nothing is trained inside it. What cannot take a generator is refused.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of torch's compiler (800 modules), which torch would ask to leave this class alone."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Hand the generator to an operation that draws."""
        named = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **named)
        if all(argument.name != "generator" for argument in func._schema.arguments):
            overload = f"{func._overloadname}_generator".removeprefix("default_")
            if overload not in func.overloadpacket.overloads():
                raise RuntimeError(f"{func} draws from the global generator and can take no other; draw in another way")
            func = getattr(func.overloadpacket, overload)
        return func(*args, **{**named, "generator": self.generator})


class Dropout(nn.Dropout):
    """torch's dropout, which draws from the generator of a run of training.

    Outside a run, where somebody trains the module on their own, it draws as torch's does.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Set a share of the numbers to zero in training.

        Sixteen random bits decide about each: on a CPU they take a quarter of the time of ``bernoulli_``.
        """
        if self.generator is None or not (self.training and 0 < self.p < 1):
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        bits.random_(-(2**63), None, generator=self.generator)
        chances = min(max(round((1 - self.p) * 2**16), 1), 2**16 - 1)  # of 2 ** 16 to be kept
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) < chances - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / chances)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the generator out: a copy of the module belongs to no run."""
        return {name: x for name, x in vars(self).items() if name != "generator"}


@contextmanager
def dropping_by(generator: torch.Generator, network: nn.Module) -> Iterator[None]:
    """Let every dropout of a network draw from one generator inside the block."""
    dropouts = [module for module in network.modules() if isinstance(module, Dropout)]
    for module in dropouts:
        module.generator = generator
    try:
        yield
    finally:
        for module in dropouts:
            del module.generator
