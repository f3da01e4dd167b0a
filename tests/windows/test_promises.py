"""P3, P4, P6 and P7 of classifier, regressor, embedder and detector: containers, company, gaps, chance, length, files."""

import pickle
import random

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from windows.estimator_cases import (
    KINDS,
    OTHERS,
    TABLE,
    ask,
    beside,
    close,
    fitted,
    interrupt,
    loosen,
    rhythms,
    same_weights,
    unfitted,
    weights,
)

from titans_ts import load
from titans_ts.learn import two_paths
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.windows import reader

UNEQUAL = [row[: 24 - i % 9, None] for i, row in enumerate(TABLE)]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    """Fitted on a table; not to be changed."""
    return fitted(kind)


@pytest.fixture(scope="module")
def of_sequences(kind):
    """Fitted on sequences of unequal lengths; not to be changed."""
    return fitted(kind, UNEQUAL)


# --- one answer, whatever the container -----------------------------------------------------------------------------

CONTAINERS = {
    "a list of rows": lambda X: X.tolist(),
    "a block": lambda X: X[:, None],
    "a list of (t, 1)": lambda X: [row[:, None] for row in X],
    "a list of (t,)": list,
    "a tuple of frames": lambda X: tuple(pd.DataFrame({"x": row}) for row in X),
    "a frame of pandas": lambda X: pd.DataFrame(X, columns=[f"t{i}" for i in range(24)], index=range(7, 7 + len(X))),
    "a frame of polars": lambda X: pl.DataFrame(X, schema=[f"t{i}" for i in range(24)]),
    "in another order in storage": np.asfortranarray,
}


@pytest.mark.parametrize("kind", ["classifier", "detector"], indirect=True)
@pytest.mark.parametrize("container", CONTAINERS)
def test_any_container_gives_the_same_model_and_answers(container, kind, model):
    make = CONTAINERS[container]
    again = fitted(kind, make(TABLE), *beside(kind))
    np.testing.assert_array_equal(ask(again, make(TABLE)), ask(model, TABLE))
    assert again.n_channels_ == 1
    assert hasattr(again, "n_features_in_") == (container not in ("a block", "a list of (t, 1)", "a tuple of frames"))
    assert hasattr(again, "feature_names_in_") == ("a frame" in container)


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_learned_from_sequences_answers_any_container(container, of_sequences):
    np.testing.assert_array_equal(
        ask(of_sequences, CONTAINERS[container](TABLE)), ask(of_sequences, [row[:, None] for row in TABLE])
    )


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_columns_of_a_frame_are_known_by_name(kind, backend, tmp_path):
    names = [f"t{i}" for i in range(24)]
    frame = pd.DataFrame(TABLE, columns=names) if backend == "pandas" else pl.DataFrame(TABLE, schema=names)
    model = fitted(kind, frame, *beside(kind))
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        assert one.n_features_in_ == 24
        assert one.feature_names_in_.tolist() == names
        renamed = frame.rename(columns={"t0": "x"}) if backend == "pandas" else frame.rename({"t0": "x"})
        for wrong in (frame[names[::-1]], renamed):
            with pytest.raises(ValueError, match="feature names should match"):
                ask(one, wrong)
        with pytest.raises(ValueError, match="X has 23 features, but .* is expecting 24|feature names should match"):
            ask(one, frame[names[1:]])


def test_another_width_or_number_of_channels_is_refused_by_number(kind, model, of_sequences):
    name = type(model).__name__
    with pytest.raises(ValueError, match=f"X has 23 features, but {name} is expecting 24 features"):
        ask(model, TABLE[:, 1:])
    for one in (model, of_sequences):
        with pytest.raises(ValueError, match=f"X has sequences of 2 channels, but {name} was fitted on 1; give the same"):
            ask(one, np.zeros((3, 2, 24)))
    two = fitted(kind, np.stack([TABLE, TABLE[::-1]], axis=1), *beside(kind))
    assert (two.n_channels_, hasattr(two, "n_features_in_")) == (2, False)
    with pytest.raises(ValueError, match=f"X has sequences of 1 channels, but {name} was fitted on 2"):
        ask(two, TABLE)


def test_a_fit_forgets_what_the_one_before_saw(kind):
    model = unfitted(kind).fit(pd.DataFrame(TABLE).add_prefix("t"), *beside(kind))
    model.fit(np.stack([TABLE, TABLE], axis=1), *beside(kind))
    assert (model.n_channels_, hasattr(model, "n_features_in_"), hasattr(model, "feature_names_in_")) == (2, False, False)
    model.fit(TABLE[:, :20], *beside(kind))
    assert (model.n_channels_, model.n_features_in_, hasattr(model, "feature_names_in_")) == (1, 20, False)


def test_x_is_left_as_it_was(kind):
    table, several = TABLE.copy(), [one.copy() for one in UNEQUAL]
    for X in (table, several):
        ask(unfitted(kind).fit(X, *beside(kind)), X)
    np.testing.assert_array_equal(table, TABLE)
    for one, before in zip(several, UNEQUAL, strict=True):
        np.testing.assert_array_equal(one, before)


# --- P3: alone or in company ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["mac", "lmm"])  # of all the networks' own tests say so
def test_nothing_else_in_the_batch_counts(kind, variant, of_sequences):
    model = of_sequences if variant == "mac" else fitted(kind, UNEQUAL, variant=variant)
    together = ask(model, OTHERS)
    close(np.concatenate([ask(model, [one]) for one in OTHERS]), together)
    close(ask(model, OTHERS[::-1])[::-1], together)
    for i, one in enumerate(OTHERS):
        close(ask(model, [one, 1e6 * rhythms(1, 333)[0].T])[0], together[i])


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_how_much_is_worked_on_at_once_does_not_count(of_sequences, at_once, monkeypatch):
    expected = ask(of_sequences, OTHERS)
    for module, name in (
        (two_paths, "TOKENS_AT_ONCE"),
        (two_paths, "READ_AT_ONCE"),
        (reader, "TOKENS_AT_ONCE"),
        (reader, "SIDE_BY_SIDE"),
    ):
        monkeypatch.setattr(module, name, at_once)
    memories = [part for part in of_sequences.network_.modules() if isinstance(part, NeuralMemory)]
    assert memories
    for memory in memories:
        monkeypatch.setattr(memory, "chunk_size", at_once)
    close(ask(of_sequences, OTHERS), expected)


# --- P4: what is missing --------------------------------------------------------------------------------------------


def with_gaps(share=0.3):
    X = TABLE.copy()
    X[np.random.default_rng(5).random(X.shape) < share] = np.nan
    X[3], X[:, 7] = np.nan, np.nan  # a window of nothing, a step that was never measured
    return X


def test_gaps_in_never_give_nan_out(kind):
    model = fitted(kind, with_gaps())
    for X in (with_gaps(), with_gaps(0.9), np.full((2, 24), np.nan)):
        assert np.isfinite(ask(model, X)).all()
    assert all(torch.isfinite(x).all() for x in weights(model).values())
    assert np.ptp(ask(model, with_gaps()), axis=0).max() > 0


@pytest.mark.parametrize("kind", ["regressor", "embedder"], indirect=True)
def test_what_a_mask_hides_is_missing(kind):
    X = with_gaps()
    masked = np.ma.array(np.where(np.isnan(X), 999.0, X), mask=np.isnan(X))
    expected = ask(fitted(kind, X), X)
    np.testing.assert_array_equal(ask(fitted(kind, masked, *beside(kind)), masked), expected)
    np.testing.assert_array_equal(ask(fitted(kind, list(masked), *beside(kind)), list(masked)), expected)
    np.testing.assert_array_equal(ask(fitted(kind, masked[:, None], *beside(kind)), list(masked)), expected)


def test_where_nothing_was_measured_a_model_is_fitted_too(kind):
    model = unfitted(kind).fit(np.full((12, 24), np.nan), *beside(kind, 12))
    assert np.isfinite(ask(model, TABLE)).all()


def test_numbers_of_any_size_give_finite_answers(kind, model):
    X = TABLE.copy()
    X[:3, 3] = 1e300, -1e300, 1e15
    assert np.isfinite(ask(model, X)).all()
    close(ask(model, X)[3:], ask(model, TABLE)[3:])
    assert np.isfinite(ask(fitted(kind, X), TABLE)).all()


def test_a_high_level_counts_for_nothing(kind):
    low, high = (fitted(kind, X, *beside(kind), precision="float64") for X in (TABLE, TABLE + 2**20))
    close(ask(high, TABLE + 2**20), ask(low, TABLE), 1e-6)


# --- P6: chance -----------------------------------------------------------------------------------------------------


def test_models_in_any_order_give_the_same_numbers_and_leave_global_chance_alone(kind):
    recipes = {"first": {}, "other": {"random_state": 1, "variant": "lmm"}}
    random.seed(5), torch.manual_seed(5), np.random.seed(5)  # noqa: NPY002
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = {name: ask(fitted(kind, **recipes[name]), OTHERS) for name in recipes}
    after = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    np.testing.assert_array_equal(before[2], after[2])
    torch.manual_seed(99)
    for name in reversed(recipes):
        np.testing.assert_array_equal(ask(fitted(kind, **recipes[name]), OTHERS), first[name])


def test_a_random_state_is_drawn_from_and_none_is_another_each_time(kind):
    source = np.random.RandomState(0)
    found = [ask(fitted(kind, random_state=state, max_steps=1), TABLE) for state in (0, 1, source, source, None, None)]
    assert len({one.tobytes() for one in found}) == 6


def test_warm_start_goes_on_from_the_fitted_weights(kind):
    model = unfitted(kind, warm_start=True, validation_fraction=0).fit(TABLE, *beside(kind))
    before = weights(model)
    model.set_params(max_steps=0).fit(TABLE, *beside(kind))
    trained = [name for name in before if name.split(".")[0] in ("stem", "backbone", "embed")]
    assert trained
    assert all(torch.equal(weights(model)[name], before[name]) for name in trained)
    model.set_params(max_steps=2).fit(TABLE, *beside(kind))
    assert not any(torch.equal(weights(model)[name], before[name]) for name in trained if before[name].is_floating_point())
    with pytest.raises(ValueError, match="warm_start=True goes on from the fitted network, but arguments or data have"):
        model.set_params(width=16).fit(TABLE, *beside(kind))


# --- any length is read whole ---------------------------------------------------------------------------------------


def test_a_very_long_sequence_is_read_to_both_its_ends(kind):
    model = fitted(kind, [row[:, None] for row in TABLE], patch_length=64, refresh_every=16, window=16)
    long = rhythms(1, 40_000, seed=6)[0].T
    start, end = long.copy(), long.copy()
    start[2:6] += 4
    end[-6:-2] += 4
    question = (lambda X: model.decision_function(X, by="memory")) if kind == "classifier" else None
    question = (lambda X: model.predict(X, by="memory")) if kind == "regressor" else question
    found = (question or (lambda X: ask(model, X)))([long, start, end, TABLE[0]])
    assert np.isfinite(found).all()
    assert not np.array_equal(found[1], found[0])
    assert not np.array_equal(found[2], found[0])
    close(found[3], (question or (lambda X: ask(model, X)))([TABLE[0][:, None]])[0])


# --- P7: files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{}, {"precision": "float64", "variant": "lmm"}, {"memory": "deltanet", "width": np.int64(8)}],
    ids=["as usual", "float64", "numbers of numpy"],
)
def test_a_loaded_model_answers_as_the_saved_one_and_nothing_is_unpickled(kind, arguments, tmp_path, monkeypatch):
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, lambda *_: pytest.fail("something was unpickled"))
    monkeypatch.setattr(torch, "load", lambda *_: pytest.fail("something was unpickled"))
    for X in (TABLE,) if arguments else (TABLE, UNEQUAL):
        model = fitted(kind, X, **arguments)
        model.save(tmp_path / "a.titans")
        again = load(tmp_path / "a.titans")
        assert type(again) is type(model)
        np.testing.assert_array_equal(ask(again, X), ask(model, X))
        np.testing.assert_array_equal(ask(again, OTHERS), ask(model, OTHERS))
        assert again.get_params() == model.get_params()
        learned = [name for name in vars(model) if name.endswith("_") and name not in ("network_", "feature_names_in_")]
        for name in learned:
            np.testing.assert_array_equal(getattr(again, name), getattr(model, name), err_msg=name)


def test_a_damaged_file_is_refused_and_an_unfitted_model_is_not_saved(kind, model, tmp_path):
    path = tmp_path / "a.titans"
    with pytest.raises(ValueError, match="not fitted yet"):
        unfitted(kind).save(path)
    assert not path.exists()
    model.save(path)
    content = path.read_bytes()
    for damaged in (content[:-100], content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], b"noise"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.titans' .*damaged"):
            load(path)


# --- a fit that fails -----------------------------------------------------------------------------------------------


def test_a_failed_or_interrupted_fit_leaves_the_fitted_model(kind):
    model = fitted(kind)
    before, known = ask(model, TABLE), dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[interrupt]).fit(np.stack([TABLE, -TABLE], 1), *beside(kind))
    model.set_params(callbacks=None)
    with pytest.raises(ValueError, match="is inf|infinity"):
        model.fit(np.full((4, 9), np.inf), *beside(kind, 4))
    assert vars(model) == known
    np.testing.assert_array_equal(ask(model, TABLE), before)


def test_a_warm_start_that_is_interrupted_leaves_the_weights(kind):
    model = unfitted(kind, warm_start=True).fit(TABLE, *beside(kind))
    before = weights(model)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[interrupt]).fit(-TABLE, *beside(kind))
    assert same_weights(weights(model), before)


def test_loosening_lets_the_memory_speak(kind):
    """What these tests stand on: answers change with the memory's weights."""
    model = fitted(kind)
    before = ask(model, TABLE)
    with torch.no_grad():
        for name, x in model.network_.named_parameters():
            if name.startswith("backbone."):
                x *= 1.5
    assert not np.allclose(ask(loosen(model, share=0.5), TABLE), before)
