"""The modern Hopfield network's retrieval: a state that settles among stored patterns."""

from __future__ import annotations

from torch import Tensor

from titans_ts.ops.attention import windowed_attention


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
    """Move each token's state among the stored patterns it sees, and read what belongs to where it comes to rest.

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
