"""What a long history is worth, and what it costs: error against the rows that were absorbed before a forecast.

Each model is fitted once, and then forecasts from the same origins after histories of different lengths, each read with a
fresh memory; the scale is that which ``fit`` learned, so that only memory differs. A history of the shortest length is no
more than the look-back: a memory that was reset. Every run is kept in a file when it is done, and a second call runs only
what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray
from tqdm import tqdm

from titans_bench.history_data import History, make_history
from titans_bench.history_reading import cost_after, first_row, forecasts_after
from titans_bench.history_setting import FITS, MODELS, SETTINGS, Setting
from titans_bench.rows import WHOLE, HistoryRow, block_text, read_rows, write_rows
from titans_ts.frames.read import read_panel
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.tensors import SeriesTensors


class Run(NamedTuple):
    """One fit, and all that is asked of it."""

    data: str
    model: str
    seed: int


def bench_history(
    out: Path,
    *,
    setting: Setting = SETTINGS["standard"],
    data: Sequence[str] | None = None,
    models: Sequence[str] = tuple(MODELS),
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "auto",
    jobs: int = 1,
    data_home: str | Path | None = None,
    verbose: int = 0,
) -> list[HistoryRow]:
    """Run what is missing in a file of rows, and return all rows that were asked for.

    Parameters
    ----------
    out : Path
        A CSV file; made where there is none.
    setting : Setting, optional
        How models are fitted, and which histories they are given.
    data : sequence of str, optional
        Names of :data:`titans_bench.history_setting.FITS`; those of the setting by default.
    models : sequence of str, optional
        Names of :data:`titans_bench.history_setting.MODELS`; all by default.
    seeds : sequence of int, default=(0, 1, 2)
        One fit each, and series of its own where they are generated.
    device : str, default="auto"
        Where to compute.
    jobs : int, default=1
        Runs at a time, each in a process of its own with one thread; their times are then those of a busy machine.
    data_home : str or Path, optional
        Folder with the data.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    list of HistoryRow
        By set, model and seed, the shortest history first.

    Raises
    ------
    ValueError
        If a name is not known, ``jobs`` is less than 1, or the file holds other columns.

    Examples
    --------
    >>> rows = bench_history(Path("history.csv"), setting=SETTINGS["quick"], seeds=(0,))  # doctest: +SKIP
    """
    data = setting.data if data is None else data
    for name, chosen, known in (("data", data, FITS), ("models", models, MODELS)):
        unknown = [x for x in chosen if x not in known]
        if unknown:
            raise ValueError(f"{name}: {unknown[0]!r} is not known; choose from {'; '.join(known)}")
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}")
    rows = read_rows(out, HistoryRow)
    runs = [Run(name, model, seed) for name in data for model in models for seed in seeds]
    missing = [run for run in runs if not _is_done(rows, setting, run)]
    with parallel_config("loky" if jobs > 1 else "sequential", n_jobs=jobs):
        done = Parallel(return_as="generator_unordered")(
            delayed(_run)(
                setting,
                run,
                device=device,
                data_home=data_home,
                threads=1 if jobs > 1 else None,
                verbose=verbose if jobs == 1 else 0,
            )
            for run in missing
        )
        for run, made in tqdm(done, total=len(missing), disable=verbose < 1, leave=False, unit="run"):
            rows = [row for row in rows if row not in _of(rows, setting, run)] + made
            write_rows(out, rows, HistoryRow)
    return [row for run in runs for row in _of(rows, setting, run)]


def _of(rows: Sequence[HistoryRow], setting: Setting, run: Run) -> list[HistoryRow]:
    return [row for row in rows if (row.setting, row.data, row.model, row.seed) == (setting.name, *run)]


def _is_done(rows: Sequence[HistoryRow], setting: Setting, run: Run) -> bool:
    """Tell whether a file has every length of every lag."""
    lags = setting.recurring["lags"] if run.data == "recurring" else (0,)
    asked = {(lag, length) for lag in lags for length in (*map(str, setting.lengths), WHOLE)}
    return asked <= {(row.lag, row.length) for row in _of(rows, setting, run)}


def _run(
    setting: Setting, run: Run, *, device: str, data_home: str | Path | None, threads: int | None, verbose: int
) -> tuple[Run, list[HistoryRow]]:
    """Fit one model, and ask it after histories of every length."""
    if threads is not None:
        torch.set_num_threads(threads)
    history = make_history(run.data, setting, run.seed, data_home=data_home)
    forecaster = TitansForecaster(
        lookback=setting.lengths[0],
        validation_fraction=history.validation_fraction,
        device=device,
        random_state=run.seed,
        verbose=verbose,
        **{**FITS[run.data], **setting.fit, **MODELS[run.model]},
    ).fit(history.fitted)
    (one,) = read_panel(history.read, like=forecaster.layout_)
    series = forecaster.ready(one)  # on the scale that fit learned, whatever is cut from it
    made = []
    for length in (*setting.lengths, None):
        made += _rows_of_length(setting, run, forecaster, series, history, length)
    return run, made


def _rows_of_length(
    setting: Setting,
    run: Run,
    forecaster: TitansForecaster,
    series: SeriesTensors,
    history: History,
    length: int | None,
) -> list[HistoryRow]:
    """Return an error for every lag, and what the longest such history costs."""
    network, gain, recollection_gain = forecaster.network_, forecaster.memory_gain_, forecaster.recollection_gain_
    every = sorted({origin for origins in history.origins.values() for origin in origins})
    cost = cost_after(network, series, every[-1], length)
    found = forecasts_after(network, series, every, length)
    made = []
    for lag, origins in history.origins.items():
        points = found[np.searchsorted(every, origins)]
        read = [origin - first_row(origin, length, network.config.patch_length) for origin in origins]
        mse, mae, blocks = _errors(points, history.values, origins, setting.blocks)
        made.append(
            HistoryRow(
                *(setting.name, run.data, lag, run.model, run.seed, WHOLE if length is None else str(length)),
                rows=round(float(np.mean(read))),
                origins=len(origins),
                share=1.0 if gain is None else gain.share,
                recollected=0.0 if recollection_gain is None else recollection_gain.share,
                mse=_digits(mse),
                mae=_digits(mae),
                seconds_per_step=_digits(cost.seconds_per_step),
                seconds_per_forecast=_digits(cost.seconds_per_forecast),
                state_bytes=cost.state_bytes,
                resident_mib=round(cost.resident_mib, 1),
                blocks=block_text(blocks),
            )
        )
    return made


def _errors(
    points: NDArray[np.float64], values: NDArray[Any], origins: Sequence[int], blocks: int
) -> tuple[float, float, NDArray[np.float64]]:
    """Return squared and absolute error ``(n, f, c)``, over all and of each block; missing truth is left out."""
    error = points - values[np.array(origins)[:, None] + np.arange(points.shape[1])]
    observed = np.isfinite(error)
    sums = np.stack([np.where(observed, error**2, 0).sum((1, 2)), np.where(observed, np.abs(error), 0).sum((1, 2))], axis=1)
    count = observed.sum((1, 2))
    parts = np.array_split(np.arange(len(origins)), min(blocks, len(origins)))
    with np.errstate(invalid="ignore"):  # a block of which nothing was observed has no error
        of_blocks = np.array([sums[part].sum(0) / count[part].sum() for part in parts])
        mse, mae = sums.sum(0) / count.sum()
    return float(mse), float(mae), of_blocks


def _digits(number: float) -> float:
    """Return a number to six digits, as a file keeps it."""
    return float(f"{number:.6g}")
