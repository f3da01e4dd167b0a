"""One letter an axis, one meaning in the whole library, and the check that holds tensors to it.

==== =============  ==== =============  ==== ==============
b    batch          k    key width      c    channels
t    time (tokens)  v    value width    p    patch (rows)
h    head           d    model width    f    horizon (rows)
n    chunk (tokens) l    look-back rows s    static features
==== =============  ==== =============  ==== ==============

Inside ``titans_ts.ops`` the layout is always ``b h t ...``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def check_shape(x: Tensor, axes: str, *, name: str, **sizes: int) -> dict[str, int]:
    """Hold a tensor to its axis letters, and some letters to a size; returns the size of every axis.

    Examples
    --------
    >>> import torch
    >>> check_shape(torch.zeros(2, 4, 5, 8), "b h t k", name="keys", b=2)["t"]
    5
    """
    letters = axes.split()
    shape = tuple(x.shape)
    if len(shape) != len(letters):
        raise ValueError(f"{name} has shape {shape}; expected {len(letters)} axes, ({', '.join(letters)})")
    found = dict(zip(letters, shape, strict=True))
    for letter, size in sizes.items():
        if letter in found and found[letter] != size:
            raise ValueError(f"{name} has shape {shape}; expected axis {letter!r} of ({', '.join(letters)}) to be {size}")
    return found
