"""Stop a run of training after any step and take it up again to the same bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from titans_ts.files.facts import require, same
from titans_ts.files.tensors import digest, parsed_json, read_tensors, write_tensors
from titans_ts.learn import distributed


class Checkpoint:
    """A callback that writes a whole run of training to one file now and then, and takes it up again from there.

    Give it to any estimator: ``TitansForecaster(random_state=0, callbacks=[Checkpoint("run.safetensors")])``. After an
    interruption call ``fit`` again with the same data and arguments: training goes on from where it was written, and the
    numbers are those of a run that was never interrupted. In a torch.distributed group the first process writes the file,
    and the run may go on with another number of processes.

    Parameters
    ----------
    path : str or Path
        The file. It stays when training ends; delete it to train afresh.
    every : int, default=50
        Steps between two writes, at least 1. Each replaces the last one whole; the end of training (of a forecaster, of
        each phase) is always written.

    Raises
    ------
    ValueError
        By ``fit``, if the file is damaged, or belongs to a run with other data or arguments. The seed counts as one: with
        ``random_state=None`` every fit is another run.

    Examples
    --------
    Here a callback stands for the interruption:

    >>> import os, tempfile
    >>> import numpy as np
    >>> from titans_ts import Checkpoint, TitansClassifier
    >>> X, y = np.random.default_rng(0).normal(size=(20, 16)), np.arange(20) % 2
    >>> def interrupt(run, report):
    ...     if report.step == 3:
    ...         raise KeyboardInterrupt
    >>> arguments = {"max_steps": 6, "width": 8, "heads": 2, "random_state": 0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(os.path.join(folder, "run.safetensors"), every=2)
    ...     try:
    ...         TitansClassifier(**arguments, callbacks=[checkpoint, interrupt]).fit(X, y)
    ...     except KeyboardInterrupt:
    ...         model = TitansClassifier(**arguments, callbacks=[checkpoint]).fit(X, y)
    >>> whole = TitansClassifier(**arguments).fit(X, y)
    >>> bool((model.decision_function(X) == whole.decision_function(X)).all())
    True
    """

    def __init__(self, path: str | Path, *, every: int = 50) -> None:
        self.path, self.every = Path(path), every

    def __call__(self, run: Any, report: Any) -> bool:
        """Write the run if it is time to; never stops training."""
        if report.step % self.every == 0 or report.step == report.steps:
            tensors, facts = run.kept()
            distributed.decided(lambda: write_tensors(self.path, tensors, {"checkpoint": facts}))
        return False

    def resume(self, run: Any) -> None:
        """Put a run back to where the file left it; without a file, do nothing."""
        read = distributed.decided(lambda: read_tensors(self.path) if self.path.exists() else None)
        if read is None:
            return
        tensors, header = read
        found = header.get("checkpoint")
        if not isinstance(found, dict) or found.get("run") != run.identity():
            raise ValueError(
                f"checkpoint {str(self.path)!r} was written by another run (other data, network or training arguments); "
                "give Checkpoint another path, or delete the file to train afresh"
            )
        try:
            run.restore(tensors, found)
            _check_taken_up(run, tensors, found)
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            what = f"it lacks the part {error}" if isinstance(error, KeyError) else str(error).strip().split("\n")[0]
            raise ValueError(f"checkpoint {str(self.path)!r} is damaged: {what}; delete the file to train afresh") from None


def _check_taken_up(run: Any, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
    """Refuse a file of which the run did not take over a part as it stands there."""
    kept, said = run.kept()
    said = parsed_json(json.dumps(said))
    for name, value in facts.items():
        require(name in said and same(value, said[name]), f"what it says of {name!r} has no meaning here")
    for name, x in tensors.items():
        if name in kept or not name.startswith("chance."):  # that of another device is not drawn from
            whole = name in kept and digest({name: x}, "") == digest({name: kept[name]}, "")
            require(whole, f"the run has no place for {name!r} as it stands there")
