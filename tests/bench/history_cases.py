"""What the tests of the history bench share: a setting that takes seconds, and rows as a run makes them."""

from series.estimator_cases import one_step

from titans_bench.history.bench import HistoryRow
from titans_bench.history.data import MODELS, Setting

CARRIED, _, ATTENTION = MODELS
SMALL = {"width": 8, "layers": 1, "heads": 2, "window": 4, "batch_size": 2, "callbacks": [one_step]}
TINY = Setting(
    "tiny",
    data=("recurring",),
    lengths=(64, 128),
    origins=5,
    blocks=3,
    recurring={"n_steps": 1600, "lags": (200, 600), "slots": (1, 2), "lifetime": 3, "smoothness": 4},
    recurring_to_fit={"n_steps": 1300},
    fit=SMALL,
)


def a_row(data="recurring", model=CARRIED, seed=0, *, lag=0, length="64", blocks="0.5/0.5 1.5/1", setting="tiny", **other):
    measured = {
        "rows": 64,
        "origins": 4,
        "share": 1.0,
        "recollected": 0.5,
        "mse": 1.0,
        "mae": 0.75,
        "seconds_per_step": 1e-5,
    }
    measured |= {"seconds_per_forecast": 1e-2, "state_bytes": 2048, "resident_mib": 300.0, "blocks": blocks} | other
    return HistoryRow(setting, data, lag, model, seed, length, **measured)
