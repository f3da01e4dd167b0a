"""Wrong arguments and wrong calls of the DNA estimators: refused by name, with the remedy."""

import numpy as np
import pytest
from dna.estimator_cases import CLASSES, LABELS, NUMBERS, OTHERS, SEQUENCES, SMALL, classifier, language_model
from sklearn.exceptions import NotFittedError

from titans_ts import DNAClassifier, DNALanguageModel, DNARegressor

UNFITTED = {
    "predict": lambda: DNAClassifier().predict(OTHERS),
    "predict_proba": lambda: DNAClassifier().predict_proba(OTHERS),
    "mutagenesis": lambda: DNARegressor().mutagenesis("ACGT"),
    "attribute": lambda: DNARegressor().attribute(OTHERS),
    "as_module": lambda: DNAClassifier().as_module(),
    "save": lambda: DNARegressor().save("never.titans"),
    "score_samples": lambda: DNALanguageModel().score_samples(OTHERS),
    "bits_per_base": lambda: DNALanguageModel().bits_per_base(OTHERS),
    "transform": lambda: DNALanguageModel().transform(OTHERS),
    "sample": lambda: DNALanguageModel().sample(),
    "score_variants": lambda: DNALanguageModel().score_variants([("0", 1, "A", "C")], {"0": "ACGT"}),
    "update": lambda: DNALanguageModel().update(OTHERS),
    "forget": lambda: DNALanguageModel().forget(),
    "n_seen_": lambda: DNALanguageModel().n_seen_,
}


@pytest.mark.parametrize("method", UNFITTED)
def test_an_unfitted_estimator_says_so(method):
    with pytest.raises(NotFittedError, match="not fitted yet. Call 'fit'"):
        UNFITTED[method]()


ARGUMENTS = {
    "long words": (DNAClassifier(word_sizes=(9,)), "word_sizes must be different whole numbers from 1 to 8, got .9,"),
    "a word twice": (DNARegressor(word_sizes=(3, 3)), "word_sizes must be different whole numbers"),
    "half a word": (DNAClassifier(word_sizes=(2.5,)), "word_sizes must be different whole numbers"),
    "an even kernel": (DNAClassifier(kernel=4), "kernel must be odd, to have a middle; got 4"),
    "other strands": (DNAClassifier(reverse_complement="both"), "'reverse_complement' parameter"),
    "class weights of text": (DNAClassifier(class_weight="even"), "'class_weight' parameter"),
    "contexts out of order": (
        DNALanguageModel(context_orders=(2, 1)),
        "context_orders must be increasing whole numbers from 1",
    ),
    "contexts too long": (
        DNALanguageModel(context_orders=(25,)),
        "context_orders must be increasing whole numbers .* to 24",
    ),
    "nothing to learn with": (DNALanguageModel(context_orders=(), layers=0), "leave nothing to learn with"),
    "an objective": (DNALanguageModel(objective="both"), "'objective' parameter"),
    "a baseline's memory": (DNAClassifier(variant="lstm", memory="retnet"), "variant='lstm' has no memory"),
}


@pytest.mark.parametrize("wrong", ARGUMENTS)
def test_wrong_arguments_are_refused_by_name(wrong):
    model, message = ARGUMENTS[wrong]
    with pytest.raises(ValueError, match=message):
        model.fit(SEQUENCES, *() if isinstance(model, DNALanguageModel) else (CLASSES,))


def test_without_words_the_memory_is_alone():
    for model, y in ((DNAClassifier, LABELS), (DNARegressor, NUMBERS)):
        fitted = model(**{**SMALL, "word_sizes": ()}).fit(SEQUENCES, y)
        assert fitted.network_.words.output.in_features == 0
        assert np.isfinite(fitted.predict_proba(OTHERS) if model is DNAClassifier else fitted.predict(OTHERS)).all()


CALLS = {
    "a path there is not": (lambda _: classifier(max_steps=1).predict(OTHERS, by="letters"), "by='letters'"),
    "no samples": (lambda f: f.sample(0), "n_samples must be a whole number of 1 or more, got 0"),
    "half a base": (lambda f: f.sample(length=0.5), "length must be a whole number of 1 or more, got 0.5"),
    "no heat": (lambda f: f.sample(temperature=0), "temperature must be above 0, got 0"),
    "no prompt": (lambda f: f.sample(prompt="AC-"), r"prompt\[0\]: '-' at position 3"),
    "no flank": (lambda f: f.score_variants([("0", 1, "A", "C")], {"0": "ACGT"}, flank=0), "flank must be a whole number"),
    "outside": (
        lambda f: f.score_variants([("0", 2, "C", "A"), ("0", 5, "A", "C")], {"0": "ACGT"}),
        "variant 0:5 A>C ends at position 5, beyond contig '0' of length 4",
    ),
    "an unknown contig": (
        lambda f: f.score_variants([("chr1", 1, "A", "C")], {"0": "ACGT"}),
        "variant chr1:1 A>C: there is no contig 'chr1'",
    ),
    "position 0": (lambda f: f.score_variants([("0", 0, "A", "C")], {"0": "ACGT"}), "position"),
    "no letter of DNA": (lambda f: f.score_variants([("0", 1, "A", "X")], {"0": "ACGT"}), "'X'"),
    "a gap in the reference": (
        lambda f: f.score_variants([("0", 1, "A", "C")], {"0": "AC-T"}),
        "reference.*'-' at position 3",
    ),
}


@pytest.fixture(scope="module")
def causal():
    return language_model(max_steps=1)


@pytest.mark.parametrize("call", CALLS)
def test_wrong_calls_are_refused_by_name(call, causal):
    act, message = CALLS[call]
    with pytest.raises(ValueError, match=message):
        act(causal)


@pytest.mark.filterwarnings("ignore:.*alleles without letters are left out:UserWarning")
def test_alleles_without_letters_leave_an_empty_table(causal):
    found = causal.score_variants([("0", 1, "A", "<DEL>")], {"0": "ACGT"})
    assert len(found) == 0
    assert "log_likelihood_ratio" in found.columns
