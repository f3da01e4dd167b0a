"""What the fuzzer of inputs found, each as a case of its own: an answer or a refusal that names the argument."""

import decimal

import numpy as np
import pandas as pd
import pytest
import torch
from fuzz.doors import KINDS, TEXTS, WINDOWS, fitted_dna, fitted_series, fitted_windows, long, own, rhythms, waves
from fuzz.mutations import within_itself
from fuzz.watch import depths, watched

from titans_ts import make_dna_motifs, make_panel, make_recurring, make_regimes, make_seasonal

VARIANTS = [("chr1", 5, TEXTS[0][4], "A")]


def series(kind="long"):
    return own(fitted_series(kind))


def windows(kind, **arguments):
    X, y = rhythms()
    return KINDS[kind][0](**WINDOWS).fit(**{"X": X, "y": y, **arguments})


REFUSED = {
    "states that are no states": (lambda: series().remember(decimal.Decimal(80)), "states is a Decimal"),
    "a state by its name": (lambda: series().remember("west"), "states is a str"),
    "a checkpoint that is no path": (lambda: series().update(long(), checkpoint=1.5), "checkpoint=1.5 is a float"),
    "an unknown memory": (
        lambda: series("index").rolling_errors(np.zeros((9, 2)), start=3, horizons=[1], memory=pd.NA),
        "memory must be",
    ),
    "ids without an axis": (lambda: series().forget(np.array(80)), "ids: there is no series"),
    "ids that can be none": (lambda: series().forget(([1],)), "ids: there is no series"),
    "an id that equals nothing": (
        lambda: series().predict(long().assign(unique_id=[decimal.Decimal("sNaN")] * len(long()))),
        "X has an id in column 'unique_id' that equals nothing",
    ),
    "a list within itself": (lambda: fitted_windows("embedder").transform(within_itself()), "X"),
    "arrays of unequal shapes in a sequence": (
        lambda: fitted_windows("regressor").predict([waves(1)[:9], [waves(1)[:9], waves(1)[:2]]]),
        "X",
    ),
    "weights that are no numbers": (lambda: windows("regressor", sample_weight={1, 2}), "sample_weight is a set"),
    "weights in a sparse tensor": (
        lambda: windows("classifier", sample_weight=torch.ones(12).to_sparse()),
        "sample_weight is a Tensor",
    ),
    "targets past float64": (lambda: windows("regressor", y=1e300 * rhythms()[1]), "y spreads farther than float64"),
    "a reference that is none": (lambda: fitted_dna("language").score_variants(VARIANTS, 7), "reference is a int"),
    "a reference that is not there": (
        lambda: fitted_dna("language").score_variants(VARIANTS, "no such file"),
        "reference='no such file' is no file",
    ),
    "a number of series in a list": (lambda: make_panel(n_series=[3]), "n_series=.3. must be a whole number"),
    "channels in text": (lambda: make_seasonal(n_channels="3"), "n_channels='3' must be a whole number"),
    "channels without end": (lambda: make_regimes(n_channels=np.inf), "n_channels=inf must be a whole number"),
    "noise that is truth": (lambda: make_recurring(noise=True), "noise=True must be a finite number"),
    "a seed below 0": (lambda: make_seasonal(random_state=-1), "random_state=-1 must be 0 or more"),
    "rows too far to be scored": (
        lambda: series("index").score(pd.DataFrame({"a": [1e308], "b": [-1e308]}, index=[pd.Timestamp("2024-03-31 12:00")])),
        "X holds numbers so far from what was read",
    ),
    "states in an array": (lambda: series().remember(np.array(80)), "states is a ndarray"),
    "a pair of one": (lambda: make_dna_motifs(length=[80]), "length=.80. must be a whole number or a pair"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name):
    call, match = REFUSED[name]
    with pytest.raises((ValueError, TypeError, OSError), match=match):
        call()
    names = {"states", "checkpoint", "memory", "ids", "X", "sample_weight", "y", "reference"}
    made = {"random_state", "n_series", "n_channels", "noise", "length"}
    assert depths(watched(call).error, names | made) is None
