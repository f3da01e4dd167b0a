"""Warnings of other libraries, kept back by one thread at a time: Python's filters belong to all threads."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def own_filters() -> Iterator[None]:
    """Let the block set filters, which end with it: blocks of two threads that overlap would leave some behind."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        yield
