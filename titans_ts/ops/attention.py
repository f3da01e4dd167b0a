"""Attention to a window of the past and to tokens that are always visible, to all of the past, and the Hopfield update."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.ops.shapes import check_shape


def windowed_attention(
    q: Tensor, k: Tensor, v: Tensor, *, window: int, always: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Attend causally to the last ``window`` tokens, oneself included, and to tokens that are always visible.

    Queries are taken in blocks of one window, each against two windows of keys, so cost and memory grow with the length
    and not with its square.

    Parameters
    ----------
    q : Tensor
        ``(b, h, t, k)``.
    k, v : Tensor
        ``(b, h, past + t, k)`` and ``(b, h, past + t, v)``: the keys and values of earlier tokens first. Only the last
        ``window - 1`` of them can be seen.
    window : int
        Tokens that a query sees.
    always : tuple of two Tensor, optional
        Keys and values ``(b, h, m, k)``, ``(b, h, m, v)`` that every query sees (persistent memory, eq 19).

    Returns
    -------
    Tensor
        ``(b, h, t, v)``.

    Raises
    ------
    ValueError
        If there are fewer keys than queries or the window is below 1.

    References
    ----------
    arXiv 2501.00663, equations 26 to 31; 2004.05150 for sliding windows.

    Examples
    --------
    >>> import torch
    >>> v = torch.arange(5.0).reshape(1, 1, 5, 1)
    >>> windowed_attention(torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2), v, window=2).flatten().tolist()
    [0.0, 0.5, 1.5, 2.5, 3.5]
    """
    size = check_shape(q, "b h t k", name="queries")
    if window < 1:
        raise ValueError(f"window must be 1 or more tokens, got {window}")
    past = _past(k, size["t"])
    if size["t"] == 0:
        return v[:, :, :0]
    block = min(window, size["t"])
    blocks = -(-size["t"] // block)
    reach = window - 1
    before, after = max(reach - past, 0), blocks * block - size["t"]
    if past > reach:
        k, v = k[:, :, past - reach :], v[:, :, past - reach :]
    k, v = (F.pad(x, (0, 0, before, after)).unfold(2, block + reach, block).mT for x in (k, v))  # b h blocks j k
    q = F.pad(q, (0, 0, 0, after)).unflatten(2, (blocks, block))
    i = torch.arange(block, device=q.device)[:, None]
    j = torch.arange(block + reach, device=q.device)[None, :]
    real = j + torch.arange(blocks, device=q.device)[:, None, None] * block >= before
    visible = (j >= i) & (j <= i + reach) & real  # blocks i j
    if always is not None:
        k, v = (torch.cat([a[:, :, None].expand(-1, -1, blocks, -1, -1), x], 3) for a, x in zip(always, (k, v), strict=True))
        visible = F.pad(visible, (always[0].shape[2], 0), value=True)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    return out.flatten(2, 3)[:, :, : size["t"]]


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend to every token so far, oneself included: cost grows with the square of the length.

    Parameters
    ----------
    q : Tensor
        ``(b, h, t, k)``.
    k, v : Tensor
        ``(b, h, past + t, k)`` and ``(b, h, past + t, v)``: the last query stands beside the last key. What every query
        sees comes first, as if it were of the past.

    Returns
    -------
    Tensor
        ``(b, h, t, v)``.

    Raises
    ------
    ValueError
        If there are fewer keys than queries.

    References
    ----------
    arXiv 1706.03762, equation 1.

    Examples
    --------
    >>> import torch
    >>> v = torch.arange(4.0).reshape(1, 1, 4, 1)
    >>> causal_attention(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 4, 2), v).flatten().tolist()
    [0.5, 1.0, 1.5]
    """
    size = check_shape(q, "b h t k", name="queries")
    past = _past(k, size["t"])
    if size["t"] == 0:
        return v[:, :, :0]
    if past <= size["t"]:
        # Idle queries for a short past make the triangle square: no mask is stored, and fused kernels skip its other half.
        padded = F.pad(q, (0, 0, past, 0))
        return F.scaled_dot_product_attention(padded, k, v, is_causal=True)[:, :, past:]
    visible = torch.ones(size["t"], k.shape[2], dtype=torch.bool, device=q.device).tril(past)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)


def _past(k: Tensor, queries: int) -> int:
    """Return how many keys stand before those of the queries."""
    past = k.shape[2] - queries
    if past < 0:
        raise ValueError(f"there are {k.shape[2]} keys for {queries} queries; expected at least as many")
    return past


def windowed_association(
    states: Tensor,
    stored: Tensor,
    projected: Tensor,
    *,
    beta: Tensor,
    window: int,
    updates: int = 1,
    always: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Move each token's state among the stored patterns of a window (Hopfield), and read what its last place stands for.

    An update is ``xi <- X softmax(beta X^T xi)``. The shares of the last one weigh the projections in place of the patterns,
    so that ``updates=1`` with ``beta = 1 / sqrt(k)`` is attention. With ``projected=stored`` the state itself comes back.

    Parameters
    ----------
    states : Tensor
        ``(b, h, t, k)``: where each token starts.
    stored, projected : Tensor
        ``(b, h, past + t, k)`` and ``(b, h, past + t, v)``: patterns of earlier tokens first, and what each stands for.
    beta : Tensor
        ``(h,)``: inverse temperature of each head, above 0. A large one finds a single pattern, a small one the mean of all.
    window : int
        Tokens whose patterns a state sees, its own included.
    updates : int, default=1
        How often the softmax is taken.
    always : tuple of two Tensor, optional
        Patterns ``(b, h, m, k)`` and projections ``(b, h, m, v)`` that every state sees.

    Returns
    -------
    Tensor
        ``(b, h, t, v)``.

    Raises
    ------
    ValueError
        If updates or the window is below 1, or there are fewer patterns than states.

    Notes
    -----
    No update raises the energy ``-logsumexp(beta X^T xi) / beta + |xi|^2 / 2`` (theorem 1): states cannot run away, and
    from the first update on they lie among the patterns.

    References
    ----------
    arXiv 2008.02217, equations 2 (energy, here without its constants) and 3 (update).

    Examples
    --------
    >>> import torch
    >>> patterns = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, None]
    >>> noisy = torch.tensor([[0.9, 0.3], [0.6, 0.7]])[None, None]
    >>> found = windowed_association(noisy, patterns, patterns, beta=torch.tensor([30.0]), window=2, updates=3)
    >>> found[0, 0].round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if updates < 1:
        raise ValueError(f"updates must be 1 or more, got {updates}")
    sharpness = (beta * states.shape[-1] ** 0.5)[:, None, None]  # attention divides by sqrt(k)
    patterns = None if always is None else (always[0], always[0])
    for _ in range(updates - 1):
        states = windowed_attention(states * sharpness, stored, stored, window=window, always=patterns)
    return windowed_attention(states * sharpness, stored, projected, window=window, always=always)
