"""Forecasts of a horizon: a direct linear path, the memory's correction, and quantiles that cannot cross."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.inputs.series import Extras, Windows


class Forecast(NamedTuple):
    """What is said at ``n`` origins, on each window's own scale.

    Attributes
    ----------
    point : Tensor
        ``(b, c, n, f)``: the median.
    quantiles : Tensor
        ``(b, c, n, f, q)``, increasing along the last axis.
    """

    point: Tensor
    quantiles: Tensor


class LinearPath(nn.Module):
    """The whole look-back to the whole horizon by one matrix: the floor that a memory must improve on.

    Parameters
    ----------
    lookback, horizon : int
        Rows seen and rows forecast.
    future : int
        Covariates known in advance: each adds a weight a step and, through a small network of the step's covariates, a
        non-linear effect shared by all steps.
    """

    def __init__(self, lookback: int, horizon: int, *, future: int = 0) -> None:
        super().__init__()
        self.past = nn.Linear(lookback, horizon)
        nn.init.zeros_(self.past.weight)
        nn.init.zeros_(self.past.bias)
        self.future = FutureEffect(future) if future else None

    def forward(self, windows: Windows, extras: Extras) -> Tensor:
        """Return ``(b, c, n, f)`` on the window's scale."""
        out = self.past(windows.values)
        if self.future is not None:
            out = out + self.future(extras.future)[:, None]
        return out


class FutureEffect(nn.Module):
    """The effect of covariates known in advance, the same at every step of the horizon."""

    def __init__(self, covariates: int, *, inner: int = 16) -> None:
        super().__init__()
        self.inside = nn.Linear(covariates, inner)
        self.outside = nn.Linear(inner, 1)
        self.straight = nn.Linear(covariates, 1, bias=False)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)
        nn.init.zeros_(self.straight.weight)

    def forward(self, future: Tensor) -> Tensor:
        """Map ``(b, n, f, covariates)`` to ``(b, n, f)``."""
        return (self.outside(torch.tanh(self.inside(future))) + self.straight(future)).squeeze(-1)


class ForecastHead(nn.Module):
    """The memory's correction to the direct path, starting at zero.

    Parameters
    ----------
    width, horizon, channels : int
        Model width ``d``, rows ``f`` and channels ``c`` of a forecast.
    dropout : float, default=0.0
        Share of the model's output set to zero in training.
    """

    def __init__(self, width: int, horizon: int, *, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = channels
        self.dropout = nn.Dropout(dropout)
        self.correct = nn.Linear(width, channels * horizon)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(b, n, d)`` to ``(b, c, n, f)``."""
        return self.correct(self.dropout(hidden)).unflatten(-1, (self.channels, -1)).transpose(1, 2)


class QuantileHead(nn.Module):
    """Quantiles around the median: a width a step, from a token, times distances that can only grow outwards.

    Parameters
    ----------
    width, horizon, channels : int
        Model width ``d``, rows ``f`` and channels ``c``.
    quantiles : tuple of float
        Increasing, inside (0, 1).

    Attributes
    ----------
    stretch : Tensor
        ``(q,)``: factors on the distances, fitted to validation rows after training.
    """

    def __init__(self, width: int, horizon: int, *, channels: int, quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.channels = channels
        self.widths = nn.Linear(width, channels * horizon)
        nn.init.zeros_(self.widths.weight)
        nn.init.zeros_(self.widths.bias)
        levels = torch.tensor(quantiles, dtype=torch.float64)
        normal = torch.special.ndtri(levels)
        self.below = int((levels < 0.5).sum())
        self.middle = bool((levels == 0.5).any())
        outward = torch.cat([normal[: self.below].neg().flip(0), normal[self.below + self.middle :]])
        split = self.below
        grow = torch.cat(
            [torch.diff(side, prepend=torch.zeros_like(side[:1])) for side in (outward[:split], outward[split:])]
        )
        self.stretch: Tensor
        self.register_buffer("stretch", torch.ones(len(quantiles)))
        self.growth = nn.Parameter(torch.log(torch.expm1(grow)).float().repeat(horizon, 1))

    def forward(self, point: Tensor, hidden: Tensor) -> Tensor:
        """Return ``(b, c, n, f, q)`` around ``point`` ``(b, c, n, f)``."""
        width = nn.functional.softplus(self.widths(hidden)).unflatten(-1, (self.channels, -1)).transpose(1, 2)
        growth = nn.functional.softplus(self.growth)
        lower = -growth[:, : self.below].cumsum(-1).flip(-1)
        upper = growth[:, self.below :].cumsum(-1)
        middle = [growth.new_zeros(len(growth), 1)] if self.middle else []
        distance = self.stretch * torch.cat([lower, *middle, upper], dim=-1)  # f q
        return point[..., None] + width[..., None] * distance.sort(dim=-1).values
