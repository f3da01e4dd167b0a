"""The forecaster as fev's: its windows, its columns, its scores, and nothing seen ahead."""

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.extras
QUICK = {"lookback": 24, "patch_length": 6, "layers": 0, "max_steps": 1, "random_state": 0}
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.fixture(scope="module")
def frame():
    chance = np.random.default_rng(0)
    parts = []
    for name, rows in (("b", 150), ("a", 130)):
        wave = 3 + np.sin(2 * np.pi * np.arange(rows) / 24)
        stamps = pd.date_range("2024-01-01", periods=rows, freq="h")
        part = pd.DataFrame({"id": name, "timestamp": stamps, "kind": f"kind {name}"})
        for column in ("load", "sun", "price"):
            part[column] = wave + 0.2 * chance.standard_normal(rows)
        parts.append(part)
    parts[0].loc[40, "price"] = np.nan
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def task(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import fev

    path = tmp_path / "tiny.parquet"
    frame.to_parquet(path)
    asked = {"horizon": 6, "num_windows": 3, "seasonality": 24, "eval_metric": "SQL", "quantile_levels": LEVELS}
    return lambda **more: fev.Task(dataset_path=str(path), **asked | more)


def model(**more):
    from titans_ts.integrations.fev import TitansModel

    return TitansModel(**QUICK | more)


def test_it_is_registered_and_declares_that_it_knows_no_data_set():
    import fev

    made = model()
    found = fev.ForecastingModel.get_model_cls("titans-ts")
    assert found is type(made)
    assert found.trained_on_datasets == []


def test_a_summary_has_the_scores_that_our_code_gives(task, frame):
    from titans_bench.task_scores import ASKED, TaskForecast, TaskScores, score_window

    asked, ours = task(target=["load", "sun"], extra_metrics=["MASE", "WQL"]), model()
    found = ours.fit_predict(asked)
    summary = asked.evaluation_summary(found, "titans-ts", ours.training_time, ours.inference_time)
    assert ours.training_time > 0 < ours.inference_time
    assert summary["trained_on_this_dataset"] is False
    rows = {name: part[["load", "sun"]].to_numpy() for name, part in frame.groupby("id")}
    windows = []
    for window, answer in enumerate(found):
        ends = {name: len(values) - 6 * (3 - window) for name, values in rows.items()}
        point = np.stack([np.array(answer[column]["predictions"]) for column in ("load", "sun")], axis=-1)
        each = [np.stack([np.array(answer[c][str(level)]) for c in ("load", "sun")], axis=-1) for level in LEVELS]
        nowhere = np.full_like(point, np.nan)
        forecast = TaskForecast(point, np.stack([nowhere, *each, nowhere], axis=-1))
        assert forecast.quantiles.shape[-1] == len(ASKED)
        truth = np.stack([values[ends[name] : ends[name] + 6] for name, values in rows.items()])
        windows.append(score_window(truth, forecast, [values[: ends[name]] for name, values in rows.items()], 24))
    mean = TaskScores.mean(windows)
    assert (summary["SQL"], summary["MASE"], summary["WQL"]) == pytest.approx((mean.sql, mean.mase, mean.wql), rel=1e-9)


def test_forecasts_are_those_of_the_forecaster_reading_on(task, frame):
    from titans_ts import TitansForecaster

    found = model().fit_predict(task(target="load"))
    names = {"id_column": "id", "time_column": "timestamp", "target_columns": ["load"]}
    rows = dict(list(frame[["id", "timestamp", "load"]].groupby("id")))
    known = [pd.concat([part.iloc[: len(part) - 6 * left] for part in rows.values()]) for left in (3, 2, 1)]
    plain = TitansForecaster(6, quantiles=LEVELS, **names, **QUICK).fit(known[0])
    for answer, past in zip(found, known, strict=True):
        expected = plain.predict(past, quantiles=LEVELS)
        for place, name in enumerate("ab"):
            mine = expected[expected["id"] == name]
            np.testing.assert_allclose(answer["load"]["predictions"][place], mine["load"], rtol=1e-4)
            np.testing.assert_allclose(answer["load"]["0.9"][place], mine["load-q-90"], rtol=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        {"known_dynamic_columns": ["price"], "past_dynamic_columns": ["sun"], "static_columns": ["kind"]},
        {"known_dynamic_columns": ["price"], "num_windows": 1, "quantile_levels": [], "eval_metric": "MASE"},
        {"max_context_length": 60},
    ],
)
def test_every_kind_of_column_and_context_is_taken(task, more):
    asked = task(target="load", **more)
    summary = asked.evaluation_summary(model().fit_predict(asked), "titans-ts")
    assert np.isfinite(summary["test_error"])


def test_fitting_anew_before_each_window_changes_later_windows_only(task):
    once, anew = (model(refit=refit).fit_predict(task(target="load")) for refit in (False, True))
    assert once[0]["load"]["predictions"] == anew[0]["load"]["predictions"]
    assert once[2]["load"]["predictions"] != anew[2]["load"]["predictions"]
