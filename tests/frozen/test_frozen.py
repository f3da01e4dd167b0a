"""What the library answered before it was rebuilt inside: models from files, losses at a fixed seed, names, messages.

The numbers are those of `make_frozen.py`, which says when they may be written anew.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from frozen.errors import WRONG
from frozen.make_frozen import (
    CASES,
    ESTIMATORS,
    HERE,
    OLDER,
    answers_of,
    losses_of,
    memory_answers,
    other_answers,
    partial_answers,
    path_of,
    promises,
)
from tolerances import assert_agree

from titans_ts import load

ANSWERS = json.loads((HERE / "answers.json").read_text())
ANSWERS_OF_OLDER = json.loads((OLDER / "answers.json").read_text())
PROMISES = json.loads((HERE / "params.json").read_text())
DO_NOTHING = {
    "TitansClassifier": {"n_jobs"},
    "TitansRegressor": {"n_jobs"},
    "TitansEmbedder": {"n_jobs"},
    "TitansAnomalyDetector": {"n_jobs"},
    "DNAClassifier": {"n_jobs"},
    "DNARegressor": {"n_jobs"},
    "DNALanguageModel": {"n_jobs", "caution"},
}
"""Arguments that change nothing of an estimator, and may be gone; files that hold them are read all the same."""


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_model_from_a_file_answers_as_it_did(name):
    agree(answers_of(name), ANSWERS[f"answers of {name}"], exact=CASES[name].exact)


@pytest.mark.parametrize("name", [name for name in CASES if f"answers of {name}" in ANSWERS_OF_OLDER])
def test_a_model_of_before_the_base_answers_as_it_did(name):
    """Its linear path was trained, and its quantiles with it."""
    agree(answers_of(name, OLDER), ANSWERS_OF_OLDER[f"answers of {name}"], exact=CASES[name].exact)


def test_memories_of_before_the_base_answer_as_they_did():
    agree(memory_answers(OLDER), ANSWERS_OF_OLDER["memories"])


@pytest.mark.parametrize("name", CASES)
def test_a_fit_at_a_fixed_seed_has_the_losses_it_had(name):
    agree(losses_of(name), ANSWERS["losses"][name])


def test_fits_in_parts_and_fits_that_go_on_answer_as_they_did():
    agree(partial_answers(), ANSWERS["losses"]["partial_fit"])


def test_memories_from_files_answer_as_they_did():
    agree(memory_answers(), ANSWERS["memories"])


def test_functions_without_a_model_answer_as_they_did():
    agree(other_answers(), ANSWERS["others"], exact=True)


def agree(found: Any, expected: Any, *, exact: bool = False, place: str = "answer") -> None:
    """Fail unless two answers have the same form and words, and numbers that agree by the policy of float32 or float64."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), place
        for name, each in expected.items():
            agree(found[name], each, exact=exact, place=f"{place}, {name}")
    elif numbers(expected):
        actual, wanted = (np.array(list(leaves(one)), dtype=np.float64) for one in (found, expected))
        assert form(found) == form(expected), place
        for odd in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(odd(actual), odd(wanted), err_msg=place)
        number = torch.float64 if exact else torch.float32
        assert_agree(*(torch.from_numpy(np.where(np.isfinite(x), x, 0)).to(number) for x in (actual, wanted)), name=place)
    elif isinstance(expected, list):
        assert isinstance(found, list), place
        assert len(found) == len(expected), place
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            agree(one, other, exact=exact, place=f"{place}[{i}]")
    else:
        assert type(found) is type(expected), place
        assert found == expected, place


def leaves(value: Any) -> Iterator[Any]:
    """Return what stands in lists of any depth."""
    if isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def form(value: Any) -> Any:
    """Return the lengths of lists of any depth."""
    return [form(each) for each in value] if isinstance(value, list) else None


def numbers(value: Any) -> bool:
    """Say whether fractions, NaN and infinities included, are all that stands in a value; whole numbers are told apart."""
    found = list(leaves(value))
    fit = all(isinstance(each, float) or each in ("nan", "inf", "-inf") for each in found)
    return fit and any(isinstance(each, float) for each in found)


def test_the_comparison_sees_small_differences():
    for one, other in (
        ([1.0, 2.0], [1.0, 2.0001]),
        ([1.0], [1.0, 1.0]),
        ([[1.0]], [1.0]),
        ([1.0, "nan"], [1.0, 0.0]),
        (3, 4),
        (["a"], ["b"]),
        ({"a": 1.0}, {"b": 1.0}),
        (None, 0.0),
    ):
        agree(one, one)
        with pytest.raises(AssertionError):
            agree(one, other)
    agree([1.0, 2.0], [1.0, 2.000001])
    with pytest.raises(AssertionError):
        agree([1.0, 2.0], [1.0, 2.000001], exact=True)


def test_the_memory_counts_in_what_is_frozen():
    """A memory whose word is silent would hide every fault of it."""
    for name in ("forecaster, mac", "forecaster, float64 judged recollection"):
        answers = ANSWERS[f"answers of {name}"]
        written, silent = (answers[f"rolling_errors({memory})"]["4"][0] for memory in ("written", "silent"))
        assert abs(written - silent) > 0.001 * written, "a hundred times what the comparison lets pass"
    for name, question in (
        ("classifier, three classes", "decision_function"),
        ("regressor, two targets", "predict"),
        ("DNA classifier, average", "decision_function"),
        ("DNA regressor", "predict"),
    ):
        answers = ANSWERS[f"answers of {name}"]
        both, linear = np.array(answers[f"{question}(both)"]), np.array(answers[f"{question}(linear)"])
        assert np.abs(both - linear).max() > 0.01 * np.abs(both).max()


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promised() -> Any:
    return promises()


def test_public_names_are_there(promised):
    since = ["Checkpoint"]  # which took up a forecaster's training only, and so lay deeper
    assert promised["names"] == sorted([*PROMISES["names"], *since])


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_arguments_and_their_defaults_are_as_they_were(kind, promised):
    optional = DO_NOTHING.get(kind.__name__, set())
    found, expected = promised["params"][kind.__name__], PROMISES["params"][kind.__name__]
    assert {**{name: expected[name] for name in optional}, **found} == expected


@pytest.mark.parametrize("part", ["methods", "functions", "constructors"])
def test_what_is_public_is_called_as_it_was(part, promised):
    """Further methods may come; none goes, and none is called in another way."""
    for owner, expected in PROMISES[part].items():
        found = promised[part][owner]
        if isinstance(expected, dict):
            assert {name: found.get(name) for name in expected} == expected, owner
        else:
            assert found == expected, owner


@pytest.mark.parametrize("name", CASES)
def test_a_model_from_a_file_has_the_arguments_it_was_made_with(name):
    made, found = CASES[name].make().get_params(deep=False), load(path_of(name)).get_params(deep=False)
    assert found["callbacks"] is None
    assert made.get("init_from") is None or found["init_from"] is None
    other = {"callbacks", "init_from", "verbose"}  # the default of the last is another in files of before
    assert {k: listed(v) for k, v in found.items() if k not in other} == {
        k: listed(v) for k, v in made.items() if k not in other
    }


def listed(value: Any) -> Any:
    """Return a list for a tuple: a file keeps no difference."""
    return list(value) if isinstance(value, tuple) else value


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_told_with_its_argument_its_place_and_the_remedy(name, tmp_path):
    wrong = WRONG[name]
    with pytest.raises(wrong.error) as told:
        wrong.call(tmp_path)
    for fact in wrong.facts:
        assert fact in str(told.value)
