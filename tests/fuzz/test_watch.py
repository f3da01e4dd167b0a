"""The watch tells a refusal from what comes from the depths, and cuts off what hangs."""

import re
import time
import warnings

import numpy as np
import pytest
from fuzz.watch import Hangs, depths, strange_warnings, watched

from titans_ts import TitansForecaster
from titans_ts.frames.read import read_panel
from titans_ts.frames.stamps import read_stamps


def test_an_answer_and_its_warnings_are_kept():
    outcome = watched(lambda: warnings.warn("X: look", UserWarning, stacklevel=1) or 7)
    assert (outcome.answer, outcome.refused, str(outcome.warned[0].message)) == (7, False, "X: look")
    assert not strange_warnings(outcome)


def test_a_warning_of_another_package_is_strange():
    outcome = watched(lambda: np.log(np.zeros(1)))
    assert "divide by zero" in strange_warnings(outcome)[0]


@pytest.mark.parametrize(
    "refused",
    [
        lambda: read_panel(np.array([1.0, np.inf])),
        lambda: TitansForecaster(horizon=-1).fit(np.zeros(50)),
        lambda: TitansForecaster().predict(),
    ],
)
def test_a_refusal_is_one(refused):
    assert depths(watched(refused).error, {"X", "horizon", "fit"}) is None


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: {}["y"], "KeyError is no plain"),
        (lambda: np.linalg.inv(np.zeros((2, 2))), "LinAlgError is no plain"),
        (lambda: np.zeros(2) + np.zeros(3), "raised by .*test_watch.py"),
        (lambda: read_stamps(None, "ds"), "AttributeError is no plain"),
        (lambda: read_panel(np.array([1.0, np.inf]), target_columns=3.5), "not raised on purpose"),
    ],
)
def test_what_comes_from_the_depths_is_told(call, why):
    error = watched(call).error
    assert error is not None
    found = depths(error, {"X"})
    assert found is not None
    assert re.search(why, found), found


def test_a_message_that_names_no_argument_is_told():
    assert "names none of" in depths(watched(lambda: read_panel(np.array([np.inf]))).error, {"future"})


@pytest.mark.parametrize("endless", [lambda: time.sleep(9), lambda: [None for _ in iter(int, 1)]])
def test_what_hangs_is_cut_off(endless):
    with pytest.raises(Hangs):
        watched(endless, seconds=0.05)
