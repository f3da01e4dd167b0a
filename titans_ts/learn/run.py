"""One step after another: now and then an evaluation, a report to whoever asked, and an end before the last if need be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True)
class Report:
    """What a callback is told after every step.

    Attributes
    ----------
    step, steps : int
        Steps done, and at most.
    loss : float
        Of this step.
    validation : float or None
        Loss of an evaluation made after this step.
    """

    step: int
    steps: int
    loss: float
    validation: float | None


def announce_step(run: Any, label: str) -> None:
    """Tell those callbacks of a run that have a ``before_step`` that one begins."""
    for callback in run.callbacks:
        if hasattr(callback, "before_step"):
            callback.before_step(run, label)


def take_steps(
    run: Any,
    steps: int,
    train_step: Callable[[int], float],
    validate: Callable[[int], float] | None,
    *,
    label: str,
) -> None:
    """Train until the last step, the end of patience, or a callback's word.

    Parameters
    ----------
    run : SupervisedTraining or LanguageTraining
        With ``config``, ``best``, ``history``, ``callbacks`` and ``verbose``.
    steps : int
        At most.
    train_step : callable
        Takes the step of a number counted from 0; returns its loss.
    validate : callable or None
        Notes the weights of a step and returns their loss on validation.
    label : str
        What is trained, for the progress bar.
    """
    progress = tqdm(range(steps), desc=label, disable=run.verbose < 1, unit="step", leave=False)
    with progress:
        for step in progress:
            announce_step(run, label)
            loss = train_step(step)
            due = (step + 1) % run.config.evaluate_every == 0 or step + 1 == steps
            error = validate(step + 1) if due and validate is not None else None
            report = Report(step + 1, steps, loss, error)
            if error is not None:
                progress.set_postfix(validation=f"{error:.4f}", best=f"{run.best.error:.4f}")
                run.history.append(report)
            halted = [bool(callback(run, report)) for callback in run.callbacks]
            if any(halted) or run.best.waited >= run.config.patience:
                break


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


def learning_rate_factor(step: int, total: int, *, warm_up: int = 20) -> float:
    """Return the factor on the learning rate at a step, counted from 0.

    References
    ----------
    arXiv 1608.03983.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 100, warm_up=10), 2) for step in (0, 9, 50, 99)]
    [0.1, 0.98, 0.5, 0.0]
    """
    warmed = min(1.0, (step + 1) / max(warm_up, 1))
    return warmed * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))


@dataclass
class BestWeights:
    """Remember the weights with the least validation error.

    Parameters
    ----------
    patience : int
        Evaluations without a better error before training should stop.

    Examples
    --------
    >>> best = BestWeights(patience=2)
    >>> layer = nn.Linear(1, 1)
    >>> [best.see(error, step, layer) for step, error in enumerate([1.0, 0.5, 0.6, 0.7])]
    [False, False, False, True]
    >>> best.error, best.step
    (0.5, 1)
    """

    patience: int
    error: float = float("inf")
    step: int = -1
    waited: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, error: float, step: int, network: nn.Module) -> bool:
        """Note an evaluation; returns whether patience is at its end."""
        if error < self.error:
            self.error, self.step, self.waited = error, step, 0
            self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, network: nn.Module) -> None:
        """Put the best weights back."""
        if self.weights:
            network.load_state_dict(self.weights)


def stop_after(seconds: float) -> Callable[[Any, Any], bool]:
    """Return a callback of an estimator that ends training so long after its first step."""
    end: list[float] = []

    def callback(_training: Any, _report: Any) -> bool:
        end.append(time.perf_counter() + seconds)
        return time.perf_counter() > end[0]

    return callback
