"""The protocol: every window counted, nothing ahead of its origin, the training part's scale, missing values told."""

import os

import numpy as np
import pandas as pd
import pytest

from titans_bench import protocol
from titans_bench.protocol import Score, evaluate, format_table, season_rows, seasonal_naive_errors, standardised
from titans_ts.datasets.load import Dataset
from titans_ts.datasets.records import RECORDS

SMALL = {"lookback": 32, "patch_length": 8, "width": 8, "layers": 1, "heads": 2, "window": 8, "max_steps": 2}


def dataset(values, *, name="tiny", split=(300, 60, 90), stamps=None):
    columns = tuple(f"c{j}" for j in range(values.shape[1]))
    stamps = pd.date_range("2024-01-01", periods=len(values), freq="h") if stamps is None else stamps
    frame = pd.DataFrame({"ds": stamps} | {column: values[:, j] for j, column in enumerate(columns)})
    return Dataset(name, frame, columns, *split, "1h", "")


def waves(rows=470, *, seed=0):
    """Return two noisy daily waves; the rows after 450 belong to no part."""
    rng = np.random.default_rng(seed)
    hours = np.arange(rows)[:, None]
    return 50 + 10 * np.sin(2 * np.pi * (hours + np.array([0, 6])) / 24) + rng.standard_normal((rows, 2))


def naive_by_loops(values, period, start, horizon):
    """Every origin, step and channel on its own, looking at nothing but ``values[:origin]``."""
    errors = []
    for origin in range(start, len(values) - horizon + 1):
        known = values[:origin]
        for step in range(horizon):
            for channel in range(values.shape[1]):
                place = origin + step
                while place >= origin:
                    place -= period
                row = place
                while row >= 0 and np.isnan(known[row, channel]):
                    row -= period
                if row < 0:
                    before = known[: place + 1, channel]
                    found = before[~np.isnan(before)][-1]
                else:
                    found = known[row, channel]
                errors.append(found - values[origin + step, channel])
    errors = np.array(errors)
    return np.nanmean(errors**2), np.nanmean(np.abs(errors))


@pytest.mark.parametrize("gaps", [0.0, 0.3])
@pytest.mark.parametrize(("period", "start", "horizons"), [(5, 20, [1, 4, 13]), (7, 7, [7]), (1, 9, [3, 2])])
def test_the_naive_forecast_is_that_of_plain_loops(gaps, period, start, horizons):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((48, 3))
    values[rng.random(values.shape) < gaps] = np.nan
    values[0] = 0.5  # or a column might not be observed at all before the first origin
    found = seasonal_naive_errors(values, period, start=start, horizons=horizons)
    for horizon in horizons:
        assert found[horizon] == pytest.approx(naive_by_loops(values, period, start, horizon), rel=1e-12)


def test_the_naive_forecast_never_looks_ahead():
    """A truth that is wrong by a million from the last origin's first step on changes no other window."""
    values = np.tile(np.arange(6.0), 5)[:, None]
    assert seasonal_naive_errors(values, 6, start=12, horizons=[6])[6] == (0, 0)
    values[29] += 1e6  # only the last window's last step sees it: 30 - 12 - 6 + 1 windows of 6 steps
    assert seasonal_naive_errors(values, 6, start=12, horizons=[6])[6][1] == pytest.approx(1e6 / (13 * 6))


def test_a_naive_forecast_of_nothing_is_refused():
    values = np.full((30, 2), np.nan)
    values[20:] = 1.0
    with pytest.raises(ValueError, match="not observed at all"):
        seasonal_naive_errors(values, 4, start=8, horizons=[2])
    with pytest.raises(ValueError, match="a season of 24 rows must come before"):
        seasonal_naive_errors(np.ones((30, 1)), 24, start=8, horizons=[2])


def test_the_scale_is_the_training_parts_with_ddof_0():
    values = waves()
    values[10, 0] = np.nan
    values[400:] += 1000  # the test part has no say
    values = np.hstack([values, np.full((len(values), 1), 7.0)])
    frame, found = standardised(dataset(values))
    training = found[:300]
    assert np.nanmean(training, axis=0) == pytest.approx([0, 0, 0], abs=1e-12)
    assert np.nanstd(training[:, :2], axis=0) == pytest.approx([1, 1], rel=1e-12)
    assert (found[:, 2] == 0).all(), "a column that never changes is only centred"
    expected = (values[400, 1] - values[:300, 1].mean()) / np.sqrt(values[:300, 1].var())
    assert frame["c1"].to_numpy()[400] == pytest.approx(expected)
    assert np.isnan(frame["c0"].to_numpy()[10])


def test_rows_are_counted_where_stamps_are_irregular():
    stamps = pd.date_range("2024-01-01", periods=470, freq="h").to_numpy().copy()
    stamps[200] = stamps[199]
    frame, _ = standardised(dataset(waves(), stamps=stamps))
    assert (frame["ds"].to_numpy() == pd.date_range("2024-01-01", periods=470, freq="h").to_numpy()).all()
    assert list(standardised(dataset(waves(), name="exchange_rate"))[0].columns) == ["c0", "c1"]
    frame, _ = standardised(dataset(waves(), stamps=np.arange(470)))
    assert frame["ds"].dtype == np.int64
    assert (frame["ds"] == np.arange(470)).all()


def test_every_registered_set_has_a_season():
    found = {record.frequency: season_rows(record.frequency) for record in RECORDS.values()}
    assert found == {"1h": 24, "15min": 96, "10min": 144, "30min": 48, "1D": 7, 1: 286}


@pytest.fixture(scope="module")
def scored():
    """Return the values and the scores of a tiny set with a gap in its test part."""
    values = waves()
    values[380:383, 1] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "load_dataset", lambda name, data_home: dataset(values, name=name))
        scores = evaluate("tiny", variants=["lmm"], seeds=[0, 1], horizons=[12, 24], max_minutes=0, **SMALL)
    return values, scores


def test_all_models_stand_in_the_table(scored):
    _, scores = scored
    models = list(dict.fromkeys(score.model for score in scores))
    ours = [
        "base alone",
        "base alone, refitted",
        "lmm",
        "lmm, memory silent",
        "lmm, refitted",
        "lmm, memory silent, refitted",
    ]
    assert models == ["seasonal naive (24)", *ours]
    for model in models:
        seeds = {score.seed for score in scores if score.model == model}
        assert seeds == ({None} if "naive" in model else {0, 1})
    assert len(scores) == 3 * (1 + 2 * 6)
    assert all(np.isfinite([score.mse, score.mae]).all() for score in scores)


def test_a_baseline_has_no_memory_that_could_be_silent(monkeypatch):
    monkeypatch.setattr(protocol, "load_dataset", lambda name, data_home: dataset(waves()))
    scores = evaluate("tiny", variants=["lstm", "lmm"], horizons=[12], max_minutes=0, **SMALL)
    models = list(dict.fromkeys(score.model for score in scores if "refitted" not in score.model))
    assert models == ["seasonal naive (24)", "base alone", "lstm", "lmm", "lmm, memory silent"]


def test_a_memory_beside_a_baseline_is_refused_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr(protocol, "load_dataset", lambda name, data_home: pytest.fail("work was begun"))
    with pytest.raises(ValueError, match="variant='hopfield' has no memory, got memory='titans_linear'"):
        evaluate("tiny", variants=["lmm", "hopfield"], memory="titans_linear")


def test_every_window_is_counted_and_missing_values_are_told(scored):
    _, scores = scored
    assert {score.horizon: score.windows for score in scores} == {12: 79, 24: 67, "average": 146}
    assert {score.missing for score in scores} == {3 / 180}
    assert "79 at 12, 67 at 24" in format_table(scores)
    assert "1.7 % of the test values are missing" in format_table(scores)


def test_the_average_is_over_horizons(scored):
    _, scores = scored
    first = [score for score in scores if score.model == "lmm" and score.seed == 0]
    assert first[2].horizon == "average"
    assert first[2].mse == pytest.approx((first[0].mse + first[1].mse) / 2)
    assert first[2].mae == pytest.approx((first[0].mae + first[1].mae) / 2)


def test_rows_after_the_test_part_do_not_count(scored):
    values, scores = scored
    changed = values.copy()
    changed[450:] = 1e6
    _, standard = standardised(dataset(changed))
    again = seasonal_naive_errors(standard[:450], 24, start=360, horizons=[12, 24])
    assert [(s.mse, s.mae) for s in scores[:2]] == [again[12], again[24]]


def test_the_validation_part_is_the_official_one():
    data = dataset(waves())
    from titans_ts import TitansForecaster

    known = data.n_train + data.n_validation
    frame, _ = standardised(data)
    model = TitansForecaster(12, **SMALL | {"layers": 0}, validation_fraction=data.n_validation / known)
    model.fit(frame.iloc[:known])
    assert list(model.training_rows_.values()) == [300]


def test_our_errors_are_those_of_plain_forecasts(scored):
    """One cell of the refitted base again: a fresh predict from every origin, by hand."""
    values, scores = scored
    from titans_ts import TitansForecaster

    frame, standard = standardised(dataset(values))
    settings = SMALL | {"layers": 0, "callbacks": [protocol.stop_after(0)]}
    model = TitansForecaster(24, **settings, validation_fraction=60 / 360, random_state=1).fit(frame.iloc[:360])
    errors = []
    for origin in range(360, 450 - 12 + 1):
        found = model.predict(frame.iloc[:origin])[["c0", "c1"]].to_numpy()
        errors.append(found[:12] - standard[origin : origin + 12])
    cell = next(s for s in scores if (s.model, s.seed, s.horizon) == ("base alone, refitted", 1, 12))
    assert len(errors) == cell.windows
    assert cell.mse == pytest.approx(np.nanmean(np.square(errors)), rel=1e-4)
    assert cell.mae == pytest.approx(np.nanmean(np.abs(errors)), rel=1e-4)


def test_training_can_be_held_to_minutes(monkeypatch):
    steps = []
    monkeypatch.setattr(protocol, "load_dataset", lambda name, data_home: dataset(waves()))
    stop = protocol.stop_after
    monkeypatch.setattr(protocol, "stop_after", lambda s: lambda *x: steps.append(x[1].step) or stop(s)(*x))
    evaluate("tiny", variants=["lmm"], horizons=[12], max_minutes=0, seeds=[0], **SMALL)
    assert steps == [1, 1], "training ends after its first step; the base has none"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"horizon": 5}, "choose horizons, variants, seeds and max_minutes"),
        ({"random_state": 5}, "'random_state'"),
        ({"solve_on": "all"}, "'solve_on'"),
        ({"keep_markers": True}, "keep_markers: no number stands for missing in ETTh1"),
        ({"horizons": [91]}, r"horizons=\(91,\) must lie in 1 .. 90, the test rows of ETTh1"),
        ({"horizons": []}, "must lie in"),
    ],
)
def test_wrong_arguments_are_refused(monkeypatch, arguments, word):
    monkeypatch.setattr(protocol, "load_dataset", lambda name, data_home: dataset(waves(), name="ETTh1"))
    with pytest.raises(ValueError, match=word):
        evaluate("ETTh1", **arguments)


def test_markers_are_numbers_in_scale_and_errors_where_they_are_kept(monkeypatch):
    values = waves()
    values[[100, 380], 1] = np.nan
    monkeypatch.setattr(protocol, "load_dataset", lambda name, data_home: dataset(values, name=name))
    asked = {"variants": [], "horizons": [12], **SMALL}
    scores, kept = evaluate("weather", **asked), evaluate("weather", keep_markers=True, **asked)
    assert [{(s.dataset, s.missing) for s in found} for found in (scores, kept)] == [
        {("weather", 1 / 180)}, {("weather, -9999 kept", 0.0)},
    ]  # fmt: skip
    values[[100, 380], 1] = -9999
    _, standard = standardised(dataset(values))
    again = seasonal_naive_errors(standard[:450], 24, start=360, horizons=[12])
    assert (kept[0].mse, kept[0].mae) == again[12]


def test_the_table_has_mean_and_spread_over_seeds():
    scores = [
        Score("tiny", "mac", seed, horizon, mse + seed, 2 * (mse + seed), 10.0 * seed, 7)
        for seed in (0, 2)
        for horizon, mse in ((24, 1.0), ("average", 3.0))
    ]
    lines = format_table(scores).splitlines()
    assert lines[0] == "| tiny | 24 | average | spread of average | fit, s |"
    assert lines[2] == "| mac | 2.0000/4.0000 | 4.0000/8.0000 | 2.0000/4.0000 | 10 |"
    assert "seeds [0, 2]" in lines[-1]
    assert "missing" not in lines[-1]


def test_real_naive_scores_are_the_published_ones(data_home):
    """ETTh1, season 24: .512/.433 at horizon 96, as tables of Autoformer's successors have it for repeating a day."""
    from titans_ts import load_dataset

    data = load_dataset("ETTh1", data_home=data_home)
    known = data.n_train + data.n_validation
    _, values = standardised(data)
    found = seasonal_naive_errors(values[: known + data.n_test], 24, start=known, horizons=[96])
    assert found[96] == pytest.approx((0.512, 0.433), abs=6e-4)


@pytest.mark.skipif("TITANS_TS_DATA" not in os.environ, reason="needs the folder of data sets: set TITANS_TS_DATA")
def test_a_data_set_of_sequences_is_refused():
    with pytest.raises(ValueError, match="name='gue/tf_0' is no series; take one of ETTh1"):
        evaluate("gue/tf_0")
