"""The forecaster as a model of the package fev, for its tasks and benchmarks.

>>> import fev
>>> from titans_ts.integrations.fev import TitansModel
>>> fev.ForecastingModel.get_model_cls("titans-ts") is TitansModel
True
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from titans_ts.series.forecaster import TitansForecaster

try:
    import fev
except ImportError as error:
    raise ImportError("titans_ts.integrations.fev needs fev; `pip install 'titans-ts[fev]'`") from error


class TitansModel(fev.ForecastingModel):
    """Forecast the windows of a task of fev: fitted once, on the rows before the first of them, then it reads on.

    Parameters
    ----------
    refit : bool, default=False
        Whether to fit anew on the rows before each window, instead of absorbing what came since the last one.
    **arguments
        Those of :class:`titans_ts.TitansForecaster`; horizon, columns and quantiles are the task's.

    Attributes
    ----------
    training_time, inference_time : float
        Seconds of the last task: of all fits, and of all reading and forecasting after them.
    trained_on_datasets : list of str
        Empty: nothing is learned before a task, and within it a forecast has seen the rows before its window and no other.
        So ``trained_on_this_dataset`` is false for every task.

    Notes
    -----
    All columns that a task names are used. Missing values are masked in targets and past covariates; of known covariates
    the value before is carried on. A window with other series than those read so far is read afresh, weights stay.

    References
    ----------
    Shchur and others: fev-bench: A Realistic Benchmark for Time Series Forecasting, arXiv 2509.26468.

    Examples
    --------
    >>> import tempfile, fev, numpy as np, pandas as pd
    >>> from titans_ts.integrations.fev import TitansModel
    >>> stamps = pd.date_range("2024-01-01", periods=120, freq="h")
    >>> wave = np.sin(np.arange(120) * 2 * np.pi / 24) + np.random.default_rng(0).normal(0, 0.1, 120)
    >>> path = f"{tempfile.mkdtemp()}/wave.parquet"
    >>> pd.DataFrame({"id": "a", "timestamp": stamps, "target": wave}).to_parquet(path)
    >>> task = fev.Task(dataset_path=path, horizon=6, num_windows=2, seasonality=24)
    >>> model = TitansModel(lookback=24, max_steps=2, random_state=0)
    >>> summary = task.evaluation_summary(model.fit_predict(task), model_name=model.model_name)
    >>> summary["num_forecasts"], bool(summary["MASE"] > 0)
    (2, True)
    """

    model_name = "titans-ts"
    trained_on_datasets: ClassVar[list[str]] = []

    def __init__(self, refit: bool = False, **arguments: Any) -> None:
        super().__init__()
        self.refit = refit
        self.arguments = arguments

    def _fit_predict(self, task: fev.Task) -> list[Any]:
        task.load_full_dataset()
        forecaster: TitansForecaster | None = None
        answers = []
        for window in task.iter_windows():
            past, future, static = _frames(window)
            if forecaster is None or self.refit:
                with self._record_training_time():
                    forecaster = self._made(task, window).fit(past, static=static)
                again = None
            else:
                with self._record_inference_time():
                    again = _read_on(forecaster, past, window, static)
            with self._record_inference_time():
                known = future if window.known_dynamic_columns else None
                levels = task.quantile_levels or None
                answer = forecaster.predict(again, quantiles=levels, future=known, static=None if again is None else static)
            answers.append(task.clean_and_validate_predictions(_predictions(answer, past, window, task.quantile_levels)))
        return answers

    def _made(self, task: fev.Task, window: fev.EvaluationWindow) -> TitansForecaster:
        """Return an unfitted forecaster of a task's columns."""
        asked: dict[str, Any] = {"quantiles": tuple(task.quantile_levels)} if task.quantile_levels else {}
        return TitansForecaster(
            task.horizon,
            freq=task.freq,
            id_column=window.id_column,
            time_column=window.timestamp_column,
            target_columns=list(window.target_columns),
            past_covariates=list(window.past_dynamic_columns) or None,
            future_covariates=list(window.known_dynamic_columns) or None,
            **asked | self.arguments,
        )


def _frames(window: fev.EvaluationWindow) -> tuple[Any, Any, Any]:
    """Return long frames of the rows that are known, and of known covariates, and a frame of static ones or None."""
    past, future, static = fev.convert_input_data(window, adapter="pandas")
    whole = {column: [past[column], future[column]] for column in window.known_dynamic_columns}
    for frame in (past, future) if whole else ():
        filled = frame.groupby(window.id_column, sort=False)[list(whole)].ffill()
        for column in whole:
            frame[column] = _without_gaps(filled[column])
    for column in window.static_columns:
        static[column] = _without_gaps(static[column])
    return past, future, static


def _without_gaps(values: Any) -> Any:
    """Return a column whose missing values are 0, or a word of their own where it holds words."""
    return values.fillna(0 if np.issubdtype(values.dtype, np.number) else "missing") if values.isna().any() else values


def _read_on(forecaster: TitansForecaster, past: Any, window: fev.EvaluationWindow, static: Any) -> Any:
    """Absorb the rows that came since the last window; where the series are others return all rows, to be read afresh."""
    last = past[window.id_column].map(forecaster.last_times_)
    if last.isna().any() or set(past[window.id_column]) != set(forecaster.last_times_):
        return past
    forecaster.update(past[past[window.timestamp_column].to_numpy() > last.to_numpy().astype("datetime64[ns]")])
    return None


def _predictions(
    answer: Any, past: Any, window: fev.EvaluationWindow, levels: list[float]
) -> dict[str, list[dict[str, list[float]]]]:
    """Return a forecast by target, as fev takes it: a dict a series, in the order of the window's."""
    ids = past[window.id_column].unique()
    parts = dict(list(answer.groupby(window.id_column, sort=False)))
    found = {}
    for column in window.target_columns:
        ends = {"predictions": ""} | {str(level): f"-q-{100 * level:g}" for level in levels}
        found[column] = [{name: parts[each][column + end].tolist() for name, end in ends.items()} for each in ids]
    return found
