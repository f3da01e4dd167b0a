"""Inputs of every kind, good ones changed by chance: answered right or refused by name, and never anything else.

No crash and no hang; no error from the depths, that is one that the library did not raise on purpose or that names no
argument (:mod:`fuzz.watch`); no NaN in an answer; nothing changed by a refusal; no warnings but the library's own; what is
written in another way is answered alike. Every case has a number that gives it again: ``judge(number, folder)``.
"""

import numpy as np
import pytest
from fuzz.doors import draw, fingerprint, numbers_of
from fuzz.watch import Hangs, depths, strange_warnings, watched

FEW, MANY, AT_ONCE = 276, 4000, 92


def judge(number, folder):
    """Return what is wrong with the answer to a case, as text; None if nothing is."""
    case = draw(number, folder)
    before = fingerprint(case.owner)
    try:
        outcome = watched(case.call)
    except Hangs as hangs:
        return f"{number}: {case.what}: {hangs}"
    wrong = strange_warnings(outcome)
    if outcome.refused:
        found = depths(outcome.error, case.names)
        if found:
            wrong.append(f"{found}: {type(outcome.error).__name__}: {str(outcome.error)[:300]}")
        if fingerprint(case.owner) != before:
            wrong.append("the refusal changed the estimator")
        if case.expected is not None:
            wrong.append(f"what was written in another way is refused: {str(outcome.error)[:300]}")
    elif outcome.answer is not None:
        numbers = numbers_of(outcome.answer)
        if not case.may_miss and not np.isfinite(numbers).all():
            wrong.append("the answer is not finite")
        if case.expected is not None and not alike(numbers, case.expected):
            wrong.append("what was written in another way is answered otherwise")
        for twin in case.twins:
            other = watched(twin)
            if not other.refused and not alike(numbers_of(other.answer), numbers):
                wrong.append("the same rows in another container are answered otherwise")
    return f"{number}: {case.what}: {'; '.join(wrong)}" if wrong else None


def alike(one, other):
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True))


def judge_all(numbers, folder):
    wrong = [found for number in numbers if (found := judge(number, folder)) is not None]
    assert not wrong, f"{len(wrong)} cases:\n" + "\n".join(wrong)


@pytest.mark.parametrize("first", range(0, FEW, AT_ONCE))
def test_inputs_are_answered_right_or_refused_by_name(first, tmp_path):
    judge_all(range(first, first + AT_ONCE), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, MANY, AT_ONCE))
def test_many_inputs_are_answered_right_or_refused_by_name(first, tmp_path):
    judge_all(range(first, min(first + AT_ONCE, MANY)), tmp_path)
