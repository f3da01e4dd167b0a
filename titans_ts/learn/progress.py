"""Progress bars: who sees them, and when."""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing import parent_process
from typing import Any

from tqdm import tqdm

from titans_ts.learn.distributed import is_first

SHOWN_AFTER = 3.0
"""Seconds that work takes before a bar nobody asked for appears."""


class Bar(tqdm):
    """A bar whose lock is this process's own.

    tqdm's is shared with forked processes: one that is killed while it holds it stops all others for ever.
    """

    monitor_interval = 0  # no thread that would hold it while a process forks

    def __new__(cls, *given: Any, disable: bool = False, **shown: Any) -> Bar:
        """Return a bar; one that is not shown takes no place among the others, and no lock."""
        return object.__new__(cls) if disable else super().__new__(cls, *given, disable=disable, **shown)

    def __init__(self, iterable: Any = None, *given: Any, disable: bool = False, **shown: Any) -> None:
        if not disable:
            super().__init__(iterable, *given, disable=disable, **shown)
            return
        self.iterable, self.disable, self.pos, self.leave = iterable, True, 0, False
        self.n, self.total = shown.get("initial", 0), shown.get("total")

    @classmethod
    def renew_lock(cls) -> None:
        """Take a lock that nobody holds, as a forked process must: no thread is there that could give back the old one."""
        cls.set_lock(threading.RLock())


Bar.renew_lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Bar.renew_lock)


def shows_progress(verbose: int | None) -> bool:
    """Say whether bars are shown: never with 0, always with 1 or more, with None where somebody watches a terminal.

    Several fits of a search would write over each other's bars: with None those of other threads and processes are silent.
    Of a torch.distributed group the first process alone shows any.
    """
    if not is_first():
        return False
    if verbose is not None:
        return verbose >= 1
    alone = threading.current_thread() is threading.main_thread() and parent_process() is None
    try:
        return alone and sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no standard error, or it is closed
        return False


def progress_bar(verbose: int | None, what: str, *, unit: str, waited: float = 0.0, **shown: Any) -> tqdm:
    """Return a bar to update; ``shown`` goes to :class:`tqdm.tqdm`.

    With ``verbose=None`` it appears once the work has taken some seconds, of which ``waited`` have passed.
    """
    delay = max(SHOWN_AFTER - waited, 0.0) if verbose is None else 0.0
    return Bar(desc=what, unit=unit, disable=not shows_progress(verbose), delay=delay, leave=False, **shown)
