"""Bad input of DNA and wrong calls: read all the same where it can be, and else refused by argument, record and position."""

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from dna.estimator_cases import (
    CLASSES,
    LABELS,
    LANGUAGE,
    NUMBERS,
    OTHERS,
    SEQUENCES,
    SMALL,
    classifier,
    close,
    language_model,
    write_fasta,
)
from sklearn.exceptions import NotFittedError

from titans_ts import DNAClassifier, DNALanguageModel, DNARegressor
from titans_ts.dna.classify import SupervisedDNA

KINDS = {
    "classifier": (DNAClassifier(**SMALL), lambda n: (LABELS[:n],), "predict_proba"),
    "equivariant": (DNAClassifier(**SMALL, reverse_complement="equivariant"), lambda n: (LABELS[:n],), "predict_proba"),
    "regressor": (DNARegressor(**SMALL), lambda n: (NUMBERS[:n],), "predict"),
    "causal": (DNALanguageModel(**LANGUAGE), lambda n: (), "score_samples"),
    "masked": (DNALanguageModel(**LANGUAGE, objective="masked"), lambda n: (), "score_samples"),
}


def unfitted(kind):
    """Return an estimator that is not fitted yet, what it learns from beside so many sequences, and its question."""
    model, beside, question = KINDS[kind]
    return type(model)(**model.get_params()), beside, question


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def asked(kind):
    """The question that a fitted estimator answers."""
    model, beside, question = unfitted(kind)
    return getattr(model.fit(SEQUENCES, *beside(40)), question)


# --- sequences that are refused -------------------------------------------------------------------------------------


def packed(path, text, cut=0):
    content = gzip.compress(text.encode())
    path.write_bytes(content[: len(content) - cut])
    return path


def written(path, text):
    path.write_text(text)
    return path


FOUR = "".join(f">r{i}\n{SEQUENCES[i]}\n" for i in range(4))
REFUSED = {
    "an empty sequence": (lambda _: ["ACGT", ""], ValueError, r"X\[1\] is empty; expected at least one base"),
    "a gap": (
        lambda _: ["ACGT", "AC-T"],
        ValueError,
        r"X\[1\]: '-' at position 3 .counted from 1. is no letter of DNA; remove",
    ),
    "protein": (lambda _: ["ACGT", "MKVLE"], ValueError, r"X\[1\]: 'L' at position 4 .* is this protein"),
    "a line end": (lambda _: ["ACGT\n"], ValueError, r"X\[0\]: '\\n' at position 5 .* remove white space"),
    "a missing row": (lambda _: pd.Series(["ACGT", None], dtype=object), ValueError, r"X\[1\] is missing .*; drop the row"),
    "no rows": (lambda _: [], ValueError, "X is empty: 0 sample"),
    "one sequence": (lambda _: "ACGT", ValueError, r"X='ACGT' is a single sequence; wrap it in a list"),
    "numbers": (lambda _: np.zeros((3, 4)), TypeError, "X is an array of float64; expected DNA sequences"),
    "two columns": (lambda _: pd.DataFrame({"a": ["A"], "b": ["C"]}), ValueError, r"X has 2 columns \('a', 'b'\)"),
    "no file": (lambda folder: folder / "none.fa", FileNotFoundError, r"none\.fa: no such file"),
    "an id twice": (
        lambda folder: written(folder / "x.fa", FOUR + ">r2\nA\n"),
        ValueError,
        r"x\.fa has two records of id 'r2'",
    ),
    "a gap in a file": (
        lambda folder: written(folder / "x.fa", FOUR + ">r9\nACG\nT-A\n"),
        ValueError,
        r"record 'r9' of .*x\.fa: '-' at position 5 .counted from 1. is no letter of DNA",
    ),
    "no letters in a file": (
        lambda folder: written(folder / "x.fa", FOUR + ">r9\n"),
        ValueError,
        "'r9' of .* has no sequence",
    ),
    "no header": (
        lambda folder: written(folder / "x.fa", "ACGT\n"),
        ValueError,
        r"x\.fa begins with 'ACGT'; expected a header",
    ),
    "half a gzip": (
        lambda folder: packed(folder / "x.fa.gz", FOUR, cut=20),
        ValueError,
        r"x\.fa\.gz is damaged or cut short",
    ),
}


@pytest.mark.parametrize("bad", REFUSED)
def test_what_cannot_be_read_is_refused_by_record_and_position(bad, kind, asked, tmp_path):
    make, error, message = REFUSED[bad]
    X = make(tmp_path)
    with pytest.raises(error, match=message):
        asked(X)
    model, beside, _ = unfitted(kind)
    with pytest.raises(error, match=message):
        model.fit(X, *beside(4))
    assert not hasattr(model, "network_")
    if isinstance(model, SupervisedDNA):
        with pytest.raises(error, match=message.replace("X", "X_val", 1)):
            model.fit(SEQUENCES, *beside(40), X_val=X, y_val=beside(4)[0])


# --- sequences that are read ----------------------------------------------------------------------------------------

READ = {
    "single bases": ["A", "C", "G", "t"] * 3,
    "shorter than every word and the kernel": ["AC", "G", "TT", "ACG"] * 3,
    "nothing but N": ["N" * length for length in range(1, 13)],
    "half of them nothing but N": ["N" * 9, "ACGTACGTA"] * 6,
    "all the same": ["ACGTTGCA"] * 12,
    "every letter there is": ["ACGTUNRYSWKMBDHVacgtunryswkmbdhv"] * 12,
    "two": SEQUENCES[:2],
    "very unequal": ["A", "ACGT" * 40, *SEQUENCES[:10]],
}


@pytest.mark.parametrize("good", READ)
def test_odd_sequences_are_learned_from_and_answered(good, kind):
    X = READ[good]
    model, _, question = unfitted(kind)
    y = {"classifier": (np.arange(len(X)) % 2,), "regressor": (np.arange(len(X)) / 3,)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, *y.get("classifier" if kind == "equivariant" else kind, ()))
        found = getattr(model, question)([*X, *OTHERS])
    known = np.array([set(text.upper()) <= set("N") for text in [*X, *OTHERS]]) & (question == "score_samples")
    assert np.array_equal(np.isnan(found).reshape(len(known), -1).any(1), known), "but for the likelihood of N alone"
    assert not np.isinf(found).any()


def test_a_much_longer_sequence_than_any_seen_is_answered_whole(asked):
    long = "ACGTTTGACA" * 30
    found = asked([long, SEQUENCES[0]])
    assert np.isfinite(found).all()
    close(found[1], asked([SEQUENCES[0]])[0])
    assert not np.array_equal(found[0], asked([long[:-1] + "G"])[0]), "to its last base"


def test_windows_line_ends_and_lower_case_are_read_as_any_others(asked, tmp_path):
    path = write_fasta(tmp_path / "x.fa", [text.lower() for text in SEQUENCES[:6]], ends="\r\n")
    close(asked(path), asked(SEQUENCES[:6]))


# --- labels, numbers, weights ---------------------------------------------------------------------------------------


def fit(kind, y=None, *more, X=SEQUENCES, **keywords):
    model = {"classifier": DNAClassifier, "regressor": DNARegressor}[kind](**SMALL)
    return model.fit(X, (LABELS if kind == "classifier" else NUMBERS) if y is None else y, *more, **keywords)


def with_nan(y, value=np.nan):
    return [value, *list(y)[1:]]


WRONG = {
    "one class": (lambda: fit("classifier", ["coding"] * 40), "y holds the one class 'coding' only; a classifier needs two"),
    "a label too few": (lambda: fit("classifier", LABELS[:39]), "y has 39 labels for 40 sequences; give one each"),
    "a number too many": (lambda: fit("regressor", np.arange(41.0)), "y has 41 rows for 40 sequences; give one each"),
    "no y": (
        lambda: DNAClassifier(**SMALL).fit(SEQUENCES, None),
        "DNAClassifier requires y to be passed, but the target y is None; give",
    ),
    "no numbers": (
        lambda: DNARegressor(**SMALL).fit(SEQUENCES, None),
        "DNARegressor requires y to be passed, but the target y is None; give",
    ),
    "labels that are numbers": (lambda: fit("classifier", NUMBERS), "Unknown label type: continuous"),
    "a label that is missing": (lambda: fit("classifier", with_nan(LABELS, None)), "y.*(missing|None|NaN)"),
    "a label that is NaN": (lambda: fit("classifier", with_nan(CLASSES * 1.0)), r"y\[\d+\] is missing \(nan\)"),
    "NaN": (lambda: fit("regressor", with_nan(NUMBERS)), "Input y contains NaN"),
    "inf": (lambda: fit("regressor", with_nan(NUMBERS, np.inf)), "Input y contains infinity"),
    "text": (lambda: fit("regressor", LABELS), "y.*'(promoter|other)'"),
    "three axes": (lambda: fit("regressor", np.zeros((40, 2, 2))), "y .*(3 axes|dim 3)"),
    "an unknown label": (
        lambda: fit("classifier", X_val=["ACGT"], y_val=["exon"]),
        "y_val holds 'exon', which is none of the classes 'other', 'promoter'",
    ),
    "a label of validation too few": (
        lambda: fit("classifier", X_val=["ACGT", "A"], y_val=["other"]),
        "y_val has 1 labels for 2 sequences",
    ),
    "X_val alone": (lambda: fit("classifier", X_val=["ACGT"]), "X_val and y_val belong together"),
    "y_val alone": (lambda: fit("regressor", y_val=[1.0]), "X_val and y_val belong together"),
    "NaN in validation": (lambda: fit("regressor", X_val=["A"], y_val=[np.nan]), "Input y_val contains NaN"),
    "another number of targets": (
        lambda: fit("regressor", X_val=["A"], y_val=[[1.0, 2.0]]),
        "y_val has 2 targets, fit saw 1; give the same ones",
    ),
    "a weight too few": (lambda: fit("classifier", None, np.ones(39)), r"[Ss]ample.?weight.*(39|shape)"),
    "a weight that is NaN": (lambda: fit("regressor", None, with_nan(np.ones(40))), "sample_weight contains NaN"),
    "a weight below zero": (lambda: fit("classifier", None, with_nan(np.ones(40), -1.0)), "Negative|sample_weight"),
    "weights of zero": (
        lambda: fit("classifier", None, np.zeros(40)),
        "[Ss]ample weights must contain at least one non-zero",
    ),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_learned_is_refused_by_argument(wrong):
    act, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("seed", [0, 2])  # with 2 its only member is drawn for validation
@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_with_one_member_is_a_class(classes, seed):
    y = np.where(np.arange(40) == 0, "rare", np.array(["a", "b"])[np.arange(40) % (classes - 1)])
    model = DNAClassifier(**{**SMALL, "random_state": seed}).fit(SEQUENCES, y)
    assert model.classes_.tolist() == [*"ab"[: classes - 1], "rare"]
    assert np.isfinite(model.predict_proba(OTHERS)).all()


def test_too_much_held_out_is_refused_by_name():
    with pytest.raises(ValueError, match="validation_fraction"):
        DNAClassifier(**SMALL, validation_fraction=0.99).fit(SEQUENCES, LABELS)


# --- calls and arguments -----------------------------------------------------------------------------------------------


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
