"""What is kept of a series leaves the forecaster, goes through files and processes, and comes back the same."""

import copy
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from learn.killing import KILLS, kill_at_random
from series.estimator_cases import fitted, wave

from titans_ts import MemoryState, TitansForecaster, load
from titans_ts.files.tensors import write_tensors

ARGUMENTS = {"horizon": 4, "lookback": 24, "patch_length": 4, "width": 16}


@pytest.fixture(scope="module")
def single() -> TitansForecaster:
    return fitted(wave(160, 2), **ARGUMENTS)


@pytest.fixture(scope="module")
def many() -> TitansForecaster:
    return fitted([wave(160, 1), wave(90, 1)[::-1].copy()], **ARGUMENTS)


def assert_same(found: MemoryState, true: MemoryState) -> None:
    assert (found.id, found.n_seen, found.last_time, found.model) == (true.id, true.n_seen, true.last_time, true.model)
    assert found.tensors.keys() == true.tensors.keys()
    for name, x in true.tensors.items():
        assert torch.equal(found.tensors[name].nan_to_num(7.0), x.nan_to_num(7.0)), name


def test_a_state_says_what_it_is(single):
    state = single.state_
    assert (state.id, state.n_seen, state.last_time) == (None, 160, 159)
    assert state.nbytes == sum(x.numel() * x.element_size() for x in state.tensors.values())
    assert 0 < state.nbytes < 100_000


def test_remembering_undoes_what_came_after(single):
    before, forecast = single.state_, single.predict()
    single.update(wave(50, 2))
    assert not np.array_equal(single.predict(), forecast)
    single.remember(before)
    assert (single.n_seen_, single.last_times_) == (160, {None: 159})
    np.testing.assert_array_equal(single.predict(), forecast)


def test_reading_on_does_not_write_to_a_state_that_was_taken(single):
    before = single.state_
    kept = before.copy()
    single.update(wave(300, 2))
    assert_same(before, kept)
    single.remember(before)


def test_files_and_pickles_give_the_state_back(many, tmp_path):
    state = many.state_[1]
    state.save(tmp_path / "one.state")
    assert_same(MemoryState.load(tmp_path / "one.state"), state)
    assert_same(pickle.loads(pickle.dumps(state)), state)
    assert os.listdir(tmp_path) == ["one.state"]


def test_a_state_moves_to_another_process(single, tmp_path):
    single.save(tmp_path / "model.titans")
    single.update(wave(31, 2))
    single.state_.save(tmp_path / "one.state")
    code = "import sys, numpy as np; from titans_ts import MemoryState, load\n"
    code += "f = load(sys.argv[1]).remember(MemoryState.load(sys.argv[2])); np.save(sys.argv[3], f.predict())"
    paths = [tmp_path / name for name in ("model.titans", "one.state", "said.npy")]
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True)
    np.testing.assert_allclose(np.load(paths[2]), single.predict(), rtol=1e-5, atol=1e-5)


def test_a_forgotten_state_is_that_of_a_fresh_series(many):
    before = many.state_
    blank = before[0].forget()
    assert (blank.id, blank.n_seen, blank.last_time, blank.nbytes) == (0, 0, None, 0)
    many.remember([blank])
    assert many.n_seen_ == {0: 0, 1: 90}
    with pytest.raises(ValueError, match="nothing has been read since forget"):
        many.predict()
    many.remember(before)
    assert many.n_seen_ == {0: 160, 1: 90}


def test_the_state_of_other_weights_is_refused(single, many):
    other = fitted(wave(160, 2), **ARGUMENTS, random_state=1)
    before = single.state_
    with pytest.raises(ValueError, match="the memory was written by another model, or by this one with other weights"):
        single.remember(other.state_)
    with pytest.raises(TypeError, match="states holds a SeriesState; expected a MemoryState"):
        single.remember([single.states_[None]])
    assert_same(single.state_, before)
    good, bad = many.state_[0], MemoryState(1, 5, 4, "other", {})
    many.update([wave(8, 1), wave(8, 1)])
    with pytest.raises(ValueError, match="the memory of series 1 was written by another model"):
        many.remember([good, bad])
    assert many.n_seen_ == {0: 168, 1: 98}, "nothing is changed where one is refused"


def test_loading_names_what_is_wrong(single, tmp_path):
    path = tmp_path / "one.state"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*one.state"):
        MemoryState.load(path)
    single.save(path)
    with pytest.raises(ValueError, match=r"holds no memory of a series; a fitted model is read by titans_ts.load"):
        MemoryState.load(path)
    single.state_.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged"):
        MemoryState.load(path)
    lacking = {name: x for name, x in single.state_.tensors.items() if name != "rows"}
    facts = {"id": ["plain", None], "n_seen": 160, "last_time": ["plain", 159], "model": single.state_.model}
    write_tensors(path, lacking, {"memory_state": facts})
    with pytest.raises(ValueError, match=r"the memory of series None is damaged: it lacks the part 'rows'"):
        single.remember(MemoryState.load(path))
    with pytest.raises(TypeError, match=r"series id \(1, \(2,\)\) .tuple. cannot be kept in a file"):
        MemoryState((1, (2,)), 0, None, "", {}).save(path)
    assert MemoryState.load(path).n_seen == 160, "a refused save leaves the old file whole"


@KILLS
def test_killed_while_saving_the_file_is_one_state_or_the_other(single, tmp_path, kills):
    names = [str(tmp_path / name) for name in ("old.state", "new.state", "kept.state", "seen.txt")]
    states = [single.state_, single.update(wave(33, 2)).state_]
    for state, name in zip(states, names, strict=False):
        state.save(name)
    states[0].save(names[2])
    kill_at_random(
        """
        while True:
            for state in saved:
                state.save(arguments[2])
        """,
        *names,
        kills=kills,
        longest=0.1,
        before="""
        saved = [MemoryState.load(name) for name in arguments[:2]]
        """,
        after="""
        found = MemoryState.load(arguments[2])
        true = next(state for state in saved if state.n_seen == found.n_seen)
        assert all(torch.equal(x.nan_to_num(), true.tensors[name].nan_to_num()) for name, x in found.tensors.items())
        with open(arguments[3], "a") as seen:
            seen.write(f"{found.n_seen} ")
        """,
        to_the_end=False,
    )
    seen = (tmp_path / "seen.txt").read_text().split()
    assert len(seen) == kills
    assert set(seen) == {str(state.n_seen) for state in states}, "kills fell after writes of either"
    states[0].save(names[2])
    assert sorted(os.listdir(tmp_path)) == sorted(os.path.basename(name) for name in names), "nothing is left by the dead"
    single.remember(states[0])


def test_the_header_is_plain_json(single, tmp_path):
    single.state_.save(tmp_path / "one.state")
    content = (tmp_path / "one.state").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["header"])["memory_state"]["n_seen"] == single.n_seen_


def test_a_model_file_keeps_fingerprint_and_states(many, tmp_path):
    many.save(tmp_path / "model.titans")
    again = load(tmp_path / "model.titans")
    assert again.reader_.fingerprint == many.reader_.fingerprint
    for name, state in many.state_.items():
        assert_same(again.state_[name], state)


# --- held against what so many rows leave -----------------------------------------------------------------------------


def remember(model, state, **changed):
    return model.remember(replace(state, **changed))


def with_part(state, name, change):
    return {"tensors": {**state.tensors, name: change(state.tensors[name])}}


WRONG_PARTS = {
    "flat": ("backbone.0.memory.store.weights.0", lambda x: x.reshape(-1), r"float32 of shape \(\d+,\), expected"),
    "of another size": ("backbone.0.memory.tail", lambda x: x[:, 1:], "expected torch.float32 of shape"),
    "half as exact": ("backbone.0.seen", lambda x: x.bfloat16(), "is torch.bfloat16 of shape .*, expected torch.float32"),
    "more exact": ("backbone.0.seen", lambda x: x.double(), "is torch.float64 of shape .*, expected torch.float32"),
    "not finite": ("backbone.0.memory.store.weights.1", lambda x: x.fill_(np.inf), "holds numbers that are not finite"),
    "no number": ("backbone.0.memory.store.anchor.0", lambda x: x.fill_(np.nan), "holds numbers that are not finite"),
    "an infinite row": ("rows", lambda x: x.fill_(-np.inf), "'rows' holds numbers that are not finite"),
    "rows of one channel": ("rows", lambda x: x[:1], "expected torch.float64 of shape"),
    "another place": ("backbone.0.memory.store.position", lambda x: x + 1, r"position' is \d+, expected \d+"),
    "other rows": ("n_seen", lambda x: x - 1, r"'n_seen' is \d+, expected \d+"),
    "another scale": ("scale.level", lambda x: x + 1, "'scale' is not the one that fit found"),
    "an unknown scale": ("scale.level", lambda x: x.fill_(np.nan), "expected"),
    "an array": ("rows", lambda x: x.numpy(), "'rows' is a ndarray, expected a tensor"),
}


@pytest.mark.parametrize("wrong", WRONG_PARTS)
def test_a_part_that_so_many_rows_cannot_have_left_is_refused_and_nothing_is_changed(single, wrong):
    name, change, message = WRONG_PARTS[wrong]
    before, said = single.state_, single.predict()
    state = before.copy()
    with pytest.raises(ValueError, match=f"states: the memory of series None is damaged: .*{message}"):
        remember(single, state, **with_part(state, name, change))
    assert_same(single.state_, before)
    np.testing.assert_array_equal(single.predict(), said)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_seen": 901}, r"last_time=\d+ cannot be that of its row 901"),
        ({"n_seen": 901, "last_time": 900}, "'.*' is .*, expected"),
        ({"n_seen": -1}, "n_seen=-1 is no count"),
        ({"n_seen": 160.0}, "n_seen=160.0 is no count"),
        ({"n_seen": 0, "last_time": None}, "it holds tensors, but has read no row"),
        ({"last_time": None}, "last_time=None cannot be that of its row"),
        ({"last_time": np.datetime64("2024-01-01")}, "last_time=.* cannot be that of its row"),
        ({"tensors": {}}, "it lacks the part"),
        ({"tensors": None}, "is no count"),
    ],
    ids=str,
)
def test_facts_that_do_not_fit_the_tensors_are_refused(single, changed, message):
    with pytest.raises(ValueError, match=f"states: the memory of series None is damaged: .*{message}"):
        remember(single, single.state_, **changed)


def test_an_id_of_another_kind_is_refused(many):
    with pytest.raises(ValueError, match="the memory of series '0' does not fit; the ids that .* fitted on are int"):
        remember(many, many.state_[0], id="0")


def test_a_part_that_no_memory_has_is_refused(single):
    state = single.state_
    with pytest.raises(ValueError, match="it has a part 'more', which no such memory has"):
        remember(single, state, tensors={**state.tensors, "more": torch.zeros(1)})


@pytest.mark.parametrize("rows", [1, 4, 5, 23, 24, 25, 60])
def test_states_of_any_age_are_taken_back(many, rows):
    """Also of series that fit did not see, whose scale is not known before they fill a look-back."""
    many = copy.deepcopy(many)
    many.update([wave(4, 1), wave(4, 1), wave(rows, 1, seed=5)])
    states = many.state_
    said = many.predict()
    many.forget().remember(states)
    assert many.n_seen_[2] == rows
    for found, true in zip(many.predict(), said, strict=True):
        np.testing.assert_array_equal(found, true)


FILE_FACTS = {
    "no count": {"n_seen": "160"},
    "rows without tensors": {"n_seen": 0},
    "no model": {"model": None},
    "an id that is none": {"id": ["plain", [1]]},
    "an id without a kind": {"id": "west"},
    "a time that is none": {"last_time": ["time", "soon"]},
    "a time past all time": {"last_time": ["time", str(2**70)]},
    "an id that is no number": {"id": ["plain", float("nan")]},
}


@pytest.mark.parametrize("wrong", FILE_FACTS)
def test_a_file_whose_facts_are_none_is_refused_by_its_path(single, tmp_path, wrong):
    state = single.state_
    facts = {"id": ["plain", None], "n_seen": 160, "last_time": ["plain", 159], "model": state.model}
    write_tensors(tmp_path / "one.state", dict(state.tensors), {"memory_state": {**facts, **FILE_FACTS[wrong]}})
    with pytest.raises(ValueError, match="one.state' is damaged: .*; save the memory again"):
        MemoryState.load(tmp_path / "one.state")


def test_copies_of_every_kind_are_states_of_their_own(single):
    state = single.state_
    for found in (copy.copy(state), copy.deepcopy(state), state.copy(), pickle.loads(pickle.dumps(state))):
        assert_same(found, state)
        single.remember(found)
    deep = copy.deepcopy(state)
    deep.tensors["rows"].fill_(7.0)
    assert not bool((state.tensors["rows"] == 7.0).any())
