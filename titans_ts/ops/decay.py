"""How much of an old write is left: products of gates between two tokens, without subtracting running sums."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.rule import Gates


class Decays(NamedTuple):
    """Shares of old and new in a chunk of ``n`` tokens; ``None`` where a part is switched off.

    Attributes
    ----------
    write : Tensor
        ``C = D(a) D(eta)``, ``(..., n, n)``: how much the write of token s counts in ``M_t``.
    memory : Tensor or None
        ``A``, ``(..., n)``: how much of the memory before the chunk is left in ``M_t``; ``None`` for all.
    momentum : Tensor or None
        ``B``, ``(..., n)``: how much of the momentum before the chunk has entered ``M_t``.
    write_last, memory_last, momentum_last : Tensor or None
        The last row of ``write`` and the last entries of ``memory`` and ``momentum``: what counts in the last memory.
    write_momentum : Tensor or None
        Last row of ``D(eta)``, ``(..., n)``: how much the write of s counts in the last momentum.
    momentum_left : Tensor or None
        ``(...)``: how much of the momentum before the chunk is left in the last one.
    """

    write: Tensor
    memory: Tensor | None
    momentum: Tensor | None
    write_last: Tensor
    memory_last: Tensor | None
    momentum_last: Tensor | None
    write_momentum: Tensor | None
    momentum_left: Tensor | None


def decay_matrix(log_gate: Tensor) -> Tensor:
    """Return ``D[t, s] = prod of gates over s < r <= t``, lower triangular with ones on the diagonal.

    Built from masked segment sums: the difference of two running sums loses 1e-4 in float32 after strong forgetting.

    Parameters
    ----------
    log_gate : Tensor
        ``(..., n)``, logarithms of a factor a token.

    Returns
    -------
    Tensor
        ``(..., n, n)``.

    Examples
    --------
    >>> import torch
    >>> decay_matrix(torch.tensor([0.9, 0.5, 0.2]).log()).round(decimals=3).tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.10000000149011612, 0.20000000298023224, 1.0]]
    """
    n = log_gate.shape[-1]
    below = torch.ones(n, n, dtype=torch.bool, device=log_gate.device).tril(-1)
    terms = log_gate[..., :, None].expand(*log_gate.shape, n).masked_fill(~below, 0)
    return terms.cumsum(-2).exp().tril()


def chunk_decays(gates: Gates) -> Decays:
    """Return every share that a chunk needs, for gates of ``(..., n)`` tokens."""
    retention, inertia = gates.log_retention, gates.log_momentum
    n = gates.log_step.shape[-1]
    memory = None if retention is None else retention.cumsum(-1).exp()
    memory_last = None if memory is None else memory[..., -1]
    keep = None if retention is None else decay_matrix(retention)
    if inertia is None:
        write = torch.ones_like(gates.log_step)[..., None].expand(*gates.log_step.shape, n).tril() if keep is None else keep
        return Decays(write, memory, None, write[..., -1, :], memory_last, None, None, None)
    carry = decay_matrix(inertia)
    left = inertia.cumsum(-1).exp()  # m_t
    write = carry.cumsum(-2) if keep is None else keep @ carry
    entered = left.cumsum(-1) if keep is None else (keep @ left[..., None])[..., 0]
    last = (write[..., -1, :], memory_last, entered[..., -1])
    return Decays(write, memory, entered, *last, carry[..., -1, :], left[..., -1])
