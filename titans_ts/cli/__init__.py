"""The command line: plain files in, plain files and a picture out."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from titans_ts import __version__
from titans_ts.cli import bench, classify, demo, evaluate, fit, forecast, score, store
from titans_ts.cli._shared import OptionError, in_options

USER_ERRORS = (ValueError, TypeError, OSError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``titans-ts``; return 0, 2 after a user's error (told in one line on standard error), or 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, arguments)
            arguments.run(arguments)
    except KeyboardInterrupt:
        print(f"titans-ts {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        if arguments.debug:
            raise
        line = _line(arguments, error) or type(error).__name__
        print(f"titans-ts {arguments.command}: error: {line}", file=sys.stderr)
        return 2
    return 0


def _show_warning(arguments: argparse.Namespace, message: Warning | str, category: type[Warning], *_place: Any) -> None:
    """Print what a user can act on in one line, and leave out what only developers can."""
    if issubclass(category, UserWarning):
        print(f"titans-ts {arguments.command}: warning: {_line(arguments, message)}", file=sys.stderr)


def _line(arguments: argparse.Namespace, message: object) -> str:
    """Return a message in one line, and in the words of the command line."""
    line = " ".join(str(message).split())
    return line if isinstance(message, OptionError) else in_options(line, getattr(arguments, "words", {}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="titans-ts",
        description="Forecast series and read DNA with a memory that learns while it reads.",
        epilog="`titans-ts COMMAND --help` tells what a command takes.",
    )
    parser.add_argument("--version", action="version", version=f"titans-ts {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (demo, fit, forecast, store, evaluate, classify, score, bench):
        command.add(commands)
    return parser
