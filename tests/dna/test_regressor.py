"""The DNA regressor: one number or several, on the scale that they came in."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from dna.estimator_cases import NUMBERS, OTHERS, SEQUENCES, SMALL, close, regressor, turned, write_fasta

from titans_ts import DNARegressor, load

TWO = pd.DataFrame({"strength": NUMBERS, "length": [float(len(text)) for text in SEQUENCES]})


@pytest.fixture(scope="module")
def fitted():
    return regressor()


@pytest.fixture(scope="module")
def of_two():
    return regressor(y=TWO)


@pytest.mark.parametrize("strands", ["average", "equivariant"])
def test_a_sequence_and_its_reverse_complement_get_the_same_numbers(strands):
    model = regressor(reverse_complement=strands)
    for by in ("both", "linear", "memory"):
        close(model.predict(turned(OTHERS), by=by), model.predict(OTHERS, by=by))


def test_otherwise_the_strands_are_told_apart(fitted):
    assert not np.allclose(fitted.predict(turned(OTHERS)), fitted.predict(OTHERS), atol=1e-3)


def test_nothing_else_in_the_batch_counts(fitted):
    together = fitted.predict(OTHERS)
    close(np.concatenate([fitted.predict([one]) for one in OTHERS]), together)
    close(fitted.predict(OTHERS[::-1])[::-1], together)
    close(fitted.predict([OTHERS[2], "ACGT" * 90])[0], together[2])


def test_the_same_seed_gives_the_same_numbers_and_leaves_global_chance_alone():
    torch.manual_seed(5), np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    found = [regressor(random_state=seed, reverse_complement="augment").predict(OTHERS) for seed in (0, 1, 0)]
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


# --- numbers --------------------------------------------------------------------------------------------------------


def test_words_learn_what_is_linear_in_them():
    model = DNARegressor(**SMALL, layers=0).fit(SEQUENCES, NUMBERS)
    assert model.score(SEQUENCES, NUMBERS) > 0.8
    asked = ["A" * 30, "C" * 30]
    assert np.diff(model.predict(asked)) < 0, "more A is more"


def test_a_change_of_scale_changes_the_numbers_alone():
    plain, scaled = regressor(), regressor(y=1e6 * NUMBERS - 3e7)
    close(scaled.predict(OTHERS), 1e6 * plain.predict(OTHERS) - 3e7, 1e-4)


def test_words_and_memory_answer_alone_and_together_in_their_share(fitted):
    both, words, memory = (fitted.predict(OTHERS, by=by) for by in ("both", "linear", "memory"))
    close(both, (words + memory) / 2, 1e-5)
    assert not np.allclose(words, memory)


def test_the_shape_is_that_of_y(of_two):
    assert of_two.predict(OTHERS).shape == (len(OTHERS), 2)
    assert DNARegressor(**SMALL).fit(SEQUENCES, NUMBERS[:, None]).predict(OTHERS).shape == (len(OTHERS), 1)
    assert DNARegressor(**SMALL).fit(SEQUENCES, NUMBERS.tolist()).predict(OTHERS).shape == (len(OTHERS),)
    assert DNARegressor(**SMALL).fit(SEQUENCES, pd.Series(NUMBERS)).predict(OTHERS).shape == (len(OTHERS),)


def test_several_targets_are_each_learned_and_on_their_own_scale(of_two):
    both = DNARegressor(**SMALL, layers=0).fit(SEQUENCES, TWO)
    alone = DNARegressor(**SMALL, layers=0).fit(SEQUENCES, TWO["strength"])
    found, strength = both.predict(SEQUENCES), alone.predict(SEQUENCES)
    assert np.corrcoef(found[:, 0], strength)[0, 1] > 0.9
    for j, name in enumerate(TWO):
        assert np.corrcoef(found[:, j], TWO[name])[0, 1] > 0.5
        assert abs(found[:, j].mean() - TWO[name].mean()) < TWO[name].std()
    assert not np.allclose(of_two.predict(OTHERS)[:, 0], of_two.predict(OTHERS)[:, 1])


FRAMES = {
    "pandas": lambda x: x,
    "polars": pl.from_pandas,
    "pyarrow": lambda x: pa.Table.from_pandas(x, preserve_index=False),
}


@pytest.mark.parametrize("backend", FRAMES)
def test_targets_keep_the_names_of_a_frame(backend):
    model = DNARegressor(**SMALL).fit(SEQUENCES, FRAMES[backend](TWO))
    assert model.target_names_ == ["strength", "length"]
    columns = model.mutagenesis("ACG").columns.tolist()
    assert columns == ["position_1based", "ref", "alt", "effect_strength", "effect_length"]


def test_a_target_that_never_changes_is_said_again():
    model = DNARegressor(**SMALL, layers=0).fit(SEQUENCES, np.column_stack([NUMBERS, np.full(40, 7.0)]))
    close(model.predict(OTHERS)[:, 1], 7)


def test_weights_count_by_their_proportions_and_pull():
    heavy = np.where(np.median(NUMBERS) < NUMBERS, 20.0, 1.0)
    models = [DNARegressor(**SMALL).fit(SEQUENCES, NUMBERS, weight) for weight in (None, np.full(40, 3.0), heavy, 9 * heavy)]
    for by in ("linear", "memory"):
        found = [model.predict(SEQUENCES, by=by) for model in models]
        close(found[1], found[0])
        close(found[3], found[2], 1e-5)
        assert found[2].mean() > found[0].mean()


def test_a_validation_part_is_used_as_given():
    model = DNARegressor(**SMALL).fit(SEQUENCES, TWO, X_val=SEQUENCES[:9], y_val=TWO[:9])
    assert model.memory_gain_.blocks == 9
    other = DNARegressor(**SMALL).fit(SEQUENCES, TWO, X_val=SEQUENCES[:9], y_val=-TWO[:9])
    assert other.training_history_[-1]["validation"] > model.training_history_[-1]["validation"]


def test_warm_start_goes_on_from_the_fitted_weights():
    model = DNARegressor(**SMALL, warm_start=True).fit(SEQUENCES, NUMBERS)
    memory = model.predict(OTHERS, by="memory")
    close(model.set_params(max_steps=0).fit(SEQUENCES, NUMBERS).predict(OTHERS, by="memory"), memory)
    assert not np.allclose(model.set_params(max_steps=3).fit(SEQUENCES, NUMBERS).predict(OTHERS, by="memory"), memory)


@pytest.mark.parametrize("y", [NUMBERS, TWO], ids=["one", "two"])
def test_a_loaded_model_answers_as_the_saved_one(y, tmp_path):
    model = regressor(y=y)
    model.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    np.testing.assert_array_equal(again.predict(OTHERS), model.predict(OTHERS))
    assert again.target_names_ == model.target_names_
    pd.testing.assert_frame_equal(again.mutagenesis("ACGNT"), model.mutagenesis("ACGNT"))
    (tmp_path / "a.titans").write_bytes((tmp_path / "a.titans").read_bytes()[:-50])
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "a.titans")


# --- paths, and a fit that fails -----------------------------------------------------------------------------------------


def test_a_path_is_read_too(tmp_path):
    path = write_fasta(tmp_path / "x.fa", SEQUENCES)
    model = DNARegressor(**SMALL).fit(path, NUMBERS)
    np.testing.assert_array_equal(model.predict(str(path)), DNARegressor(**SMALL).fit(SEQUENCES, NUMBERS).predict(SEQUENCES))


def test_a_failed_fit_leaves_the_fitted_model():
    model = regressor()
    before = model.predict(OTHERS)
    with pytest.raises(ValueError, match="y_val"):
        model.fit(SEQUENCES, 1000 * NUMBERS, X_val=["ACGT"], y_val=[np.nan])
    np.testing.assert_array_equal(model.predict(OTHERS), before)
