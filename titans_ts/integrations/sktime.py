"""The forecaster as an estimator of sktime, for its pipelines, splitters and ensembles.

>>> from sktime.datasets import load_airline
>>> y = load_airline()
>>> forecaster = TitansSktimeForecaster(lookback=36, patch_length=12, max_steps=2, random_state=0)
>>> forecaster.fit(y[:"1959"], fh=[1, 2, 3]).predict().index
PeriodIndex(['1960-01', '1960-02', '1960-03'], dtype='period[M]')
>>> forecaster.update(y["1960"], update_params=False).predict_interval(coverage=0.8).index
PeriodIndex(['1961-01', '1961-02', '1961-03'], dtype='period[M]')
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

import numpy as np

from titans_ts.blocks.warned import own_filters
from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel
from titans_ts.integrations import _sktime_rows as frames
from titans_ts.series import reading
from titans_ts.series.forecaster import TitansForecaster

try:
    from sktime.forecasting.base import BaseForecaster, ForecastingHorizon
except ImportError as error:
    raise ImportError("titans_ts.integrations.sktime needs sktime; `pip install 'titans-ts[sktime]'`") from error


class TitansSktimeForecaster(BaseForecaster):
    """Forecast in sktime with a neural memory that learns while it reads.

    Wraps :class:`titans_ts.TitansForecaster`. A panel or a hierarchy is learned by one network, each series with a memory of
    its own; X are covariates known in advance, of which a forecast needs the row it is for and no other.

    Parameters
    ----------
    horizon : int, optional
        Rows that the network learns to forecast. By default as far as the ``fh`` of ``fit`` reaches, which must then be
        given there; with a number ``fh`` may come with ``predict``, and be any steps up to it.
    lookback, patch_length, season_length, channels, quantiles, holidays, calendar, variant, memory, width, layers, heads,
    memory_depth, refresh_every
        As in :class:`titans_ts.TitansForecaster`; intervals reach as far as ``quantiles`` do.
    window, persistent_tokens, convolution, momentum, forgetting, key_degree, slots, damping, recollection, minimum,
    target_transform, dropout, max_steps, learning_rate
        As there.
    batch_size, validation_fraction, patience, caution, solve_on, device, precision, n_jobs, random_state, verbose, callbacks
        As there.
    warm_start : bool, default=False
        Whether ``update(..., update_params=True)`` goes on from the learned weights instead of from fresh ones. ``fit``
        always begins anew, as sktime asks.

    Attributes
    ----------
    forecaster_ : TitansForecaster
        The fitted forecaster. Its columns are called ``y['load']`` and ``X['price']``, so that no two can be alike.

    Notes
    -----
    ``update(y, update_params=False)`` reads new rows into the memory: cost grows with these rows only, and weights stay as
    they are. Rows up to the last one read are passed over, since a memory cannot unread. ``update(y)``, where sktime's
    ``update_params`` is true, learns anew from all rows seen, and equals ``fit`` on them.

    Learning anew, forecasts of rows already seen (in sample) and from a cutoff before the last row read need the history,
    which sktime keeps under the configuration ``remember_data``. With ``set_config(remember_data=False)`` only the memory
    is kept, of fixed size, and ``update`` reads whatever ``update_params`` says.

    A forecast of a row already seen is made one row ahead, by a memory that has read the rows before it; before the first
    row it is NaN. The weights have learned from all training rows nevertheless.

    Missing values are masked in y and refused by name in X, whose columns may hold text and categories.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.

    Examples
    --------
    >>> from sktime.datasets import load_airline
    >>> from sktime.transformations.series.difference import Differencer
    >>> from titans_ts.integrations.sktime import TitansSktimeForecaster
    >>> y = load_airline()
    >>> pipeline = Differencer() * TitansSktimeForecaster(lookback=24, patch_length=12, max_steps=2, random_state=0)
    >>> pipeline.fit(y, fh=[1, 12]).predict().index
    PeriodIndex(['1961-01', '1961-12'], dtype='period[M]')
    """

    _tags: ClassVar[dict[str, Any]] = {
        "authors": "titans_ts developers",
        "maintainers": "titans_ts developers",
        "y_inner_mtype": ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"],
        "X_inner_mtype": ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"],
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:categorical_in_X": True,
        "capability:missing_values": True,
        "capability:insample": True,
        "capability:pred_int": True,
        "capability:pred_int:insample": True,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": True,
        "X-y-must-have-same-index": True,
    }
    _config: ClassVar[dict[str, Any]] = {"remember_data": True}

    def __init__(
        self,
        horizon: int | None = None,
        lookback: int | str = "auto",
        patch_length: int | str = "auto",
        season_length: int | str = "auto",
        channels: str = "independent",
        quantiles: Sequence[float] = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975),
        holidays: Any = None,
        calendar: Any = "auto",
        variant: str = "mac",
        memory: str = "titans",
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        memory_depth: int = 2,
        refresh_every: int = 16,
        window: int = 32,
        persistent_tokens: int = 4,
        convolution: int = 4,
        momentum: bool = True,
        forgetting: bool = True,
        key_degree: int = 1,
        slots: int = 0,
        damping: bool = True,
        recollection: int = 0,
        minimum: float | None = None,
        target_transform: Any = None,
        dropout: float = 0.2,
        max_steps: int = 100,
        learning_rate: float = 1e-3,
        batch_size: int = 16,
        validation_fraction: float = 0.1,
        patience: int = 5,
        caution: float = 1.0,
        solve_on: str = "all",
        device: Any = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        given = locals()
        for name in self.get_param_names():
            setattr(self, name, given[name])
        with own_filters():  # sktime announces another default of what _config says outright
            warnings.filterwarnings("ignore", message=".*remember_data.*", category=FutureWarning)
            super().__init__()
        self.set_tags(**{"requires-fh-in-fit": horizon is None})

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return arguments that fit in no time, for sktime's own checks."""
        tiny = {"width": 8, "layers": 1, "heads": 1, "window": 8, "random_state": 0, "callbacks": [_end_training]}
        alone = {"variant": "lmm", "channels": "mixed", "validation_fraction": 0.0}
        return [
            {"lookback": 16, "patch_length": 8, **tiny},
            {"lookback": 8, "patch_length": 4, "horizon": 8, **alone, **tiny},
        ]

    def _fit(self, y: Any, X: Any, fh: Any) -> TitansSktimeForecaster:
        rows = frames.rows_to_read(y, X)
        targets, covariates = ([name for name in rows if name.startswith(start)] for start in ("y[", "X["))
        self._note_frequency(lambda: read_panel(rows, target_columns=targets, future_covariates=covariates).layout)
        self._ends = frames.panel_ends(y)
        horizon = _furthest(self._steps(fh)) if self.horizon is None else self.horizon
        self.forecaster_ = TitansForecaster(
            **{**self.get_params(deep=False), "horizon": horizon},
            target_columns=targets,
            future_covariates=covariates or None,
            freq=frames.step_of(self.cutoff),
        )
        self._learn(rows)
        return self

    def _update(self, y: Any, X: Any = None, update_params: bool = True) -> TitansSktimeForecaster:
        self._note_frequency(lambda: self.forecaster_.layout_)
        self._ends = frames.panel_ends(y, before=self._ends)
        if update_params and self.get_config()["remember_data"]:
            self._learn(frames.rows_to_read(self._y, self._X))
            return self
        if update_params:
            warnings.warn(
                "update(update_params=True) with remember_data=False has no history to learn from: new rows are read into "
                "the memory, and weights stay as they are",
                UserWarning,
                stacklevel=3,
            )
        rows = frames.rows_to_read(y, X)
        unread = np.ones(len(rows), dtype=bool)
        for name, place in frames.places(rows).items():
            if name in self._read_to:
                unread[place] = rows["ds"].iloc[place] > self._read_to[name]
        if unread.any():
            self.forecaster_.update(rows[unread])
            self._read_to |= frames.last_times(rows[unread])
        return self

    def _predict(self, fh: Any, X: Any) -> Any:
        index, values = self._forecast(fh, X, [0.5])
        return frames.answer_frame(values, index, self._get_columns("predict"))

    def _predict_quantiles(self, fh: Any, X: Any, alpha: Sequence[float]) -> Any:
        index, values = self._forecast(fh, X, list(alpha))
        return frames.answer_frame(values, index, self._get_columns("predict_quantiles", alpha=alpha))

    def _learn(self, rows: Any) -> None:
        self.forecaster_.fit(rows)
        self._read_to = frames.last_times(rows)

    def _note_frequency(self, layout: Callable[[], Layout]) -> None:
        """Give the cutoff its frequency where sktime sees none: in panels, after missing rows, in updates of a row."""
        if getattr(self.cutoff, "freq", 1) is None:
            self.cutoff.freq = layout().frequency

    def _ends_by_name(self) -> dict[Hashable, Any]:
        """Return the last row of each series; of a single one sktime's cutoff, which its splitters move."""
        if self._ends is None:
            return {None: self.cutoff[0]}
        return dict(zip(frames.series_ids(self._ends), self._ends.get_level_values(-1), strict=True))

    def _index(self, fh: ForecastingHorizon) -> Any:
        """Return the index of forecasts at ``fh``, series after series."""
        fh.freq = self.cutoff
        return fh.to_absolute_index(self.cutoff) if self._ends is None else fh.get_expected_pred_idx(y=self._ends)

    def _steps(self, fh: ForecastingHorizon) -> dict[Hashable, np.ndarray]:
        """Return the rows from each series' end to what is forecast: 1 is the next one, 0 the last one known."""
        fh.freq = self.cutoff
        return {name: _steps_from(end, fh) for name, end in self._ends_by_name().items()}

    def _forecast(self, fh: ForecastingHorizon, X: Any, shares: list[float]) -> tuple[Any, np.ndarray]:
        """Return index and values ``(r, c, s)``, the quantiles of some shares; that of a half is the point forecast."""
        index, steps, horizon = self._index(fh), self._steps(fh), self.forecaster_.horizon
        if _furthest(steps) > horizon:
            raise ValueError(
                f"fh reaches {_furthest(steps)} rows past the cutoff, but the forecaster learned horizon={horizon}; fit it "
                "with such an fh, or with a larger horizon"
            )
        self.forecaster_.reader_.asked(None, [share for share in shares if share != 0.5])
        after = np.concatenate(list(steps.values())) > 0
        ahead = self._ahead(X, index[after], shares, _furthest(steps)) if after.any() else {}
        behind = self._behind(steps, shares) if not after.all() else {}
        blocks = []
        for name, wanted in steps.items():
            block = np.full((len(wanted), len(self.forecaster_.layout_.target_columns), len(shares)), np.nan)
            if (wanted > 0).any():
                block[wanted > 0] = ahead[name][wanted[wanted > 0] - 1]
            if (wanted <= 0).any():
                block[wanted <= 0] = behind[name]
            blocks.append(block)
        return index, np.concatenate(blocks)

    def _ahead(self, X: Any, asked: Any, shares: list[float], horizon: int) -> dict[Hashable, np.ndarray]:
        """Return forecasts of the rows after each series' end, as far as one is asked for, ``(f, c, s)``."""
        future = self._future(X, asked, horizon)
        history = None if self._ends_by_name() == self._read_to else self._history()
        beside = [share for share in shares if share != 0.5]
        frame = self.forecaster_.predict(history, horizon=horizon, quantiles=beside or None, future=future)
        ends = ["" if share == 0.5 else f"-q-{100 * share:g}" for share in shares]
        names = [f"{column}{end}" for column in self.forecaster_.layout_.target_columns for end in ends]
        return {
            name: frame[names].iloc[place].to_numpy().reshape(horizon, -1, len(shares))
            for name, place in frames.places(frame).items()
        }

    def _future(self, X: Any, asked: Any, horizon: int) -> Any:
        """Return X over all rows to forecast: one that is not asked for repeats one that is, as no other one sees it."""
        covariates = self.forecaster_.future_covariates
        if X is None and covariates is None:
            return None
        if X is None:
            raise ValueError(f"X=None: the forecaster was fitted with {covariates}, and needs them for the rows to forecast")
        if covariates is None:
            raise ValueError("X was given, but the forecaster was fitted without; leave it out, or fit with it")
        absent = asked[~asked.isin(X.index)]
        if len(absent):
            raise ValueError(f"X lacks {len(absent)} of the {len(asked)} rows to forecast; the first is {absent[0]}")
        index = self._index(ForecastingHorizon(np.arange(1, horizon + 1)))
        known = np.where(index.isin(asked), X.index.get_indexer(index), X.index.get_indexer(asked[:1]))
        return frames.keyed(frames.renamed(X.iloc[known].set_axis(index), "X"))

    def _behind(self, steps: dict[Hashable, np.ndarray], shares: list[float]) -> dict[Hashable, np.ndarray]:
        """Return forecasts of rows up to each series' end, ``(r, c, s)``, each from the rows before it."""
        reader, answers = self.forecaster_.reader_, {}
        for one in reader.panel(self._history()):
            origins = len(one) - 1 + steps[one.id][steps[one.id] <= 0]
            answers[one.id] = np.full((len(origins), one.values.shape[1], len(shares)), np.nan)
            known = origins[origins > 0].tolist()  # sorted, as sktime sorts fh
            for group, found in reading.rolling_forecasts(reader.network, reader.tensors(one), known, shares):
                point, quantiles = (x[:, 0] for x in reader.in_units(found))
                quantiles[..., np.equal(shares, 0.5)] = point[..., None]
                answers[one.id][np.isin(origins, group)] = quantiles
        return answers

    def _history(self) -> Any:
        """Return the rows up to each series' end."""
        if not self.get_config()["remember_data"]:
            raise ValueError(
                "forecasts of rows already seen, or from a cutoff before the last row read, need the history, which is not "
                "kept with remember_data=False; set_config(remember_data=True) before fit"
            )
        rows, ends = frames.rows_to_read(self._y, self._X), self._ends_by_name()
        known = np.zeros(len(rows), dtype=bool)
        for name, place in frames.places(rows).items():
            known[place] = rows["ds"].iloc[place] <= ends[name]
        return rows[known]


def _end_training(*_report: Any) -> bool:
    return True


def _steps_from(end: Any, fh: ForecastingHorizon) -> np.ndarray:
    if fh.is_relative and fh.to_numpy().dtype.kind != "i":  # spans of time
        fh = fh.to_absolute(end)
    return fh.to_relative(end).to_numpy()


def _furthest(steps: dict[Hashable, np.ndarray]) -> int:
    """Return the longest way ahead, at least 1."""
    return max(1, *(int(wanted.max()) for wanted in steps.values()))
