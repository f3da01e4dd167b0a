"""The states of many series as the arrays of a block: one array for each part, and nothing that can be made again.

What is read back equals what was written, bit for bit. Left out are the rows of the base's ring that the raw rows give
again; covariates are kept once where several series, or several rows, have the same; signs and exponents of float64, which
say little, are deflated.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from titans_ts.blocks.scale import Scale, on_long_run_scale
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import form_of
from titans_ts.series.state import SeriesState
from titans_ts.series.store.archive import from_bytes, to_bytes

SHARED = ("past", "calendar", "static", "future")
"""Parts that several series may have in common."""
RING = "base.rows"
_SMALL = 2**16


def states_to_bytes(network: ForecastNetwork, states: Sequence[SeriesState]) -> bytes:
    """Return states as bytes, those of one form side by side."""
    groups: dict[Any, list[int]] = {}
    for i, state in enumerate(states):
        groups.setdefault(form_of(state._replace(n_seen=0)), []).append(i)
    facts: dict[str, Any] = {"count": len(states), "groups": []}
    arrays: dict[str, np.ndarray] = {}
    for places in groups.values():
        some = [states[i] for i in places]
        columns, numbers = _columns(some), _whole_numbers(some[0])
        for part, made in _by_ring(network, columns, np.array(places)):
            prefix = f"{len(facts['groups'])}/"
            kept = {name: x[part] for name, x in columns.items()}
            if made:
                ring = kept[RING]
                kept[RING] = ring[..., : ring.shape[-1] - kept["rows"].shape[-1]]
            for name in SHARED:
                kept |= _shared(name, kept.pop(name)) if name in kept else {}
            doubles = {name: kept.pop(name) for name, x in list(kept.items()) if x.dtype == np.float64}
            kept |= _deflated(doubles) | {"places": np.array(places, np.int32)[part]}
            arrays |= {prefix + name: x for name, x in kept.items()}
            shapes = {name: x.shape for name, x in doubles.items()}
            facts["groups"].append({"numbers": numbers, "ring": made, "doubles": shapes})
    return to_bytes(facts, arrays)


def states_from_bytes(network: ForecastNetwork, form: SeriesState, data: bytes) -> list[SeriesState]:
    """Return the states that :func:`states_to_bytes` was given; ``form`` is a state of the same parts."""
    facts, arrays = from_bytes(data)
    found: list[Any] = [None] * facts["count"]
    for number, group in enumerate(facts["groups"]):
        prefix = f"{number}/"
        columns = {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
        places = columns.pop("places")
        columns |= _inflated(columns.pop("high"), columns.pop("low"), group["doubles"])
        for name in SHARED:
            if f"{name}.of" in columns:
                columns[name] = _unshared(name, columns)
        if group["ring"]:
            columns[RING] = np.concatenate([columns[RING], _ring_of(network, columns)], axis=-1)
        parts = _split(form, columns, group["numbers"], len(places))
        for place, state in zip(places.tolist(), parts, strict=False):
            found[place] = state
    return found


def _columns(states: Sequence[Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Return every tensor of states of one form, stacked, by its path; whole numbers other than ``n_seen`` are equal."""
    first = states[0]
    if isinstance(first, Tensor):
        return {prefix: torch.stack([x.detach().cpu() for x in states]).numpy()}
    if not isinstance(first, tuple):
        return {prefix: np.array(states, np.int64)} if prefix == "n_seen" else {}
    found: dict[str, np.ndarray] = {}
    for i, name in enumerate(_names(first)):
        found |= _columns([state[i] for state in states], f"{prefix}.{name}" if prefix else name)
    return found


def _whole_numbers(state: Any, prefix: str = "") -> dict[str, int]:
    """Return the whole numbers of a state but ``n_seen``, by path."""
    if not isinstance(state, tuple):
        return {prefix: state} if isinstance(state, int) and prefix != "n_seen" else {}
    found: dict[str, int] = {}
    for part, name in zip(state, _names(state), strict=True):
        found |= _whole_numbers(part, f"{prefix}.{name}" if prefix else name)
    return found


def _split(
    form: Any, columns: dict[str, np.ndarray], numbers: dict[str, int], count: int, prefix: str = ""
) -> Iterator[Any]:
    """Yield states of the parts of ``form``, views of the columns."""
    if prefix == "n_seen":
        return iter(columns[prefix].tolist())
    if isinstance(form, Tensor):
        column = torch.from_numpy(columns[prefix])
        return iter(column.to(form.device).unbind(0))
    if isinstance(form, int):
        return iter([numbers[prefix]] * count)
    if not isinstance(form, tuple) or not form:
        return iter([form] * count)
    parts = [
        _split(part, columns, numbers, count, f"{prefix}.{name}" if prefix else name)
        for part, name in zip(form, _names(form), strict=True)
    ]
    made: Any = type(form)._make if hasattr(form, "_make") else tuple
    return map(made, zip(*parts, strict=True))


def _names(state: Any) -> Sequence[str]:
    return getattr(state, "_fields", None) or [str(i) for i in range(len(state))]


# --- what can be made again -------------------------------------------------------------------------------------------


def _by_ring(
    network: ForecastNetwork, columns: dict[str, np.ndarray], places: np.ndarray
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield which series have a ring that ends in what the raw rows give again, to the last bit, and which have not."""
    same = np.zeros(len(places), bool)
    if RING in columns and not network.config.future:
        made = _ring_of(network, columns)
        ring = columns[RING][..., columns[RING].shape[-1] - made.shape[-1] :]
        same = (_bits(ring) == _bits(made)).reshape(len(places), -1).all(1)
    for which, made_again in ((same, True), (~same, False)):
        if which.any():
            yield np.flatnonzero(which), made_again


def _ring_of(network: ForecastNetwork, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the raw rows as the base reads them, ``(n, b, c, l)``, where no covariate has an effect."""
    level, spread = (torch.from_numpy(columns[f"scale.{part}"])[:, 0] for part in ("level", "spread"))
    found = on_long_run_scale(torch.from_numpy(columns["rows"]), Scale(level, spread)).numpy()
    return found[:, None] if network.config.mixed else found[:, :, None]


def _bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.int64)


def _deflated(doubles: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return float64 columns ``(n, ...)`` as their two high bytes, deflated, and their six low ones.

    Neighbours are the same number of several series, whose exponents are alike.
    """
    flat = np.concatenate([x.reshape(len(x), -1).T.ravel() for x in doubles.values()])
    words = flat.astype("<f8", copy=False).view("<u2").reshape(-1, 4)
    high = words[:, 3].copy().view(np.uint8).reshape(-1, 2).T  # a byte after the other is smaller
    return {"high": np.frombuffer(zlib.compress(high.tobytes(), 1), np.uint8), "low": words[:, :3].copy()}


def _inflated(high: np.ndarray, low: np.ndarray, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Return the columns that :func:`_deflated` was given, of these shapes."""
    words = np.empty((len(low), 4), "<u2")
    words[:, :3] = low
    high_bytes = np.frombuffer(zlib.decompress(high.tobytes()), np.uint8).reshape(2, -1).T
    words[:, 3] = np.ascontiguousarray(high_bytes).view("<u2")[:, 0]
    flat, begin, found = words.view("<f8").ravel(), 0, dict[str, np.ndarray]()
    for name, (n, *rest) in shapes.items():
        size = n * math.prod(rest)
        found[name] = (
            np.ascontiguousarray(flat[begin : begin + size].reshape(-1, n).T).reshape(n, *rest)
            if size
            else np.empty((n, *rest))
        )
        begin += size
    return found


def _shared(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return a part ``(n, ...)`` as what differs in it, and which series has which; as it is where that is no smaller."""
    if not x.size:
        return {name: x}
    which: dict[bytes, int] = {}
    of = np.array([which.setdefault(one.tobytes(), len(which)) for one in x])
    distinct = np.stack([np.frombuffer(data, x.dtype) for data in which]).reshape(-1, *x.shape[1:])
    found = {name: distinct, f"{name}.of": _compact(of)}
    if len(distinct) > 1 and x.ndim == 3:  # look-backs that begin at other rows have rows in common
        rows = np.ascontiguousarray(distinct).view(np.dtype((np.void, x.dtype.itemsize * x.shape[-1]))).reshape(-1)
        each, at = np.unique(rows, return_inverse=True)
        table = np.frombuffer(each.tobytes(), x.dtype).reshape(-1, x.shape[-1])
        by_row = {name: table, f"{name}.at": _compact(at.reshape(distinct.shape[:2])), f"{name}.of": found[f"{name}.of"]}
        found = min(found, by_row, key=_size)
    return min({name: x}, found, key=_size)


def _unshared(name: str, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the part that :func:`_shared` was given."""
    distinct, of = columns.pop(name), columns.pop(f"{name}.of")
    if f"{name}.at" in columns:
        distinct = distinct[columns.pop(f"{name}.at")]
    return distinct[of]


def _compact(places: np.ndarray) -> np.ndarray:
    return places.astype(np.uint16 if places.max() < _SMALL else np.uint32)


def _size(arrays: dict[str, np.ndarray]) -> int:
    return sum(x.nbytes for x in arrays.values())
