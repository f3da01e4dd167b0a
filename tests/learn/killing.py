"""Work that is killed at twenty moments of chance, and then once not.

One process imports the library and forks a child for every kill: starting an interpreter for each would take most of the
time.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

_LOOP = """
import os, signal, sys, time
import numpy as np
import torch
from titans_ts import MemoryState, MemoryStore, load

torch.set_num_threads(1)
arguments = sys.argv[2:]
chance, kills, longest = np.random.default_rng(0), 0, float(sys.argv[1])

def work():
{work}

def child():
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

for _ in range(200):
    if kills == 20:
        break
    pid = child()
    time.sleep(chance.uniform(0, longest))
    os.kill(pid, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, -signal.SIGKILL), ended
    kills += ended != 0
{after}
assert kills == 20, f"only {{kills}} of 200 children were still at work when they were killed"
"""
_TO_THE_END = "assert os.waitstatus_to_exitcode(os.waitpid(child(), 0)[1]) == 0"


def kill_twenty_times(work: str, *arguments: object, longest: float, after: str = "", to_the_end: bool = True) -> None:
    """Run lines, which know their ``arguments``, in a process that is killed within ``longest`` seconds, twenty times.

    ``after`` are lines to run after every kill; ``to_the_end`` lets the work come to its end at last.
    """
    parts = {name: textwrap.indent(textwrap.dedent(x), "    ") for name, x in (("work", work), ("after", after))}
    code = _LOOP.format(**parts) + _TO_THE_END * to_the_end
    words = [str(longest), *map(str, arguments)]
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr
