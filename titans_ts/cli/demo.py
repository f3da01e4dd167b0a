"""``titans-ts demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    about = "fit two and a half years of electricity demand, score the held-out end, draw a forecast"
    demo = commands.add_parser("demo", parents=parents, help=about, description=about[0].upper() + about[1:] + ".")
    demo.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(), help="folder for forecast.csv and forecast.png (default: here)"
    )
    demo.add_argument("--max-steps", type=int, metavar="N", default=75, help="training steps (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="10 training steps: sooner done, and a poorer forecast")
    demo.add_argument("--seed", type=int, metavar="N", default=0, help="of all chance (default: %(default)s)")
    demo.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_bench.demo import run_demo

    steps = 10 if arguments.quick else arguments.max_steps
    print(run_demo(arguments.out, seed=arguments.seed, max_steps=steps, verbose=not arguments.quiet))
