"""A watch over fuzzed calls: what came of one, how long it took, and whether an error is a refusal or comes from the depths.

A refusal is an error that the library raised on purpose and that tells the user what to mend: a plain ``ValueError``,
``TypeError`` or ``OSError``, or a kind of the library's own (none of another package, whose words the user cannot know),
raised by a ``raise`` in the library's code (not by numpy or torch on the way), with a message that names an argument. All
else is from the depths.
"""

import dis
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

import titans_ts

SECONDS = 5.0
"""Of the processor; past them a call hangs. The clock on the wall may show ten times as much where others work too."""
HOME = str(Path(titans_ts.__file__).parent)
PLAIN = {ValueError, TypeError, OSError, NotFittedError, InvalidParameterError} | set(OSError.__subclasses__())
"""Types that a refusal may have; the two of scikit-learn are what its own users expect."""
CHECKS_OF_SKLEARN = tuple(f"sklearn/utils/{name}.py" for name in ("_param_validation", "validation", "multiclass"))
RAISING = {"RAISE_VARARGS", "RERAISE"}


class Hangs(BaseException):
    """A call that was cut off; nothing of the library can catch it."""


@dataclass(frozen=True)
class Outcome:
    """What came of a call: an answer or an error, and the warnings on the way."""

    answer: Any = None
    error: BaseException | None = None
    warned: list[warnings.WarningMessage] = field(default_factory=list)
    seconds: float = 0.0  # of the processor

    @property
    def refused(self) -> bool:
        """Whether there is an error instead of an answer."""
        return self.error is not None


def watched(call: Callable[[], Any], *, seconds: float = SECONDS) -> Outcome:
    """Call, and keep whatever comes; a call that needs longer is cut off with `Hangs`."""
    with warnings.catch_warnings(record=True) as warned, _cut_off(seconds):
        warnings.simplefilter("always")
        began = time.process_time()
        try:
            answer, error = call(), None
        except (KeyboardInterrupt, Hangs):
            raise
        except BaseException as failure:
            answer, error = None, failure
        spent = time.process_time() - began
    return Outcome(answer, error, list(warned), spent)


def depths(error: BaseException, names: Iterable[str]) -> str | None:
    """Say why an error is no refusal; None if it is one. The message must hold one of the names as a word."""
    kind = type(error)
    if kind not in PLAIN and not (kind.__module__.startswith("titans_ts.") and issubclass(kind, ValueError)):
        return f"{kind.__module__}.{kind.__qualname__} is no plain ValueError, TypeError or OSError"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "nobody raised it"
    code = trace.tb_frame.f_code
    where = f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
    if code.co_filename.endswith(CHECKS_OF_SKLEARN):
        return None
    if not code.co_filename.startswith(HOME):
        return f"raised by {where}"
    raising = next(step.opname for step in dis.get_instructions(code) if step.offset == trace.tb_lasti)
    if raising not in RAISING:
        return f"not raised on purpose, but met at {where}"
    said = str(error)
    if not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said) for name in names):
        return f"the message names none of {sorted(names)}"
    return None


def strange_warnings(outcome: Outcome) -> list[str]:
    """Return the warnings that the library did not give on purpose: those of another kind, or of another's code."""
    return [
        f"{one.category.__name__}: {one.message} ({one.filename}:{one.lineno})"
        for one in outcome.warned
        if not issubclass(one.category, UserWarning) or not str(one.message)
    ]


@contextmanager
def _cut_off(seconds: float) -> Iterator[None]:
    """Raise `Hangs` in the block after so many seconds of the processor, or ten times as many on the wall."""

    def cut(*_: object) -> None:
        raise Hangs(f"cut off after {seconds:g} s of the processor, or {10 * seconds:g} s on the wall")

    signals = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds)}
    before = {number: signal.signal(number, cut) for number in signals}
    for timer, limit in signals.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _ in signals.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
