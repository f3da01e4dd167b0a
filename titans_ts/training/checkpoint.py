"""Stop a run of training after any step and take it up again to the same bits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from titans_ts.files import read_tensors, write_tensors
from titans_ts.state import pack, unpack
from titans_ts.training.acceptance import MemoryGain
from titans_ts.training.loop import Report, Training


class Checkpoint:
    """A callback that writes the whole run to one file now and then, and takes it up again when the file is there.

    Give it to an estimator: ``TitansForecaster(callbacks=[Checkpoint("run.safetensors")])``. Fit once more after an
    interruption, with the same data and arguments, and training goes on where it was written; the numbers are those of an
    uninterrupted run.

    Parameters
    ----------
    path : str or Path
        The file. It stays when training ends; delete it to train afresh.
    every : int, default=50
        Steps between two writes; each replaces the last one whole.

    Raises
    ------
    ValueError
        On taking up, if the file belongs to another network, data or settings, or is damaged.

    Examples
    --------
    >>> Checkpoint("run.safetensors", every=10).every
    10
    """

    def __init__(self, path: str | Path, *, every: int = 50) -> None:
        self.path, self.every = Path(path), every

    def __call__(self, training: Training, report: Report) -> bool:
        """Write after every ``every`` steps and at the end of a phase."""
        if report.step % self.every == 0 or report.step == report.steps:
            write_tensors(self.path, _gather(training), {"checkpoint": _facts(training)})
        return False

    def resume(self, training: Training) -> None:
        """Put a run back to where the file left it; without a file, do nothing."""
        if not self.path.exists():
            return
        tensors, header = read_tensors(self.path)
        found = header.get("checkpoint")
        if not isinstance(found, dict) or found.get("run") != _identity(training):
            raise ValueError(
                f"checkpoint {str(self.path)!r} was written by another run (other data, network or training arguments); "
                "give Checkpoint another path, or delete the file to train afresh"
            )
        try:
            _restore(training, tensors, found)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"checkpoint {str(self.path)!r} is damaged: it lacks a part ({error}); delete the file to train afresh"
            ) from None


def _identity(training: Training) -> str:
    """Return what must agree for a run to be taken up."""
    parts = [asdict(training.network.config), asdict(training.config), training.starts]
    found = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for one in training.series:
        for x in (one.rows, one.calendar, one.past, one.future, one.static, *one.scale):
            found.update(f"{tuple(x.shape)}".encode())
            found.update(x.contiguous().numpy().data)
    return found.hexdigest()


def _facts(training: Training) -> dict[str, Any]:
    best = training.best
    return {
        "run": _identity(training),
        "phase": training.phase,
        "step": training.step,
        "stopped": training.stopped,
        "next_token": training.sampler.next_token,
        "history": [asdict(report) for report in training.history],
        "best": [best.error, best.step, best.waited],
        "gains": [None if gain is None else asdict(gain) for gain in (training.gain, training.recollection_gain)],
    }


def _gather(training: Training) -> dict[str, Tensor]:
    """Return every tensor that the rest of the run depends on."""
    found = {f"network.{name}": x for name, x in training.network.state_dict().items()}
    found |= {f"best.{name}": x for name, x in training.best.weights.items()}
    found |= {f"floor.{name}": x for name, x in training.floor.items()}
    for index, values in training.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{name}": torch.as_tensor(x) for name, x in values.items()}
    found |= pack(training.state, prefix="state")
    found["chance.torch"] = torch.get_rng_state()
    found["chance.sampler"] = training.sampler.drawn_from
    return found


def _restore(training: Training, tensors: dict[str, Tensor], found: dict[str, Any]) -> None:
    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}

    training.begin(found["phase"])
    training.network.load_state_dict(under("network."))
    training.step, training.stopped = found["step"], found["stopped"]
    training.history = [Report(**report) for report in found["history"]]
    training.floor = under("floor.")
    gains = [None if gain is None else MemoryGain(**gain) for gain in found["gains"]]
    training.gain, training.recollection_gain = gains
    training.best.weights = under("best.")
    if training.best.weights:
        training.best.restore(training.network)  # raises where a part is missing
        training.network.load_state_dict(under("network."))
    training.best.error, training.best.step, training.best.waited = found["best"]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, x in under("optimizer.").items():
        index, moment = name.split(".")
        moments.setdefault(int(index), {})[moment] = x
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    training.sampler.resume(tensors["chance.sampler"], found["next_token"])
    training.state = unpack(training.network.initial_state(training.sampler.streams), tensors, prefix="state")
    training.random_state = tensors["chance.torch"]
