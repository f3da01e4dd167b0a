"""What several commands do alike: their options, and what they do with them."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from titans_ts.backbones.variants import VARIANTS

PICTURES = (".png", ".svg", ".pdf", ".jpg")

_WORDS = re.compile(
    r"(?:The )?'(?P<parameter>\w+)' parameter(?: of \w+)?|'[^']*'|\"[^\"]*\"|"
    r"(?<![\w./-])(?P<word>[A-Za-z]\w*)(?:(?P<sign>=)|(?![\w./]))"
)


class OptionError(ValueError):
    """A mistake in the options, told in their words already."""


OPTIONS: dict[str, dict[str, Any]] = {
    "--variant": {
        "choices": VARIANTS,
        "default": "mac",
        "help": "where the memory sits, or a baseline without one (default: %(default)s)",
    },
    "--seed": {"type": int, "metavar": "N", "default": 0, "help": "seed of all randomness (default: %(default)s)"},
    "--model": {"type": Path, "metavar": "FILE", "help": "a fitted model to use instead of fitting one"},
    "--save": {"type": Path, "metavar": "FILE", "help": "keep the fitted model in this file"},
    "--data-home": {"metavar": "DIR", "help": "folder with the data (default: TITANS_TS_DATA, cache, web)"},
    "--max-steps": {"type": int, "metavar": "N", "help": "training steps at most"},
    "--max-minutes": {
        "type": float,
        "metavar": "M",
        "help": "minutes of training at most; the best model until then is kept",
    },
    "--overwrite": {"action": "store_true", "help": "write over files that exist"},
    "--quiet": {"action": "store_true", "help": "no progress bars, which otherwise a terminal sees"},
    "--debug": {"action": "store_true", "help": "show the whole traceback of an error"},
}
"""Options of more than one command."""


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], about: str, more: str = ".", **settings: Any
) -> argparse.ArgumentParser:
    """Describe a command in a line for the list of commands, and in that line and more for its own help."""
    description = about[0].upper() + about[1:] + more
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=description, **settings)
    command.set_defaults(run=run)
    return command


def add_options(command: argparse.ArgumentParser, *names: str) -> None:
    """Add some of the shared options, and those that every command has."""
    for name in (*names, "--quiet", "--debug"):
        command.add_argument(name, **OPTIONS[name])


def check_out(
    path: Path | None, option: str, suffixes: Sequence[str], *, overwrite: bool = True, read: Sequence[Path | None] = ()
) -> None:
    """Refuse, before any work is done, a file that could not be written, or would be lost; ``read`` are the inputs."""
    if path is None:
        return
    if suffixes and not path.name.lower().endswith(tuple(suffixes)):
        raise OptionError(f"{option} {path}: the name must end in one of {', '.join(suffixes)}")
    if path.is_dir() or not path.parent.is_dir():
        raise OptionError(f"{option} {path}: " + ("is a folder" if path.is_dir() else f"there is no folder {path.parent}"))
    if path.exists() and any(other is not None and other.exists() and path.samefile(other) for other in read):
        raise OptionError(f"{option} {path}: is a file that is read; give another name")
    if path.exists() and not overwrite:
        raise OptionError(f"{option} {path}: exists; give another name, or --overwrite to write over it")


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Return a message about arguments of Python as one about options: ``level=80`` becomes ``--level 80``.

    ``options`` says what stands for an argument, and for ``X`` and ``future``, the data. What stands in quotes is a user's
    own, and stays; a word that is English too is an argument only before an equals sign.

    >>> in_options("level=80 needs time_column='level=9'", {"level": "--level", "time_column": "--time"})
    "--level 80 needs --time 'level=9'"
    """

    def option(match: re.Match[str]) -> str:
        word, sign = match["parameter"] or match["word"], match["sign"] or ""
        if word not in options or not (match["parameter"] or sign or "_" in word or word == "X"):
            return match[0]
        return options[word] + (" " if sign else "")

    if "on_error" in options:  # an option without a value
        text = text.replace('on_error="skip"', options["on_error"])
    text = re.sub(r"(?:^|(?<=: ))future(?=[ :=](?!covariates?\b))", lambda _: options.get("future", "future"), text)
    return _WORDS.sub(option, text)


def closest(name: str, names: Iterable[str]) -> str:
    """Return a hint at what may have been meant by a name that is none of those there are."""
    names = list(names)
    found = get_close_matches(name, names, n=1) or get_close_matches(name.lower(), [each.lower() for each in names], n=1)
    meant = next((each for each in names if found and each.lower() == found[0].lower()), None)
    return f"{', '.join(names)}" + ("" if meant is None else f"; did you mean {meant!r}?")


def check_source(arguments: argparse.Namespace, train: str, kind: str) -> None:
    """Refuse a command that says both how to fit a model and which to use, or neither."""
    if (arguments.train is None) == (arguments.model is None):
        raise OptionError(f"give --train {train} to fit a {kind}, or --model FILE to use one, and not both")


def say(arguments: argparse.Namespace, line: str) -> None:
    """Print a line of progress, unless asked to be quiet."""
    if not arguments.quiet:
        print(line, file=sys.stderr)


def steps_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the number of training steps, if it was given."""
    return {} if arguments.max_steps is None else {"max_steps": arguments.max_steps}


def training_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the estimator arguments that the shared options set."""
    from titans_ts.learn.run import stop_after

    callbacks = None if arguments.max_minutes is None else [stop_after(60 * arguments.max_minutes)]
    shown = {"random_state": arguments.seed, "verbose": 0 if arguments.quiet else None, "callbacks": callbacks}
    return shown | steps_of(arguments)


def fit(arguments: argparse.Namespace, model: Any, *data: Any, **more: Any) -> Any:
    """Fit a model and say how long it took."""
    begun = time.perf_counter()
    model.fit(*data, **more)
    say(arguments, f"fitted in {time.perf_counter() - begun:.0f} s")
    return model


def loaded(path: Path, kind: str) -> Any:
    """Return the model of a file, refusing one of another kind than the public name says."""
    from titans_ts import load

    model = load(path)
    if type(model).__name__ != kind:
        raise OptionError(f"--model {path}: holds a {type(model).__name__}, not a {kind}")
    return model


def save(arguments: argparse.Namespace, model: Any) -> None:
    """Save a model, if asked to."""
    if arguments.save is not None:
        model.save(arguments.save)
        print(f"model: {arguments.save}")
