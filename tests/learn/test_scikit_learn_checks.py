"""P9: what scikit-learn checks of an estimator, run on one of each base, and as slow tests on all eight.

What is not run stands in a table, with its reason.

The forecaster and the four estimators of windows are given scikit-learn's own tables of numbers. Estimators of DNA read
letters: they are given the same tables through a reader that writes every row of numbers as a sequence, so that all that is
not about columns is checked on what they really do.
"""

import warnings

import numpy as np
import pytest
from dna import estimator_cases as dna_cases
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from titans_ts import (
    DNAClassifier,
    DNALanguageModel,
    DNARegressor,
    TitansAnomalyDetector,
    TitansClassifier,
    TitansEmbedder,
    TitansForecaster,
    TitansRegressor,
)

# --- Windows ---------------------------------------------------------------------------------------------------------

WINDOWED = (TitansClassifier, TitansRegressor, TitansEmbedder, TitansAnomalyDetector)
TINY = {"max_steps": 3, "width": 8, "heads": 2, "batch_size": 16, "random_state": 0}
SMALL_WINDOWED = [estimator(**TINY) for estimator in WINDOWED]
OF_A_BASE = ("TitansClassifier", "TitansEmbedder", "ForecasterGivenX", "WrittenDNAClassifier", "WrittenDNALanguageModel")
"""One of each base; the others are checked as slow tests."""


def split_by_base(estimators):
    """Return those that stand for their base, and the others."""
    first = [one for one in estimators if type(one).__name__ in OF_A_BASE]
    return first, [one for one in estimators if one not in first]


BY_NUMBER_OF_ROWS = {
    "check_sample_weight_equivalence_on_dense_data": "batches and a validation part are drawn by the number of rows, so "
    "that a row that is there twice meets other company than one of twice the weight"
}


def declared(estimator):
    """Return the checks that fail, with their reason: of these two estimators one, and no other."""
    return BY_NUMBER_OF_ROWS if isinstance(estimator, TitansClassifier | TitansRegressor) else {}


@parametrize_with_checks(split_by_base(SMALL_WINDOWED)[0], expected_failed_checks=declared)
def test_windows_pass_what_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(split_by_base(SMALL_WINDOWED)[1], expected_failed_checks=declared)
def test_the_other_windows_pass_what_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([estimator(random_state=0) for estimator in WINDOWED], expected_failed_checks=declared)
def test_windows_pass_what_scikit_learn_checks_by_default(estimator, check):
    check(estimator)


# --- Series ----------------------------------------------------------------------------------------------------------


def one_step(_run, _report):
    return True


class ForecasterGivenX(TitansForecaster):
    """Is given X alone: scikit-learn's checks pass a y to every fit, and the forecaster refuses one."""

    def fit(self, X, y=None):
        return super().fit(X)

    def score(self, X, y=None):
        return super().score(X)


FORECASTER = ForecasterGivenX(
    horizon=2, lookback=4, patch_length=2, layers=1, width=8, heads=2, window=6, random_state=0, callbacks=[one_step]
)

# --- DNA -------------------------------------------------------------------------------------------------------------


def as_bases(row):
    """Write every number as three bases: 64 sizes from below -6 to above 6."""
    codes = np.floor((np.tanh(row / 3) + 1) * 31.999).astype(int)
    return "".join("ACGT"[code // 16] + "ACGT"[code // 4 % 4] + "ACGT"[code % 4] for code in codes)


class Written:
    """Gives an estimator of DNA the rows of a table as sequences."""

    def _written(self, X, *, reset=False):
        return [as_bases(row) for row in validate_data(self, X, reset=reset, dtype=np.float64)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = True, False
        return tags


class WrittenLabelled(Written):
    def _read_items(self, X, *, reset=False, name="X"):
        return super()._read_items(self._written(X, reset=reset))


class WrittenDNAClassifier(WrittenLabelled, DNAClassifier):
    pass


class WrittenDNARegressor(WrittenLabelled, DNARegressor):
    pass


class WrittenDNALanguageModel(Written, DNALanguageModel):
    def fit(self, X, y=None):
        return super().fit(self._written(X, reset=True))

    def transform(self, X):
        check_is_fitted(self)
        return super().transform(self._written(X))

    def score_samples(self, X):
        check_is_fitted(self)
        return super().score_samples(self._written(X))

    def score(self, X, y=None):
        check_is_fitted(self)
        return super().score(self._written(X))


# In float32 an answer may differ by its rounding with what else is asked, and scikit-learn asks for 1e-7.
DNA = [
    WrittenDNAClassifier(**dna_cases.SMALL, precision="float64", validation_fraction=0),  # which is many times as fast
    WrittenDNARegressor(**dna_cases.SMALL, precision="float64"),
    WrittenDNALanguageModel(**dna_cases.LANGUAGE, precision="float64"),
]

# --- What does not apply ---------------------------------------------------------------------------------------------

OF_COLUMNS = "it is about columns of numbers, which the reader of this test has, and DNA has not"
OF_TIME = "rows are moments of a series: their order and their number are what is learned from"
NOT_APPLICABLE = {
    "ForecasterGivenX": {
        "check_methods_sample_order_invariance": OF_TIME,
        "check_methods_subset_invariance": OF_TIME,
        "check_fit1d": "one axis is a series of one channel",
        "check_fit2d_predict1d": "one axis is a series of one channel, refused as other columns than those of fit",
        "check_n_features_in_after_fitting": "other columns are refused, by their names, which is another wording",
    },
    **dict.fromkeys(
        ("WrittenDNAClassifier", "WrittenDNARegressor", "WrittenDNALanguageModel"),
        dict.fromkeys(
            (
                "check_complex_data",
                "check_dtype_object",
                "check_estimator_sparse_array",
                "check_estimator_sparse_matrix",
                "check_estimator_sparse_tag",
                "check_estimators_dtypes",
                "check_estimators_empty_data_messages",
                "check_estimators_nan_inf",
                "check_f_contiguous_array_estimator",
                "check_fit1d",
                "check_fit2d_predict1d",
                "check_n_features_in",
                "check_n_features_in_after_fitting",
            ),
            OF_COLUMNS,
        ),
    ),
}
for _name in ("WrittenDNAClassifier", "WrittenDNARegressor"):
    NOT_APPLICABLE[_name] = NOT_APPLICABLE[_name] | BY_NUMBER_OF_ROWS
NEVER = {"check_array_api_input": "no estimator here says that it takes arrays of other libraries"}


def generated(estimator):
    """Return the checks that scikit-learn has for an estimator, by name; a warning would mean that it gave up."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [(check.func.__name__, check) for _, check in estimator_checks_generator(estimator)]


def applicable(estimator):
    left_out = NOT_APPLICABLE.get(type(estimator).__name__, {}) | NEVER
    return [(name, check) for name, check in generated(estimator) if name not in left_out]


APPLICABLE = [
    pytest.param(
        estimator,
        check,
        id=f"{type(estimator).__name__}-{name}",
        marks=() if type(estimator).__name__ in OF_A_BASE else pytest.mark.slow,
    )
    for estimator in (FORECASTER, *DNA)
    for name, check in applicable(estimator)
]


@pytest.mark.parametrize(("estimator", "check"), APPLICABLE)
def test_series_and_dna_pass_what_scikit_learn_checks(estimator, check):
    check(estimator)


WITH_Y = [(name, check) for name, check in generated(FORECASTER) if name not in NEVER]


@pytest.mark.parametrize("check", [pytest.param(check, id=name) for name, check in WITH_Y])
def test_the_forecaster_itself_fails_a_check_only_where_it_is_given_a_y(check):
    """What it passes with X alone is tested above: here is why check_estimator as it comes says otherwise."""
    try:
        check(TitansForecaster(**FORECASTER.get_params()))
    except (AssertionError, TypeError) as error:
        reasons = [error]
        while reasons[-1].__context__ is not None:
            reasons.append(reasons[-1].__context__)
        assert any("takes no y" in str(reason) for reason in reasons), reasons


AT_LEAST = {
    "TitansClassifier": 55,
    "TitansRegressor": 55,
    "TitansEmbedder": 45,
    "TitansAnomalyDetector": 45,
    "ForecasterGivenX": 33,
    "WrittenDNAClassifier": 45,
    "WrittenDNARegressor": 42,
    "WrittenDNALanguageModel": 32,
}


@pytest.mark.parametrize("estimator", [*SMALL_WINDOWED, FORECASTER, *DNA], ids=lambda one: type(one).__name__)
def test_so_many_checks_are_run_and_the_others_are_known(estimator):
    """An estimator whose tags say that it reads no table would pass the one check that is left."""
    names = {name for name, _ in generated(estimator)}
    run = [name for name, _ in applicable(estimator) if name not in declared(estimator)]
    assert len(run) >= AT_LEAST[type(estimator).__name__], len(run)
    told = NOT_APPLICABLE.get(type(estimator).__name__, {}) | declared(estimator)
    assert set(told) <= names, "a reason for a check that there is not"
    assert names - set(run) - set(NEVER) == set(told)


def test_the_reader_of_numbers_tells_them_apart():
    assert as_bases(np.array([-9.0, 0.0, 9.0])) == "AAACTTTTT"
    rows = np.random.default_rng(0).normal(size=(20, 4))
    assert len({as_bases(row) for row in rows}) == 20
