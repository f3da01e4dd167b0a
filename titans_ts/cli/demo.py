"""``titans-ts demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import add_command, add_options, check_out


def add(commands: Any) -> None:
    """Describe the command."""
    about = "fit two and a half years of electricity demand, score the held-out end, draw a forecast"
    demo = add_command(commands, "demo", run, about)
    demo.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(), help="folder for forecast.csv and forecast.png (default: here)"
    )
    demo.add_argument("--max-steps", type=int, metavar="N", default=75, help="training steps (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="10 training steps: done sooner, with a poorer forecast")
    add_options(demo, "--seed", "--overwrite")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_bench.demo import run_demo

    for name in ("forecast.csv", "forecast.png"):
        check_out(arguments.out / name, "--out", (), overwrite=arguments.overwrite)
    steps = 10 if arguments.quick else arguments.max_steps
    print(run_demo(arguments.out, seed=arguments.seed, max_steps=steps, verbose=0 if arguments.quiet else None))
