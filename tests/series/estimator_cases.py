"""Small forecasters whose every part counts, and series to read."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch

from titans_ts import TitansForecaster
from titans_ts.backbones.state import pack

SMALL = {"horizon": 6, "lookback": 48, "patch_length": 8, "width": 16, "heads": 2, "window": 8, "refresh_every": 4}
COVARIATES = {"past_covariates": "past", "future_covariates": "ahead", "static_covariates": "site"}
HOURS = pd.date_range("2024-03-29", periods=300, freq="h")  # the clocks of Europe change on the 31st


def wave(rows=300, channels=2, seed=0):
    chance = np.random.default_rng(seed)
    hours = np.arange(rows)[:, None] + 5 * np.arange(channels)
    return np.sin(hours * 2 * np.pi / 24) + 0.1 * chance.normal(size=(rows, channels))


def one_step(*_report):
    """End training after its first step: what is promised does not depend on how well it was trained."""
    return True


def briefly(run, _report):
    """Shorten each phase of training to three steps."""
    run.steps = min(run.steps, 3)


def fitted(X, **arguments):
    """Fit in no time, and let the memory's word count: its head starts at zero, and so would hide every fault of it."""
    forecaster = TitansForecaster(**{**SMALL, "random_state": 0, "callbacks": [one_step], **arguments}).fit(X)
    forecaster.set_params(callbacks=None)
    return loosen(forecaster)


def loosen(forecaster):
    """Move the heads off zero, in place."""
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in forecaster.network_.named_parameters():
            if name.startswith(("head.", "quantile_head.")):
                weight += 0.1 * torch.randn(weight.shape, generator=chance).to(weight)
    return forecaster


def as_backend(frame, backend):
    if backend == "pandas":
        return frame
    return pl.from_pandas(frame) if backend == "polars" else pa.Table.from_pandas(frame, preserve_index=False)


def wide_frame(times=HOURS, **columns):
    values = wave(len(times))
    return pd.DataFrame({"ds": times, "a": values[:, 0], "b": values[:, 1], **columns})


def long_frame(times=HOURS, ids=("west", "east")):
    """Series one after the other in rows that alternate."""
    parts = [pd.DataFrame({"unique_id": name, "ds": times, "y": wave(len(times), 1, i)[:, 0]}) for i, name in enumerate(ids)]
    return pd.concat(parts).sort_values("ds", kind="stable", ignore_index=True)


def covariate_frame(times=HOURS):
    past, ahead = wave(len(times), 2, seed=4).T
    return pd.DataFrame({"ds": times, "y": wave(len(times), 1)[:, 0], "past": past, "ahead": ahead, "site": 2.0})


def rows_ahead(frame, value=0.5, rows=6):
    """The covariates known in advance for the rows after a frame."""
    times = pd.date_range(frame["ds"].iloc[-1], periods=rows + 1, freq="h")[1:]
    return pd.DataFrame({"ds": times, "ahead": value})


def everything(forecaster):
    """Return all that a failed call could have changed, as text."""
    states = {name: {key: x.tolist() for key, x in pack(state).items()} for name, state in forecaster.states_.items()}
    weights = [x.tolist() for x in forecaster.network_.state_dict().values()]
    return repr((weights, states, forecaster.last_times_, forecaster.first_times_, forecaster.scales_, forecaster.layout_))
