"""One step after another: now and then an evaluation, a report to whoever asked, and an end before the last if need be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
