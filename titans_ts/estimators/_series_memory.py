"""How series meet the memory: reading, forgetting, being surprised. Shared by estimators that keep states of series."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
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
from titans_ts.estimators._base import BaseTitans
from titans_ts.inputs.series import Scale, unknown_scale
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

    def update(self, X: Any) -> Self:
        """Absorb new rows into memory: cost grows with the new rows only, weights stay as they are.

        Parameters
        ----------
        X : container like that of ``fit``
            The rows that follow those already read; an unknown id starts a new series.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If rows overlap what was read, or X does not fit; nothing is absorbed then.
        """
        check_is_fitted(self)
        self._absorb(self._read(X, follow=self.last_times_))
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
        names = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
        for name in names:
            if name not in self.states_:
                raise ValueError(f"ids: there is no series {name!r}; there are {some(self.states_)}")
        for name in names:
            scale = self.scales_.get(name, unknown_scale(self.network_.config.channels))
            self.states_[name] = self.fresh_state(scale=scale)
            self.last_times_.pop(name, None)
        return self

    @property
    def state_(self) -> SeriesState | dict[Hashable, SeriesState]:
        """What is kept of all that was read."""
        check_is_fitted(self)
        return self.states_[None] if self.layout_.is_single else dict(self.states_)

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

    def _read(self, X: Any, *, follow: Mapping[Hashable, Any] | None = None) -> Panel:
        names = {"id_column": self.id_column, "time_column": self.time_column}  # where fit saw none
        return read_panel(X, **names, freq=self.freq, like=self.layout_, follow=follow)

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
        for one in panel:
            self._refuse_other_static(one)
        states = {
            one.id: state if (state := self.states_.get(one.id)) is not None and state.n_seen else self._start_state(one)
            for one in panel
        }
        found, last = self._read_on(panel, states, ready)
        self.states_ |= found
        self.last_times_ |= last

    def _refuse_other_static(self, series: Series) -> None:
        """Refuse rows whose static covariates are not those that the series began with: the state would not follow them."""
        state = self.states_.get(series.id)
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


def some(names: Iterable[Hashable], count: int = 5) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:count])) + (f" and {len(listed) - count} more" if len(listed) > count else "")
