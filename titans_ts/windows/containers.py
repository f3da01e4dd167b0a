"""Numeric sequences of any lengths as one thing: rows of a table, a block of three axes, or a list of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.blocks.scale import Scale, long_run_scale, on_long_run_scale

_EXPECTED = "a table of windows (n, t), a block (n, c, t) or a list of arrays (t, c)"


@dataclass(frozen=True)
class WindowTable:
    """Sequences of numbers, each ``(t, c)``.

    Attributes
    ----------
    values : list of ndarray (t, c)
        float64, NaN where nothing was measured.
    channels : int
        Of each.
    """

    values: list[NDArray[np.float64]]
    channels: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> list[int]:
        """Steps of each sequence."""
        return [len(one) for one in self.values]

    @property
    def length(self) -> int | None:
        """Steps of all, where they are alike."""
        found = set(self.lengths)
        return found.pop() if len(found) == 1 else None


def is_table(X: Any) -> bool:
    """Tell whether a container is a table, whose rows are windows of one channel, and not a list of sequences or a block.

    A list of rows of equal length is a table too, but for one array alone: that is a list of one sequence.

    Examples
    --------
    >>> is_table([[1, 2], [3, 4]]), is_table([np.zeros((5, 2))]), is_table([np.zeros(5)]), is_table(np.zeros((3, 1, 5)))
    (True, False, False, False)
    """
    if isinstance(X, list | tuple) and len(X):
        if len(X) == 1 and len(getattr(X[0], "shape", ())):
            return False  # a list of one array: one sequence
        shapes = [np.shape(one) if hasattr(one, "shape") or not _ragged(one) else None for one in X]
        return all(shape is not None and len(shape) <= 1 for shape in shapes) and len(set(shapes)) == 1
    return getattr(X, "ndim", None) != 3


def unmasked(X: Any) -> Any:
    """Return a container in which NaN stands for what a mask of numpy hides, in itself or in what it lists.

    Examples
    --------
    >>> unmasked([np.ma.array([1, 7], mask=[False, True]), [2]])
    [array([ 1., nan]), [2]]
    """
    if isinstance(X, list | tuple):
        return [unmasked(one) for one in X] if any(isinstance(one, np.ma.MaskedArray) for one in X) else X
    if isinstance(X, np.ma.MaskedArray) and X.dtype.kind in "biuf":
        return np.ma.filled(X.astype(np.float64), np.nan)
    return X


def rows_as_windows(table: NDArray[np.float64]) -> WindowTable:
    """Return the rows of a table ``(n, t)`` as sequences of one channel."""
    return WindowTable([row[:, None] for row in table], 1)


def read_windows(X: Any, *, name: str = "X") -> WindowTable:
    """Read sequences that are no table.

    Parameters
    ----------
    X : ndarray (n, c, t), or list of arrays (t, c) or (t,)
        Sequences; those of a list may differ in length. NaN marks what was not measured.
    name : str, default="X"
        For messages.

    Returns
    -------
    WindowTable
        n sequences.

    Raises
    ------
    TypeError, ValueError
        If X is something else, empty, infinite, of unequal channels, or looks transposed; the message names the sequence,
        the step and the channel.

    Examples
    --------
    >>> read_windows([[1.0, 2.0], [3.0, 4.0, 5.0]]).lengths
    [2, 3]
    >>> read_windows(np.zeros((4, 2, 50))).values[0].shape
    (50, 2)
    """
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
    for i, one in enumerate(found):
        where = np.argwhere(np.isinf(one))
        if len(where):
            step, channel = where[0].tolist()
            raise ValueError(
                f"{name}[{i}] is {one[step, channel]} at step {step}, channel {channel}; give a finite number, or NaN where "
                "nothing was measured"
            )
    return WindowTable(found, found[0].shape[1])


def _ragged(one: Any) -> bool:
    """Tell whether something without a shape is a list of lists of unequal lengths."""
    return isinstance(one, list | tuple) and len({len(x) if isinstance(x, list | tuple) else -1 for x in one}) > 1


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Return something as float64, or say what it is."""
    found = np.asarray(unmasked(values))
    if found.dtype.kind in "mM":
        raise ValueError(f"{name} holds times, of type {found.dtype}; give numbers")
    if found.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} is of type {found.dtype}; give real numbers")
    try:
        return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is of type {found.dtype} and holds something that is no number: {error}") from None


def _sequence(one: Any, i: int, name: str) -> NDArray[np.float64]:
    if isinstance(one, str | bytes) or one is None:
        raise TypeError(f"{name}[{i}] is {one!r}, not numbers; a list holds one array (t, c) a sequence")
    if _ragged(one):
        raise ValueError(f"{name}[{i}] has steps of unequal numbers of channels; give an array (t, c)")
    found = _numbers(one.to_numpy() if hasattr(one, "to_numpy") else one, f"{name}[{i}]")
    if found.ndim not in (1, 2):
        raise ValueError(f"{name}[{i}] has {found.ndim} axes; a sequence of a list is (t, c), or (t,) with one channel")
    return found[:, None] if found.ndim == 1 else found


def _refuse_unequal_channels(found: list[NDArray[np.float64]], name: str) -> None:
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


def common_scale(values: Sequence[NDArray[np.float64]]) -> Scale:
    """Return level and spread of every channel over all steps of some sequences ``(t, c)``, ``(1, c)`` each.

    Examples
    --------
    >>> common_scale([np.array([[1.0]]), np.array([[3.0], [np.nan]])]).level.tolist()
    [[2.0]]
    """
    return long_run_scale(torch.from_numpy(np.concatenate(values).T.copy())[None])


def as_windows(
    values: Sequence[NDArray[np.float64]], scale: Scale, *, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return sequences ``(t, c)`` as one batch ``(b, 2 c, t)``, and their lengths ``(b,)``.

    Parameters
    ----------
    values : sequence of ndarray (t, c)
        NaN where missing.
    scale : Scale
        Level and spread of every channel, ``(1, c)``.
    device : torch.device
        Where the batch shall lie.
    dtype : torch.dtype
        Of the batch; differences from the level are taken in float64.

    Returns
    -------
    inputs : Tensor
        ``(b, 2 c, t)``: each channel in spreads from its level, 0 where missing, and a 1 for each channel where it is
        missing; zeros past the end of a shorter sequence.
    lengths : Tensor
        ``(b,)``.

    Examples
    --------
    >>> scale = Scale(torch.ones(1, 1).double(), 2 * torch.ones(1, 1).double())
    >>> inputs, lengths = as_windows(
    ...     [np.array([[3.0], [np.nan]]), np.array([[1.0]])], scale, device=torch.device("cpu"), dtype=torch.float32
    ... )
    >>> inputs.tolist(), lengths.tolist()
    ([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]], [2, 1])
    """
    lengths = torch.tensor([len(one) for one in values])
    padded = torch.zeros(len(values), values[0].shape[1], int(lengths.max()), dtype=torch.float64)
    padded += scale.level.cpu()[..., None]
    for row, one in zip(padded, values, strict=True):
        row[:, : len(one)] = torch.from_numpy(one.T.copy())
    near = on_long_run_scale(padded, Scale(scale.level.cpu(), scale.spread.cpu()))
    inputs = torch.cat([near.nan_to_num(0.0), near.isnan().double()], dim=1)
    return inputs.to(device=device, dtype=dtype), lengths.to(device)
