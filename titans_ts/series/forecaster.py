"""The forecaster: any length of history into a memory of fixed size, and a forecast out of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from titans_ts.backbones.config import BackboneConfig
from titans_ts.files.facts import checked, fits, history, require
from titans_ts.frames.covariates.categories import learn_categories
from titans_ts.frames.covariates.holidays import read_holidays
from titans_ts.frames.faults import Faults
from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Panel
from titans_ts.frames.read import read_panel
from titans_ts.frames.stream import is_stream
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.learn.arguments import argument, positional, with_arguments
from titans_ts.learn.callbacks import followed
from titans_ts.learn.estimator import COUNT, POSITIVE, BaseTitans, all_or_nothing
from titans_ts.learn.run import choose_device
from titans_ts.series import rolling
from titans_ts.series.card import Card, make_card
from titans_ts.series.learning.earning import Earned
from titans_ts.series.learning.fitting import Plan, fit_panel
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reader import Reader, Reading, chosen, some
from titans_ts.series.settings import ForecastConfig, TrainingConfig
from titans_ts.series.state import MemoryState, ReadingLog, kept_reasons, reasons_to_keep
from titans_ts.series.targets import NAMED, Targets, domains, original_transformer, plain_transformer
from titans_ts.series.tensors import CYCLES
from titans_ts.series.watching import memory_table, watch_panel

_COLUMNS = [None, str, Integral, list, tuple]
_GAINS = ("memory_gain", "recollection_gain")


@with_arguments
class TitansForecaster(BaseTitans):
    """Forecast one or many series with a neural memory that learns while it reads.

    ``fit`` learns how to memorise. ``predict`` and ``update`` memorise: any length of history goes into a state of fixed
    size, at constant cost a row, with nothing cut and nothing trained.

    Attributes
    ----------
    network_ : ForecastNetwork
        The trained network.
    states_ : dict of id to SeriesState
        What is kept of each series.
    last_times_, first_times_ : dict of id to time stamp
        The last row read of each series (its number without time stamps), and the first training row's stamp.
    scales_ : dict of id to Scale
        Long-run scale of the series seen by ``fit``, as the network reads them: after ``target_transform``.
    spreads_ : dict of id to array (c,)
        Standard deviation of their training rows in the units of X, by which ``score`` measures errors.
    training_rows_ : dict of id to int
        Rows of each that the weights were trained on.
    n_seen_ : int or dict of id to int
        Rows that the memory has read, gaps in the time axis included.
    state_ : MemoryState or dict of id to MemoryState
        What is kept of all that was read; ``state_.nbytes`` does not grow with it, save for ``variant="full_attention"``.
    n_features_in_ : int
        Columns seen by ``fit``.
    memory_gain_ : MemoryGain or None
        What the memory's correction gained on validation, how sure that is, and how much of it is used
        (:class:`titans_ts.learn.acceptance.MemoryGain`); None without a memory or a validation part. With a share of 0 the
        base answers alone, and the memory is not read.
    skipped_ : dict of id to str
        Series that the last ``fit`` or ``update`` left out, and why; empty with ``on_error="raise"``. The warning of every
        call has the same in its attribute ``skipped``.
    recollection_gain_ : MemoryGain or None
        The same of what ``recollection`` adds to that.
    training_history_ : list of dict
        Phase, step, loss and validation error of every evaluation.
    earned_ : list of Earned
        What each part earned: the error at the same origins of the seasonal naive forecast, of the ``base``, of it where it
        ``reads on``, and where a memory was trained with the ``memory silent`` and of ``all``, each ``part`` with those
        before it. The rows after an origin were not learned from by the base; with a memory they are the validation rows, by
        which its best weights and its share were chosen. ``error`` is the mean absolute error in units of the mean
        difference of rows a season apart, cut at 30 of them. ``pandas.DataFrame(model.earned_)`` makes a table of it.
    coverage_ : dict of int to float
        Share of the rows within intervals of 80 % and 95 % at the base's origins: those errors taught the intervals.
    fit_seconds_ : dict of str to float
        Seconds of ``preparing``, solving the ``base``, training the ``memory``, and ``reading``; not kept in files.

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

    horizon: int = positional(POSITIVE, default=24, doc="Rows to forecast. One model serves every shorter horizon too.")
    lookback: Any = argument(
        "auto",
        StrOptions({"auto"}),
        POSITIVE,
        doc="Rows of the trailing window that scales a forecast and that the ridges of the base see; ``'auto'`` follows "
        "from the season, the horizon and the lengths of the series.",
    )
    patch_length: Any = argument(
        "auto",
        StrOptions({"auto"}),
        POSITIVE,
        doc='Rows that make one token of the memory; ``"auto"`` follows the look-back.',
    )
    season_length: Any = argument(
        "auto",
        StrOptions({"auto"}),
        POSITIVE,
        doc="Rows of a season; 1 for none. ``'auto'`` takes that of the time stamps: a day for shorter steps (a week, where "
        "that forecasts better), else a week or a year.",
    )
    channels: str = argument(
        "independent",
        StrOptions({"independent", "mixed"}),
        doc="Whether each channel is a stream of its own with shared weights, or a token holds all channels.",
    )
    quantiles: Sequence[float] = argument(
        (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975),
        "array-like",
        doc="Levels that ``crps`` and pictures tell of. Any other may be asked for in ``predict``.",
    )
    past_covariates: Any = argument(
        None,
        *_COLUMNS,
        doc="Columns of X that are known up to now, by name; by number for arrays. Text and categories are welcome here and "
        "below: each of the 32 commonest values of the training rows becomes a column of its own, the others share one. A "
        "value that comes later counts as an average one, with a warning. An id is better left out: nothing that is learned "
        "of it holds for another series.",
    )
    future_covariates: Any = argument(
        None, *_COLUMNS, doc="Columns that are known in advance; none of their values may be missing."
    )
    static_covariates: Any = argument(
        None,
        *_COLUMNS,
        doc="Columns that are constant within a series; none may be missing. ``fit(X, static=frame)`` takes them from a "
        "frame with a row a series.",
    )
    holidays: Any = argument(
        None,
        None,
        object,
        doc='Days off, known in advance for every row: the code of a country, a part of one or a market (``"DE"``, '
        '``"US-CA"``, ``"XNYS"``; ``pip install \'titans-ts[holidays]\'``), a list of codes, a calendar of that package, or '
        "days of your own, in a list or by name in a dict. What has a code or a name has an effect of its own, on the day, "
        "the day before and the day after. Of steps longer than a day the days off are counted.",
    )
    calendar: Any = argument(
        "auto",
        None,
        str,
        list,
        tuple,
        doc='Cycles whose place is told to the memory: ``"day"``, ``"week"``, ``"month"``, ``"year"``, or a list of '
        'them; ``"auto"`` takes day, week and year where the rows show them and training saw them twice; None takes none.',
    )
    freq: Any = argument(None, None, object, doc="Step of the time stamps, as pandas spells it; inferred by default.")
    id_column: str = argument("unique_id", str, doc="A frame with this column is a long one, of many series.")
    time_column: str = argument("ds", str, doc="Column of the time stamps.")
    on_error: str = argument(
        "raise",
        StrOptions({"raise", "skip"}),
        doc='What is done about series that cannot be used, of several: ``"raise"`` names all of them and the reason of '
        'each, ``"skip"`` leaves them out with one warning; the others get the numbers that they get without them.',
    )
    target_columns: Any = argument(
        None,
        *_COLUMNS,
        doc="Columns to forecast; by default ``y`` of a long frame, else every numeric column without another role.",
    )
    layers: int = 2
    damping: bool = argument(
        True,
        "boolean",
        doc="Whether patches that share a reading of the memory share the step of their writes where their keys are alike "
        "(:mod:`titans_ts.ops.decay`). The paper's rule has nothing like it: without it the writes of a quiet stretch "
        "overshoot together, and over some 10,000 rows rounding grows until the cut of the rows moves a forecast.",
    )
    recollection: int = argument(
        0,
        COUNT,
        doc="Key width of a second memory (:mod:`titans_ts.series.recollection`) that stores past forecast errors and finds "
        "them again when a similar look-back returns; 0 switches it off. It is trained last and changes nothing else. It "
        "pays where patterns recur after long absences: 256 is a beginning. For every 2 numbers of a key each of two looks "
        "keeps one case more, exactly: what is to be found again after 100,000 rows takes a case for each of its patches.",
    )
    minimum: float | None = argument(
        None,
        None,
        Interval(Real, None, None, closed="neither"),
        doc="A number that no target lies below, as 0 for counts: a value below it is refused by its row, and no forecast, "
        "bound or quantile falls below it.",
    )
    target_transform: Any = argument(
        None,
        None,
        StrOptions(set(NAMED)),
        HasMethods(["fit", "transform", "inverse_transform"]),
        doc="What targets are turned into before they are scaled and learned: a name, or a transformer of scikit-learn that "
        "is fitted to the training rows of each column. Forecasts, quantiles, backtests and scores are in the units of X; "
        "surprise is that of a memory that reads what was transformed.",
    )
    max_steps: int = 100
    learning_rate: float = 1e-3
    batch_size: int = 16
    patience: int = 5
    caution: float = argument(
        1.0,
        Interval(Real, 0, None, closed="left"),
        doc="How sure validation must be before the memory may correct the base. The smallest share whose gain is "
        "within ``caution`` standard errors of the best is used; 0 takes the best. Where that is none, the base answers "
        "alone, with its own linear memory, and the other is not read: states are small, and reading is fast. Without a "
        "validation part, all of the correction is used.",
    )
    solve_on: str = argument(
        "all",
        StrOptions({"all", "training"}),
        doc="Rows that the weights of the base are solved on at last: ``'all'``, validation rows included, or those of "
        "``'training'`` alone, as published tables have it. Validation rows then choose, and calibrate intervals.",
    )
    n_jobs: int | None = argument(
        None,
        None,
        Integral,
        doc="Series that ``predict`` and ``update`` read side by side, in threads. It changes no number.",
    )

    @followed
    def fit(self, X: Any, y: None = None, *, static: Any = None) -> TitansForecaster:
        """Learn how to memorise, and read the training history.

        Parameters
        ----------
        X : array (t,) or (t, c), list of such arrays, wide frame, or long frame
            History; see :func:`titans_ts.frames.read.read_panel`. Time stamps are in ``time_column`` or in the index of a
            pandas frame: dates, periods, or whole numbers such as years. The default index, 0 ... n-1, says nothing of
            time: its rows follow one another, as those of an array. Frames with a MultiIndex of ids and time stamps, as
            sktime and AutoGluon have them, are long ones. Rows come in any order, if no time stamp of a series is there
            twice.
        y : None
            What is forecast are columns of X: a y that is not None is refused.
        static : frame, optional
            A row a series, with its id in the id column or in the index: what does not change within it, numbers or text.
            All columns become static covariates, or those named in ``static_covariates``.

        Returns
        -------
        TitansForecaster
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or X cannot be used; the message names it, the place, and the remedy.
        """
        _refuse_y(y, "fit")
        faults = Faults(skip=self.on_error == "skip")
        panel = self._training_panel(X, static, faults)
        faults.tell()
        self._fit_panel(panel)
        self.skipped_ = faults.reasons
        return self

    def predict(
        self,
        X: Any = None,
        *,
        horizon: int | None = None,
        level: Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
        future: Any = None,
        static: Any = None,
    ) -> Any:
        """Forecast the ``horizon`` rows after the history.

        Parameters
        ----------
        X : container like that of ``fit``, or a stream, optional
            Another history of any length, read with a fresh memory; ``state_`` is left alone. By default the history that
            ``fit`` and ``update`` have read goes on. Streams are those of ``update``: the path of a table, a lazy frame, or
            an iterator of arrays or frames.
        horizon : int, optional
            Rows to forecast, at most as many as ``fit`` learned, which is the default. They are the first rows of the longer
            forecast.
        level : sequence of float, optional
            Intervals to add, in percent, any between 0 and 100: ``level=[80]`` gives columns ``-lo-80`` and ``-hi-80``.
        quantiles : sequence of float, optional
            Quantiles to add, as shares, any between 0 and 1: ``quantiles=[0.1]`` gives a column ``-q-10``.
        future : frame or array, optional
            Covariates known in advance, for the rows to forecast; needed if the model was fitted with any.
            :meth:`future_frame` makes the frame to fill.
        static : frame, optional
            Static covariates of series that ``fit`` never saw, where it took them from such a frame.

        Returns
        -------
        array, list or frame
            The same kind of container, ``horizon`` rows a series, time stamps continued; with ``level`` or ``quantiles`` an
            array gives a long frame.

        Raises
        ------
        ValueError
            If nothing was read, X or ``future`` does not fit, ``horizon`` is longer than what was learned, or a level or a
            quantile is out of range; a model of an older version gives those between the quantiles it learned.

        Examples
        --------
        >>> import numpy as np
        >>> from titans_ts import TitansForecaster
        >>> load = np.sin(np.arange(400) * 2 * np.pi / 24)
        >>> model = TitansForecaster(horizon=24, lookback=48, layers=0, random_state=0).fit(load)
        >>> model.predict(horizon=6).shape
        (6, 1)
        >>> model.predict(horizon=6, level=[80], quantiles=[0.25]).columns.tolist()
        ['unique_id', 'ds', 'y', 'y-lo-80', 'y-hi-80', 'y-q-25']
        """
        reader = self.reader_
        faults = reader.faults
        rows, asked = reader.horizon(horizon), reader.asked(level, quantiles)
        read = self._history(reader, X, static, faults, method="predict")
        answer = reader.forecast(read, horizon=rows, future=future, asked=asked, faults=faults)
        faults.tell()
        return answer

    def sample(self, n: int, X: Any = None, *, horizon: int | None = None, future: Any = None, static: Any = None) -> Any:
        """Draw ``n`` paths that the ``horizon`` rows after the history may take.

        At every step the paths follow the quantiles of ``predict``, and over the steps they hang together as the errors of
        forecasts did in ``fit``: so the sum or the largest value of a path may be asked for. Series and channels are drawn
        apart from one another.

        Parameters
        ----------
        n : int
            Paths a series.
        X : container like that of ``fit``, or a stream, optional
            Another history, as for ``predict``. By default the history that ``fit`` and ``update`` have read goes on.
        horizon : int, optional
            Rows of each path, at most as many as ``fit`` learned to forecast, which is the default.
        future : frame or array, optional
            Covariates known in advance, as for ``predict``.
        static : frame, optional
            Static covariates of series that ``fit`` never saw, as for ``predict``.

        Returns
        -------
        array, list or frame
            For an array ``(n, horizon, c)``, for a list a list of them. Frames give the frame that ``predict`` gives, path
            below path, their numbers from 0 in a column ``path``. What is drawn depends on ``random_state``, the id of a
            series and the number of its rows alone, whatever was drawn before; with ``random_state=None`` on chance.

        Raises
        ------
        ValueError
            If ``n`` is no whole number above 0, or ``predict`` would refuse the others.

        Examples
        --------
        >>> import numpy as np
        >>> from titans_ts import TitansForecaster
        >>> load = 9 + np.sin(np.arange(400) * 2 * np.pi / 24)
        >>> model = TitansForecaster(horizon=24, lookback=48, layers=0, random_state=0).fit(load)
        >>> paths = model.sample(100)
        >>> paths.shape, paths.sum(axis=1).shape
        ((100, 24, 1), (100, 1))
        """
        reader = self.reader_
        faults = reader.faults
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"n must be a whole number of paths, 1 or more, got {n!r}; for example n=100")
        rows = reader.horizon(horizon)
        read = self._history(reader, X, static, faults, method="sample")
        answer = reader.sample(read, int(n), self._draw_seed(), horizon=rows, future=future, faults=faults)
        faults.tell()
        return answer

    def _history(self, reader: Reader, X: Any, static: Any, faults: Faults, *, method: str) -> Reading:
        """Return what was read, or X read with a fresh memory."""
        given = reader.static(static)
        if X is None:
            if static is not None:
                raise ValueError("static goes with the series of X, which is None; the series that were read keep theirs")
            self._require_read(f"call update(rows), or {method}(X) with a history", faults)
            return Reading(self.states_, self.last_times_, self.layout_)
        if is_stream(X):
            return reader.read_stream(X, {}, {}, fresh=True, faults=faults, static=given)
        return reader.read(reader.panel(X, faults=faults, static=given), {}, faults=faults)

    def future_frame(self, horizon: int | None = None) -> Any:
        """Return ids and time stamps of the rows after what was read, to be filled with covariates known in advance.

        Parameters
        ----------
        horizon : int, optional
            Rows a series, at most as many as ``fit`` learned to forecast, which is the default.

        Returns
        -------
        frame, array or list
            What ``predict(future=...)`` takes once it is filled, of the kind of container that ``fit`` saw. A frame has ids
            and time stamps, in columns or in its index as they came; one that came with neither has the covariates' columns.
            An array ``(horizon, covariates)``, in a list one a series, holds nothing but missing values.

        Raises
        ------
        ValueError
            If nothing was read, or ``horizon`` is longer than what was learned.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from titans_ts import TitansForecaster
        >>> days = pd.date_range("2024-01-01", periods=90, name="ds")
        >>> sales = pd.DataFrame({"y": 5 + np.sin(np.arange(90.0)), "price": 2.0}, index=days)
        >>> arguments = {"future_covariates": "price", "layers": 0, "lookback": 28, "random_state": 0}
        >>> model = TitansForecaster(horizon=7, **arguments).fit(sales)
        >>> future = model.future_frame(3).assign(price=[2.0, 2.5, 2.5])
        >>> model.predict(horizon=3, future=future).index.day.tolist()
        [31, 1, 2]
        """
        reader = self.reader_
        faults = reader.faults
        rows = reader.horizon(horizon)
        self._require_read("call update(rows); then there are rows that follow", faults)
        faults.tell()
        return reader.future_frame(self.last_times_, rows)

    def _require_read(self, remedy: str, faults: Faults) -> None:
        """Refuse to go on from series of which nothing has been read, or note them if they may be left out."""
        unread = [name for name, state in self.states_.items() if not state.n_seen]
        if faults.skip and len(unread) < len(self.states_):
            for name in unread:
                faults.note(name, "nothing has been read since forget()")
        elif unread or not self.states_:
            whose = f" by {some(unread)}" if any(name is not None for name in unread) else ""
            raise ValueError(f"nothing has been read since forget(){whose}: {remedy}")

    def update(self, X: Any, *, checkpoint: str | Path | None = None, static: Any = None) -> Self:
        """Absorb new rows into memory: cost grows with the new rows only, weights stay as they are.

        Parameters
        ----------
        X : container like that of ``fit``, or a stream
            The rows that follow those already read; an unknown id starts a new series. A stream is read piece by piece and
            never lies whole in memory: the path of a table (``.parquet``, ``.csv``, ``.tsv``, gzipped or not), a lazy frame
            of polars, or an iterator of arrays or frames, each with any number of rows; the rows of each series must be in
            order there. As in ``fit``, a flat array or list is that many rows of one channel. After a fit on the default
            index 0 ... n-1, an index that goes on with n follows, as a slice of the same frame has it; one that leaves out
            numbers has missing rows there, one that begins earlier is refused, and the default index follows again.
        checkpoint : str or Path, optional
            A file that is written whole after every piece. Called again with it after an interruption, from the same
            state and with the same X, reading goes on after the last piece that was written, to the same numbers. It
            stays when reading ends; delete it before rows of another stream are read.
        static : frame, optional
            Static covariates of new series, where ``fit`` took them from such a frame; those it knows keep theirs.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If rows overlap what was read, or X does not fit, or ``checkpoint`` belongs to another reading; nothing is
            absorbed then.
        """
        reader = self.reader_
        given = reader.static(static)
        faults = reader.faults
        if is_stream(X) or checkpoint is not None:
            stream = X if is_stream(X) else iter([X])
            log = None if checkpoint is None else ReadingLog(checkpoint, reader, self.states_)
            read = reader.read_stream(stream, self.states_, self.last_times_, log=log, faults=faults, static=given)
        else:
            panel = reader.panel(X, follow=self.last_times_, faults=faults, static=given, begun=self.states_)
            read = reader.read(panel, self.states_, faults=faults)
        self._statics |= {name: given[name] for name in read.states if name in given}
        self.states_ |= read.states
        self.last_times_ |= read.last_times
        self.skipped_ = faults.reasons
        faults.tell()
        return self

    def summary(self) -> Card:
        """Return the card of the fitted forecaster: what it read, what it is made of, and what each part earned.

        Returns
        -------
        Card
            Text where it is printed, a table in a notebook. It tells series, rows and stamps; season, look-back and patch;
            the candidates of the base with their weights; the memory's gain, or why it was left out; ``earned_``;
            ``coverage_``; the seconds of the fit, which a file does not keep; and the bytes kept of a series, by part.

        Examples
        --------
        >>> import numpy as np
        >>> from titans_ts import TitansForecaster
        >>> load = np.sin(np.arange(400) * 2 * np.pi / 24)
        >>> card = TitansForecaster(horizon=6, lookback=48, layers=0, random_state=0).fit(load).summary()
        >>> card.sections["read"][:2]
        [('series', '1'), ('rows of each', '400')]
        """
        return make_card(
            self.reader_,
            self.states_,
            self.last_times_,
            asked_layers=int(self.layers),
            gain=self.memory_gain_,
            earned=self.earned_,
            coverage=self.coverage_,
            seconds=self.fit_seconds_,
        )

    def remember(self, states: MemoryState | Mapping[Hashable, MemoryState] | Iterable[MemoryState]) -> Self:
        """Take back what was kept of series: ``state_`` of this forecaster, from a file or from another process.

        Parameters
        ----------
        states : MemoryState, or several
            As ``state_`` gives them. What was known of their series is replaced; other series stay as they are.

        Raises
        ------
        TypeError, ValueError
            If it is no state, belongs to other weights, or is damaged; nothing is changed then.
        """
        found = list(self.reader_.taken_back(states))
        for kept, state in found:
            self.states_[kept.id] = state
            self.last_times_.pop(kept.id, None)
            if kept.last_time is not None:
                self.last_times_[kept.id] = kept.last_time
        return self

    def forget(self, ids: Hashable | Iterable[Hashable] | None = None) -> Self:
        """Return series to the learned start, as if nothing had been read; weights stay as they are.

        Parameters
        ----------
        ids : id or list of ids, optional
            Which series; all by default.

        Raises
        ------
        ValueError
            If there is no series of an id; none is forgotten then.
        """
        reader = self.reader_
        if ids is None:
            self.states_ = {name: reader.fresh_state(name) for name in self.scales_}
            self.last_times_: dict[Hashable, Any] = {}
            return self
        for name in chosen(ids, self.states_):
            self.states_[name] = reader.fresh_state(name)
            self.last_times_.pop(name, None)
        return self

    @property
    def state_(self) -> MemoryState | dict[Hashable, MemoryState]:
        """What is kept of all that was read."""
        reader = self.reader_
        kept = {name: reader.portable(name, state, self.last_times_.get(name)) for name, state in self.states_.items()}
        return kept[None] if self.layout_.is_single else kept

    @property
    def n_seen_(self) -> int | dict[Hashable, int]:
        """Rows that the memory has read."""
        check_is_fitted(self)
        counts = {name: state.n_seen for name, state in self.states_.items()}
        return counts[None] if self.layout_.is_single else counts

    def surprise(self, X: Any, *, static: Any = None) -> Any:
        """Return how much each row surprised the memory while it read X afresh.

        The root mean square, over layers and heads, of the norm ``|x||g|`` of a patch's write before clipping (arXiv
        2501.00663, eq 8); every row of a patch has the patch's value.

        Parameters
        ----------
        X : container like that of ``fit``
            A history.
        static : frame, optional
            Static covariates of series that ``fit`` never saw, where it took them from such a frame.

        Returns
        -------
        array, list or frame
            As X, a value a row and channel; with ``channels="mixed"`` one column ``surprise``. Rows are in the order of X,
            those of long frames series by series in order of time.

        Raises
        ------
        ValueError
            If the model has no memory, by its variant or with ``layers=0``, or X does not fit.
        """
        reader = self.reader_
        faults = reader.faults
        answer = reader.surprise(X, faults, static=reader.static(static))
        faults.tell()
        return answer

    def watch(self, X: Any, *, static: Any = None) -> Any:
        """Return what happened in each layer of the memory while it read X afresh, patch by patch.

        Parameters
        ----------
        X : container like that of ``fit``
            A history of any length. ``state_`` is left alone.
        static : frame, optional
            Static covariates of series that ``fit`` never saw, where it took them from such a frame.

        Returns
        -------
        frame
            A row a patch and layer of the memory, of the kind of frame that X is (pandas for arrays): ``unique_id`` of long
            frames and lists; ``ds``, the time stamp of the patch's last row, or its number ``row``; ``channel`` where
            several are read side by side; ``layer``, from 0; ``surprise``, as in :meth:`surprise`, of this layer;
            ``retention``, ``step_size`` and ``momentum``, the gates' means over heads; ``half_life``, the rows in which half
            is forgotten at that retention; ``distance``, the mean over heads of ``|M - M_0|``, what has been learned since
            the start. A patch is written once a row follows it: the last one, whole or not, is not among them.

        Raises
        ------
        ValueError
            If the model has no memory, by its variant or with ``layers=0``, or X does not fit.

        References
        ----------
        arXiv 2501.00663, equations 8 to 14.

        Examples
        --------
        >>> import numpy as np
        >>> from titans_ts import TitansForecaster
        >>> load = np.sin(np.arange(400) * 2 * np.pi / 24)
        >>> model = TitansForecaster(horizon=6, lookback=48, max_steps=2, layers=1, random_state=0).fit(load)
        >>> watched = model.watch(load)
        >>> watched["row"].tolist()[:3], list(watched.columns)[1:4]
        ([7, 15, 23], ['layer', 'surprise', 'retention'])
        """
        reader = self.reader_
        faults = reader.faults
        answer = watch_panel(reader, reader.panel(X, faults=faults, static=reader.static(static)))
        faults.tell()
        return answer

    def memory_table(self, ids: Hashable | Iterable[Hashable] | None = None) -> Any:
        """Return what the memory holds of what ``fit`` and ``update`` have read, by layer and head.

        Where validation lets nothing of its correction through (``memory_gain_.share`` is 0), it reads nothing, and holds
        what it starts with.

        Parameters
        ----------
        ids : id or list of ids, optional
            Which series; all by default.

        Returns
        -------
        frame
            A row a head, of the kind of frame that ``fit`` saw (pandas for arrays): ``unique_id`` of long frames and lists;
            ``channel`` where several are read side by side; ``layer`` and ``head``, from 0; ``start_norm``, ``|M_0|``, the
            learned start; ``distance``, ``|M - M_0|``, what was learned since; ``momentum_norm``, ``|S|``, surprise that is
            still carried on; ``share_of_bound``, of what the distance can never exceed, NaN where nothing bounds it;
            ``half_life``, the rows in which half is forgotten by the gates' learned bias.

        Raises
        ------
        ValueError
            If the model has no memory, by its variant or with ``layers=0``, or there is no series of an id.

        Examples
        --------
        >>> import numpy as np
        >>> from titans_ts import TitansForecaster
        >>> load = np.sin(np.arange(400) * 2 * np.pi / 24)
        >>> few = {"max_steps": 2, "layers": 1, "validation_fraction": 0}
        >>> model = TitansForecaster(horizon=6, lookback=48, random_state=0, **few).fit(load)
        >>> bool((model.memory_table()["distance"] > 0).all())
        True
        >>> model.forget().memory_table()["distance"].tolist()
        [0.0, 0.0, 0.0, 0.0]
        """
        check_is_fitted(self)
        names = chosen(ids, self.states_)
        if not names:
            raise ValueError("ids is empty; name one series or more, or leave it at None for all")
        return memory_table(self.reader_, {name: self.states_[name] for name in names})

    def backtest(
        self,
        X: Any,
        *,
        windows: int | None = 10,
        step: int | None = None,
        refit: bool | int = False,
        level: Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
        season_length: int | None = None,
        static: Any = None,
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
        refit : bool or int, default=False
            Whether to fit anew on the rows before each origin, which is much slower; with a number before every so many
            origins, the fitted network reading on in between.
        level : sequence of float, optional
            Intervals, in percent.
        quantiles : sequence of float, optional
            Quantiles, as shares: columns ``forecast-q-10`` and the like.
        season_length : int, optional
            Rows of a season, for ``seasonal_mase``. By default those of a day for steps shorter than that, 7 days, 5 working
            days, 52 weeks, 12 months or 4 quarters; 1 where the time stamps tell none.
        static : frame, optional
            Static covariates of series that ``fit`` never saw, where it took them from such a frame.

        Returns
        -------
        forecasts : frame
            ``unique_id, ds, cutoff, y, forecast``, bounds and quantiles. To ``utilsforecast`` a column of quantiles is a
            model of its own: name ``models=["forecast"]``.
        metrics : frame
            A row a series and column, all of it in the units of X. ``mse`` and ``mae``; ``mase`` and ``rmsse``, the absolute
            and the root mean squared error in units of the naive forecast's one row ahead, before the first origin;
            ``seasonal_mase``, in units of that of ``season_length`` rows ahead; ``smape``, from 0 to 1; ``crps``, of the
            quantiles that were learned (:func:`titans_ts.learn.metrics.crps`); and the coverage of each level. NaN where
            nothing can be said, as beside a history that never changes.

        Raises
        ------
        ValueError
            If a series is too short for the origins asked for, or an argument is out of range.

        Examples
        --------
        >>> import numpy as np
        >>> from titans_ts import TitansForecaster
        >>> load = np.sin(np.arange(400) * 2 * np.pi / 24)
        >>> model = TitansForecaster(horizon=6, lookback=48, layers=0, random_state=0).fit(load[:360])
        >>> forecasts, metrics = model.backtest(load, windows=3, level=[80], season_length=24)
        >>> metrics.columns.tolist()[1:6]
        ['windows', 'mse', 'mae', 'mase', 'seasonal_mase']
        """
        reader = self.reader_
        faults = reader.faults
        asked = reader.asked(level, quantiles)
        if not isinstance(refit, bool | int | np.integer) or refit < 0:
            raise ValueError(
                f"refit={refit!r} must be True, False, or a number of windows after which to fit anew; for example refit=5"
            )
        fit = (lambda panel: clone(self)._fit_panel(panel).reader_) if refit else None
        panel = reader.panel(X, faults=faults, static=reader.static(static), encoded=not refit)
        answer = rolling.backtest(
            reader,
            panel,
            windows=windows,
            step=step,
            asked=asked,
            season_length=season_length,
            refit=fit,
            every=int(refit),
            faults=faults,
        )
        faults.tell()
        return answer

    def score(self, X: Any, y: None = None) -> float:
        """Return how well the rows that follow what was read are forecast; ``GridSearchCV`` and its kin compare by it.

        They are forecast ``horizon`` rows at a time, each part from all rows before it, and the last part may be shorter.
        ``state_`` and the weights stay as they are.

        Parameters
        ----------
        X : container like that of ``fit``
            The rows that follow those already read, of all series or of some; missing values are left out.
        y : None
            The rows to compare with are X: a y that is not None is refused.

        Returns
        -------
        float
            The negative mean absolute error in the units of X, whatever ``target_transform`` is, divided by the spread of
            each series' and channel's training rows (``spreads_``), so that no unit outweighs another: higher is better, 0
            is perfect, -1 is an error as large as the spread.

        Raises
        ------
        ValueError
            If X does not follow what was read, holds a series that ``fit`` never saw, or has no observed value.
        TypeError
            If y is given.
        """
        _refuse_y(y, "score")
        reader = self.reader_
        faults = reader.faults
        panel = reader.panel(X, follow=self.last_times_, faults=faults)
        answer = rolling.score(reader, panel, self.states_, faults)
        faults.tell()
        return answer

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
            The model as it is; with every memory's output set to zero, if it has one; or its base alone.

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
        reader = self.reader_
        panel = reader.panel(X)
        return rolling.rolling_errors(reader, panel, start=start, stop=stop, horizons=horizons, memory=memory)

    @property
    def reader_(self) -> Reader:
        """What was fitted, apart from scikit-learn: the network with all that it reads by."""
        if not hasattr(self, "network_"):
            check_is_fitted(self)
        return Reader(
            self.network_,
            self.preparation_,
            self.layout_,
            self.scales_,
            self.training_rows_,
            self.first_times_,
            self.spreads_,
            id_column=self.id_column,
            time_column=self.time_column,
            freq=self.freq,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
            on_error=self.on_error,
            statics=self._statics,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _backbone_config(self) -> BackboneConfig:
        return replace(super()._backbone_config(), damping=bool(self.damping))

    def _training_config(self, seed: int) -> TrainingConfig:
        return self._run_config(TrainingConfig, seed, caution=float(self.caution))

    def _most_steps(self) -> int:
        return sum(self._training_config(0).steps_of_phases(layers=self.layers, recollection=self.recollection).values())

    def _training_panel(self, X: Any, static: Any, faults: Faults) -> Panel:
        """Return the series to fit, by arguments that are checked first."""
        self._validate_params()
        _check_arguments(self)
        return read_panel(
            X,
            id_column=self.id_column,
            time_column=self.time_column,
            target_columns=self.target_columns,
            past_covariates=() if self.past_covariates is None else self.past_covariates,
            future_covariates=() if self.future_covariates is None else self.future_covariates,
            static_covariates=() if self.static_covariates is None else self.static_covariates,
            static=static,
            holidays=read_holidays(self.holidays),
            freq=self.freq,
            require_observed=True,
            faults=faults,
            domains=domains(self.minimum, self.target_transform if isinstance(self.target_transform, str) else None),
        )

    def _check_future(self, X: Any, future: Any) -> None:
        """Refuse rows of ``future`` that do not follow those of X, before anything is fitted."""
        faults = Faults(skip=self.on_error == "skip")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit and the forecast say the same
            panel = self._training_panel(X, None, faults)
            panel = learn_categories(panel, [len(one) for one in panel])
            last_times = {one.id: len(one) if one.times is None else one.times[-1] for one in panel}
            read_future(future, panel.layout, last_times, self.horizon, faults)

    def _fit_panel(self, panel: Panel) -> TitansForecaster:
        """Learn from series that are read and checked, and let the fitted network read them."""
        with all_or_nothing(self):
            seed = self._draw_seed()
            fitted = fit_panel(
                panel,
                self._plan(),
                self._training_config(seed),
                start=partial(self._begin_network, seed=seed),
                watching=self._watching(),
                n_jobs=self.n_jobs,
            )
            self._learned(fitted.reader, fitted.read)
            self.memory_gain_, self.recollection_gain_ = fitted.gain, fitted.recollection_gain
            self.training_history_, self.earned_ = fitted.history, fitted.earned
            self.coverage_, self.fit_seconds_ = fitted.coverage, fitted.seconds
        return self

    def _plan(self) -> Plan:
        """Return what is asked of a fit."""
        return Plan(
            horizon=int(self.horizon),
            lookback=self.lookback,
            patch_length=self.patch_length,
            season_length=self.season_length,
            mixed=self.channels == "mixed",
            quantiles=tuple(map(float, self.quantiles)),
            recollection=int(self.recollection),
            backbone=self._backbone_config(),
            validation_fraction=float(self.validation_fraction),
            minimum=self.minimum,
            target_transform=self.target_transform,
            cycles=_cycles(self.calendar),
            solve_on=self.solve_on,
        )

    def _begin_network(self, config: ForecastConfig, targets: Targets, *, seed: int) -> ForecastNetwork:
        """Return a fresh network, or with ``warm_start`` the fitted one, for which a new base has been solved."""
        device = choose_device(self.device)
        if not self._goes_on:
            return self._start_network(ForecastNetwork, config, seed).to(device)
        self._require_same(self.preparation_.targets.kind, targets.kind)
        self._require_same(replace(self.network_.config, base=None, heard=True), replace(config, base=None))
        network = copy.deepcopy(self.network_)  # an interrupted fit leaves the fitted one as it was
        network.take_base(config)
        return network.to(device)

    def _learned(self, reader: Reader, read: Reading) -> None:
        """Keep what was fitted and read, and note which columns were seen, as scikit-learn does."""
        self.network_, self.preparation_, self.layout_ = reader.network, reader.preparation, reader.layout
        self.scales_, self.training_rows_, self.first_times_ = reader.scales, reader.training_rows, reader.first_times
        self.spreads_ = reader.spreads
        self.states_, self.last_times_ = read.states, read.last_times
        self._statics = dict(reader.statics)
        names = (*reader.layout.target_columns, *reader.layout.covariates)
        self.n_features_in_ = len(names)
        if all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(names, dtype=object)

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = self.reader_.kept(self.states_, self.last_times_)
        gains = {name: getattr(self, f"{name}_") for name in _GAINS}
        facts |= {name: None if gain is None else asdict(gain) for name, gain in gains.items()}
        facts |= {"history": self.training_history_, "earned": [asdict(one) for one in self.earned_]}
        facts["coverage"] = {str(level): share for level, share in self.coverage_.items()}
        return tensors, facts | reasons_to_keep(self.skipped_)

    def _plain_arguments(self) -> dict[str, Any]:
        kept = super()._plain_arguments()
        named = self.target_transform is None or isinstance(self.target_transform, str)
        return kept if named else {**kept, "target_transform": plain_transformer(self.target_transform)}

    @classmethod
    def _original_arguments(cls, kept: dict[str, Any]) -> dict[str, Any]:
        transform = kept.get("target_transform")
        return kept if not isinstance(transform, dict) else {**kept, "target_transform": original_transformer(transform)}

    _network_kind = ForecastNetwork, ForecastConfig

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: ForecastNetwork) -> None:
        require(self.n_jobs != 0, "n_jobs=0 would read nothing")
        self._learned(*Reader.from_file(header, tensors, network))
        self.training_history_ = history(header["history"])
        self.skipped_ = kept_reasons(header)
        self.earned_ = [checked(Earned(**one)) for one in header.get("earned", [])]  # older files have none
        self.coverage_ = {int(level): _share(share) for level, share in header.get("coverage", {}).items()}
        self.fit_seconds_ = {}
        for name in _GAINS:
            setattr(self, f"{name}_", None if header[name] is None else checked(MemoryGain(**header[name])))


def _share(value: Any) -> float:
    """Return a share of a file."""
    require(fits(value, float) and 0 <= value <= 1, f"{value!r} is no share")
    return float(value)


def _refuse_y(y: Any, method: str) -> None:
    """Refuse a second container: what is to be forecast is a column of the first, and a y would be thrown away unread."""
    if y is None:
        return
    raise TypeError(
        f"y is a {type(y).__name__}; {method}(X) takes no y, as what is forecast are columns of X: make y one, name it in "
        "target_columns and the others in past_covariates, future_covariates or static_covariates. In cross_val_score and "
        "GridSearchCV leave out both y and scoring: the forecaster has a score of its own. sktime's order y, X is that of "
        "titans_ts.integrations.sktime.TitansSktimeForecaster"
    )


def _cycles(calendar: Any) -> str | tuple[str, ...] | None:
    """Return the cycles that are asked for; an unknown one is refused."""
    if calendar is None or calendar == "auto":
        return calendar
    names = (calendar,) if isinstance(calendar, str) else tuple(calendar)
    wrong = [name for name in names if not isinstance(name, str) or name not in CYCLES]
    if wrong:
        raise ValueError(f"calendar has {wrong[0]!r}; expected 'auto', None, or some of {list(CYCLES)}")
    return names


def _check_arguments(forecaster: TitansForecaster) -> None:
    """Refuse, by name, arguments that are wrong or do not fit each other."""
    try:
        levels = [float(level) for level in forecaster.quantiles]
    except (TypeError, ValueError):
        levels = []
    if not levels or any(not 0 < level < 1 for level in levels) or levels != sorted(set(levels)):
        meant = next((f"; did you mean {level / 100:g}?" for level in levels if 1 <= level < 100), "")
        raise ValueError(f"quantiles must be increasing numbers between 0 and 1, got {forecaster.quantiles!r}{meant}")
    _cycles(forecaster.calendar)
    if forecaster.n_jobs == 0:
        raise ValueError("n_jobs=0 would read nothing; use None or 1 for one thread, -1 for one a core")
    if "auto" not in (forecaster.patch_length, forecaster.lookback) and forecaster.patch_length > forecaster.lookback:
        raise ValueError(
            f"patch_length={forecaster.patch_length} is longer than lookback={forecaster.lookback}: a patch is the end of "
            "the look-back; make lookback at least as long"
        )
    if forecaster.recollection and not forecaster.layers:
        raise ValueError(
            f"recollection={forecaster.recollection} beside layers=0: the base alone has no memory to train; use "
            "layers=1 or more, or recollection=0"
        )
    forecaster._check_arguments()
