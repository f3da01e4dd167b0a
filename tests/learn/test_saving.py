"""P7 at the forecaster's face: what was saved comes back and goes on; what is damaged, foreign or newer is refused."""

import errno
import os
import pickle
import random
import time

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from frozen.make_frozen import MODELS as FROZEN
from series.estimator_cases import COVARIATES, HOURS, covariate_frame, fitted, long_frame, rows_ahead, wave, wide_frame

from titans_ts import TitansClassifier, TitansEmbedder, load
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
    with pytest.raises(
        TypeError, match=r"series id datetime.date\(2024, 1, 1\) .date. cannot be kept .* text, numbers or tuples"
    ):
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


# --- believed only where all parts agree ------------------------------------------------------------------------------


def edited(name, tmp_path, change):
    """Write a frozen model anew, with another header or other tensors, and with the digest of these."""
    tensors, header = files.read_tensors(FROZEN / f"{name}.titans")
    change(header, tensors)
    files.write_tensors(tmp_path / "a.titans", tensors, header)
    return tmp_path / "a.titans"


def put(*keys, value):
    """Return a change of one value deep in a header."""

    def change(header, _tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def backbone(name, value):
    return put("network", "backbone", name, value=value)


def base(name, value):
    return put("network", "base", name, value=value)


def spoil(name, change):
    def spoiled(_header, tensors):
        tensors[name] = change(tensors[name])

    return spoiled


def rename(name, to):
    return lambda _header, tensors: tensors.update({to: tensors.pop(name)})


def twice(header, tensors):
    header["series"] = header["series"] * 2
    tensors |= {name.replace("e.0.", "e.1."): x for name, x in tensors.items() if name.startswith(("state.0.", "scale.0."))}


MONTHS = "forecaster-months"
MAC, KINDS, DNA, MODEL = "forecaster-mac", "classifier-two-classes", "DNA-classifier-average", "language-model"
BIAS = "network.head.correct.bias"
WRONG = {
    "very many layers": (MAC, backbone("layers", 10**9), "asks for more weights than the file holds"),
    "one layer more": (MAC, backbone("layers", 2), "the network asks for '.*', which the file does not hold"),
    "no layers": (MAC, backbone("layers", 0), "the network has no place for '.*', which the file holds"),
    "very wide": (MAC, backbone("width", 16_000), "asks for more weights than the file holds"),
    "wide beyond counting": (MAC, backbone("width", 2**62), "asks for more weights than the file holds"),
    "a deep memory": (MAC, backbone("memory_depth", 10**9), "memory_depth=1000000000 asks for more layers"),
    "very many tokens": (MAC, backbone("persistent_tokens", 10**9), "asks for more weights than the file holds"),
    "a long horizon": (MAC, put("network", "horizon", value=10**9), "asks for more weights than the file holds"),
    "another horizon": (MAC, put("network", "horizon", value=5), r"of shape \(5, 8\), the file holds \(4, 8\)"),
    "a window of its own": (MAC, backbone("window", 5), "'backbone.0.seen' is .*, expected"),
    "a window beyond memory": (MAC, backbone("window", 2**40), "asks for more numbers in its state than any has"),
    "a window that shows nowhere": (KINDS, backbone("window", 10**9), "asks for more numbers in its state than any has"),
    "a width of a half": (MAC, backbone("width", 8.0), "width must be int, got 8.0"),
    "a share that is no number": (MAC, backbone("dropout", float("nan")), "dropout must be float, got nan"),
    "an expansion beyond counting": (MAC, backbone("feedforward_expansion", 1e300), "more weights than the file holds"),
    "an unknown memory": (MAC, backbone("memory", "mine"), "memory='mine' is not known"),
    "a list for a table": (MAC, put("network", value=[1]), ""),
    "no network": (MAC, lambda header, _: header.pop("network"), "it lacks 'network'"),
    "an argument out of range": (MAC, put("arguments", "horizon", value=-1), "'horizon' parameter .* must be"),
    "an argument of another kind": (MAC, put("arguments", "quantiles", value="many"), "quantiles"),
    "a weight that is no number": (MAC, spoil(BIAS, lambda x: x.fill_(np.nan)), f"'{BIAS[8:]}' holds numbers that are not"),
    "a weight without an end": (MAC, spoil(BIAS, lambda x: x.fill_(np.inf)), "holds numbers that are not finite"),
    "half weights": (MAC, spoil(BIAS, torch.Tensor.half), "holds numbers of a wrong kind, torch.float16"),
    "whole weights": (MAC, spoil(BIAS, torch.Tensor.int), "holds numbers of a wrong kind, torch.int32"),
    "another name": (MAC, rename(BIAS, "network.head.bias"), "asks for 'head.correct.bias', which the file does not hold"),
    "a base of another horizon": (
        MAC,
        base("horizon", 3),
        "the network asks for|horizon of its base is 3, of its network 4",
    ),
    "a base of another patch": (MAC, base("patch_length", 2), "patch_length of its base is 2, of its network 4"),
    "a base without a season": (MAC, base("season", 0), "season must be at least 1, got 0"),
    "a season beyond memory": (MAC, base("season", 2**40), "asks for more|spread_profile"),
    "a candidate that is none": (MONTHS, base("bank", ["theta", "mine"]), "no such candidates: .'mine'."),
    "a candidate twice": (MONTHS, base("bank", ["damped"] * 4), "bank .*: a season of 12 rows has"),
    "no base": (MAC, put("network", "base", value=None), "the network asks for '.*', which the file does not hold"),
    "a look-back of no rows": (MAC, put("network", "base", "ridges", 0, "lookbacks", value=[]), ""),
    "a centre that is none": (MAC, put("network", "base", "ridges", 0, "centre", value="mode"), "centre must be"),
    "weights of a base without an end": (MAC, spoil("network.base.mixing", lambda x: x.fill_(np.inf)), "not finite"),
    "a base's state cut": (MAC, spoil("state.0.base.rows", lambda x: x[..., 1:]), "'base.rows' is .*, expected"),
    "a base's state without an end": (MAC, spoil("state.0.base.bank.total", lambda x: x.fill_(np.nan)), "not finite"),
    "a state of another name": (MAC, rename("state.0.rows", "state.0.row"), "it lacks the part 'rows'"),
    "a state of no series": (MAC, rename("state.0.rows", "state.x.rows"), "it holds 'x.rows', which is of no series"),
    "a state of another shape": (MAC, spoil("state.0.rows", lambda x: x[:, 1:]), "'rows' is .*, expected"),
    "a state that is no number": (MAC, spoil("state.0.backbone.0.seen", lambda x: x.fill_(np.nan)), "not finite"),
    "a scale of zero": (MAC, spoil("scale.0.spread", torch.zeros_like), "is not above 0"),
    "a series twice": (MAC, twice, "the series None is there twice"),
    "a series with an id": (MAC, put("series", 0, "id", value=["plain", "west"]), "does not fit the layout"),
    "a time that is none": (MAC, put("series", 0, "last_time", value=["time", "soon"]), "neither an id nor a time stamp"),
    "another time": (MAC, put("series", 0, "last_time", value=["plain", 7]), "last_time=7 cannot be that of its row 130"),
    "more targets": (MAC, put("layout", "target_columns", value=[0, 1]), "its network has 1 targets"),
    "names that are none": (MAC, put("layout", "id_column", value=[[1]]), "layout: id_column=.* is neither a name"),
    "more covariates": (MAC, put("preparation", "past", value=[[0, 1]]), "its network has 0 past covariates"),
    "moments that are none": (MAC, put("preparation", "past", value=[[float("nan"), 1]]), "past must be"),
    "no history": (MAC, put("history", value=3), "its training history is no list"),
    "a gain that is none": (MAC, put("memory_gain", value={"share": "all"}), "missing 4 required"),
    "more classes": (KINDS, put("targets", "classes", value=["a", "b", "c"]), "its classes are not those of its network"),
    "a class twice": (KINDS, put("targets", "classes", value=["a", "a"]), "its classes are no sorted labels"),
    "labels beyond memory": (KINDS, put("targets", "dtype", value="<U300000000"), "are longer than any"),
    "labels of no kind": (KINDS, put("targets", "dtype", value="<X4"), "data type"),
    "more channels": (KINDS, put("seen", "n_channels_", value=2), "its channels are not those of its network"),
    "half a step": (KINDS, put("seen", "n_features_in_", value=2.5), "n_features_in_=2.5 is no number of steps"),
    "an offset that is none": ("detector", put("offsets", value=[float("nan"), 0.0]), "expected 2 finite numbers"),
    "a spread of zero": (
        "regressor-two-targets",
        put("targets", "spread", value=[0, 1]),
        "expected 2 finite numbers above 0",
    ),
    "a target that is missing": (
        "regressor-two-targets",
        put("targets", "names", value=["last"]),
        "its targets are not those",
    ),
    "a fact of later": (MAC, put("tomorrow", value=1), "it says 'tomorrow', which this titans_ts does not know"),
    "a setting of later": (MAC, put("layout", "tomorrow", value=1), "layout: unknown or missing keys"),
    "a tensor of later": (MAC, rename("state.0.rows", "tomorrow"), "damaged|lacks"),
    "a tensor beside": (MAC, lambda _, tensors: tensors.update(more=torch.zeros(1)), "it holds 'more', for which the model"),
    "a truth for a number": (MAC, put("series", 0, "known", value=1), "what it says of 'series' has no meaning here"),
    "very long words": (DNA, put("network", "word_sizes", value=[10**9]), "word_sizes must be from 1 to 8"),
    "many places": (DNA, put("network", "places", value=[10**9, 0]), "asks for more weights than the file holds"),
    "long contexts": (MODEL, put("network", "orders", value=[1, 2, 10**9]), "orders must be from 1 to 24"),
    "words out of order": (MODEL, spoil("contexts.words2", lambda x: x.flip(0)), "'contexts.words2' is no sorted table"),
    "counts of another size": (MODEL, spoil("contexts.seen2", lambda x: x[1:]), "'contexts.words2' is no table of counts"),
    "a record that is none": (
        MODEL,
        put("records", value=[{"id": "a", "n_seen": 1, "scored": 2, "total": 0}]),
        "the counts",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_with_the_right_digest_whose_parts_do_not_agree_is_refused_by_its_path(wrong, tmp_path):
    name, change, message = WRONG[wrong]
    path = edited(name, tmp_path, change)
    began = time.process_time()
    with pytest.raises(ValueError, match=rf"a\.titans' is damaged: .*{message}|a\.titans' is damaged: {message}"):
        load(path)
    assert time.process_time() - began < 3


EVERY_FROZEN = sorted(path.stem for path in FROZEN.glob("*.titans"))


@pytest.mark.parametrize("name", EVERY_FROZEN)
def test_a_loaded_model_saves_to_the_same_bytes_again_and_draws_no_chance(name, tmp_path):
    before = torch.get_rng_state()
    load(FROZEN / f"{name}.titans").save(tmp_path / "a")
    model = load(tmp_path / "a")
    model.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert torch.equal(torch.get_rng_state(), before)
    tensors, _ = files.read_tensors(FROZEN / f"{name}.titans")
    old = {name.removeprefix("network."): x for name, x in tensors.items() if name.startswith("network.")}
    for part, x in model.network_.state_dict().items():
        assert torch.equal(x, old[part]), part
    assert all(x.requires_grad for x in model.network_.parameters())
    assert not any(x.is_meta for x in [*model.network_.buffers(), *model.network_.parameters()])


def test_whole_classes_as_keys_come_back_as_they_were(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(12, 20)), np.arange(12) % 2
    model = TitansClassifier(max_steps=0, width=8, heads=2, class_weight={0: 1.0, 1: 3.0}, random_state=0).fit(X, y)
    model.save(tmp_path / "a")
    assert load(tmp_path / "a").class_weight == {0: 1.0, 1: 3.0}


def test_a_model_goes_on_learning_after_it_was_loaded(tmp_path):
    """The weights of a file are parameters like any others."""
    model = fitted(wave(), layers=1, warm_start=True)
    model.save(tmp_path / "a")
    again = load(tmp_path / "a")
    for one in (model, again):
        one.set_params(callbacks=[lambda *_: True]).fit(wave())
    same(again.predict(), model.predict())
