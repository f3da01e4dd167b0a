"""The fast form: chunks of tokens at once, equal to the reference.

``chunk_size`` is how the work is cut and never changes an answer; ``refresh_every`` belongs to the rule and does. A
chunk is split at refresh boundaries, which are counted from position 0 of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from titans_ts.ops.chunked_parts import close_memory, open_memory, read_memory, tokens_unread, write_memory
from titans_ts.ops.rule import Gates, Initial, StoreNorm, StoreState, WriteRule, check_arguments


def memory_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    rule: WriteRule,
    state: StoreState,
    *,
    initial: Initial = None,
    norm: StoreNorm | None = None,
    chunk_size: int = 64,
    observe: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, StoreState]:
    """Write and read a memory chunk by chunk: what :func:`~titans_ts.ops.recurrent.memory_recurrent` computes, fast.

    A linear store solves one unit-triangular system a chunk, whatever ``refresh_every``. A deeper store walks from
    refresh to refresh, all tokens of one at once; with ``refresh_every=1`` that is one token at a time.

    Parameters
    ----------
    q, k : Tensor
        Queries and keys, ``(b, h, t, k)``; ``t`` need not divide by anything.
    v : Tensor
        Values, ``(b, h, t, v)``.
    gates : Gates
        Logarithms of step size, retention and momentum, ``(b, h, t)`` each.
    rule : WriteRule
        Which memory this is.
    state : StoreState
        Where an earlier call stopped, or :func:`~titans_ts.ops.rule.fresh_state`.
    initial : sequence of Tensor, optional
        ``M_0``, needed when ``rule.forget_towards == "initial"`` and something is forgotten.
    norm : StoreNorm, optional
        For a store with a normalised residual around its layers; it is run refresh by refresh.
    chunk_size : int, default=64
        Tokens worked on at once.
    observe : callable, optional
        Called, piece by piece in order, with the surprise ``(layers, b, h, tokens)``: the norms ``|x||g|`` of the
        writes before clipping.

    Returns
    -------
    output : Tensor
        ``(b, h, t, v)``, what each token read after its own write.
    state : StoreState
        To hand to the next call.

    Raises
    ------
    ValueError
        If shapes do not fit, the rule refuses the store, or ``chunk_size`` is below 1.

    Notes
    -----
    A chunk of a linear store in which a write would be clipped is run refresh by refresh instead, since later errors
    depend on the earlier clipped ones.

    References
    ----------
    arXiv 2501.00663, equations 16 to 18; 2406.06484 for the triangular form of the delta rule.

    Examples
    --------
    >>> import torch
    >>> from titans_ts.ops import fresh_state, memory_recurrent
    >>> _ = torch.manual_seed(0)
    >>> q, k, v = torch.randn(3, 1, 2, 50, 4, dtype=torch.float64)
    >>> gates = Gates(torch.full((1, 2, 50), -3.0, dtype=torch.float64))
    >>> start = fresh_state([torch.zeros(2, 4, 4, dtype=torch.float64)], batch=1, momentum=False)
    >>> fast, _ = memory_chunked(q, k, v, gates, WriteRule(), start)
    >>> true, _ = memory_recurrent(q, k, v, gates, WriteRule(), start)
    >>> bool((fast - true).abs().max() < 1e-12)
    True
    """
    check_arguments(q, k, v, gates, rule, state, initial, norm)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or more tokens, got {chunk_size}")
    initial = None if gates.log_retention is None else initial  # nothing is forgotten
    memory = open_memory(state, rule, batch=len(k), initial=initial, norm=norm, chunk_size=chunk_size)
    outputs, most = [], tokens_unread(memory)
    for first in range(0, k.shape[2], most):
        here = slice(first, first + most)
        now = gates.changed(lambda gate: gate[:, :, here])  # noqa: B023
        unread, memory = write_memory(q[:, :, here], k[:, :, here], v[:, :, here], now, memory, observe=observe)
        outputs.append(read_memory(unread, memory))
    if len(outputs) != 1:
        return (torch.cat(outputs, dim=2) if outputs else v), close_memory(memory)
    return outputs[0], close_memory(memory)
