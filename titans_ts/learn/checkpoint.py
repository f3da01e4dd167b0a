"""Stop a run of training after any step and take it up again to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from titans_ts.files.tensors import read_tensors, write_tensors


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

    def __call__(self, run: Any, report: Any) -> bool:
        """Write after every ``every`` steps and at the end of a phase."""
        if report.step % self.every == 0 or report.step == report.steps:
            tensors, facts = run.kept()
            write_tensors(self.path, tensors, {"checkpoint": facts})
        return False

    def resume(self, run: Any) -> None:
        """Put a run back to where the file left it; without a file, do nothing."""
        if not self.path.exists():
            return
        tensors, header = read_tensors(self.path)
        found = header.get("checkpoint")
        if not isinstance(found, dict) or found.get("run") != run.identity():
            raise ValueError(
                f"checkpoint {str(self.path)!r} was written by another run (other data, network or training arguments); "
                "give Checkpoint another path, or delete the file to train afresh"
            )
        try:
            run.restore(tensors, found)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"checkpoint {str(self.path)!r} is damaged: it lacks a part ({error}); delete the file to train afresh"
            ) from None
