"""How series meet the memory: reading, forgetting, being surprised. Shared by estimators that keep states of series."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from joblib import Parallel, delayed
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from titans_ts import reading
from titans_ts.backbones.stack import require_memory
from titans_ts.data.frames import read_panel
from titans_ts.data.outputs import row_values_container
from titans_ts.data.panel import Layout, Panel, Series
from titans_ts.data.pieces import is_stream
from titans_ts.estimators._base import BaseTitans
from titans_ts.estimators._streams import ReadingLog, absorb_stream
from titans_ts.estimators.persistence import network_tensors
from titans_ts.files import digest
from titans_ts.inputs.series import Scale, unknown_scale
from titans_ts.memory_state import MemoryState, one_by_one, packed, unpacked
from titans_ts.networks.forecast import ForecastNetwork
from titans_ts.origins import SeriesTensors
from titans_ts.state import SeriesState
from titans_ts.training.preparation import Preparation, learn_scale


class SeriesMemory(BaseTitans):
    """The part of an estimator that reads series into states and keeps them, by id.

    Attributes
    ----------
    states_ : dict of id to SeriesState
        What is kept of each series.
    last_times_, first_times_ : dict of id to time stamp
        The last row read of each series (its number without time stamps), and the first training row's stamp.
    scales_ : dict of id to Scale
        Long-run scale of the series seen by ``fit``.
    """

    network_: ForecastNetwork
    preparation_: Preparation
    layout_: Layout
    scales_: dict[Hashable, Scale]
    states_: dict[Hashable, SeriesState]
    last_times_: dict[Hashable, Any]
    first_times_: dict[Hashable, Any]
    training_rows_: dict[Hashable, int]

    def update(self, X: Any, *, checkpoint: str | Path | None = None) -> Self:
        """Absorb new rows into memory: cost grows with the new rows only, weights stay as they are.

        Parameters
        ----------
        X : container like that of ``fit``, or a stream
            The rows that follow those already read; an unknown id starts a new series. A stream is read piece by piece and
            never lies whole in memory: the path of a table (``.parquet``, ``.csv``, ``.tsv``, gzipped or not), a lazy frame
            of polars, or an iterator of arrays or frames, each with any number of rows. As in ``fit``, a flat array or list
            is that many rows of one channel.
        checkpoint : str or Path, optional
            A file that is written whole after every piece. Called again with it after an interruption, from the same
            state and with the same X, reading goes on after the last piece that was written, to the same numbers. It
            stays when reading ends; delete it before rows of another stream are read.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If rows overlap what was read, or X does not fit, or ``checkpoint`` belongs to another reading; nothing is
            absorbed then.
        """
        check_is_fitted(self)
        if is_stream(X) or checkpoint is not None:
            stream = X if is_stream(X) else iter([X])
            log = None if checkpoint is None else ReadingLog(checkpoint, self)
            states, last, _ = absorb_stream(self, stream, self.states_, self.last_times_, log=log)
        else:
            panel = self._read(X, follow=self.last_times_)
            states, last = self._absorbed(panel, self.states_)
        self.states_ |= states
        self.last_times_ |= last
        return self

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
        check_is_fitted(self)
        found: dict[Hashable, SeriesState] = {}
        last: dict[Hashable, Any] = {}
        model = self.fingerprint()
        for state in one_by_one(states):
            self.check_state(state, model)
            scale = self.scales_.get(state.id, unknown_scale(self.network_.config.channels))
            found[state.id] = unpacked(state, self.fresh_state(scale=scale))
            last[state.id] = state.last_time
        for name, time in last.items():
            self.states_[name] = found[name]
            self.last_times_.pop(name, None)
            if time is not None:
                self.last_times_[name] = time
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
        check_is_fitted(self)
        if ids is None:
            self.states_ = {name: self.fresh_state(scale=scale) for name, scale in self.scales_.items()}
            self.last_times_ = {}
            return self
        for name in chosen(ids, self.states_):
            scale = self.scales_.get(name, unknown_scale(self.network_.config.channels))
            self.states_[name] = self.fresh_state(scale=scale)
            self.last_times_.pop(name, None)
        return self

    def check_state(self, state: MemoryState, model: str) -> None:
        """Refuse what is no state, and a state that is not of these weights, whose fingerprint is ``model``."""
        if not isinstance(state, MemoryState):
            raise TypeError(f"states holds a {type(state).__name__}; expected a MemoryState, as state_ gives it")
        whose = "" if state.id is None else f" of series {state.id!r}"
        if state.model != model:
            raise ValueError(
                f"states: the memory{whose} was written by another model, or by this one with other weights; only the "
                "weights that wrote a memory can read it: load that model, or update() this one with the rows"
            )
        if (state.id is None) != self.layout_.is_single:
            want = "one series, without an id" if self.layout_.is_single else "series by id"
            raise ValueError(f"states: the memory{whose} does not fit; the model was fitted on {want}")

    @property
    def state_(self) -> MemoryState | dict[Hashable, MemoryState]:
        """What is kept of all that was read."""
        check_is_fitted(self)
        model = self.fingerprint()
        kept = {name: packed(name, state, self.last_times_.get(name), model) for name, state in self.states_.items()}
        return kept[None] if self.layout_.is_single else kept

    def fingerprint(self) -> str:
        """Return what tells these weights, and how they are fed, from all others."""
        facts = [self.network_.config.to_dict(), self.preparation_.to_dict(), self.layout_.target_columns]
        return digest(network_tensors(self.network_), json.dumps(facts))

    @property
    def n_seen_(self) -> int | dict[Hashable, int]:
        """Rows that the memory has read."""
        check_is_fitted(self)
        counts = {name: state.n_seen for name, state in self.states_.items()}
        return counts[None] if self.layout_.is_single else counts

    def surprise(self, X: Any) -> Any:
        """Return how much each row surprised the memory while it read X afresh.

        The root mean square, over layers and heads, of the norm ``|x||g|`` of a patch's write before clipping (arXiv
        2501.00663, eq 8); every row of a patch has the patch's value.

        Parameters
        ----------
        X : container like that of ``fit``
            A history.

        Returns
        -------
        array, list or frame
            As X, a value a row and channel; with ``channels="mixed"`` one column ``surprise``.

        Raises
        ------
        ValueError
            If the model has no memory, by its variant or with ``layers=0``, or X does not fit.
        """
        check_is_fitted(self)
        if not self.network_.config.backbone.layers:
            raise ValueError("layers=0: this model has no memory that could be surprised")
        require_memory(self.network_, to_be="surprised")
        panel = self._read(X)
        values = {one.id: reading.surprise(self.network_, self.ready(one)).double().cpu().numpy() for one in panel}
        columns = ["surprise"] if self.network_.config.mixed else None
        return row_values_container(panel.layout, panel, values, columns=columns)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _read(self, X: Any, *, follow: Mapping[Hashable, Any] | None = None, like: Layout | None = None) -> Panel:
        names = {"id_column": self.id_column, "time_column": self.time_column}  # where fit saw none
        return read_panel(X, **names, freq=self.freq, like=self.layout_ if like is None else like, follow=follow)

    def ready(self, series: Series) -> SeriesTensors:
        """Return a whole series as the network reads it, by the scale that ``fit`` gave it or its first look-back's."""
        scale = self.scales_.get(series.id)
        return self.preparation_.tensors(
            series, learn_scale(series, self.network_.config.lookback) if scale is None else scale
        )

    def fresh_state(self, *, static: torch.Tensor | None = None, scale: Scale | None = None) -> SeriesState:
        """Return the state of a series before its first row."""
        static = torch.zeros(self.network_.config.static) if static is None else static
        scale = unknown_scale(self.network_.config.channels) if scale is None else scale
        with torch.no_grad():
            return reading.start_state(self.network_, static=static, scale=scale)

    def _start_state(self, series: Series) -> SeriesState:
        scale = self.scales_.get(series.id, unknown_scale(self.network_.config.channels))
        return self.fresh_state(static=self.preparation_.static_tensor(series.static), scale=scale)

    def _read_on(
        self,
        panel: Panel,
        states: Mapping[Hashable, SeriesState],
        ready: Mapping[Hashable, SeriesTensors] | None = None,
    ) -> tuple[dict[Hashable, SeriesState], dict[Hashable, Any]]:
        """Read a panel into states; returns the states and the last time stamps after it."""

        def read_one(one: Series) -> SeriesState:
            state = states[one.id]
            tensors = self.preparation_.tensors(one, state.scale) if ready is None else ready[one.id]
            return reading.absorb(self.network_, state, tensors)

        found = dict(zip(panel_ids(panel), self._in_parallel(delayed(read_one)(one) for one in panel), strict=True))
        last = {one.id: found[one.id].n_seen - 1 if one.times is None else one.times[-1] for one in panel if len(one) > 0}
        return found, last

    def _absorb(self, panel: Panel, ready: Mapping[Hashable, SeriesTensors] | None = None) -> None:
        """Read a panel into the states that are kept; on an error nothing has changed."""
        states, last = self._absorbed(panel, self.states_, ready)
        self.states_ |= states
        self.last_times_ |= last

    def _absorbed(
        self,
        panel: Panel,
        kept: Mapping[Hashable, SeriesState],
        ready: Mapping[Hashable, SeriesTensors] | None = None,
    ) -> tuple[dict[Hashable, SeriesState], dict[Hashable, Any]]:
        """Return the states of a panel's series after its rows, and their last time stamps."""
        for one in panel:
            self._refuse_other_static(one, kept.get(one.id))
        states = {
            one.id: state if (state := kept.get(one.id)) is not None and state.n_seen else self._start_state(one)
            for one in panel
        }
        return self._read_on(panel, states, ready)

    def _refuse_other_static(self, series: Series, state: SeriesState | None) -> None:
        """Refuse rows whose static covariates are not those that the series began with: the state would not follow them."""
        if state is None or not state.n_seen:
            return
        given = self.preparation_.static_tensor(series.static)
        changed = (given != state.static).nonzero()
        if len(changed):
            j = int(changed[0])
            name = "" if series.id is None else f", id {series.id!r}"
            raise ValueError(
                f"X: the static covariate {self.layout_.static_columns[j]!r}{name} is {series.static[j]:g} now, but was "
                "another when the series began; forget() the series to begin anew, or fit it as a past covariate"
            )

    def _in_parallel(self, tasks: Iterable[Any]) -> list[Any]:
        return list(Parallel(n_jobs=self.n_jobs, backend="threading")(tasks))


def panel_ids(panel: Panel) -> list[Hashable]:
    """Return the ids of a panel's series, in order."""
    return [one.id for one in panel]


def chosen(ids: Hashable | Iterable[Hashable] | None, known: Collection[Hashable]) -> list[Hashable]:
    """Return the ids that were asked for, all by default; one that is not known is refused."""
    if ids is None:
        return list(known)
    names = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
    for name in names:
        if name not in known:
            raise ValueError(f"ids: there is no series {name!r}; there are {some(known)}")
    return names


def some(names: Iterable[Hashable], count: int = 5) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:count])) + (f" and {len(listed) - count} more" if len(listed) > count else "")
