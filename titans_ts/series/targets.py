"""Targets on the scale that they are learned on, and forecasts back in the user's units."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sklearn.preprocessing
from sklearn.base import clone

from titans_ts.blocks.warned import own_filters
from titans_ts.files.facts import finite, fits, require
from titans_ts.frames.panel import Panel
from titans_ts.frames.read import Domain

EXACTLY = 1e-6
"""Share of the values' range, or of their size, that a transform and back may move them by."""
PROBES = 1000
"""Values of a channel, at most, that a transformer is tried on."""
FAR = 60
"""Doublings of the range of training values in which the end of what leads back is looked for; none is farther."""


class Named(NamedTuple):
    """A transform that is known by its name."""

    forward: np.ufunc
    back: np.ufunc
    least: float  # of what it takes
    with_least: bool  # whether the least itself is taken
    takes: str

    def refuses(self, values: np.ndarray) -> np.ndarray:
        """Say which values it does not take; missing ones pass."""
        return values < self.least if self.with_least else values <= self.least


NAMED = {
    "log": Named(np.log, np.exp, 0.0, False, "numbers above 0"),
    "log1p": Named(np.log1p, np.expm1, -1.0, False, "numbers above -1"),
    "sqrt": Named(np.sqrt, np.square, 0.0, True, "numbers from 0 on"),
}
KEPT = (
    "FunctionTransformer",
    "MaxAbsScaler",
    "MinMaxScaler",
    "PowerTransformer",
    "QuantileTransformer",
    "RobustScaler",
    "StandardScaler",
)
"""Transformers of ``sklearn.preprocessing`` that a model file can hold."""


class Channel(NamedTuple):
    """A transformer fitted to one channel, and between which of its numbers there is a way back."""

    transformer: Any
    least: float
    greatest: float

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return values on the scale that is learned, of any shape."""
        with np.errstate(all="ignore"):
            return _applied(self.transformer.transform, values)

    def back(self, values: np.ndarray) -> np.ndarray:
        """Return what :meth:`forward` was given; what lies outside comes from the end that is nearer."""
        with np.errstate(all="ignore"):
            return _applied(self.transformer.inverse_transform, values.clip(self.least, self.greatest))


@dataclass(frozen=True)
class Targets:
    """What the network learns in place of the targets, and how its forecasts return to their units.

    A transform acts on every value by itself, so that no cut of the rows changes anything.
    """

    minimum: float | None = None  # below which no value lies, and no forecast
    transform: str | None = None  # a name of NAMED
    channels: tuple[Channel, ...] = ()  # one a target, where it is a transformer of scikit-learn
    largest: float = float(np.finfo(np.float64).max)  # that the user's kind of number holds

    @classmethod
    def learn(cls, panel: Panel, training_rows: Sequence[int], *, minimum: float | None, transform: Any) -> Targets:
        """Fit a transformer to the training rows of all series, channel by channel; one that has no way back is refused."""
        least, largest = None if minimum is None else float(minimum), float(np.finfo(panel.layout.value_dtype).max)
        if transform is None or isinstance(transform, str):
            return cls(least, transform, (), largest)
        known = np.concatenate([one.values[:rows] for one, rows in zip(panel, training_rows, strict=True)])
        names = panel.layout.target_columns
        channels = tuple(_fitted(transform, column, name, largest) for column, name in zip(known.T, names, strict=True))
        return cls(least, None, channels, largest)

    @property
    def are_plain(self) -> bool:
        """Whether targets are learned as they are, and forecasts left as they are."""
        return self == Targets(largest=self.largest)

    @property
    def are_changed(self) -> bool:
        """Whether the network learns anything but the targets themselves."""
        return self.transform is not None or bool(self.channels)

    @property
    def kind(self) -> list[str | None]:
        """What weights that were learned on one scale must find again."""
        return [self.transform, *(repr(one.transformer) for one in self.channels)]

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Return targets ``(t, c)`` on the scale that is learned; missing ones stay missing."""
        if self.transform is not None:
            with np.errstate(all="ignore"):
                return NAMED[self.transform].forward(values)  # type: ignore[no-any-return]
        if not self.channels:
            return values
        return np.stack([one.forward(column) for one, column in zip(self.channels, values.T, strict=True)], axis=1)

    def back(self, values: np.ndarray, *, axis: int = -1) -> np.ndarray:
        """Return forecasts, channels along an axis, in the user's units: finite, in their order, none below the minimum."""
        if self.transform is not None:
            values = self._named_back(values)
        elif self.channels:
            parts = np.moveaxis(values, axis, 0)
            values = np.moveaxis(np.stack([one.back(x) for one, x in zip(self.channels, parts, strict=True)]), 0, axis)
        return values if self.minimum is None else np.maximum(values, self.minimum)

    def _named_back(self, values: np.ndarray) -> np.ndarray:
        named = NAMED[str(self.transform)]
        if named.with_least:
            values = np.maximum(values, named.forward(named.least))
        with np.errstate(over="ignore"):
            found = named.back(values)
        if (found > self.largest).any():
            warnings.warn(
                f"target_transform={self.transform!r}: {int((found > self.largest).sum())} forecasts or bounds are larger "
                f"than any number, and are given as {self.largest:g}; forecast a shorter horizon, or take another one",
                UserWarning,
                stacklevel=2,
            )
        return np.minimum(found, self.largest)

    def domains(self) -> list[Domain]:
        """Return what targets must be, for whatever reads them."""
        return domains(self.minimum, self.transform if self.transform is not None else self._is_lost)

    def _is_lost(self, values: np.ndarray) -> np.ndarray:
        """Say which observed values a fitted transformer turns into nothing."""
        lost = np.zeros(values.shape, dtype=bool)
        for j, channel in enumerate(self.channels):
            seen = ~np.isnan(values[:, j])
            lost[seen, j] = ~np.isfinite(_or_nothing(channel.forward, values[seen, j]))
        return lost

    def mark(self) -> list[Any]:
        """Return what tells these targets from others, in plain values."""
        at = np.linspace(-1, 2, 7)
        forward = [_or_nothing(one.forward, at).tolist() for one in self.channels]
        return [self.minimum, self.transform, [str(type(one.transformer).__name__) for one in self.channels], forward]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file; a transformer that they cannot hold is refused."""
        channels = [[plain_transformer(one.transformer), one.least, one.greatest] for one in self.channels]
        return {"minimum": self.minimum, "transform": self.transform, "channels": channels, "largest": self.largest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Targets:
        """Return what a model file holds."""
        transform, largest = values["transform"], values["largest"]
        require(transform is None or transform in NAMED, f"transform={transform!r} is none of {list(NAMED)}")
        channels = tuple(
            Channel(original_transformer(kept), *finite([least, greatest])) for kept, least, greatest in values["channels"]
        )
        require(fits(largest, float) and largest > 0, "the largest target is no number above 0")
        return cls(values["minimum"], transform, channels, largest)


def domains(minimum: float | None, transform: Any) -> list[Domain]:
    """Return what targets must be by the arguments; ``transform`` may be what tells the values that a fitted one loses."""
    found = []
    if minimum is not None:
        said = f"which is below minimum={minimum:g}; correct it, leave it out as NaN, or lower minimum"
        found.append(Domain(lambda values: values < minimum, said))
    if isinstance(transform, str):
        named = NAMED[transform]
        others = "target_transform='log1p' takes 0 too; " if transform == "log" else ""
        said = f"but target_transform={transform!r} takes {named.takes}; {others}correct it, or leave it out as NaN"
        found.append(Domain(named.refuses, said))
    elif callable(transform):
        found.append(Domain(transform, "which target_transform turns into no number; correct it, or leave it out as NaN"))
    return found


# --- transformers -----------------------------------------------------------------------------------------------------


def _applied(work: Callable[[np.ndarray], Any], values: np.ndarray) -> np.ndarray:
    """Do something to the observed values, which a transformer sees as one column; the others stay missing."""
    found = np.full(values.shape, np.nan)
    seen = ~np.isnan(values)
    if seen.any():
        found[seen] = np.asarray(work(values[seen][:, None]), dtype=np.float64).reshape(-1)
    return found


def _or_nothing(work: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Do something to each value, and give NaN where it fails."""
    try:
        with own_filters():
            warnings.simplefilter("ignore")
            return work(values)
    except (ValueError, ArithmeticError):
        if len(values) == 1:
            return np.full(1, np.nan)
        return np.concatenate([_or_nothing(work, values[i : i + 1]) for i in range(len(values))])


def _fitted(transform: Any, values: np.ndarray, name: Any, largest: float) -> Channel:
    """Fit a transformer to the training values ``(t,)`` of a channel; one that does not lead back and up is refused."""
    whose = f"target_transform={transform!r}, column {name!r}"
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError(f"{whose}: there is no observed training row to fit it to; leave the column out, or give more rows")
    try:
        channel = Channel(clone(transform).fit(values[:, None]), -np.inf, np.inf)
        probes = np.unique(values)
        probes = probes[np.linspace(0, len(probes) - 1, min(len(probes), PROBES)).round().astype(int)]
        there = channel.forward(probes)
        back = channel.back(there)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise type(error)(f"{whose} cannot be fitted to the training rows: {error}") from error
    lost = ~(np.isfinite(there) & np.isfinite(back))
    if lost.any():
        raise ValueError(f"{whose} turns {probes[lost][0]:g} into no number; choose one that takes all training values")
    falls = np.flatnonzero(np.diff(there) < -EXACTLY * np.ptp(there))
    if len(falls):
        first, second = probes[falls[0]], probes[falls[0] + 1]
        raise ValueError(
            f"{whose} must not turn the order of values round: it makes less of {second:g} than of {first:g}; choose one "
            "that increases, or quantiles would change places"
        )
    missed = np.abs(back - probes) > EXACTLY * max(np.ptp(probes), np.abs(probes).max())
    if missed.any():
        raise ValueError(
            f"{whose} does not lead back: {probes[missed][0]:g} returns as {back[missed][0]:g}; give it an inverse (a "
            "FunctionTransformer takes inverse_func), or choose another"
        )
    ends = (_end(channel, float(there.min()), -1, there, largest), _end(channel, float(there.max()), 1, there, largest))
    return channel._replace(least=ends[0], greatest=ends[1])


def _end(channel: Channel, inside: float, direction: int, there: np.ndarray, largest: float) -> float:
    """Return how far in a direction the numbers of a transformer are known to have a way back."""
    spread = float(np.ptp(there)) or 1.0

    def leads_back(place: float) -> bool:
        with np.errstate(all="ignore"):
            value = _or_nothing(channel.back, np.array([place]))
            if not np.isfinite(value).all() or np.abs(value).max() > largest:
                return False
            again = _or_nothing(channel.forward, value)
        return bool(np.abs(again - place).max() <= EXACTLY * max(spread, abs(place)))

    step = spread
    for _ in range(FAR):
        outside = inside + direction * step
        if not leads_back(outside):
            break
        inside, step = outside, 2 * step
    else:
        return inside
    for _ in range(FAR):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if leads_back(middle) else (inside, middle)
    return inside


def plain_transformer(transformer: Any) -> dict[str, Any]:
    """Return a transformer of scikit-learn as plain values, fitted or not; one that these cannot hold is refused.

    >>> from sklearn.preprocessing import MaxAbsScaler
    >>> kept = plain_transformer(MaxAbsScaler(copy=False))
    >>> kept["kind"], kept["arguments"]["copy"], kept["fitted"]
    ('MaxAbsScaler', False, {})
    """
    kind = type(transformer).__name__
    if kind not in KEPT or type(transformer) is not getattr(sklearn.preprocessing, kind):
        raise ValueError(
            f"save: target_transform={transformer!r} cannot be kept in a file, which holds no code; use a name "
            f"({', '.join(NAMED)}) or one of sklearn.preprocessing: {', '.join(KEPT)}"
        )
    arguments = transformer.get_params(deep=False)
    fitted = {name: x for name, x in vars(transformer).items() if name not in arguments and not name.startswith("_sklearn")}
    try:
        plain = [{name: _plain(x) for name, x in part.items()} for part in (arguments, fitted)]
    except TypeError as error:
        raise ValueError(
            f"save: target_transform={transformer!r} cannot be kept in a file, which holds no code: {error}"
        ) from None
    return {"kind": kind, "arguments": plain[0], "fitted": plain[1]}


def original_transformer(kept: Mapping[str, Any]) -> Any:
    """Return the transformer that :func:`plain_transformer` was given."""
    require(kept["kind"] in KEPT, f"transform {kept['kind']!r} is none of {', '.join(KEPT)}")
    arguments, fitted = ({name: _original(x) for name, x in kept[part].items()} for part in ("arguments", "fitted"))
    transformer = getattr(sklearn.preprocessing, kept["kind"])(**arguments)
    vars(transformer).update(fitted)
    return transformer


def _plain(value: Any) -> Any:
    """Return an argument, or what was fitted, as JSON can hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray) and value.dtype.kind in "fi":
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, tuple | list):
        return {"values": [_plain(x) for x in value]}
    name = getattr(value, "__name__", None)
    if isinstance(value, np.ufunc) and isinstance(name, str) and getattr(np, name, None) is value:
        return {"ufunc": name}
    if type(value) is sklearn.preprocessing.StandardScaler:  # a part of PowerTransformer
        return {"part": plain_transformer(value)}
    raise TypeError(f"{value!r} is neither a number, a text nor a function of numpy")


def _original(kept: Any) -> Any:
    """Return what :func:`_plain` was given."""
    if not isinstance(kept, Mapping):
        return kept
    if "array" in kept:
        return np.array(kept["array"], dtype=kept["dtype"])
    if "values" in kept:
        return tuple(_original(x) for x in kept["values"])
    if "part" in kept:
        return original_transformer(kept["part"])
    found = getattr(np, kept["ufunc"], None)
    require(isinstance(found, np.ufunc), f"{kept['ufunc']!r} is no function of numpy")
    return found
