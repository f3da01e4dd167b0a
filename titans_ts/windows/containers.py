"""Numeric sequences of any lengths as one thing: rows of a table, a block of three axes, or a list of arrays.

An estimator reads them, a network gets a batch of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import validate_data
from torch import Tensor

from titans_ts.blocks.scale import Scale, long_run_scale, on_long_run_scale
from titans_ts.files import facts
from titans_ts.frames.numbers import as_array, each_number
from titans_ts.learn.arguments import argument, with_arguments
from titans_ts.learn.estimator import POSITIVE, BaseTitans

Window = NDArray[np.float64]
"""A sequence of numbers ``(t, c)``, NaN where nothing was measured."""

_EXPECTED = "a table of windows (n, t), a block (n, c, t) or a list of arrays (t, c)"


@with_arguments
class WindowEstimator(BaseTitans):
    """Base of estimators that read numeric sequences.

    Attributes
    ----------
    n_channels_ : int
        Channels of a sequence.
    n_features_in_ : int
        Steps of a window, where ``fit`` saw a table; missing where it saw a block or a list.
    training_history_ : list of dict
        Step, loss and validation loss of every evaluation.

    Notes
    -----
    Sequences of a list may differ in length, and none is cut: one of millions of steps is read in a state of fixed size.
    NaN marks what was not measured. Answers are made in float64, and do not depend on what else is asked.

    References
    ----------
    Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, arXiv 2501.00663.
    """

    patch_length: int = argument(8, POSITIVE, doc="Steps that make one token of the memory.")
    width: int = 32

    _fewest = 2  # sequences that fit learns from

    def _read_items(self, X: Any, *, reset: bool = False, name: str = "X") -> list[Window]:
        """Return the sequences of a container; ``reset`` notes what ``fit`` saw, else they must fit it."""
        _refuse_one_series(X, name)
        settings: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": False}  # infinite ones are refused by place
        if is_table(X) and (reset or hasattr(self, "n_features_in_")):
            settings["ensure_min_samples"] = self._fewest if reset else 1
            table = _checked(lambda rows: validate_data(self, rows, reset=reset, **settings), X, name)
            if table.shape[1] == 1:
                raise ValueError(
                    f"n_features=1: {name} is a table of windows, a row each, and these have one step; one long series is a "
                    "list of one, [series]"
                )
            windows = _rows(table, name)
        elif not reset and len(getattr(X, "shape", ())) == 2:  # a table, where fit saw a block or a list
            table = _checked(lambda rows: check_array(rows, input_name=name, **settings), X, name)
            windows = _rows(table, name)
        else:
            windows = read_windows(X, name=name)
            if reset:
                for noted in ("n_features_in_", "feature_names_in_"):
                    self.__dict__.pop(noted, None)
                if len(windows) < self._fewest:
                    raise ValueError(
                        f"n_samples={len(windows)}: {name} holds too few sequences; give {self._fewest} or more"
                    )
        channels = windows[0].shape[1]
        if reset:
            self.n_channels_: int = channels
        elif channels != self.n_channels_:
            raise ValueError(
                f"{name} has sequences of {channels} channels, but {type(self).__name__} was fitted on {self.n_channels_}; "
                "give the same ones, in the same order"
            )
        return windows

    def _seen(self) -> dict[str, Any]:
        """Return what ``fit`` noted of its sequences, as plain values of a model file."""
        seen: dict[str, Any] = {"n_channels_": self.n_channels_}
        if hasattr(self, "n_features_in_"):
            seen["n_features_in_"] = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            seen["feature_names_in_"] = self.feature_names_in_.tolist()
        return seen

    def _restore_seen(self, seen: dict[str, Any]) -> None:
        """Put back what :meth:`_seen` returned."""
        channels, steps = seen["n_channels_"], seen.get("n_features_in_")
        facts.require(channels == self.network_.config.channels, "its channels are not those of its network")
        self.n_channels_ = channels
        if steps is not None:
            facts.require(type(steps) is int and steps > 0, f"n_features_in_={steps!r} is no number of steps")
            self.n_features_in_ = steps
        if "feature_names_in_" in seen:
            names = seen["feature_names_in_"]
            fit = isinstance(names, list) and len(names) == steps and all(isinstance(name, str) for name in names)
            facts.require(fit, "its feature_names_in_ are no names of its steps")
            self.feature_names_in_ = np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags


def is_table(X: Any) -> bool:
    """Tell whether a container is a table, whose rows are windows of one channel, and not a list of sequences or a block.

    A list of rows of equal length is a table too, except a list of one array: that is one sequence.

    >>> is_table([[1, 2], [3, 4]]), is_table([np.zeros((5, 2))]), is_table([np.zeros(5)]), is_table(np.zeros((3, 1, 5)))
    (True, False, False, False)
    """
    if isinstance(X, list | tuple) and len(X):
        if len(X) == 1 and len(getattr(X[0], "shape", ())):
            return False  # a list of one array: one sequence
        shapes = [_shape(one) for one in X]
        return all(shape is not None and len(shape) <= 1 for shape in shapes) and len(set(shapes)) == 1
    return getattr(X, "ndim", None) != 3 and any(hasattr(X, name) for name in ("shape", "__array__", "__dataframe__"))


def _refuse_one_series(X: Any, name: str) -> None:
    """Raise if a container is one series alone, the likeliest mistake, and say how it is given."""
    if isinstance(X, list | tuple):
        steps = len(X) if all(isinstance(one, Real | Decimal | np.generic) for one in X) else 0
    else:
        has_steps = hasattr(X, "__len__") and (hasattr(X, "to_numpy") or hasattr(X, "shape"))
        steps = len(X) if has_steps and len(getattr(X, "shape", (0,))) == 1 else 0
    if steps:
        raise ValueError(
            f"{name} is one series of {steps} steps, not {_EXPECTED}; [{name}] is a list of one, read as one long series. "
            "Reshape your data to 2D, (n, t), if it is n windows of equal length"
        )


def _checked(check: Callable[[Any], NDArray[np.float64]], X: Any, name: str) -> NDArray[np.float64]:
    """Return a table as scikit-learn checks it, which is shown no tensor, mask or Python object, and forgets the name."""
    if hasattr(X, "iloc"):
        if "object" in map(str, X.dtypes):
            X = X.__class__(_cells(X.to_numpy(object), name), columns=X.columns, index=X.index)
    elif isinstance(X, list | tuple | np.ndarray | Tensor):
        X = as_array(X, name)
        X = _cells(X, name) if X.dtype.kind == "O" else X
    try:
        return check(X)
    except (TypeError, ValueError) as error:
        if re.search(rf"\b{name}\b", str(error)):
            raise
        told = re.sub(r"np\.str_\((.*?)\)", r"\1", str(error).splitlines()[0])  # an array that is shown takes many lines
        raise type(error)(f"{name} cannot be read as a table of windows: {told}") from error


def _rows(table: NDArray[np.float64], name: str) -> list[Window]:
    """Return each row ``(t,)`` of a table as a window ``(t, 1)``."""
    windows = [row[:, None] for row in table]
    _refuse_infinite(windows, name)
    return windows


def _cells(values: NDArray[np.object_], name: str, axes: tuple[str, ...] = ("row", "column")) -> NDArray[np.float64]:
    """Return Python objects as numbers, those written as text among them, as scikit-learn reads them."""
    parsed = values.copy()
    for place, value in np.ndenumerate(values):
        with suppress(ValueError):
            parsed[place] = float(value) if isinstance(value, str) else value
    return each_number(parsed, lambda place: "at " + ", ".join(f"{axes[j]} {k}" for j, k in enumerate(place)), name)


def read_windows(X: Any, *, name: str = "X") -> list[Window]:
    """Read a block ``(n, c, t)`` or a list of arrays ``(t, c)`` or ``(t,)``; what is wrong is refused by its place."""
    if isinstance(X, list | tuple):
        found = [_sequence(one, i, name) for i, one in enumerate(X)]
    elif getattr(X, "ndim", None) == 3:
        block = _numbers(X, name)
        found = [one.T for one in block]
    elif hasattr(X, "ndim"):
        raise ValueError(f"{name} has {X.ndim} axes; give {_EXPECTED}, where there is one sequence [{name}]")
    else:
        raise TypeError(f"{name} must be {_EXPECTED}, got {type(X).__name__}")
    if not found:
        raise ValueError(f"{name} holds no sequence; give one or more")
    for i, one in enumerate(found):
        if not one.size:
            raise ValueError(f"{name}[{i}] holds nothing, shape {one.shape}; drop it, or give it a step and a channel")
    _refuse_unequal_channels(found, name)
    _refuse_infinite(found, name)
    return found


def _shape(one: Any) -> tuple[int, ...] | None:
    """Return the shape of an array or nested list, None where it has none."""
    try:
        return np.shape(one) if hasattr(one, "shape") or not _ragged(one) else None
    except ValueError:  # a list of arrays of unequal shapes, or within itself
        return None


def _ragged(one: Any) -> bool:
    """Tell whether something without a shape is a list of lists of unequal lengths."""
    parts = {len(x) if isinstance(x, list | tuple) else -1 for x in one} if isinstance(one, list | tuple) else set()
    return len(parts) > 1 or (bool(parts) and any(x is one for x in one))  # a list within itself has no end


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Return something as float64; what is no number is refused."""
    found = as_array(values, name)
    if found.dtype.kind in "mM":
        raise ValueError(f"{name} holds times, of type {found.dtype}; give numbers")
    if found.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} is of type {found.dtype}; give real numbers")
    if found.dtype.kind == "O" and found.ndim:
        return _cells(found, name, ("step", "channel") if found.ndim < 3 else ("sequence", "channel", "step"))
    try:
        return found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is of type {found.dtype} and holds something that is no number: {error}") from None


def _sequence(one: Any, i: int, name: str) -> Window:
    """Return one sequence of a list as an array ``(t, c)``."""
    if isinstance(one, str | bytes) or one is None:
        raise TypeError(f"{name}[{i}] is {one!r}, not numbers; a list holds one array (t, c) a sequence")
    if _ragged(one):
        raise ValueError(f"{name}[{i}] has steps of unequal numbers of channels; give an array (t, c)")
    found = _numbers(one.to_numpy() if hasattr(one, "to_numpy") else one, f"{name}[{i}]")
    if found.ndim not in (1, 2):
        raise ValueError(f"{name}[{i}] has {found.ndim} axes; a sequence of a list is (t, c), or (t,) with one channel")
    return found[:, None] if found.ndim == 1 else found


def _refuse_unequal_channels(found: list[Window], name: str) -> None:
    """Raise if sequences differ in channels; says so if they look transposed."""
    channels = [one.shape[1] for one in found]
    if len(set(channels)) == 1:
        return
    odd = next(i for i, count in enumerate(channels) if count != channels[0])
    message = (
        f"{name}[0] has {channels[0]} channels and {name}[{odd}] has {channels[odd]}; give all the same ones, as (t, c)"
    )
    if len({len(one) for one in found}) == 1:
        message += f". All have {len(found[0])} rows: transposed? Then give (t, c), {name}[i].T"
    raise ValueError(message)


def _refuse_infinite(windows: list[Window], name: str) -> None:
    for i, one in enumerate(windows):
        where = np.argwhere(np.isinf(one))
        if len(where):
            step, channel = where[0].tolist()
            raise ValueError(
                f"{name}[{i}] is {one[step, channel]} at step {step}, channel {channel}; give a finite number, or NaN where "
                "nothing was measured"
            )


def common_scale(windows: Sequence[Window]) -> Scale:
    """Return level and spread of every channel over all steps of some sequences, ``(1, c)`` each."""
    return long_run_scale(torch.from_numpy(np.concatenate(windows).T.copy())[None])


def batch_of_windows(
    windows: Sequence[Window], scale: Scale, *, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return sequences ``(t, c)`` as one batch ``(b, 2 c, t)``, and their lengths ``(b,)``.

    The batch holds each channel in spreads from its level (taken in float64), 0 where missing, and then a 1 for each channel
    where it is missing; zeros past the end of a shorter sequence.
    """
    scale = Scale(scale.level.double().cpu(), scale.spread.double().cpu())
    lengths = torch.tensor([len(one) for one in windows])
    steps = int(lengths.max())
    padded = scale.level[..., None].expand(len(windows), -1, steps).numpy().copy()
    for row, one in zip(padded, windows, strict=True):
        row[:, : len(one)] = one.T
    near = on_long_run_scale(torch.from_numpy(padded), scale)
    inputs = torch.cat([near.nan_to_num(0.0), near.isnan().double()], dim=1)
    return inputs.to(device=device, dtype=dtype), lengths.to(device)
