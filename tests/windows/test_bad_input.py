"""Bad input of numeric sequences: read all the same where it can be, else refused by sequence, step and channel."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from windows.estimator_cases import (
    CLASSES,
    KINDS,
    LABELS,
    NUMBERS,
    OTHERS,
    SUPERVISED,
    TABLE,
    ask,
    beside,
    fitted,
    unfitted,
)

from titans_ts import TitansClassifier, TitansRegressor


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def of_table(kind):
    return fitted(kind)


@pytest.fixture(scope="module")
def of_sequences(kind):
    return fitted(kind, [row[: 24 - i % 5] for i, row in enumerate(TABLE)])


# --- sequences that are refused -------------------------------------------------------------------------------------


def table_with(value, dtype=object):
    X = TABLE[:6].astype(dtype)
    X[2, 5] = value
    return X


def block_with(value):
    X = np.ones((6, 1, 24))
    X[2, 0, 5] = value
    return X


def parts_with(value):
    return [np.ones(7), np.ones(9), np.array([1.0, 2.0, value]), np.ones(5), np.ones(6), np.ones(7)]


REFUSED = {
    # tables, in scikit-learn's words
    "one axis": (lambda: TABLE[0], ValueError, r"X is one series of 24 steps, not .*; \[X\] is a list of one"),
    "numbers": (lambda: [1.0, 2.0, 3.0], ValueError, r"X is one series of 3 steps, not .*; \[X\] is a list of one"),
    "a column of polars": (lambda: pl.Series(TABLE[0]), ValueError, r"X is one series of 24 steps"),
    "a tensor of one axis": (lambda: torch.ones(24), ValueError, r"X is one series of 24 steps"),
    "a masked series": (lambda: np.ma.masked_less(TABLE[0], 0), ValueError, r"X is one series of 24 steps"),
    "no rows": (lambda: TABLE[:0], ValueError, "0 sample"),
    "no columns": (lambda: TABLE[:6, :0], ValueError, "0 feature"),
    "inf in a table": (lambda: table_with(np.inf, float), ValueError, r"X\[2\] is inf at step 5, channel 0"),
    "a word in a table": (lambda: table_with("a"), ValueError, "X has the text 'a' at row 2, column 5; convert it"),
    "a word in a frame": (lambda: pd.DataFrame(table_with("a")), ValueError, "X has the text 'a' at row 2, column 5"),
    "a table of words": (lambda: np.array([["a"] * 24] * 6), ValueError, "X cannot be read as a table of windows: .*'?a'?$"),
    "more than float64 holds": (lambda: table_with(10**400), ValueError, "X has 1000.*000 at row 2, column 5, farther from"),
    "a tensor without numbers": (lambda: torch.ones(6, 24, device="meta"), TypeError, "X is a Tensor on device 'meta'"),
    "complex numbers": (lambda: TABLE[:6] * 1j, ValueError, "Complex data not supported"),
    "dates beside numbers": (
        lambda: pd.DataFrame({"ds": pd.date_range("2024", periods=6), "y": 1.0}),
        (TypeError, ValueError),
        "DateTime64|Timestamp",
    ),
    # blocks and lists, in ours
    "four axes": (lambda: np.zeros((2, 2, 2, 2)), ValueError, "dim 4|X has 4 axes"),
    "inf in a block": (lambda: block_with(np.inf), ValueError, r"X\[2\] is inf at step 5, channel 0; give a finite number"),
    "inf in a list": (lambda: parts_with(-np.inf), ValueError, r"X\[2\] is -inf at step 2, channel 0; give a finite number"),
    "an empty list": (list, ValueError, "X holds no sequence; give one or more"),
    "an empty block": (lambda: np.zeros((0, 1, 24)), ValueError, "X holds no sequence; give one or more"),
    "an empty sequence": (lambda: [np.ones(3), np.ones(0), np.ones(4)], ValueError, r"X\[1\] holds nothing"),
    "steps of no channel": (lambda: np.zeros((6, 0, 24)), ValueError, r"X\[0\] holds nothing"),
    "None in a list": (lambda: [np.ones(3), None, np.ones(4)], TypeError, r"X\[1\] is None, not numbers"),
    "text in a list": (lambda: [np.ones(3), "1 2 3", np.ones(4)], TypeError, r"X\[1\] is '1 2 3', not numbers"),
    "words in a list": (lambda: [*parts_with(0)[:-1], np.array(["a"])], ValueError, r"X\[5\] is of type <U1 and holds"),
    "times in a list": (lambda: [*parts_with(0)[:-1], np.array([5], "M8[s]")], ValueError, r"X\[5\] holds times"),
    "channels that change": (
        lambda: [np.ones((7, 1)), np.ones((9, 1)), np.ones((5, 2))],
        ValueError,
        r"X\[0\] has 1 channels and X\[2\] has 2; give all the same ones",
    ),
    "transposed": (
        lambda: [np.ones((2, length)) for length in (24, 20, 24, 24)],
        ValueError,
        r"X\[0\] has 24 channels and X\[1\] has 20.*transposed\? Then give \(t, c\), X\[i\]\.T",
    ),
    # no container
    "None": (lambda: None, TypeError, "X must be a table of windows .*, got NoneType"),
    "text": (lambda: "1 2 3", TypeError, "X must be a table of windows .*, got str"),
    "a dictionary": (lambda: {"a": [1.0, 2.0]}, TypeError, "X must be a table of windows .*, got dict"),
}


@pytest.mark.filterwarnings("ignore:X has feature names, but:UserWarning")
@pytest.mark.parametrize("bad", REFUSED)
def test_what_cannot_be_read_is_refused_by_sequence_step_and_channel(bad, kind, of_table, of_sequences):
    make, error, message = REFUSED[bad]
    for model in (of_table, of_sequences):
        with pytest.raises(error, match=message):
            ask(model, make())
    model = unfitted(kind)
    with pytest.raises(error, match=message):
        model.fit(make(), *beside(kind, 6))
    assert not [name for name in vars(model) if name.endswith("_")], "nothing half fitted"


@pytest.mark.parametrize("bad", ["inf in a list", "None in a list", "transposed", "inf in a block", "four axes"])
@pytest.mark.parametrize("kind", ["classifier", "regressor"], indirect=True)
def test_bad_validation_sequences_are_refused_by_their_name(bad, kind):
    make, error, message = REFUSED[bad]
    with pytest.raises(error, match=message.replace("X", "X_val")):
        unfitted(kind).fit([*TABLE[:, :, None]], *beside(kind), X_val=make(), y_val=beside(kind, 6)[0])


@pytest.mark.parametrize("kind", ["classifier", "regressor"], indirect=True)
def test_one_sequence_is_too_few_to_tell_anything_from(kind):
    for X in (TABLE[:1], [TABLE[0]], TABLE[None, :1]):
        with pytest.raises(ValueError, match="n_samples=1|1 sample|one class"):
            unfitted(kind).fit(X, *beside(kind, 1))


def test_a_column_is_no_table_of_windows(kind):
    for X in (TABLE[:12, :1], TABLE[:12, :1].tolist()):
        with pytest.raises(ValueError, match=r"n_features=1: X .*one long series is a list of one, \[series\]"):
            unfitted(kind).fit(X, *beside(kind, 12))


# --- sequences that are read ----------------------------------------------------------------------------------------

READ = {
    "shorter than a patch and the kernel": [np.arange(1.0 + i % 3) for i in range(12)],
    "nothing measured": np.full((12, 9), np.nan),
    "half of them not measured": [np.full(9, np.nan), np.arange(8.0)] * 6,
    "all the same": np.ones((12, 30)),
    "constants": np.arange(12.0)[:, None] * np.ones(30),
    "two": TABLE[:2],
    "very unequal": [np.ones(1), np.sin(np.arange(500.0)), *TABLE[:10]],
    "tiny": TABLE[:12] * 1e-300,
    "huge": TABLE[:12] * 1e300,
    "on a high level": 1e12 + TABLE[:12],
    "many channels": np.random.default_rng(0).normal(size=(12, 40, 9)),
}


@pytest.mark.parametrize("good", READ)
def test_odd_sequences_are_learned_from_and_answered(good, kind):
    X = READ[good]
    y = {"classifier": np.arange(len(X)) % 2, "regressor": np.arange(len(X)) / 3}.get(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = unfitted(kind, batch_size=4).fit(X, *(() if y is None else (y,)))
        found = ask(model, X)
        others = [] if good == "many channels" else ask(model, OTHERS)
    assert len(found) == len(X)
    assert np.isfinite(found).all()
    assert np.isfinite(others).all()


FORMS = {
    "whole numbers": np.arange(120).reshape(12, 10),
    "truth values": np.arange(120).reshape(12, 10) % 3 == 0,
    "float32": TABLE[:12].astype(np.float32),
    "float16": TABLE[:12].astype(np.float16),
    "numbers as text": TABLE[:12].astype(str).astype(object),
    "gaps of pandas": pd.DataFrame(np.arange(24).reshape(12, 2), columns=["a", "b"]).astype("Int64").replace(3, pd.NA),
    "gaps of polars": pl.DataFrame({"a": [1.0, None] * 6, "b": range(12)}),
    "read only": np.broadcast_to(TABLE[0], (12, 24)),
    "in another order in storage": np.asfortranarray(TABLE[:12]),
    "a view": TABLE[:24:2, ::-1],
    "a tensor with a gradient": torch.tensor(TABLE[:12], requires_grad=True),
    "bfloat16": torch.arange(24).reshape(12, 2).bfloat16(),
    "objects with gaps": pd.DataFrame(TABLE[:12]).astype(object).where(TABLE[:12] > 0, pd.NA),
    "objects behind a mask": np.ma.array(TABLE[:12].astype(object), mask=np.zeros((12, 24), bool)),
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_any_form_are_read_as_their_numbers(form):
    X = FORMS[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = unfitted("embedder")._read_items(X, reset=True)
    numbers = X.detach().double().numpy() if isinstance(X, torch.Tensor) else X.to_numpy() if hasattr(X, "to_numpy") else X
    expected = np.array([[np.nan if x is None or x is pd.NA else float(x) for x in row] for row in numbers])
    assert {one.dtype for one in found} == {np.dtype(float)}
    np.testing.assert_array_equal(np.stack(found)[..., 0], expected)


# --- labels, numbers, weights ---------------------------------------------------------------------------------------


def fit(kind, y=None, *more, X=TABLE, **keywords):
    model = {"classifier": TitansClassifier, "regressor": TitansRegressor}[kind](**SUPERVISED)
    return model.fit(X, (LABELS if kind == "classifier" else NUMBERS) if y is None else y, *more, **keywords)


def with_nan(y, value=np.nan):
    return [value, *list(y)[1:]]


WRONG = {
    "one class": (lambda: fit("classifier", ["calm"] * 40), "y holds the one class 'calm' only; a classifier needs two"),
    "a label too few": (lambda: fit("classifier", LABELS[:39]), "y has 39 labels for 40 sequences; give one each"),
    "a number too many": (lambda: fit("regressor", np.arange(41.0)), "y has 41 rows for 40 sequences; give one each"),
    "no y": (
        lambda: TitansClassifier(**SUPERVISED).fit(TABLE, None),
        "TitansClassifier requires y to be passed, but the target y is None; give a label",
    ),
    "no numbers": (
        lambda: TitansRegressor(**SUPERVISED).fit(TABLE, None),
        "TitansRegressor requires y to be passed, but the target y is None; give a number",
    ),
    "labels that are numbers": (lambda: fit("classifier", NUMBERS), "Unknown label type: continuous"),
    "a label that is missing": (lambda: fit("classifier", with_nan(LABELS, None)), "y.*(missing|None|NaN)"),
    "a label that is NaN": (lambda: fit("classifier", with_nan(CLASSES * 1.0)), r"y\[0\] is missing \(nan\)"),
    "a label that pandas misses": (
        lambda: fit("classifier", pd.Series(with_nan(LABELS, pd.NA))),
        r"y\[0\] is missing \((nan|<NA>)\); drop the row",
    ),
    "a masked label": (lambda: fit("classifier", np.ma.array(LABELS, mask=np.arange(40) == 3)), r"y\[3\] is masked"),
    "a masked number": (lambda: fit("regressor", np.ma.array(NUMBERS, mask=np.arange(40) == 3)), r"y\[3\] is masked"),
    "a number past float64": (
        lambda: fit("regressor", with_nan(NUMBERS, 10**400)),
        "y must hold a finite number.*too large",
    ),
    "NaN": (lambda: fit("regressor", with_nan(NUMBERS)), "y contains NaN"),
    "inf": (lambda: fit("regressor", with_nan(NUMBERS, np.inf)), "y contains infinity"),
    "text": (lambda: fit("regressor", LABELS), "y.*'(fast|slow)'"),
    "three axes": (lambda: fit("regressor", np.zeros((40, 2, 2))), "y .*(3 axes|dim 3)"),
    "an unknown label": (
        lambda: fit("classifier", X_val=TABLE[:1], y_val=["none"]),
        "y_val holds 'none', which is none of the classes 'fast', 'slow'",
    ),
    "a label of validation too few": (
        lambda: fit("classifier", X_val=TABLE[:2], y_val=["slow"]),
        "y_val has 1 labels for 2 sequences",
    ),
    "X_val alone": (lambda: fit("classifier", X_val=TABLE[:2]), "X_val and y_val belong together"),
    "y_val alone": (lambda: fit("regressor", y_val=[1.0]), "X_val and y_val belong together"),
    "NaN in validation": (lambda: fit("regressor", X_val=TABLE[:1], y_val=[np.nan]), "y_val contains NaN"),
    "another number of targets": (
        lambda: fit("regressor", X_val=TABLE[:1], y_val=[[1.0, 2.0]]),
        "y_val has 2 targets, fit saw 1; give the same ones",
    ),
    "a narrower X_val": (
        lambda: fit("regressor", X_val=TABLE[:2, 1:], y_val=[1.0, 2.0]),
        "23 features, but TitansRegressor is expecting 24",
    ),
    "an X_val of other channels": (
        lambda: fit("regressor", X_val=np.zeros((2, 3, 24)), y_val=[1.0, 2.0]),
        "X_val has sequences of 3 channels, but TitansRegressor was fitted on 1",
    ),
    "a weight too few": (lambda: fit("classifier", None, np.ones(39)), r"[Ss]ample.?weight.*(39|shape)"),
    "a weight that is NaN": (lambda: fit("regressor", None, with_nan(np.ones(40))), "sample_weight contains NaN"),
    "a weight below zero": (lambda: fit("classifier", None, with_nan(np.ones(40), -1.0)), "Negative|sample_weight"),
    "weights of zero": (lambda: fit("classifier", None, np.zeros(40)), "[Ss]ample.?weight.*(zero|0 for every)"),
    "a class that has no weight": (
        lambda: fit("classifier", None, (LABELS == "slow") * 1.0),
        "y holds the one class 'slow' only",
    ),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_learned_is_refused_by_argument(wrong):
    act, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        act()


def test_targets_may_be_tensors_with_a_gradient_or_masked_where_nothing_is_hidden():
    expected = fit("regressor").predict(OTHERS)
    for y in (torch.tensor(NUMBERS, requires_grad=True), np.ma.array(NUMBERS, mask=False)):
        np.testing.assert_array_equal(fit("regressor", y).predict(OTHERS), expected)
    assert fit("classifier", np.ma.array(CLASSES, mask=False)).classes_.dtype == CLASSES.dtype


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_with_one_member_is_a_class(classes, seed):
    y = np.where(np.arange(40) == 0, "rare", np.array(["a", "b"])[np.arange(40) % (classes - 1)])
    model = TitansClassifier(**{**SUPERVISED, "random_state": seed}).fit(TABLE, y)
    assert model.classes_.tolist() == [*"ab"[: classes - 1], "rare"]
    assert np.isfinite(model.predict_proba(OTHERS)).all()


def test_too_much_held_out_is_refused_by_name():
    with pytest.raises(ValueError, match="validation_fraction=0.99 leaves 1 of 40 sequences for training"):
        TitansClassifier(**{**SUPERVISED, "validation_fraction": 0.99}).fit(TABLE, LABELS)


# --- arguments ------------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "variant": ({"variant": "transformer"}, ValueError, "'variant' parameter of .* must be"),
    "memory": ({"memory": "elephant"}, ValueError, "memory='elephant' is not known; choose one of"),
    "width and heads": ({"width": 10, "heads": 4}, ValueError, "width must be a multiple of heads, got width=10"),
    "a memory in a baseline": ({"variant": "lstm", "memory": "ttt_mlp"}, ValueError, "variant='lstm' has no memory"),
    "patch_length": ({"patch_length": 0}, ValueError, "'patch_length' parameter of .* must be"),
    "layers": ({"layers": -1}, ValueError, "'layers' parameter of .* must be"),
    "dropout": ({"dropout": 1.0}, ValueError, "'dropout' parameter of .* must be"),
    "max_steps": ({"max_steps": -1}, ValueError, "'max_steps' parameter of .* must be"),
    "validation_fraction": ({"validation_fraction": 1.0}, ValueError, "'validation_fraction' parameter of .* must be"),
    "device": ({"device": "abacus"}, ValueError, "device='abacus' cannot be used here: .*; use 'auto' or 'cpu'"),
    "precision": ({"precision": "float8"}, ValueError, "'precision' parameter of .* must be"),
    "callbacks": ({"callbacks": [3]}, TypeError, "callbacks holds 3, which is no function"),
}
OF_ONE = {
    "an even kernel": ("classifier", {"kernel": 4}, "kernel must be odd, to have a middle; got 4"),
    "an even kernel, numbers": ("regressor", {"kernel": 4}, "kernel must be odd, to have a middle; got 4"),
    "class_weight": ("classifier", {"class_weight": "heavy"}, "'class_weight' parameter of .* must be"),
    "caution": ("regressor", {"caution": -1.0}, "'caution' parameter of .* must be"),
    "adapt": ("detector", {"adapt": "perhaps"}, "'adapt' parameter of .* must be"),
    "no contamination": ("detector", {"contamination": 0.0}, "'contamination' parameter of .* must be"),
    "contamination": ("detector", {"contamination": 0.6}, "'contamination' parameter of .* must be"),
}


@pytest.mark.parametrize("wrong", ARGUMENTS)
def test_arguments_that_are_wrong_or_do_not_fit_are_refused_by_name(wrong, kind):
    arguments, error, message = ARGUMENTS[wrong]
    model = unfitted(kind, **arguments)
    with pytest.raises(error, match=message):
        model.fit(TABLE, *beside(kind))
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("wrong", OF_ONE)
def test_arguments_of_one_estimator_are_refused_by_name(wrong):
    kind, arguments, message = OF_ONE[wrong]
    with pytest.raises(ValueError, match=message):
        unfitted(kind, **arguments).fit(TABLE, *beside(kind))


def test_questions_to_what_is_not_fitted_are_refused(kind):
    with pytest.raises(ValueError, match="not fitted yet"):
        ask(unfitted(kind), TABLE)
