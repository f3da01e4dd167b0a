"""What a forecasting network is made of, and how it is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from titans_ts.backbones.config import BackboneConfig
from titans_ts.learn.run import RunConfig


@dataclass(frozen=True)
class ForecastConfig:
    """Everything that is needed to build a forecasting network again."""

    horizon: int  # rows forecast
    lookback: int = 336  # rows
    patch_length: int = 16  # rows of a token
    channels: int = 1
    mixed: bool = False  # whether a token holds all channels; otherwise every channel is a stream of its own
    quantiles: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # levels
    calendar: int = 0  # columns, as of the other kinds of covariates
    past: int = 0
    future: int = 0
    static: int = 0
    recollection: int = 0  # width of a key of the memory of past forecast errors; 0 for none
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


Phase = Literal["direct", "memory", "recollection", "quantiles"]


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """How a forecaster is trained.

    The steps, patience and peak of :class:`titans_ts.learn.run.RunConfig` are those of the second phase and of the third.
    """

    direct_steps: int = 400  # of the first phase
    quantile_steps: int = 60  # of the last phase
    learning_rate: float = 1e-3
    direct_learning_rate: float = 2e-3  # peak, of the first phase
    quantile_learning_rate: float = 1e-2  # peak, of the last phase
    direct_share: float = 1.0  # learning rate of the direct path in the second phase, as a share of the backbone's
    weight_decay: float = 0.01
    segment: int = 256  # tokens between two steps; the state is carried over them, gradients are not
    overlap: float = 0.1  # share of training patches that overlap the one before; none where recollections are trained
    evaluate_every: int = 25
    patience: int = 5
    caution: float = 1.0  # see titans_ts.learn.acceptance.memory_gain

    def steps_of_phases(self, *, layers: int, recollection: int) -> dict[Phase, int]:
        """Return the phases in their order, and the steps of each, at most."""
        recollecting: dict[Phase, int] = {"recollection": self.max_steps} if recollection else {}
        memory = self.max_steps if layers else 0
        return {"direct": self.direct_steps, "memory": memory, **recollecting, "quantiles": self.quantile_steps}
