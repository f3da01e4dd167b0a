"""The DNA classifier: strands, neighbours, chance, weights, and files."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from dna.estimator_cases import (
    CLASSES,
    LABELS,
    OTHERS,
    SEQUENCES,
    SMALL,
    classifier,
    close,
    same_weights,
    turned,
    weights,
    write_fasta,
)
from sklearn.utils.class_weight import compute_sample_weight

from titans_ts import DNAClassifier, load, make_dna_motifs

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
