"""What the compiled loops need to know of a base: a C structure of numbers and of places in its tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np

from titans_ts.backbones.state import pack
from titans_ts.series.base import bank, bounds, linear_memory, preference, ridge, spread
from titans_ts.series.base.ridge import Ridge

PARTS = (
    "rows",
    *(f"bank.{name}" for name in bank.BankCarry._fields),
    *(f"preference.{name}" for name in preference.PreferenceCarry._fields),
    *(f"memory.{name}" for name in linear_memory.LinearMemoryCarry._fields),
    *(f"spread.{name}" for name in spread.SpreadCarry._fields),
    *(f"bounds.{name}" for name in bounds.BoundsCarry._fields),
)
"""The parts of a state, in the order of the library."""

# fmt: off
_WHOLE = (
    "season", "forms", "judged", "thetas", "smoothers", "kept_levels", "names", "long_level", "level_count", "ridges",
    "specs", "candidates", "prefers", "heard_steps", "waits", "features", "lookback", "blocks", "answers", "directions",
    "memory_waits", "patch", "horizon", "blocks_heard", "tracked_each", "spread_waits", "phases", "ages", "misses",
    "bounded",
)
_NUMBERS = (
    "forgetting", "faith", "keep_size", "alike", "flattest", "smallest", "no_season", "full_season", "constant",
    "farthest_log", "spread_floor", "pace", "largest", "preference_fade", "decay", "memory_fade", "begun",
    "largest_error", "largest_key", "least_seen", "least_spread", "most_spread", "spread_pace", "fade", "doubt",
    "largest_heard", "most_factor", "smallest_size", "often", "fewest",
)
_WHOLE_ARRAYS = (
    "places", "levels", "name", "spec", "first_ridge", "steps", "block", "tracked", "delays",
)
_ARRAYS = (
    "gain", "lift", "keep", "errors", "settled", "values", "vectors", "inverse", "ridge_weights", "mixing", "answer",
    "mean", "whitening", "directions_at", "prior", "memory_pace", "worth", "share", "weights", "usual", "typical",
    "profile", "shares", "middle", "widths", "young", "missed",
)
# fmt: on


class Facts(ctypes.Structure):
    """The structure of the same name in ``base.c``; it keeps the arrays that it points into."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _WHOLE),
        *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in (*_WHOLE_ARRAYS, *_ARRAYS)),
    )

    def __init__(self, **values: Any) -> None:
        self.arrays = {
            name: np.ascontiguousarray(values[name], dtype=np.int64 if name in _WHOLE_ARRAYS else np.float64)
            for name in (*_WHOLE_ARRAYS, *_ARRAYS)
        }
        plain = {name: values[name] for name in (*_WHOLE, *_NUMBERS)}
        super().__init__(**plain, **{name: x.ctypes.data for name, x in self.arrays.items()})
        self.place = ctypes.addressof(self)


def facts_of(base: Any) -> Facts:
    """Return the facts of a base."""
    config = base.config
    parts = pack(base.initial_state(1, 1))
    sizes = [parts[name].numel() if name in parts else 0 for name in PARTS]
    mixing, steps = base.mixing.numpy(), preference.heard_steps(config.horizon)
    return Facts(
        places=np.cumsum([0, *sizes]),
        patch=config.patch_length,
        horizon=config.horizon,
        mixing=mixing,
        candidates=len(mixing),
        prefers=config.prefers,
        pace=float(base.pace),
        largest=preference.LARGEST,
        preference_fade=0.5 ** (1 / preference.HALF_LIFE),
        steps=steps.numpy(),
        heard_steps=len(steps),
        waits=base.waits,
        bounded=config.zero,
        often=bounds.OFTEN,
        fewest=bounds.FEWEST,
        **_of_bank(base.bank),
        **_of_ridges(base.ridges),
        **_of_memory(base.memory),
        **_of_spread(base.spread),
    )


def _of_bank(own: bank.Bank) -> dict[str, Any]:
    a, m = len(own._gain), own.season
    errors, settled = own._responses if m > 1 else (np.zeros(0), np.zeros(0))
    spectra = own._spectra if m > 1 else (np.zeros(0, np.complex128),) * 3
    return {
        "season": m,
        "forms": own.forms,
        "judged": own.judged,
        "thetas": own.thetas,
        "smoothers": a,
        "kept_levels": len(own._levels),
        "names": len(own.names),
        "long_level": bank.LEVEL_STEPS.index(bank.LONG_STEP),
        "forgetting": own.forgetting,
        "faith": own.faith,
        "keep_size": 0.5 ** (1 / max(bank.SIZE_SEASONS * m, bank.SIZE_ROWS)),
        "alike": bank.ALIKE,
        "flattest": bank.FLATTEST,
        "smallest": bank.SMALLEST,
        "no_season": bank.NO_SEASON,
        "full_season": bank.FULL_SEASON,
        "levels": own._levels,
        "name": [bank.NAMES.index(name) for name in own.names],
        "gain": own._gain,
        "lift": own._gain * own._trend,
        "keep": own._keep,
        "errors": errors if own.judged else np.zeros(0),
        "settled": settled,
        **{
            name: np.ascontiguousarray(x, np.complex128).view(np.float64)
            for name, x in zip(("values", "vectors", "inverse"), spectra, strict=True)
        },
    }


def _of_ridges(ridges: Any) -> dict[str, Any]:
    """Return ridges one after the other, each followed by those of its shorter look-backs."""
    specs: list[tuple[int, ...]] = []
    first, weights, done = [], [np.zeros(0)], 0
    for own in ridges:
        first.append(len(specs))
        for one in _with_younger(own):
            spec, x, younger = one.spec, one.weights.numpy(), -1 if one.younger is None else len(specs) + 1
            kinds = (spec.centre == "level", spec.profile, spec.logs)
            specs.append((done, len(x), spec.width, spec.longest, *map(int, kinds), younger))
            weights.append(x.ravel())
            done += x.size
    return {
        "ridges": len(first),
        "specs": len(specs),
        "first_ridge": first,
        "spec": specs,
        "ridge_weights": np.concatenate(weights),
        "level_count": ridge.LEVELS,
        "constant": ridge.CONSTANT,
        "farthest_log": ridge.FARTHEST_LOG,
        "spread_floor": ridge.SPREAD_FLOOR,
    }


def _with_younger(one: Ridge | None) -> Iterator[Ridge]:
    while one is not None:
        yield one
        one = one.younger


def _of_memory(own: linear_memory.LinearMemory | None) -> dict[str, Any]:
    module = linear_memory
    numbers = {
        "memory_fade": 0.5 ** (1 / module.REMEMBERED),
        "begun": module.BEGUN,
        "largest_error": module.LARGEST_ERROR,
        "largest_key": module.LARGEST_KEY,
        "least_seen": module.LEAST_SEEN,
        "least_spread": module.LEAST_SPREAD,
        "most_spread": module.MOST_SPREAD,
    }
    if own is None:
        whole = dict.fromkeys(("features", "lookback", "blocks", "answers", "directions", "memory_waits"), 0)
        names = ("block", "answer", "mean", "whitening", "directions_at", "prior", "memory_pace", "worth", "share")
        return {**numbers, **whole, **dict.fromkeys(names, ()), "decay": 0.0}
    blocks = [
        (*rows, columns.start, columns.stop, delay)
        for rows, columns, delay in zip(own.blocks, own.columns, own.delays, strict=True)
    ]
    return {
        **numbers,
        "features": own.features,
        "lookback": own.lookback,
        "blocks": len(blocks),
        "answers": len(own.answers),
        "directions": len(own.directions),
        "memory_waits": own.waiting,
        "decay": float(own.decay),
        "block": blocks,
        "answer": own.answers,
        "directions_at": own.directions.numpy(),
        "memory_pace": own.pace.numpy(),
        **{name: getattr(own, name).numpy() for name in ("mean", "whitening", "prior", "worth", "share")},
    }


def _of_spread(own: spread.Spread) -> dict[str, Any]:
    tracked, grid = spread.tracked_steps(own.horizon), len(spread.GRID)
    table = spread.near(own.knots.numpy(), own.horizon)[tracked.ravel() - 1] @ own.distances.numpy()
    middle = table[:, grid // 2, None]
    low, high = (np.round(x * (grid + 1)).astype(int) - 1 for x in (spread.MISSES, 1 - spread.MISSES))
    delays = spread._delays(tracked, own.patch)
    return {
        "blocks_heard": len(tracked),
        "tracked_each": tracked.shape[1],
        "spread_waits": int(delays.max()),
        "phases": len(own.profile),
        "ages": len(own.young),
        "misses": len(spread.MISSES),
        "spread_pace": float(own.pace),
        "fade": 0.5 ** (own.patch / max(spread.SEASONS * own.season, spread.FEWEST * own.patch)),
        "doubt": spread.DOUBT,
        "largest_heard": spread.LARGEST_ERROR,
        "most_factor": np.log(spread.LARGEST_FACTOR),
        "smallest_size": spread.SMALLEST,
        "tracked": tracked,
        "delays": delays,
        "shares": spread.between(own.horizon)[tracked - 1],
        "middle": middle,
        "widths": np.maximum(np.stack([middle - table[:, low], table[:, high] - middle], 1), 1e-12),
        "missed": spread.MISSES,
        **{name: getattr(own, name).numpy() for name in ("weights", "usual", "typical", "profile", "young")},
    }
