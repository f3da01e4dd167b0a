"""What several commands do alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def check_out(path: Path | None, option: str, suffixes: Sequence[str]) -> None:
    """Refuse, before any work is done, a file that could not be written after it."""
    if path is None:
        return
    if suffixes and not path.name.lower().endswith(tuple(suffixes)):
        raise ValueError(f"{option} {path}: the name must end in one of {', '.join(suffixes)}")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{option} {path}: " + ("is a folder" if path.is_dir() else f"there is no folder {path.parent}"))


def steps_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the number of training steps, if it was given."""
    return {} if arguments.max_steps is None else {"max_steps": arguments.max_steps}


def say(arguments: argparse.Namespace, line: str) -> None:
    """Print a line of progress, unless asked to be quiet."""
    if not arguments.quiet:
        print(line, file=sys.stderr)


def stopping(arguments: argparse.Namespace) -> list[Any] | None:
    """Return the callback that ends training in time, if a time was given."""
    from titans_ts.learn.run import stop_after

    return None if arguments.max_minutes is None else [stop_after(60 * arguments.max_minutes)]


def loaded(path: Path, kind: str) -> Any:
    """Return the model of a file, refusing one of another kind than the public name says."""
    from titans_ts import load

    model = load(path)
    if type(model).__name__ != kind:
        raise ValueError(f"--model {path}: holds a {type(model).__name__}, not a {kind}")
    return model
