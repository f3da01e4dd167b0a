"""The demonstration: two and a half years of electricity demand, a held-out end, a table and a picture."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from titans_bench.protocol import season_rows
from titans_bench.rows import markdown_table
from titans_ts.datasets.load import load_dataset
from titans_ts.files.tables import write_table
from titans_ts.learn.metrics import interval_coverage, mean_absolute_error, mean_squared_error
from titans_ts.series.forecaster import TitansForecaster

HORIZON = 144  # three days of half hours
ORIGINS = 40


def run_demo(folder: Path, *, seed: int = 0, max_steps: int = 75, verbose: int | None = None) -> str:
    """Fit the series, score its held-out end, write ``forecast.csv`` and ``forecast.png``, and return what to print."""
    if not folder.is_dir():
        raise FileNotFoundError(f"--out: there is no folder {str(folder)!r}; make it first")
    dataset = load_dataset("vic_elec")
    frame = dataset.frame[["ds", *dataset.target_columns]]
    known = len(frame) - dataset.n_test // 2
    history, held_out = frame.iloc[:known], frame.iloc[known:]
    settings: dict[str, Any] = {"horizon": HORIZON, "random_state": seed, "verbose": verbose}
    begun = time.perf_counter()
    linear = TitansForecaster(layers=0, **settings).fit(history)
    ours = TitansForecaster(max_steps=max_steps, **settings).fit(history)
    fitted = time.perf_counter() - begun
    step = (len(held_out) - HORIZON) // ORIGINS
    about = (
        f"{len(history):,} half hours of demand and temperature in Victoria read, {len(held_out):,} held out; "
        f"{ORIGINS} forecasts of {HORIZON} rows.\n"
        f"Fitted in {fitted:.0f} s; the memory has read {ours.n_seen_:,} rows and takes "
        f"{ours.states_[None].nbytes / 1024:.0f} KiB."
    )
    body = []
    scale = history[list(dataset.target_columns)].std(ddof=0).to_numpy()
    for name, model in (("titans (MAC)", ours), ("its base, fitted alone", linear)):
        found, _ = model.backtest(frame, windows=ORIGINS, step=step, level=[80])
        sizes = found["unique_id"].map(dict(zip(dataset.target_columns, scale, strict=True))).to_numpy()
        columns = ("y", "forecast", "forecast-lo-80", "forecast-hi-80")
        actual, point, low, high = (found[key].to_numpy() / sizes for key in columns)
        body.append([name, *_errors(actual, point), f"{100 * interval_coverage(actual, low, high):.0f} %"])
    values = frame[list(dataset.target_columns)].to_numpy() / scale
    body.append(["the last day again", *_errors(*_last_day_again(values, step, season_rows(dataset.frequency))), "-"])
    forecast = ours.predict(level=[80])
    write_table(forecast, folder / "forecast.csv")
    from titans_ts.plots import plot_forecast, save_figure

    axes = plot_forecast(
        history,
        forecast,
        level=80,
        column="Demand",
        actual=held_out.iloc[:HORIZON],
        last=7 * 48,
        title="Electricity demand in Victoria: a week read, three days foretold",
    )
    save_figure(axes, folder / "forecast.png")
    head = ["error on the held-out end, in standard deviations", "MSE", "MAE", "inside the 80 % interval"]
    written = f"written: {folder / 'forecast.csv'}, {folder / 'forecast.png'}"
    return f"{about}\n\n{markdown_table(head, body)}\n\n{written}"


def _errors(actual: np.ndarray, point: np.ndarray) -> tuple[str, str]:
    return f"{mean_squared_error(actual, point):.4f}", f"{mean_absolute_error(actual, point):.4f}"


def _last_day_again(values: np.ndarray, step: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the forecast that repeats the last day, from the same origins."""
    origins = len(values) - HORIZON - step * np.arange(ORIGINS)
    ahead = np.arange(HORIZON)
    return values[origins[:, None] + ahead], values[origins[:, None] - period + ahead % period]
