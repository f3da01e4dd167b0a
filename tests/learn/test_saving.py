"""P7 at the forecaster's face: what was saved comes back and goes on; what is damaged, foreign or newer is refused."""

import errno
import os
import pickle
import random

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from series.estimator_cases import COVARIATES, HOURS, covariate_frame, fitted, long_frame, rows_ahead, wave, wide_frame

from titans_ts import TitansEmbedder, load
from titans_ts.files import tensors as files

LATER = HOURS + pd.Timedelta(hours=300)


@pytest.fixture
def path(tmp_path):
    """A saved model, alone in its folder, also afterwards."""
    fitted(wave(), layers=1).save(tmp_path / "a.titans")
    yield tmp_path / "a.titans"
    assert os.listdir(tmp_path) == ["a.titans"]


@pytest.fixture(autouse=True)
def _never_unpickled(monkeypatch):
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, lambda *_: pytest.fail("something was unpickled"))
    monkeypatch.setattr(torch, "load", lambda *_: pytest.fail("something was unpickled"))


def local(times):
    return times.tz_localize("Asia/Tokyo")


def whole_numbers(rows):
    return wide_frame(pd.RangeIndex(rows.start * 5, rows.stop * 5, 5))


MODELS = {
    "arrays": (lambda: fitted(wave()), lambda: wave(30)),
    "a list": (lambda: fitted([wave(), wave(200)]), lambda: [wave(30), wave(40)]),
    "a long frame": (lambda: fitted(long_frame()), lambda: long_frame(LATER, ids=("west", "east", "new"))),
    "a zone": (lambda: fitted(wide_frame(local(HOURS))), lambda: wide_frame(local(LATER))),
    "covariates": (lambda: fitted(covariate_frame(), **COVARIATES), lambda: covariate_frame(LATER)),
    "a frequency": (lambda: fitted(wide_frame(), freq=pd.offsets.Hour()), lambda: wide_frame(LATER)),
    "a whole frequency": (lambda: fitted(whole_numbers(range(300)), freq=5), lambda: whole_numbers(range(300, 350))),
    "float64": (lambda: fitted(wave(), precision="float64", quantiles=[0.25, 0.75]), lambda: wave(30)),
    "just forgotten": (lambda: fitted(wave()).forget(), lambda: wave(30)),
}


@pytest.mark.parametrize("model", MODELS)
def test_a_loaded_model_goes_on_as_the_saved_one(model, tmp_path):
    make, rows = MODELS[model]
    forecaster, X = make(), rows()
    future = rows_ahead(X) if model == "covariates" else None
    level = None if model == "a list" else [50]
    forecaster.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    assert again.n_seen_ == forecaster.n_seen_
    assert again.n_features_in_ == forecaster.n_features_in_
    if model not in ("a frequency", "float64"):  # an offset comes back as its alias, a list as a tuple
        assert again.get_params() == forecaster.get_params()
    same(again.update(X).predict(level=level, future=future), forecaster.update(X).predict(level=level, future=future))
    same(again.surprise(X), forecaster.surprise(X))
    if model != "a list":
        same(again.forget().update(X).predict(future=future), forecaster.predict(X, future=future))


def same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


FAILURES = {
    "the disk is full": ("fsync", OSError(errno.ENOSPC, "No space left on device")),
    "a key is pressed": ("fsync", KeyboardInterrupt()),
    "a key is pressed before it moves": ("replace", KeyboardInterrupt()),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(failure, path, monkeypatch):
    name, error = FAILURES[failure]
    model = load(path)
    old, before = path.read_bytes(), model.predict()

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(type(error)):
            model.update(wave(30)).save(path)
    assert path.read_bytes() == old
    np.testing.assert_array_equal(load(path).predict(), before)


def test_a_place_that_cannot_be_written_is_named(path):
    model = load(path)
    with pytest.raises(IsADirectoryError, match="path=.* is a folder; name a file in it"):
        model.save(path.parent)
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere.* does not exist; make it first"):
        model.save(path.parent / "nowhere" / "a.titans")


def test_ids_that_no_file_can_hold_are_named_and_leave_the_old_file(path):
    old = path.read_bytes()
    ids = pd.date_range("2024", periods=2).date
    with pytest.raises(TypeError, match=r"series id datetime.date\(2024, 1, 1\) .date. cannot be kept .* text or numbers"):
        fitted(long_frame(ids=ids), layers=0).save(path)
    assert path.read_bytes() == old


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-5] + bytes([content[-5] ^ 0x40]) + content[-4:]


def anothers(content):
    return safetensors.torch.save({"a": torch.ones(3)}, {"format": "pt"})


DAMAGE = {
    "cut short": (cut, "is damaged, cut short, or not a file of titans_ts .*; save the model again"),
    "empty": (lambda x: b"", "is damaged, cut short"),
    "more behind it": (lambda x: x + b"more", "is damaged, cut short"),
    "a flipped bit": (flipped, "is damaged: its content is not what was written"),
    "noise": (lambda x: random.Random(0).randbytes(len(x)), "is damaged, cut short"),
    "a pickle": (lambda x: pickle.dumps([1]), "is damaged, cut short"),
    "text": (lambda x: b"ds,y\n" * 50, "is damaged, cut short"),
    "another's tensors": (anothers, "is a safetensors file, but titans_ts did not write it"),
    "newer": (lambda x: x.replace(b'"version":"1"', b'"version":"9"'), "written by a newer titans_ts .* upgrade titans_ts"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_foreign_or_newer_is_refused_by_name(damage, path):
    change, message = DAMAGE[damage]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"a\.titans' .*{message}"):
        load(path)


def test_a_file_of_ours_that_holds_no_forecaster_is_told_apart(path):
    files.write_tensors(path, {"a": torch.ones(1)}, {"phase": "memory"})
    with pytest.raises(ValueError, match="holds no fitted model of titans_ts; it may be a checkpoint"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*absent"):
        load(tmp_path / "absent.titans")


def test_arguments_that_an_estimator_no_longer_has_are_ignored_and_no_others(tmp_path):
    model = TitansEmbedder(max_steps=0, width=8, heads=2, random_state=0).fit(np.random.default_rng(0).normal(size=(4, 32)))
    model.save(tmp_path / "a.titans")
    tensors, header = files.read_tensors(tmp_path / "a.titans")
    older = {**header["arguments"], "caution": 1.0, "n_jobs": None}  # neither did anything in an embedder
    files.write_tensors(tmp_path / "a.titans", tensors, {**header, "arguments": older})
    assert load(tmp_path / "a.titans").get_params() == model.get_params()
    files.write_tensors(tmp_path / "a.titans", tensors, {**header, "arguments": {**older, "colour": 1}})
    with pytest.raises(ValueError, match=r"a\.titans' is damaged: .*colour"):
        load(tmp_path / "a.titans")
