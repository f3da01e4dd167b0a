"""Recall made to order: the answer stands where it is said to stand, once, and far enough back."""

import numpy as np
import pytest

from titans_ts.datasets.recall import (
    ANSWER_DIGITS,
    CUE,
    FILLERS,
    KEY_LETTERS,
    KEYS,
    LETTERS,
    MOTIF,
    MULTIKEYS,
    PAIRS,
    TASKS,
    VALUES,
    make_recall,
)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_makes_the_same_sequences_and_no_global_generator_moves(task):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (make_recall(task, length=96, sequences=6, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert (first.inputs != other.inputs).any()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(("length", "most"), [(64, None), (128, None), (1000, None), (64, 16), (128, 128)])
def test_a_key_was_followed_by_the_value_that_is_asked_of_it(length, most):
    made = make_recall("associative", length=length, sequences=20, distance=most)
    for inputs, targets, distance in zip(made.inputs, made.targets, made.distances, strict=True):
        asked = np.flatnonzero(targets >= 0)
        is_key = (inputs >= FILLERS) & (inputs < FILLERS + KEYS)
        shown = np.flatnonzero(is_key & (targets < 0))
        assert len(set(inputs[shown])) == len(shown) == PAIRS
        assert (inputs >= FILLERS + KEYS).sum() == PAIRS, "a value stands nowhere but behind its key"
        apart = []
        for place in asked:
            (source,) = shown[inputs[shown] == inputs[place]]
            assert targets[place] == inputs[source + 1] < FILLERS + KEYS + VALUES
            apart.append(place - source)
        assert min(apart) == distance >= (length // 3 if most is None else 2)
        assert most is None or max(apart) <= most


@pytest.mark.parametrize(("length", "most"), [(64, None), (128, None), (1000, None), (64, 16), (128, 128)])
def test_the_needle_stands_once_and_holds_the_answer(length, most):
    made = make_recall("needle", length=length, sequences=30, distance=most)
    for inputs, targets, kind, distance in zip(made.inputs, made.targets, made.kinds, made.distances, strict=True):
        (needle,), (question,) = np.flatnonzero(inputs == 0), np.flatnonzero(inputs == 1)
        letters = KEY_LETTERS if kind == 2 else 1
        key, answer = inputs[needle + 1 : needle + 1 + letters], inputs[needle + 1 + letters :][:ANSWER_DIGITS]
        assert (inputs[question + 1 : question + 1 + letters] == key).all()
        assert (targets[-ANSWER_DIGITS:] == answer).all()
        assert (targets[:-ANSWER_DIGITS] == -1).all()
        assert (inputs[-ANSWER_DIGITS + 1 :] == answer[:-1]).all(), "digits answered so far are given"
        assert inputs[-ANSWER_DIGITS] == key[-1], "the first digit is asked at the key's last letter"
        assert (answer >= 2 + FILLERS + LETTERS).all()
        assert length - ANSWER_DIGITS - (needle + 1 + letters) == distance
        assert distance >= length // 4 if most is None else distance <= most
        hay = np.delete(inputs, [*range(needle, needle + 1 + letters + ANSWER_DIGITS), *range(question, length)])
        assert (hay < 2 + FILLERS + LETTERS).all(), "no other digit"
        assert (hay >= 2 + FILLERS).any() == (kind == 2), "only the third kind hides its key among letters"
        if kind == 0:
            assert len(set(hay)) == 8, "one sentence"


@pytest.mark.parametrize(("length", "most"), [(64, None), (128, None), (1000, None), (64, 16), (128, 128)])
def test_of_several_needles_the_one_with_the_asked_key_holds_the_answer(length, most):
    made = make_recall("multikey", length=length, sequences=30, distance=most)
    for inputs, targets, distance in zip(made.inputs, made.targets, made.distances, strict=True):
        needles, (question,) = np.flatnonzero(inputs == 0), np.flatnonzero(inputs == 1)
        assert len(set(inputs[needles + 1])) == len(needles) == MULTIKEYS
        assert (np.diff(needles) >= 2 + ANSWER_DIGITS).all(), "none stands in another"
        (asked,) = needles[inputs[needles + 1] == inputs[question + 1]]
        assert (inputs[asked + 2 :][:ANSWER_DIGITS] == targets[-ANSWER_DIGITS:]).all()
        assert (targets[:-ANSWER_DIGITS] == -1).all()
        assert (inputs[-ANSWER_DIGITS + 1 :] == targets[-ANSWER_DIGITS:-1]).all(), "digits answered so far are given"
        assert length - ANSWER_DIGITS - (asked + 2) == distance
        assert distance >= length // 4 if most is None else distance <= most


@pytest.mark.parametrize("task", TASKS)
def test_distances_are_spread_evenly_up_to_the_most(task):
    """Half of them are in the nearer half of what can be asked at all, where a sequence is long beside them."""
    made = make_recall(task, length=600, sequences=60, distance=128)
    found = made.distances
    if task == "associative":  # of all questions, by the place of their key
        row, asked = np.nonzero(made.targets >= 0)
        keys = np.where(made.targets >= 0, -1, made.inputs)
        found = asked - (keys[row] == made.inputs[row, asked][:, None]).argmax(axis=1)
    assert found.max() <= 128
    nearest = found.min()
    assert abs((found <= (nearest + 128) / 2).mean() - 0.5) < 0.12


@pytest.mark.parametrize("most", [None, 16, 100])
def test_the_motif_followed_its_cue(most):
    made = make_recall("motif", length=160, sequences=20, distance=most)
    for inputs, targets, distance in zip(made.inputs[..., 0], made.targets, made.distances, strict=True):
        begins = 160 - CUE - MOTIF
        source = begins - distance
        np.testing.assert_array_equal(inputs[source : source + CUE + MOTIF], inputs[begins:])
        asked = np.flatnonzero(~np.isnan(targets))
        np.testing.assert_array_equal(asked, np.arange(begins + CUE - 1, 159))
        np.testing.assert_array_equal(targets[asked], inputs[asked + 1])
        assert distance >= 40 if most is None else distance <= most


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "memory"}, "task='memory' is not known; choose one of associative, needle, multikey, motif"),
        ({"task": "needle", "length": 63}, "length must be 64 tokens or more"),
        ({"task": "motif", "sequences": 0}, "sequences must be 1 or more, got 0"),
        ({"task": "motif", "distance": 15}, "distance must be from 16 to length=128 steps, or None; got 15"),
        ({"task": "associative", "distance": 129}, "distance must be from 16 to length=128 steps, or None; got 129"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_recall(**arguments)
