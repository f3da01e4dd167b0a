"""The forecasting network: a base solved in closed form, the memory's correction to it, quantiles around their sum.

Files of older models hold a linear path in place of the base, and quantiles of their own: both are read on.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.backbones.stack import Backbone, State
from titans_ts.blocks.chance import Dropout
from titans_ts.series.base.base import Base
from titans_ts.series.recollection import Recollection
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.tensors import Covariates, Lookback, SeriesEmbedding


class Forecast(NamedTuple):
    """Forecasts from ``n`` tokens, on the scale of each look-back."""

    point: Tensor  # b c n f, the median
    quantiles: Tensor  # b c n f q, increasing along the last axis


class LinearPath(nn.Module):
    """The whole look-back to the whole horizon by one matrix, in models without a base."""

    def __init__(self, lookback: int, horizon: int, *, future: int = 0) -> None:
        super().__init__()
        self.past = nn.Linear(lookback, horizon)
        nn.init.zeros_(self.past.weight)
        nn.init.zeros_(self.past.bias)
        self.future = FutureEffect(future) if future else None

    def forward(self, lookback: Lookback, covariates: Covariates) -> Tensor:
        """Return ``(b, c, n, f)`` on the look-back's scale."""
        out = self.past(lookback.values)
        if self.future is not None:
            out = out + self.future(covariates.future)[:, None]
        return out


class FutureEffect(nn.Module):
    """The effect of covariates known in advance, linear and through a small network, the same at every step."""

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
    """The memory's correction to what it stands on, starting at zero."""

    def __init__(self, width: int, horizon: int, *, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = channels
        self.dropout = Dropout(dropout)
        self.correct = nn.Linear(width, channels * horizon)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(b, n, d)`` to ``(b, c, n, f)``."""
        return self.correct(self.dropout(hidden)).unflatten(-1, (self.channels, -1)).transpose(1, 2)


class QuantileHead(nn.Module):
    """Quantiles around the median: a width a step, from a token, times distances that can only grow outwards.

    ``stretch`` ``(q,)``, factors on the distances, is fitted to validation rows after training.
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


class ForecastNetwork(nn.Module):
    """A stream of patches in, ``base + head(backbone(tokens))`` out: a forecast at every patch end.

    The head starts at zero. A ``recollection`` adds what this sum got wrong when the look-back looked as it does now.
    Without a ``base``, a linear path of the look-back stands in its place.
    """

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        self.config = config
        self.direct: LinearPath | None = None
        self.base: Base | None = None
        self.quantile_head: QuantileHead | None = None
        width = config.backbone.width
        extra = config.calendar + 2 * config.past * config.patch_length + config.static
        self.embedding = SeriesEmbedding(
            width,
            patch_length=config.patch_length,
            channels=config.token_channels,
            extra=extra,
            channel_names=config.streams,
            level=config.level,
        )
        if config.base is None:
            self.direct = LinearPath(config.lookback, config.horizon, future=config.future)
        else:
            self.base = Base(config.base)
        self.backbone = Backbone(config.backbone)
        self.head = ForecastHead(width, config.horizon, channels=config.token_channels, dropout=config.backbone.dropout)
        if config.base is None:
            self.quantile_head = QuantileHead(
                width, config.horizon, channels=config.token_channels, quantiles=config.quantiles
            )
        self.recollection: Recollection | None = None
        if config.recollection:
            rows = (config.lookback, config.horizon, config.patch_length)
            self.recollection = Recollection(
                *rows, features=config.recollection, cases=config.cases, channels=config.token_channels
            )

    def take_base(self, config: ForecastConfig) -> None:
        """Stand on a blank base of another configuration."""
        self.config, self.base = config, None if config.base is None else Base(config.base)

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number that the network computes in."""
        return self.embedding.project.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.embedding.project.weight.device

    @property
    def listens(self) -> bool:
        """Whether tokens leave anything in the state."""
        return self.config.layers_read > 0 or self.recollection is not None

    def although_unheard(self) -> ForecastNetwork:
        """Return a network of the same weights whose backbone is read, whether or not its correction is used."""
        if self.config.heard:
            return self
        found = copy.copy(self)
        found.config = replace(self.config, heard=True)
        return found

    def initial_state(self, batch: int) -> State:
        """Return the state before the first token: the backbone's layers, and then the recollection's."""
        before = self.backbone.initial_state(batch) if self.config.heard else ()
        return before if self.recollection is None else (*before, self.recollection.initial_state(batch))

    def state_after(self, batch: int, tokens: int) -> State:
        """Return a state of the form that reading so many tokens leaves."""
        backbone = self.backbone.state_after(batch, tokens) if self.config.heard else ()
        return backbone if self.recollection is None else (*backbone, self.recollection.initial_state(batch))

    def forward(
        self,
        lookback: Lookback,
        covariates: Covariates,
        state: State,
        ahead: Tensor | None = None,
        base: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, State]:
        """Read ``n`` tokens and forecast at each: point ``(b, c, n, f)``, what the head saw ``(b, n, d)``, the next state.

        ``base`` ``(b, c, n, f)`` is what the base forecasts, on the look-back's scale. For one token that lies between two,
        ``ahead`` ``(b,)`` counts the rows from the end of the last to its end.
        """
        point, hidden, state = self.corrected(lookback, covariates, state, base)
        point, state = self.recollect(lookback, point, state, ahead)
        return point, hidden, state

    def corrected(
        self, lookback: Lookback, covariates: Covariates, state: State, base: Tensor | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """Read and forecast without recollections, whose part of the state is handed on as it came."""
        layers = self.config.layers_read
        point: Any = self.direct(lookback, covariates) if self.direct is not None else base
        if not self.config.heard:
            return point, point.new_zeros(len(point), point.shape[2], 0), state
        hidden, carried = self.backbone(self.embedding(lookback, covariates), state[:layers])
        if layers:
            point = point + self.head(hidden)
        return point, hidden, (*carried, *state[layers:])

    def recollect(
        self, lookback: Lookback, point: Tensor, state: State, ahead: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Add what is recollected to the forecast of :meth:`corrected`; without a recollection it stays as it is."""
        if self.recollection is None:
            return point, state
        recollected, carry = self.recollection(lookback, point, state[-1], ahead)
        return point + recollected, (*state[:-1], carry)

    def read(self, lookback: Lookback, covariates: Covariates, state: State, base: Tensor | None = None) -> State:
        """Absorb tokens without forecasting; returns the state. Recollections need to know what the base forecast."""
        if not self.listens:
            return state
        if self.recollection is not None:
            return self(lookback, covariates, state, base=base)[2]
        return self.backbone(self.embedding(lookback, covariates), state)[1]

    def forecast(self, lookback: Lookback, covariates: Covariates, state: State, ahead: Tensor | None = None) -> Forecast:
        """Return the forecast of a network without a base, quantiles included."""
        assert self.quantile_head is not None
        point, hidden, _ = self(lookback, covariates, state, ahead)
        return Forecast(point, self.quantile_head(point, hidden))

    def correction(
        self, lookback: Lookback, covariates: Covariates, state: State, ahead: Tensor | None, base: Tensor
    ) -> Tensor:
        """Return what the memory adds to the base's forecast, ``(b, c, n, f)``, both on the scale of the look-back."""
        return self(lookback, covariates, state, ahead, base)[0] - base
