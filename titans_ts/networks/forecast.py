"""Inputs, backbone and head from one configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone, State
from titans_ts.heads.forecast import Forecast, ForecastHead, LinearPath, QuantileHead
from titans_ts.inputs.series import Extras, SeriesEmbedding, Windows
from titans_ts.networks.recollection import Recollection


@dataclass(frozen=True)
class ForecastConfig:
    """Everything that is needed to build a forecasting network again.

    Parameters
    ----------
    horizon, lookback, patch_length : int
        Rows forecast, rows of the trailing window, rows of a token.
    channels : int
        Channels of a series.
    mixed : bool
        Whether a token holds all channels; otherwise every channel is a stream of its own.
    quantiles : tuple of float
        Levels that the head gives beside the median.
    calendar, past, future, static : int
        Columns of each kind of covariate.
    recollection : int
        Numbers of a key of the memory of errors; 0 for none.
    backbone : BackboneConfig
        The middle of the network.
    """

    horizon: int
    lookback: int = 336
    patch_length: int = 16
    channels: int = 1
    mixed: bool = False
    quantiles: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    calendar: int = 0
    past: int = 0
    future: int = 0
    static: int = 0
    recollection: int = 0
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    @property
    def streams(self) -> int:
        """Streams that one series makes."""
        return 1 if self.mixed else self.channels

    @property
    def token_channels(self) -> int:
        """Channels that a token holds."""
        return self.channels if self.mixed else 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ForecastConfig:
        """Return the configuration of a model file."""
        values = dict(values)
        values["quantiles"] = tuple(values["quantiles"])
        return cls(**{**values, "backbone": BackboneConfig(**values["backbone"])})


class ForecastNetwork(nn.Module):
    """A stream of patches in, a forecast of the horizon at every one of them out.

    ``direct(look-back) + head(backbone(tokens))``: the head starts at zero, so that training starts from the linear path.
    With ``recollection`` there is added what this sum got wrong when the look-back looked as it does now.

    Parameters
    ----------
    config : ForecastConfig
        Settings.
    """

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        self.config = config
        width = config.backbone.width
        extra = config.calendar + 2 * config.past * config.patch_length + config.static
        self.embedding = SeriesEmbedding(
            width,
            patch_length=config.patch_length,
            channels=config.token_channels,
            extra=extra,
            channel_names=config.streams,
        )
        self.direct = LinearPath(config.lookback, config.horizon, future=config.future)
        self.backbone = Backbone(config.backbone)
        self.head = ForecastHead(width, config.horizon, channels=config.token_channels, dropout=config.backbone.dropout)
        self.quantile_head = QuantileHead(width, config.horizon, channels=config.token_channels, quantiles=config.quantiles)
        self.recollection = (
            Recollection(
                config.lookback,
                config.horizon,
                config.patch_length,
                features=config.recollection,
                channels=config.token_channels,
            )
            if config.recollection
            else None
        )

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number that the network computes in."""
        return self.direct.past.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.direct.past.weight.device

    def initial_state(self, batch: int) -> State:
        """Return the state before the first token: the backbone's, and after its layers what is recollected from."""
        before = self.backbone.initial_state(batch)
        return before if self.recollection is None else (*before, self.recollection.initial_state(batch))

    def forward(
        self, windows: Windows, extras: Extras, state: State, ahead: Tensor | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """Read ``n`` tokens and forecast at each.

        Parameters
        ----------
        windows, extras
            What is seen at each.
        state : State
            From the call before.
        ahead : Tensor, optional
            ``(b,)``: for one token that lies between two, rows from the end of the last to its end; 0 where it is the next.

        Returns
        -------
        point : Tensor
            ``(b, c, n, f)`` on the window's scale.
        hidden : Tensor
            ``(b, n, d)``, from which :meth:`quantiles` are made.
        state : State
            To hand to the next call.
        """
        point, hidden, state = self.corrected(windows, extras, state)
        point, state = self.recollect(windows, point, state, ahead)
        return point, hidden, state

    def corrected(self, windows: Windows, extras: Extras, state: State) -> tuple[Tensor, Tensor, State]:
        """Do as a call does, without recollections: their part of the state is handed on as it came."""
        layers = self.config.backbone.layers
        hidden, carried = self.backbone(self.embedding(windows, extras), state[:layers])
        point = self.direct(windows, extras)
        if layers:
            point = point + self.head(hidden)
        return point, hidden, (*carried, *state[layers:])

    def recollect(self, windows: Windows, point: Tensor, state: State, ahead: Tensor | None = None) -> tuple[Tensor, State]:
        """Add to what :meth:`corrected` says what is recollected, and note what it says; without recollection, nothing."""
        if self.recollection is None:
            return point, state
        recollected, carry = self.recollection(windows, point, state[-1], ahead)
        return point + recollected, (*state[:-1], carry)

    def read(self, windows: Windows, extras: Extras, state: State) -> State:
        """Absorb tokens without forecasting; returns the state."""
        if self.recollection is not None:
            return self(windows, extras, state)[2]
        return self.backbone(self.embedding(windows, extras), state)[1]

    def forecast(self, windows: Windows, extras: Extras, state: State, ahead: Tensor | None = None) -> Forecast:
        """Return the forecast, quantiles included."""
        point, hidden, _ = self(windows, extras, state, ahead)
        return Forecast(point, self.quantile_head(point, hidden))
