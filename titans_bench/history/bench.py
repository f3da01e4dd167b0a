"""What a long history is worth, and what it costs: error against the rows that were absorbed before a forecast.

Each model is fitted once, and then forecasts from the same origins after histories of different lengths, each read with a
fresh memory. All are on the scale that ``fit`` learned, so that only memory differs. The shortest history is no more than
the look-back, as if the memory had been reset. Every run is written to a file when it is done, and a second call runs only
what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from titans_bench.history.data import FITS, MODELS, SETTINGS, History, Setting, make_history
from titans_bench.history.reading import cost_after, first_row, forecasts_after
from titans_bench.rows import check_names, fill_in, read_rows, rows_of
from titans_ts.frames.read import read_panel
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.tensors import SeriesTensors

WHOLE = "all"  # length of a history that is not cut


class Run(NamedTuple):
    """One fit, and all forecasts that are made with it."""

    data: str
    model: str
    seed: int


@dataclass(frozen=True)
class HistoryRow:
    """What one model made of one length of history."""

    setting: str
    data: str
    lag: int  # how long ago a recurring response was last seen; 0 for other data
    model: str
    seed: int  # of the fit, and of generated data
    length: str  # rows that a cut history keeps, or "all"
    rows: int  # rows read before a forecast; of the whole history the mean
    origins: int  # forecasts
    share: float  # how much of the memory's correction of the base validation let through at fit
    recollected: float  # the same of recollection's correction
    mse: float  # on the standardised scale, over origins, steps and channels
    mae: float
    seconds_per_step: float  # to absorb a row of one such history, averaged over all of them
    seconds_per_forecast: float  # of one forecast after it
    state_bytes: int  # size of the state after it
    resident_mib: float  # memory of the process that holds this state and the network
    blocks: str  # "mse/mae" of each block of neighbouring origins, a space between two

    @property
    def block_errors(self) -> NDArray[np.float64]:
        """Return the squared and absolute error of each block, ``(blocks, 2)``."""
        return np.array([[float(x) for x in block.split("/")] for block in self.blocks.split()]).reshape(-1, 2)


def lengths_in_order(rows: Sequence[HistoryRow]) -> list[str]:
    """Return the lengths that rows have, the shortest first and the whole history last."""
    return sorted({row.length for row in rows}, key=lambda length: float("inf") if length == WHOLE else int(length))


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
    verbose: int | None = 0,
) -> list[HistoryRow]:
    """Run what is missing in a CSV file, and return all rows asked for, the shortest history first.

    Data are names of `FITS`, by default those of the setting. Each seed is a fit, and a series of its own where one is made.
    """
    data = setting.data if data is None else data
    check_names(data=(data, FITS), models=(models, MODELS))
    rows = read_rows(out, HistoryRow)
    runs = [Run(name, model, seed) for name in data for model in models for seed in seeds]
    missing = [run for run in runs if not _is_done(rows, setting, run)]
    work = partial(_run, setting, device=device, data_home=data_home)
    rows = fill_in(out, rows, missing, work, kind=HistoryRow, setting=setting.name, jobs=jobs, verbose=verbose)
    return [row for run in runs for row in rows_of(rows, setting.name, run)]


def _is_done(rows: Sequence[HistoryRow], setting: Setting, run: Run) -> bool:
    """Tell whether a file has every length of every lag."""
    lags = setting.recurring["lags"] if run.data == "recurring" else (0,)
    asked = {(lag, length) for lag in lags for length in (*map(str, setting.lengths), WHOLE)}
    return asked <= {(row.lag, row.length) for row in rows_of(rows, setting.name, run)}


def _run(setting: Setting, run: Run, *, device: str, data_home: str | Path | None, verbose: int | None) -> list[HistoryRow]:
    """Fit one model, and forecast with it after histories of every length."""
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
    series = forecaster.reader_.tensors(one)  # on the scale that fit learned, whatever is cut from it
    lengths = (*setting.lengths, None)
    return [row for length in lengths for row in _rows_of_length(setting, run, forecaster, series, history, length)]


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
                blocks=" ".join(f"{squared:.6g}/{absolute:.6g}" for squared, absolute in blocks),
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
