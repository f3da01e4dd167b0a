"""The gated feed-forward layer that follows every sequence layer."""

from __future__ import annotations

from torch import Tensor, nn


class FeedForward(nn.Module):
    """SwiGLU: ``W_out (silu(W_gate x) * W_in x)``, token by token.

    Parameters
    ----------
    width : int
        Model width ``d``.
    expansion : float, default=2.0
        Inner width as a multiple of ``d``.
    dropout : float, default=0.0
        Share of inner entries set to zero in training.

    References
    ----------
    arXiv 2002.05202.
    """

    def __init__(self, width: int, *, expansion: float = 2.0, dropout: float = 0.0) -> None:
        super().__init__()
        inner = max(int(width * expansion), 1)
        self.expand = nn.Linear(width, 2 * inner, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        gate, inner = self.expand(x).chunk(2, dim=-1)
        return self.contract(self.dropout(nn.functional.silu(gate) * inner))
