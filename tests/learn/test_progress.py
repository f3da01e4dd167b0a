"""Who sees a progress bar: a person at a terminal whose work takes a while, or who asks for it; never a pipe."""

import os
import signal
import sys
import termios
import threading
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
import pytest

from titans_ts import DNALanguageModel, TitansClassifier, TitansForecaster
from titans_ts.learn import progress
from titans_ts.learn.progress import progress_bar, shows_progress


@contextmanager
def stderr_of(kind, monkeypatch):
    """Give what is written to standard error inside the block, a terminal or a pipe, once the block has ended."""
    ours, theirs = os.openpty() if kind == "terminal" else os.pipe()
    if kind == "terminal":
        termios.tcsetwinsize(theirs, (24, 80))
    heard = bytearray()

    def listen():
        try:
            while part := os.read(ours, 4096):
                heard.extend(part)
        except OSError:  # so Linux says that a terminal was left
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        yield heard
    listener.join()
    os.close(ours)


SMALL = {"width": 8, "heads": 2, "max_steps": 2, "random_state": 0}
ROWS = np.sin(np.arange(150.0))


def forecast(**arguments):
    forecaster = TitansForecaster(horizon=2, lookback=16, patch_length=8, **SMALL, **arguments).fit(ROWS)
    forecaster.update(iter([ROWS[:50], ROWS[:50]])).predict(iter([ROWS]))
    forecaster.backtest(ROWS, windows=2)


def use_other_doors():
    TitansClassifier(**SMALL).fit(ROWS[:144].reshape(12, 12), np.arange(12) % 2)
    DNALanguageModel(context_orders=(1,), **SMALL).fit(["ACGT" * 50]).update(["ACGT" * 50])


def test_a_terminal_sees_bars_with_the_time_left_by_default(monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    with stderr_of("terminal", monkeypatch) as heard:
        forecast()
        use_other_doors()
    for title in ("memory (1 of 1)", "memory", "reading", "forecasting", "backtest"):
        assert f"{title}: ".encode() in heard
    assert b"0/2 [00:00<?" in heard, "what is done, for how long, and how long it will take"


@pytest.mark.parametrize(
    ("kind", "arguments", "after"),
    [("pipe", {}, 0.0), ("terminal", {}, 99.0), ("terminal", {"verbose": 0}, 0.0)],
    ids=["a pipe", "short work", "silence asked for"],
)
def test_nobody_else_sees_anything(kind, arguments, after, monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_AFTER", after)
    with stderr_of(kind, monkeypatch) as heard:
        forecast(**arguments)
    assert heard == b""


def test_who_asks_sees_bars_even_through_a_pipe(monkeypatch):
    with stderr_of("pipe", monkeypatch) as heard:
        forecast(verbose=1)
    assert b"memory (1 of 1): " in heard
    assert b"reading: " in heard


class Terminal:
    def __init__(self, answer):
        self.answer = answer

    def isatty(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("stderr", [None, Terminal(False), Terminal(ValueError("I/O operation on closed file"))])
def test_without_a_terminal_only_who_asks_sees_bars(stderr, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr)
    assert not shows_progress(None)
    assert not shows_progress(0)
    assert not shows_progress(False)
    assert shows_progress(1)
    assert shows_progress(True)


def _of_a_process(queue):
    sys.stderr = Terminal(True)
    queue.put(shows_progress(None))


def test_fits_side_by_side_do_not_write_over_each_other(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal(True))
    assert shows_progress(None)
    found = []
    thread = threading.Thread(target=lambda: found.append(shows_progress(None)))
    thread.start()
    thread.join()
    assert found == [False]
    processes = get_context("fork")
    queue = processes.SimpleQueue()
    process = processes.Process(target=_of_a_process, args=(queue,))
    process.start()
    process.join()
    assert queue.get() is False


def test_a_bar_waits_for_work_that_takes_a_while_from_its_first_phase_on(monkeypatch):
    monkeypatch.setattr(progress, "shows_progress", lambda verbose: verbose is None)
    for waited, delay in ((0.0, 3.0), (2.0, 1.0), (9.0, 0.0)):
        with progress_bar(None, "memory", unit="step", waited=waited, total=3) as bar:
            assert bar.delay == delay


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_waits_for_nobody():
    """Neither for a thread of its parent that held the lock, nor for another process that was killed with it."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with progress.Bar.get_lock():
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    child = os.fork()
    if not child:
        signal.alarm(20)  # and not for ever
        progress_bar(0, "reading", unit="row").close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    done.set()
    holder.join()
    killed = os.fork()
    if not killed:
        progress.Bar.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    assert progress.Bar.get_lock().acquire(timeout=5)
    progress.Bar.get_lock().release()
