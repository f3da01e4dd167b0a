"""The forecaster: any length of history into a memory of fixed size, and a forecast out of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from joblib import delayed
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from titans_ts import reading
from titans_ts.backbones.config import BackboneConfig
from titans_ts.data.frames import read_panel
from titans_ts.data.future import read_future
from titans_ts.data.outputs import Forecast, forecast_container
from titans_ts.data.panel import Layout, Panel
from titans_ts.data.pieces import is_stream
from titans_ts.estimators._base import ARCHITECTURE_CONSTRAINTS, TRAINING_CONSTRAINTS, all_or_nothing
from titans_ts.estimators._fitting import check_arguments, fit_forecaster
from titans_ts.estimators._forecaster_file import kept_of_forecaster, restore_forecaster
from titans_ts.estimators._intervals import check_levels, interval_bounds
from titans_ts.estimators._progress import followed
from titans_ts.estimators._rolling import backtest, rolling_errors, score
from titans_ts.estimators._series_memory import SeriesMemory, some
from titans_ts.estimators._streams import absorb_stream
from titans_ts.estimators._watched_memory import WatchedMemory
from titans_ts.state import SeriesState

_COLUMNS = [None, str, Integral, list, tuple]


class TitansForecaster(WatchedMemory, SeriesMemory):
    """Forecast one or many series with a neural memory that learns while it reads.

    ``fit`` learns how to memorise. ``predict`` and ``update`` memorise: any length of history goes into a state of fixed
    size, at constant cost a row, with nothing cut and nothing trained.

    Parameters
    ----------
    horizon : int, default=24
        Rows to forecast. One model serves every shorter horizon too.
    lookback : int, default=336
        Rows of the trailing window that scales a forecast and that the direct linear path sees.
    patch_length : int, default=16
        Rows that make one token of the memory.
    channels : {"independent", "mixed"}, default="independent"
        Whether each channel is a stream of its own with shared weights, or a token holds all channels.
    quantiles : sequence of float, default=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
        Levels learned beside the median; ``level=90`` needs .05 and .95 or wider ones.
    past_covariates, future_covariates, static_covariates : str, int or list, optional
        Columns of X that are known up to now, known in advance, or constant within a series; indices for arrays.
    freq : str, optional
        Step of the time stamps, as pandas spells it; inferred by default.
    id_column, time_column : str, default="unique_id", "ds"
        A frame with ``id_column`` is a long one, of many series.
    target_columns : str, int or list, optional
        Columns to forecast; by default ``y`` of a long frame, else every numeric column without another role.
    variant : {"mac", "mag", "mal", "lmm", "attention", "full_attention", "lstm", "hopfield"}, default="mac"
        Where the memory sits: as context of attention, as its gate, as a layer before it, or alone. The others are baselines
        without a memory: attention to a window, attention to everything, an LSTM, a modern Hopfield layer.
    memory : str, default="titans"
        Which rule writes it: a name of :data:`titans_ts.memory.presets.PRESETS`. Beside a baseline it must be left at its
        default.
    width, layers, heads : int, default=64, 2, 4
        Size of the network; ``layers=0`` is the direct linear path alone.
    memory_depth : int, default=2
        Layers of the memory itself.
    refresh_every : int, default=16
        Tokens that share one reading of the memory for their gradients.
    window : int, default=32
        Tokens of a segment (MAC) or of the sliding window (MAG, MAL, attention, hopfield).
    persistent_tokens : int, default=4
        Learned tokens that attention always sees; learned stored patterns (hopfield).
    convolution : int, default=4
        Kernel of the causal convolutions before memory and attention; 1 switches them off.
    momentum, forgetting : bool, default=True
        Parts of the memory's rule, where it has them; with ``forgetting=False`` nothing bounds the memory but its clipped
        writes, which add up.
    damping : bool, default=True
        Whether patches that share a reading of the memory share the step of their writes where their keys are alike
        (:mod:`titans_ts.ops.damping`). The paper's rule has nothing like it: without it the writes of a quiet stretch
        overshoot together, and over some 10,000 rows rounding grows until the cut of the rows moves a forecast.
    recollection : int, default=0
        Numbers of a key of a further memory, of what the forecast got wrong when the look-back looked as it does now
        (:mod:`titans_ts.networks.recollection`); 0 for none. It is trained after all the rest, which stays as it is without
        it, and pays where patterns recur after long absences. 256 is a beginning; what was last seen 100,000 rows ago
        takes 2,048.
    dropout : float, default=0.2
        Share of each layer's output that is set to zero in training.
    max_steps : int, default=300
        Training steps of the memory, at most, and of ``recollection``; the direct path before them has a few hundred fast
        ones of its own.
    learning_rate : float, default=1e-3
        Peak learning rate.
    batch_size : int, default=16
        Streams read side by side.
    validation_fraction : float, default=0.1
        Share of each series' last rows that chooses the weights and fits the intervals; 0 for none.
    patience : int, default=5
        Evaluations without a better error before training stops.
    caution : float, default=1.0
        Of the memory's correction of the direct path as much is used as validation can tell from luck: the smallest share
        whose gain comes within so many standard errors of the best one's. 0 takes the share with the least error. Without
        a validation part, all of it is used.
    device : str, default="auto"
        Where to compute.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        Number format; ``"auto"`` is bfloat16 products on a GPU and float32 elsewhere. The memory itself is never below
        float32.
    n_jobs : int, optional
        Series that ``predict`` and ``update`` read side by side, in threads. It changes no number.
    random_state : int, RandomState or None, default=None
        Seed of all chance; the global generators are left as they are.
    verbose : int, default=0
        1 shows progress.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last one.
    callbacks : list of callable, optional
        Each is called after every step with the run and a report, and may stop it by returning true;
        :class:`titans_ts.training.checkpoint.Checkpoint` makes a run that can be interrupted.

    Attributes
    ----------
    network_ : ForecastNetwork
        The trained network.
    n_seen_ : int or dict of id to int
        Rows that the memory has read, gaps in the time axis included.
    state_ : MemoryState or dict of id to MemoryState
        What is kept of all that was read; ``state_.nbytes`` does not grow with it, save for ``variant="full_attention"``.
    n_features_in_ : int
        Columns seen by ``fit``.
    memory_gain_ : MemoryGain or None
        What the memory's correction gained on validation, how sure that is, and how much of it is used
        (:class:`titans_ts.training.acceptance.MemoryGain`); None without a memory or a validation part.
    recollection_gain_ : MemoryGain or None
        The same of what ``recollection`` adds to that.
    training_history_ : list of dict
        Phase, step, loss and validation error of every evaluation.

    Notes
    -----
    Missing values (NaN) are masked; infinite ones are refused by row and column. A missing stretch of the time axis is
    filled with missing rows. ``predict(X)`` reads X with a fresh memory and leaves ``state_`` alone; after ``fit`` the
    final weights have read the whole training history.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.

    Examples
    --------
    >>> import numpy as np
    >>> hours = np.arange(400)
    >>> load = np.sin(hours * 2 * np.pi / 24)
    >>> forecaster = TitansForecaster(horizon=6, lookback=48, max_steps=2, random_state=0).fit(load)
    >>> forecaster.predict().shape
    (6, 1)
    >>> forecaster.update(load[:24]).n_seen_
    424
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "horizon": [Interval(Integral, 1, None, closed="left")],
        "lookback": [Interval(Integral, 1, None, closed="left")],
        "patch_length": [Interval(Integral, 1, None, closed="left")],
        "channels": [StrOptions({"independent", "mixed"})],
        "quantiles": ["array-like"],
        "past_covariates": _COLUMNS,
        "future_covariates": _COLUMNS,
        "static_covariates": _COLUMNS,
        "freq": [None, object],
        "id_column": [str],
        "time_column": [str],
        "target_columns": _COLUMNS,
        **ARCHITECTURE_CONSTRAINTS,
        "damping": ["boolean"],
        "recollection": [Interval(Integral, 0, None, closed="left")],
        **TRAINING_CONSTRAINTS,
    }

    def __init__(
        self,
        horizon: int = 24,
        *,
        lookback: int = 336,
        patch_length: int = 16,
        channels: str = "independent",
        quantiles: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
        past_covariates: Any = None,
        future_covariates: Any = None,
        static_covariates: Any = None,
        freq: Any = None,
        id_column: str = "unique_id",
        time_column: str = "ds",
        target_columns: Any = None,
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
        damping: bool = True,
        recollection: int = 0,
        dropout: float = 0.2,
        max_steps: int = 300,
        learning_rate: float = 1e-3,
        batch_size: int = 16,
        validation_fraction: float = 0.1,
        patience: int = 5,
        caution: float = 1.0,
        device: Any = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.patch_length = patch_length
        self.channels = channels
        self.quantiles = quantiles
        self.past_covariates = past_covariates
        self.future_covariates = future_covariates
        self.static_covariates = static_covariates
        self.freq = freq
        self.id_column = id_column
        self.time_column = time_column
        self.target_columns = target_columns
        self.variant = variant
        self.memory = memory
        self.width = width
        self.layers = layers
        self.heads = heads
        self.memory_depth = memory_depth
        self.refresh_every = refresh_every
        self.window = window
        self.persistent_tokens = persistent_tokens
        self.convolution = convolution
        self.momentum = momentum
        self.forgetting = forgetting
        self.damping = damping
        self.recollection = recollection
        self.dropout = dropout
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.caution = caution
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.callbacks = callbacks

    def _backbone_config(self) -> BackboneConfig:
        return replace(super()._backbone_config(), damping=bool(self.damping))

    @followed
    def fit(self, X: Any, y: None = None) -> TitansForecaster:
        """Learn how to memorise, and read the training history.

        Parameters
        ----------
        X : array (t,) or (t, c), list of such arrays, wide frame, or long frame
            History, oldest row first; see :func:`titans_ts.data.frames.read_panel`.
        y : None
            Ignored; it is there for scikit-learn.

        Returns
        -------
        TitansForecaster
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or X cannot be used; the message names it, the place, and the remedy.
        """
        self._validate_params()
        check_arguments(self)
        panel = read_panel(
            X,
            id_column=self.id_column,
            time_column=self.time_column,
            target_columns=self.target_columns,
            past_covariates=() if self.past_covariates is None else self.past_covariates,
            future_covariates=() if self.future_covariates is None else self.future_covariates,
            static_covariates=() if self.static_covariates is None else self.static_covariates,
            freq=self.freq,
            require_observed=True,
        )
        return self.fit_panel(panel)

    def fit_panel(self, panel: Panel) -> TitansForecaster:
        """Fit on series that are read and checked already."""
        with all_or_nothing(self):
            fit_forecaster(self, panel)
        return self

    def predict(self, X: Any = None, *, level: Sequence[float] | None = None, future: Any = None) -> Any:
        """Forecast the ``horizon`` rows after the history.

        Parameters
        ----------
        X : container like that of ``fit``, or a stream, optional
            Another history of any length, read with a fresh memory; ``state_`` is left alone. By default the history that
            ``fit`` and ``update`` have read goes on. Streams are those of ``update``: the path of a table, a lazy frame, or
            an iterator of arrays or frames.
        level : sequence of float, optional
            Intervals to add, in percent: ``level=[80]`` gives columns ``-lo-80`` and ``-hi-80``.
        future : frame or array, optional
            Covariates known in advance, for the rows of the horizon; needed if the model was fitted with any.

        Returns
        -------
        array, list or frame
            The same kind of container, ``horizon`` rows a series, time stamps continued; with ``level`` an array gives a
            long frame.

        Raises
        ------
        ValueError
            If nothing was read, X or ``future`` does not fit, or a level is wider than the quantiles that were learned.
        """
        check_is_fitted(self)
        levels = check_levels(level, self.network_.config.quantiles)
        if X is None:
            layout, states, last_times = self.layout_, self.states_, self.last_times_
            unread = [name for name, state in states.items() if not state.n_seen]
            if unread or not states:
                raise ValueError(
                    f"nothing has been read since forget(){_named(unread)}: call update(rows), or predict(X) with a history"
                )
        elif is_stream(X):
            states, last_times, layout = absorb_stream(self, X, {}, {}, fresh=True)
        else:
            panel = self._read(X)
            layout = panel.layout
            states, last_times = self._absorbed(panel, {})
        ahead = read_future(future, replace(self.layout_, **_form(layout)), last_times, self.network_.config.horizon)
        found = self._in_parallel(
            delayed(self._forecast_one)(state, ahead[name], last_times[name], levels) for name, state in states.items()
        )
        return forecast_container(layout, dict(zip(states, found, strict=True)))

    def backtest(
        self,
        X: Any,
        *,
        windows: int | None = 10,
        step: int | None = None,
        refit: bool = False,
        level: Sequence[float] | None = None,
    ) -> tuple[Any, Any]:
        """Forecast from many origins, each knowing only the rows before it, and compare with what came.

        Parameters
        ----------
        X : container like that of ``fit``
            The whole history, from its first row; it is read once, with a fresh memory.
        windows : int or None, default=10
            Origins a series, the last one ``horizon`` rows before the end; ``None`` takes all after the training rows.
        step : int, optional
            Rows between two origins; the horizon by default.
        refit : bool, default=False
            Whether to fit anew on the rows before each origin; much slower.
        level : sequence of float, optional
            Intervals, in percent.

        Returns
        -------
        forecasts : frame
            ``unique_id, ds, cutoff, y, forecast`` and bounds.
        metrics : frame
            A row a series and column: ``mse``, ``mae``, ``mase`` against the seasonless naive forecast, and the coverage
            of each level.

        Raises
        ------
        ValueError
            If a series is too short for the origins asked for.
        """
        check_is_fitted(self)
        levels = check_levels(level, self.network_.config.quantiles)
        return backtest(self, self._read(X), windows=windows, step=step, refit=refit, levels=levels)

    def score(self, X: Any, y: None = None) -> float:
        """Return how well the rows that follow what was read are forecast; ``GridSearchCV`` and its kin compare by it.

        They are forecast ``horizon`` rows at a time, each part from all rows before it, and the last part may be shorter.
        ``state_`` and the weights stay as they are.

        Parameters
        ----------
        X : container like that of ``fit``
            The rows that follow those already read, of all series or of some; missing values are left out.
        y : None
            Ignored; it is there for scikit-learn.

        Returns
        -------
        float
            The negative mean absolute error, in each series' and channel's long-run spread as ``fit`` learned it, so that no
            unit outweighs another: higher is better, 0 is perfect, -1 is an error as large as the spread.

        Raises
        ------
        ValueError
            If X does not follow what was read, holds a series that ``fit`` never saw, or has no observed value.
        """
        check_is_fitted(self)
        return score(self, self._read(X, follow=self.last_times_))

    def rolling_errors(
        self,
        X: Any,
        *,
        start: int,
        stop: int | None = None,
        horizons: Sequence[int],
        memory: Literal["written", "silent", "linear"] = "written",
    ) -> dict[int, tuple[float, float]]:
        """Return mean squared and absolute error over every origin, stride 1, in the units of X.

        Parameters
        ----------
        X : container of one series
            The whole history; it is read from its first row, the memory carried.
        start : int
            Rows before the first origin.
        stop : int, optional
            Rows that forecasts may reach; all by default. A horizon ``f`` has ``stop - start - f + 1`` origins.
        horizons : sequence of int
            None longer than ``horizon``.
        memory : {"written", "silent", "linear"}, default="written"
            The model as it is; with every memory's output set to zero, if it has one; or its direct linear path alone.

        Returns
        -------
        dict of int to (mse, mae)
            Averages over origins, steps and channels; missing values are left out.

        Raises
        ------
        ValueError
            If X holds several series, no origin is left, nothing was observed after one, or ``memory="silent"`` is asked of
            a baseline without a memory.
        """
        check_is_fitted(self)
        panel = self._read(X)
        return rolling_errors(self, panel, start=start, stop=stop, horizons=horizons, memory=memory)

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return kept_of_forecaster(self)

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> None:
        restore_forecaster(self, header, tensors, device)

    def note_features(self, layout: Layout) -> None:
        """Note which columns were seen, as scikit-learn does."""
        names = (*layout.target_columns, *layout.past_columns, *layout.future_columns, *layout.static_columns)
        self.n_features_in_ = len(names)
        if all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(names, dtype=object)

    def _most_steps(self) -> int:
        return sum(self._training_config(0).steps_of_phases(layers=self.layers, recollection=self.recollection).values())

    def _forecast_one(self, state: SeriesState, ahead: np.ndarray, last_time: Any, levels: tuple[float, ...]) -> Forecast:
        future = self.preparation_.future_tensor(ahead)
        return self.told(reading.forecast(self.network_, state, future), last_time, levels)

    def told(self, found: reading.Forecasts, last_time: Any, levels: tuple[float, ...]) -> Forecast:
        """Return the forecast of one origin as it goes into a container."""
        point, quantiles = found.point[0].cpu().numpy(), found.quantiles[0].cpu().numpy()
        return Forecast(point, last_time, interval_bounds(quantiles, self.network_.config.quantiles, levels))


def _form(layout: Layout) -> dict[str, Any]:
    """Return the part of a layout that says what kind of container it was."""
    return {"kind": layout.kind, "backend": layout.backend}


def _named(names: Sequence[Hashable]) -> str:
    return f" by {some(names)}" if any(name is not None for name in names) else ""
