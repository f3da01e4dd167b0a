"""What an estimator tells of its memory: what happened in it while it read, and what it holds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from sklearn.utils.validation import check_is_fitted

from titans_ts.data.watched import Measures, holdings_frame, watched_frame
from titans_ts.estimators._series_memory import SeriesMemory, chosen
from titans_ts.watching import Holdings, Watched, holdings, watch


class WatchedMemory(SeriesMemory):
    """The part of an estimator that lets its memory be looked into."""

    def watch(self, X: Any) -> Any:
        """Return what happened in each layer of the memory while it read X afresh, patch by patch.

        Parameters
        ----------
        X : container like that of ``fit``
            A history of any length. ``state_`` is left alone.

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
        ([15, 31, 47], ['layer', 'surprise', 'retention'])
        """
        check_is_fitted(self)
        panel = self._read(X)
        seen = {one.id: watch(self.network_, self.ready(one))[0] for one in panel}
        rows = {name: one.rows.numpy() for name, one in seen.items()}
        return watched_frame(panel, rows, {name: _measures(one) for name, one in seen.items()})

    def memory_table(self, ids: Hashable | Iterable[Hashable] | None = None) -> Any:
        """Return what the memory holds of what ``fit`` and ``update`` have read, by layer and head.

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
        >>> model = TitansForecaster(horizon=6, lookback=48, max_steps=2, layers=1, random_state=0).fit(load)
        >>> bool((model.memory_table()["distance"] > 0).all())
        True
        >>> model.forget().memory_table()["distance"].tolist()
        [0.0, 0.0, 0.0, 0.0]
        """
        check_is_fitted(self)
        names = chosen(ids, self.states_)
        if not names:
            raise ValueError("ids is empty; name one series or more, or leave it at None for all")
        return holdings_frame(self.layout_, {name: self._holdings_of(name) for name in names})

    def _holdings_of(self, name: Hashable) -> Measures:
        return _measures(holdings(self.network_, self.states_[name]))


def _measures(found: Watched | Holdings) -> Measures:
    """Return what was measured of streams and layers, by name."""
    return {name: x.double().cpu().numpy() for name, x in found._asdict().items() if name != "rows"}
