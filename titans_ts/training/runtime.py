"""Where and how training computes: device, number format, chance that leaves the global generators alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float64")


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device that a name stands for; ``"auto"`` takes CUDA where there is one.

    Raises
    ------
    ValueError
        If torch does not know the name, or has no such device.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device={device!r} cannot be used here: {error}; use 'auto' or 'cpu'") from None
    return chosen


def number_type(precision: str) -> torch.dtype:
    """Return the type of the parameters: float64 when asked for, else float32.

    Raises
    ------
    ValueError
        If the precision is not known.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    return torch.float64 if precision == "float64" else torch.float32


def mixed_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a step computes.

    ``"auto"`` uses bfloat16 products on CUDA and float32 elsewhere: at the widths of these models CPU products are too
    small to gain. The memory itself always computes in float32 or better.
    """
    wanted = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else nullcontext()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's global generators seeded, and put them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
