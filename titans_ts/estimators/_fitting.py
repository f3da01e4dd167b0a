"""What ``fit`` of the forecaster does, once its arguments and its series are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titans_ts.data.panel import Panel
from titans_ts.estimators._base import validation_rows
from titans_ts.estimators._series_memory import panel_ids
from titans_ts.networks.forecast import ForecastConfig, ForecastNetwork
from titans_ts.training.loop import Training
from titans_ts.training.preparation import Preparation, learn_scale
from titans_ts.training.runtime import choose_device

if TYPE_CHECKING:
    from titans_ts.estimators.forecaster import TitansForecaster


def check_arguments(forecaster: TitansForecaster) -> None:
    """Refuse, by name, arguments that are wrong or do not fit each other."""
    try:
        levels = [float(level) for level in forecaster.quantiles]
    except (TypeError, ValueError):
        levels = []
    if not levels or any(not 0 < level < 1 for level in levels) or levels != sorted(set(levels)):
        raise ValueError(f"quantiles must be increasing numbers between 0 and 1, got {forecaster.quantiles!r}")
    if forecaster.n_jobs == 0:
        raise ValueError("n_jobs=0 would read nothing; use None or 1 for one thread, -1 for one a core")
    forecaster._check_callbacks()
    if forecaster.patch_length > forecaster.lookback:
        raise ValueError(
            f"patch_length={forecaster.patch_length} is longer than lookback={forecaster.lookback}: a patch is the end of "
            "the look-back; make lookback at least as long"
        )
    if forecaster.recollection and not forecaster.layers:
        raise ValueError(
            f"recollection={forecaster.recollection} beside layers=0: the linear path alone has no memory to train; use "
            "layers=1 or more, or recollection=0"
        )
    forecaster._backbone_config()
    choose_device(forecaster.device)


def fit_forecaster(forecaster: TitansForecaster, panel: Panel) -> None:
    """Train a network on series that are read and checked, and let it read them."""
    training_rows = [len(one) - validation_rows(len(one), forecaster.validation_fraction) for one in panel]
    if max(training_rows) <= forecaster.patch_length:
        longest = max(map(len, panel))
        raise ValueError(
            f"X is too short: its longest series has {longest} rows, {max(training_rows)} of them for training; fit needs "
            f"{forecaster.patch_length + 1} or more (patch_length + 1), not n_samples={longest}: give more rows, or a "
            "smaller patch_length or validation_fraction"
        )
    layout = panel.layout
    preparation = Preparation.learn(panel, training_rows)
    config = ForecastConfig(
        horizon=forecaster.horizon,
        lookback=forecaster.lookback,
        patch_length=forecaster.patch_length,
        channels=len(layout.target_columns),
        mixed=forecaster.channels == "mixed",
        quantiles=tuple(map(float, forecaster.quantiles)),
        calendar=preparation.calendar,
        past=len(layout.past_columns),
        future=len(layout.future_columns),
        static=len(layout.static_columns),
        recollection=int(forecaster.recollection),
        backbone=forecaster._backbone_config(),
    )
    seed = forecaster._draw_seed()
    network = forecaster._start_network(ForecastNetwork, config, seed).to(choose_device(forecaster.device))
    scales = {one.id: learn_scale(one, max(rows, 1)) for one, rows in zip(panel, training_rows, strict=True)}
    series = [preparation.tensors(one, scales[one.id]) for one in panel]
    training = Training(
        network,
        series,
        training_rows,
        forecaster._training_config(seed),
        callbacks=forecaster._run_callbacks(),
        verbose=int(forecaster.verbose),
    )
    training.run()
    forecaster.network_, forecaster.preparation_ = network, preparation
    forecaster.layout_, forecaster.scales_ = layout, scales
    forecaster.memory_gain_, forecaster.recollection_gain_ = training.gain, training.recollection_gain
    forecaster.training_history_ = [vars(report) for report in training.history]
    forecaster.training_rows_ = {one.id: rows for one, rows in zip(panel, training_rows, strict=True)}
    forecaster.note_features(layout)
    forecaster.first_times_ = {one.id: None if one.times is None else one.times[0] for one in panel}
    forecaster.states_ = {}
    forecaster.forget()
    forecaster._absorb(panel, dict(zip(panel_ids(panel), series, strict=True)))
