"""How records of DNA meet the memory: read piece by piece, by id, and forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from titans_ts.data.fasta import Piece, format_of, has_sequence_suffix, stream_pieces
from titans_ts.data.sequences import read_sequences
from titans_ts.estimators._base import BaseTitans
from titans_ts.networks.language import LanguageNetwork
from titans_ts.sequences.likelihood import RecordState


class RecordMemory(BaseTitans):
    """The part of an estimator that reads records into states and keeps them, by id.

    Attributes
    ----------
    states_ : dict of id to RecordState
        What is kept of each record.
    """

    network_: LanguageNetwork
    states_: dict[str, RecordState]

    def update(self, X: Any) -> Self:
        """Let the memory read on, without training: what comes belongs to the end of what was read of the same record.

        Parameters
        ----------
        X : container like that of ``fit``
            Records by id (rows of a list by their number). A FASTA file is streamed, and no record lies in memory whole.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            With ``objective="masked"``, which needs both sides, or if X cannot be used; nothing is read then.
        """
        check_is_fitted(self)
        self._require_causal("update")
        if self._streams(X):
            pieces: Iterable[Piece] = stream_pieces(X)
        else:
            table = read_sequences(X)
            pieces = (Piece(name, 0, one, True) for name, one in zip(table.ids, table.codes, strict=True))
        self.states_ = self._read_pieces(pieces, self.states_)
        return self

    def forget(self, ids: str | Iterable[str] | None = None) -> Self:
        """Forget what ``update`` has read, of some records or of all; weights stay as they are.

        Raises
        ------
        ValueError
            If there is no record of an id; none is forgotten then.
        """
        check_is_fitted(self)
        names = list(self.states_) if ids is None else [ids] if isinstance(ids, str) else list(ids)
        for name in names:
            if name not in self.states_:
                raise ValueError(f"ids: nothing was read of {name!r}; there are {', '.join(map(repr, self.states_))}")
        self.states_ = {name: state for name, state in self.states_.items() if name not in names}
        return self

    @property
    def n_seen_(self) -> int | dict[str, int]:
        """Bases that the memory has read since it was last made to forget; by record, if there are several."""
        check_is_fitted(self)
        counts = {name: state.n_seen for name, state in self.states_.items()}
        return counts if len(counts) > 1 else next(iter(counts.values()), 0)

    @property
    def state_(self) -> RecordState | dict[str, RecordState] | None:
        """What is kept of what was read; ``state_.nbytes`` does not grow with it."""
        check_is_fitted(self)
        return dict(self.states_) if len(self.states_) > 1 else next(iter(self.states_.values()), None)

    def _streams(self, X: Any) -> bool:
        """Say whether X is a FASTA file that can be read piece by piece."""
        is_path = isinstance(X, os.PathLike) or (isinstance(X, str) and (has_sequence_suffix(X) or os.path.isfile(X)))
        return is_path and self.objective == "causal" and os.path.isfile(X) and format_of(Path(X)) == "fasta"

    def _read_pieces(self, pieces: Iterable[Piece], states: dict[str, RecordState]) -> dict[str, RecordState]:
        """Read pieces of records on; the states given are left as they are."""
        found = dict(states)
        for piece in self._shown(pieces):
            state = found.get(piece.id) or RecordState.fresh(self.network_)
            found[piece.id] = state.read(self.network_, piece.codes)
        return found

    def _shown(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        with tqdm(desc="reading", unit="base", unit_scale=True, disable=self.verbose < 1, leave=False) as progress:
            for piece in pieces:
                yield piece
                progress.update(len(piece.codes))

    def _require_causal(self, what: str) -> None:
        if self.objective != "causal":
            raise ValueError(f"{what} needs objective='causal': a masked model tells a base from both sides of it")
