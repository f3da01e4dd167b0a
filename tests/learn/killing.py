"""Work that is killed at moments of chance, the same for the same seed, and then once not.

One process imports the library and lives as long as the tests do. For each test it forks a stage, and that a child for every
kill: to start an interpreter for each would take most of the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from functools import cache

import pytest

KILLS = pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])

_THEATRE = """
import json, os
import pandas, polars, torch
from titans_ts import MemoryState, MemoryStore, load

torch.set_num_threads(1)
for line in sys.stdin:
    told = json.loads(line)
    stage = os.fork()
    if not stage:
        try:
            sys.stderr = open(told["errors"], "a")
            exec(told["code"], {"told": told, "load": load, "MemoryState": MemoryState, "MemoryStore": MemoryStore})
        except BaseException as error:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1]), flush=True)
"""
_STAGE = """
import os, signal, sys, time
import numpy as np
import torch

arguments, chance, killed = told["arguments"], np.random.default_rng(told["seed"]), 0
{before}

def work(worker):
{work}

def child(worker):
    pid = os.fork()
    if pid:
        return pid
    try:
        work(worker)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for _ in range(10 * told["kills"]):
    if killed >= told["kills"]:
        break
    began = time.monotonic()
    moments = sorted(chance.uniform(0, told["longest"], told["workers"]))
    for pid, moment in zip([child(worker) for worker in range(told["workers"])], moments):
        time.sleep(max(began + moment - time.monotonic(), 0))
        os.kill(pid, signal.SIGKILL)
        end = ended(pid)
        assert end in (0, -signal.SIGKILL), end
        killed += end != 0
{after}
assert killed >= told["kills"], f"only {{killed}} children were still at work when they were to be killed"
if told["to_the_end"]:
    assert [ended(pid) for pid in [child(worker) for worker in range(told["workers"])]] == [0] * told["workers"]
"""


@cache
def _theatre() -> subprocess.Popen[str]:
    """Return the process that has imported the library; it ends with this one."""
    code = f"import sys\nsys.path[:] = {sys.path!r}\n{_THEATRE}"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_at_random(
    work: str,
    *arguments: object,
    kills: int,
    longest: float,
    workers: int = 1,
    before: str = "",
    after: str = "",
    to_the_end: bool = True,
    seed: int = 0,
) -> None:
    """Run lines, which know their ``arguments``, in processes that are killed within ``longest`` seconds, ``kills`` times.

    ``workers`` processes run them at once, and know which ``worker`` they are. ``before`` are lines to run once, whose names
    the others know; ``after`` are lines to run after the kills of every round; ``to_the_end`` lets the work end at last.
    """
    parts = {
        "work": textwrap.indent(textwrap.dedent(work), "    "),
        "after": textwrap.indent(textwrap.dedent(after), "    "),
    }
    with tempfile.NamedTemporaryFile("r") as errors:
        told = {
            "code": _STAGE.format(before=textwrap.dedent(before), **parts),
            "arguments": list(map(str, arguments)),
            "errors": errors.name,
            "kills": kills,
            "longest": longest,
            "workers": workers,
            "to_the_end": to_the_end,
            "seed": seed,
        }
        theatre = _theatre()
        assert theatre.stdin is not None
        assert theatre.stdout is not None
        theatre.stdin.write(json.dumps(told) + "\n")
        theatre.stdin.flush()
        assert theatre.stdout.readline() == "0\n", errors.read()
