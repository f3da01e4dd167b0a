"""The DNA classifier and regressor: strands, neighbours, chance, weights, files, a language model to start from."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from dna.estimator_cases import (
    CLASSES,
    LABELS,
    NUMBERS,
    OTHERS,
    SEQUENCES,
    SMALL,
    classifier,
    close,
    language_model,
    regressor,
    same_weights,
    turned,
    weights,
    write_fasta,
)
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.class_weight import compute_sample_weight

from titans_ts import DNAClassifier, DNALanguageModel, DNARegressor, load, make_dna_motifs

THREE = np.array(["none", "tata", "ccaat"])
SEQUENCES_OF_THREE, CLASSES_OF_THREE = make_dna_motifs(45, length=(20, 40), n_classes=3, random_state=4)


@pytest.fixture(scope="module")
def fitted():
    return classifier()


@pytest.fixture(scope="module")
def of_three():
    return classifier(SEQUENCES_OF_THREE, THREE[CLASSES_OF_THREE])


# --- P11: either strand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strands", ["average", "equivariant"])
def test_a_sequence_and_its_reverse_complement_get_the_same_probabilities(strands):
    model = classifier(reverse_complement=strands)
    for by in ("both", "linear", "memory"):
        close(model.predict_proba(turned(OTHERS), by=by), model.predict_proba(OTHERS, by=by))
    assert np.ptp(model.predict_proba(OTHERS)[:, 1]) > 0.01


@pytest.mark.parametrize("strands", ["average", "equivariant"])
def test_validation_too_is_the_same_of_either_strand(strands):
    found = []
    for X_val in (SEQUENCES[:12], turned(SEQUENCES[:12])):
        model = DNAClassifier(**SMALL, reverse_complement=strands).fit(SEQUENCES, LABELS, X_val=X_val, y_val=LABELS[:12])
        found.append([model.training_history_[-1]["validation"], model.memory_gain_.gain, model.memory_gain_.best_gain])
    close(found[0], found[1])


@pytest.mark.parametrize("strands", [None, "augment"])
def test_otherwise_the_strands_are_told_apart(strands):
    model = classifier(reverse_complement=strands)
    assert not np.allclose(model.predict_proba(turned(OTHERS)), model.predict_proba(OTHERS), atol=1e-4)


# --- P3: alone or in company ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
def test_nothing_else_in_the_batch_counts(variant):
    model = classifier(variant=variant)
    together = model.predict_proba(OTHERS)
    close(np.concatenate([model.predict_proba([one]) for one in OTHERS]), together)
    close(model.predict_proba(OTHERS[::-1])[::-1], together)
    for i, one in enumerate(OTHERS):
        close(model.predict_proba([one, "ACGT" * 60])[0], together[i])


# --- P6: chance -----------------------------------------------------------------------------------------------------


def test_models_in_any_order_give_the_same_numbers_and_leave_global_chance_alone():
    recipes = {"first": {}, "lmm": {"variant": "lmm"}, "other": {"random_state": 1, "reverse_complement": "augment"}}
    torch.manual_seed(5), np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = {name: classifier(**recipes[name]).decision_function(OTHERS) for name in recipes}
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(99)
    for name in reversed(recipes):
        np.testing.assert_array_equal(classifier(**recipes[name]).decision_function(OTHERS), first[name])
    assert not np.array_equal(first["first"], classifier(random_state=1).decision_function(OTHERS))


def test_a_random_state_is_drawn_from_and_none_is_another_each_time():
    source = np.random.RandomState(0)
    found = [classifier(random_state=state, max_steps=1) for state in (source, source, None, None)]
    assert len({tuple(model.decision_function(OTHERS)) for model in found}) == 4


# --- answers --------------------------------------------------------------------------------------------------------


def test_two_classes_have_log_odds_of_the_second(fitted):
    scores, shares = fitted.decision_function(OTHERS), fitted.predict_proba(OTHERS)
    assert fitted.classes_.tolist() == ["other", "promoter"]
    close(shares[:, 1], 1 / (1 + np.exp(-scores)))
    close(shares.sum(1), 1)
    assert fitted.predict(OTHERS).tolist() == np.where(scores > 0, "promoter", "other").tolist()
    assert len(set(fitted.predict(OTHERS))) == 2


def test_several_classes_have_logits_and_the_likeliest_is_said(of_three):
    scores, shares = of_three.decision_function(OTHERS), of_three.predict_proba(OTHERS)
    assert of_three.classes_.tolist() == ["ccaat", "none", "tata"]
    close(shares, np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
    assert of_three.predict(OTHERS).tolist() == of_three.classes_[shares.argmax(1)].tolist()


@pytest.mark.parametrize("model", ["fitted", "of_three"])
def test_words_and_memory_answer_alone_and_together_in_their_share(model, request):
    model = request.getfixturevalue(model)
    both, words, memory = (model.decision_function(OTHERS, by=by) for by in ("both", "linear", "memory"))
    close(both, (words + memory) / 2, 1e-5)
    assert not np.allclose(words, memory)
    assert (
        model.predict(OTHERS, by="linear").tolist()
        == model.classes_[(words > 0) * 1 if words.ndim == 1 else words.argmax(1)].tolist()
    )


def test_without_layers_the_linear_answer():
    model = classifier(layers=0, max_steps=50)
    np.testing.assert_array_equal(model.decision_function(OTHERS), model.decision_function(OTHERS, by="linear"))
    assert model.memory_gain_ is None
    assert model.score(SEQUENCES, LABELS) > 0.7, "on what it has learned"


def test_a_memory_that_was_not_trained_has_no_say():
    model = DNAClassifier(**{**SMALL, "max_steps": 0}).fit(SEQUENCES, LABELS)
    np.testing.assert_array_equal(model.decision_function(OTHERS), model.decision_function(OTHERS, by="linear"))


@pytest.mark.parametrize("container", ["pandas", "polars", "frame", "path"])
def test_any_container_gives_the_same_model(container, fitted, tmp_path):
    X = {
        "pandas": pd.Series(SEQUENCES, index=range(7, 47)),
        "polars": pl.Series(SEQUENCES),
        "frame": pl.DataFrame({"sequence": SEQUENCES}),
        "path": write_fasta(tmp_path / "x.fa", SEQUENCES),
    }[container]
    y = {"pandas": pd.Series(LABELS), "polars": pl.Series(LABELS.tolist())}.get(container, LABELS.tolist())
    np.testing.assert_array_equal(classifier(X, y).predict_proba(X), fitted.predict_proba(SEQUENCES))


@pytest.mark.parametrize("labels", [CLASSES, CLASSES == 1, CLASSES * 2.0, LABELS.astype(object)], ids=lambda x: str(x.dtype))
def test_labels_come_back_as_they_were_given(labels, tmp_path):
    model = DNAClassifier(**SMALL).fit(SEQUENCES, labels)
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        assert one.predict(SEQUENCES).dtype == labels.dtype
        assert set(one.predict(SEQUENCES).tolist()) <= set(labels.tolist())


# --- what counts ----------------------------------------------------------------------------------------------------

RARE = np.where(np.arange(40) % 8 == 0, "rare", "common")


def test_balanced_classes_weigh_as_by_hand_and_bring_the_rare_one_forward():
    balanced = DNAClassifier(**SMALL, class_weight="balanced").fit(SEQUENCES, RARE)
    by_hand = DNAClassifier(**SMALL).fit(SEQUENCES, RARE, compute_sample_weight("balanced", RARE))
    by_dict = DNAClassifier(**SMALL, class_weight={"rare": 4.0, "common": 4 / 7}).fit(SEQUENCES, RARE)
    plain = DNAClassifier(**SMALL).fit(SEQUENCES, RARE)
    for by in ("linear", "memory"):
        expected = balanced.predict_proba(SEQUENCES, by=by)[:, 1]
        close(by_hand.predict_proba(SEQUENCES, by=by)[:, 1], expected)
        close(by_dict.predict_proba(SEQUENCES, by=by)[:, 1], expected)
        assert expected.mean() > plain.predict_proba(SEQUENCES, by=by)[:, 1].mean()


def test_weights_count_in_words_and_memory_by_their_proportions():
    heavy = np.where(LABELS == "promoter", 6.0, 2.0)
    plain, ones, once, thrice = (
        DNAClassifier(**SMALL).fit(SEQUENCES, LABELS, weight) for weight in (None, np.full(40, 5.0), heavy, 3 * heavy)
    )
    for by in ("linear", "memory"):
        found = [model.predict_proba(SEQUENCES, by=by)[:, 1] for model in (plain, ones, once, thrice)]
        close(found[1], found[0])
        close(found[3], found[2], 1e-5)
        assert found[2].mean() > found[0].mean()


def test_a_validation_part_is_used_as_given():
    valid, labels = SEQUENCES[:12], LABELS[:12]
    model = DNAClassifier(**SMALL).fit(SEQUENCES, LABELS, X_val=valid, y_val=labels)
    assert model.memory_gain_.blocks == 12
    wrong = DNAClassifier(**SMALL).fit(
        SEQUENCES, LABELS, X_val=valid, y_val=np.where(labels == "other", "promoter", "other")
    )
    losses = [one.training_history_[-1]["validation"] for one in (model, wrong)]
    assert losses[0] != losses[1]
    drawn = DNAClassifier(**SMALL, validation_fraction=0.25).fit(SEQUENCES, LABELS)
    assert drawn.memory_gain_.blocks == 10
    assert DNAClassifier(**SMALL, validation_fraction=0).fit(SEQUENCES, LABELS).memory_gain_ is None


def test_warm_start_goes_on_from_the_fitted_weights():
    model = DNAClassifier(**SMALL, warm_start=True).fit(SEQUENCES, LABELS)
    fitted = weights(model)
    model.set_params(max_steps=0).fit(SEQUENCES, LABELS)
    stem = [name for name in fitted if name.startswith("stem.")]
    assert all(torch.equal(weights(model)[name], fitted[name]) for name in stem)
    model.set_params(max_steps=2).fit(SEQUENCES, LABELS)
    assert not any(torch.equal(weights(model)[name], fitted[name]) for name in stem)
    again = DNAClassifier(**SMALL, warm_start=False).fit(SEQUENCES, LABELS)
    assert same_weights(weights(again.fit(SEQUENCES, LABELS)), fitted), "without it every fit begins anew"
    with pytest.raises(
        ValueError, match="warm_start=True goes on from the fitted network, but arguments or data have changed"
    ):
        model.set_params(width=16).fit(SEQUENCES, LABELS)


def test_warm_start_goes_on_with_other_data_too():
    def of(*shares):  # bases A, C, G, T by chance, in two classes
        chance = np.random.default_rng(0)
        return ["".join(chance.choice(list("ACGT"), 30, p=share)) for share in shares for _ in range(40)]

    y = np.repeat([0, 1], 40)
    apart, alike = of([0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]), of([0.1, 0.4, 0.4, 0.1], [0.7, 0.1, 0.1, 0.1])
    model = DNAClassifier(**SMALL, warm_start=True).fit(apart, y)
    stem = weights(model)["stem.look.weight"]
    model.set_params(max_steps=0).fit(alike, y, X_val=turned(alike), y_val=y)  # now words of both strands serve best
    assert torch.equal(weights(model)["stem.look.weight"], stem)
    assert np.mean(model.predict(turned(alike), by="linear") == y) > 0.9


# --- P7: files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [{}, {"reverse_complement": "average", "precision": "float64"}, {"layers": 0}], ids=str
)
def test_a_loaded_model_answers_as_the_saved_one(arguments, tmp_path):
    model = classifier(**arguments)
    model.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    np.testing.assert_array_equal(again.predict_proba(OTHERS), model.predict_proba(OTHERS))
    assert again.predict(OTHERS).tolist() == model.predict(OTHERS).tolist()
    assert again.get_params() == model.get_params()
    assert again.memory_gain_ == model.memory_gain_
    assert again.training_history_ == model.training_history_


def test_a_damaged_file_is_refused(fitted, tmp_path):
    path = tmp_path / "a.titans"
    fitted.save(path)
    content = path.read_bytes()
    for damaged in (content[:-100], content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], b"noise"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.titans' .*damaged"):
            load(path)


def test_numbers_of_numpy_can_be_saved_too(tmp_path):
    model = DNAClassifier(**{**SMALL, "width": np.int64(8), "word_sizes": np.array([1, 2])}).fit(SEQUENCES, LABELS)
    model.save(tmp_path / "a.titans")
    np.testing.assert_array_equal(load(tmp_path / "a.titans").predict_proba(OTHERS), model.predict_proba(OTHERS))


# --- a fit that fails -------------------------------------------------------------------------------------------------


def test_a_failed_or_interrupted_fit_leaves_the_fitted_model():
    def interrupt(_run, _report):
        raise KeyboardInterrupt

    model = classifier()
    before = model.predict(OTHERS).tolist()
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[interrupt]).fit(SEQUENCES, np.where(CLASSES == 1, "a", "b"))
    assert model.predict(OTHERS).tolist() == before
    with pytest.raises(ValueError, match="one class"):
        model.fit(SEQUENCES, ["only"] * 40)
    assert model.predict(OTHERS).tolist() == before


# --- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_motifs_that_short_words_cannot_tell():
    X, y = make_dna_motifs(1000, length=60, random_state=0)
    settings = {"word_sizes": (1, 2, 3), "kernel": 7, "width": 16, "heads": 2, "max_steps": 400, "random_state": 0}
    model = DNAClassifier(**settings).fit(X[:800], y[:800])
    together, words, memory = (np.mean(model.predict(X[800:], by=by) == y[800:]) for by in ("both", "linear", "memory"))
    assert memory > 0.9 > 0.8 > words
    assert together > words + 0.15
    assert 0 < model.memory_gain_.share <= 1
    assert model.memory_gain_.gain > model.memory_gain_.standard_error


# --- the regressor -----------------------------------------------------------------------------------------------------


TWO = pd.DataFrame({"strength": NUMBERS, "length": [float(len(text)) for text in SEQUENCES]})


@pytest.fixture(scope="module")
def of_one():
    return regressor()


@pytest.fixture(scope="module")
def of_two():
    return regressor(y=TWO)


@pytest.mark.parametrize("strands", ["average", "equivariant"])
def test_a_sequence_and_its_reverse_complement_get_the_same_numbers(strands):
    model = regressor(reverse_complement=strands)
    for by in ("both", "linear", "memory"):
        close(model.predict(turned(OTHERS), by=by), model.predict(OTHERS, by=by))


def test_a_regressor_too_tells_the_strands_apart(of_one):
    assert not np.allclose(of_one.predict(turned(OTHERS)), of_one.predict(OTHERS), atol=1e-3)


def test_nothing_else_in_the_batch_counts_for_a_number(of_one):
    together = of_one.predict(OTHERS)
    close(np.concatenate([of_one.predict([one]) for one in OTHERS]), together)
    close(of_one.predict(OTHERS[::-1])[::-1], together)
    close(of_one.predict([OTHERS[2], "ACGT" * 90])[0], together[2])


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


def test_words_and_memory_of_a_regressor_answer_alone_and_together_in_their_share(of_one):
    both, words, memory = (of_one.predict(OTHERS, by=by) for by in ("both", "linear", "memory"))
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


def test_numbers_of_a_validation_part_are_used_as_given():
    model = DNARegressor(**SMALL).fit(SEQUENCES, TWO, X_val=SEQUENCES[:9], y_val=TWO[:9])
    assert model.memory_gain_.blocks == 9
    other = DNARegressor(**SMALL).fit(SEQUENCES, TWO, X_val=SEQUENCES[:9], y_val=-TWO[:9])
    assert other.training_history_[-1]["validation"] > model.training_history_[-1]["validation"]


def test_warm_start_of_a_regressor_goes_on_from_the_fitted_weights():
    model = DNARegressor(**SMALL, warm_start=True).fit(SEQUENCES, NUMBERS)
    memory = model.predict(OTHERS, by="memory")
    close(model.set_params(max_steps=0).fit(SEQUENCES, NUMBERS).predict(OTHERS, by="memory"), memory)
    assert not np.allclose(model.set_params(max_steps=3).fit(SEQUENCES, NUMBERS).predict(OTHERS, by="memory"), memory)


@pytest.mark.parametrize("y", [NUMBERS, TWO], ids=["one", "two"])
def test_a_loaded_regressor_answers_as_the_saved_one(y, tmp_path):
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


# --- a language model to start from ------------------------------------------------------------------------------------


FEW, THEIR_LABELS = SEQUENCES[:12], LABELS[:12]  # a language model reads every base: slow
LANGUAGE_MODELS = {"causal": {}, "masked": {"objective": "masked"}, "memory alone": {"context_orders": ()}}


@pytest.fixture(scope="module")
def source():
    return language_model()


@pytest.fixture(scope="module")
def started(source):
    return classifier(FEW, THEIR_LABELS, init_from=source)


def language_of(model):
    """Return the weights and the counts of the language model that lies in a classifier."""
    language = model.network_.stem.language
    return {**language.state_dict(), **language.direct.tables()}


def everything_of(source):
    return {**weights(source), **source.network_.direct.tables()}


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_it_begins_with_what_the_language_model_learned(kind):
    source = language_model(**LANGUAGE_MODELS[kind])
    before = copy.deepcopy(everything_of(source))
    begun = DNAClassifier(**{**SMALL, "max_steps": 0}, init_from=source).fit(FEW, THEIR_LABELS)
    assert same_weights(language_of(begun), before)
    trained = classifier(FEW, THEIR_LABELS, init_from=source)
    assert not torch.equal(language_of(trained)["embedding.weight"], before["embedding.weight"])
    assert same_weights(everything_of(source), before), "the language model stays as it was"
    assert np.ptp(trained.predict_proba(OTHERS, by="memory")[:, 1]) > 0.01


def test_what_the_language_model_learned_counts(started):
    other = classifier(FEW, THEIR_LABELS, init_from=language_model(random_state=7))
    assert not np.allclose(other.predict_proba(OTHERS), started.predict_proba(OTHERS), atol=1e-4)
    close(other.predict_proba(OTHERS, by="linear"), started.predict_proba(OTHERS, by="linear"))


def test_nothing_else_in_the_batch_counts_for_one_that_starts_from_a_language_model(started):
    together = started.predict_proba(OTHERS)
    close(np.concatenate([started.predict_proba([one]) for one in OTHERS]), together)
    for i, one in enumerate(OTHERS):
        close(started.predict_proba([one, "ACGT" * 60])[0], together[i])


@pytest.mark.parametrize("strands", ["average", "equivariant"])
def test_from_a_language_model_too_either_strand_gets_the_same_probabilities(strands, source):
    model = classifier(FEW, THEIR_LABELS, init_from=source, reverse_complement=strands)
    for by in ("both", "linear", "memory"):
        close(model.predict_proba(turned(OTHERS), by=by), model.predict_proba(OTHERS, by=by))


def test_a_regressor_starts_from_one_too(source):
    model, without = (regressor(FEW, NUMBERS[:12], init_from=one) for one in (source, None))
    assert np.isfinite(model.predict(OTHERS)).all()
    assert not np.allclose(model.predict(OTHERS), without.predict(OTHERS))
    close(model.predict([OTHERS[3]]), model.predict(OTHERS)[3:4], 1e-5)


def test_saved_and_pickled_it_needs_the_language_model_no_more(started, tmp_path):
    started.save(tmp_path / "a.titans")
    for again in (load(tmp_path / "a.titans"), pickle.loads(pickle.dumps(started))):
        np.testing.assert_array_equal(again.predict_proba(OTHERS), started.predict_proba(OTHERS))
        assert same_weights(language_of(again), language_of(started))


def test_it_goes_on_with_the_language_model_that_it_has(source):
    model = DNAClassifier(**SMALL, init_from=source, warm_start=True).fit(FEW, THEIR_LABELS)
    fitted = copy.deepcopy(language_of(model))
    model.set_params(max_steps=0).fit(FEW, THEIR_LABELS)
    assert same_weights(language_of(model), fitted)


def test_clones_share_it_and_a_grid_may_ask_whether_it_helps(source):
    model = DNAClassifier(**SMALL, init_from=source)
    assert clone(model).init_from is source
    grid = {"init_from": [None, FrozenEstimator(source)]}
    found = GridSearchCV(DNAClassifier(**SMALL), grid, cv=2, refit=False, error_score="raise").fit(FEW, THEIR_LABELS)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    with pytest.raises(NotFittedError, match=r"call its fit first; .*FrozenEstimator\(model\)"):
        GridSearchCV(model, {"init_from": [source]}, cv=2, error_score="raise").fit(SEQUENCES, LABELS)


def test_frozen_it_is_the_same(source, started, tmp_path):
    model = classifier(FEW, THEIR_LABELS, init_from=FrozenEstimator(source))
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        np.testing.assert_array_equal(one.predict_proba(OTHERS), started.predict_proba(OTHERS))


def test_mutations_and_gradients_go_through_it(started):
    table = started.mutagenesis(OTHERS[0])
    assert len(table) == 3 * len(OTHERS[0])
    assert table["effect"].abs().max() > 0
    (attributed,) = started.attribute([OTHERS[0]])
    assert attributed.shape == (len(OTHERS[0]), 4)
    assert np.abs(attributed).max() > 0


def test_what_is_no_fitted_language_model_is_refused_before_any_work():
    def reached(_run, _report):
        raise AssertionError("training began")

    for wrong, error, says in (
        (DNAClassifier(), TypeError, "init_from must be a fitted DNALanguageModel or None, got DNAClassifier"),
        ("model.titans", TypeError, "init_from must be a fitted DNALanguageModel or None, got str"),
        (DNALanguageModel(), ValueError, "init_from is a DNALanguageModel that was not fitted: call its fit first"),
    ):
        with pytest.raises(error, match=says):
            DNAClassifier(**SMALL, init_from=wrong, callbacks=[reached]).fit(SEQUENCES, LABELS)


# --- P9: in scikit-learn's tools ---------------------------------------------------------------------------------------


KINDS = {"classifier": (DNAClassifier(**SMALL), LABELS), "regressor": (DNARegressor(**SMALL), NUMBERS)}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_letters_are_put_in_order_by_a_step_before_it(kind):
    model, y = kind
    upper = FunctionTransformer(lambda X: [text.strip("-").upper() for text in X])
    pipeline = make_pipeline(upper, clone(model)).fit([f"--{text.lower()}-" for text in SEQUENCES], y)
    np.testing.assert_array_equal(pipeline.predict(OTHERS), clone(model).fit(SEQUENCES, y).predict(OTHERS))


@pytest.mark.parametrize("as_column", [list, pd.Series, pl.Series])
def test_it_is_cross_validated(as_column, kind):
    model, y = kind
    scores = cross_val_score(model, as_column(SEQUENCES), y, cv=2, n_jobs=1, error_score="raise")
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 2


def test_what_is_predicted_of_a_fold_was_learned_from_the_others(kind):
    model, y = kind
    first, last = np.arange(20), np.arange(20, 40)
    found = cross_val_predict(model, SEQUENCES, y, cv=[(first, last), (last, first)], n_jobs=1)
    np.testing.assert_array_equal(found[20:], clone(model).fit(SEQUENCES[:20], y[:20]).predict(SEQUENCES[20:]))


def test_it_is_searched(kind):
    model, y = kind
    search = GridSearchCV(model, {"layers": [0, 1]}, cv=2, n_jobs=1, error_score="raise").fit(SEQUENCES, y)
    expected = clone(model).set_params(**search.best_params_).fit(SEQUENCES, y)
    np.testing.assert_array_equal(search.predict(OTHERS), expected.predict(OTHERS))


def test_it_is_bagged():
    X = np.array(SEQUENCES)[:, None]  # scikit-learn's ensembles want two axes
    bagged = BaggingClassifier(DNAClassifier(**SMALL), n_estimators=2, random_state=0).fit(X, LABELS)
    assert np.isfinite(bagged.predict_proba(X)).all()
