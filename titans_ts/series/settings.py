"""What a forecasting network is made of, and how it is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from titans_ts.backbones.config import BackboneConfig
from titans_ts.files.facts import checked
from titans_ts.learn.run import RunConfig
from titans_ts.series.base.ridge import RidgeSpec


@dataclass(frozen=True)
class BaseConfig:
    """Everything that is needed to build a base again."""

    horizon: int
    lookback: int
    patch_length: int
    season: int = 1  # rows
    channels: int = 1
    mixed: bool = False
    future: int = 0  # covariates known in advance
    templates: int = 1  # rank vectors of the copula
    zero: bool = True  # whether the user's zero bounds rows that never changed their sign; not on transformed ones
    faith: float = 0.0  # in a profile of one long season, see titans_ts.series.base.bank.Bank
    prefers: bool = True  # whether a stream's own weights of the candidates move while it is read
    ages: int = 0  # at which it is known how much wider the intervals of young streams are
    reads_on: bool = True  # whether a linear memory learns from the errors of a stream while it is read
    bank: tuple[str, ...] = ()  # candidates of the bank
    ridges: tuple[RidgeSpec, ...] = ()  # and these beside them

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BaseConfig:
        """Return the configuration of a model file."""
        ridges = tuple(checked(RidgeSpec(**{**one, "lookbacks": tuple(one["lookbacks"])})) for one in values["ridges"])
        return cls(**{**values, "bank": tuple(values["bank"]), "ridges": ridges})


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
    cases: int = 0  # of past forecast errors that are kept apart for each look beside it; none in older files
    level: bool = True  # whether tokens tell the look-back's level and spread; False in whatever has a base
    base: BaseConfig | None = None  # in older files a linear path stands in its place
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    heard: bool = True  # whether the backbone is read; False where validation lets nothing of its correction through

    @property
    def layers_read(self) -> int:
        """Layers of the backbone that read, and have a state."""
        return self.backbone.layers if self.heard else 0

    @property
    def streams(self) -> int:
        """Streams that one series makes."""
        return 1 if self.mixed else self.channels

    @property
    def token_channels(self) -> int:
        """Channels that a token holds."""
        return self.channels if self.mixed else 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file; of a model without a base those that older files have."""
        older = {"base", "level"} if self.base is None and self.level else set()
        older |= {"heard"} if self.heard else set()
        older |= set() if self.cases else {"cases"}
        values = {**asdict(self), "backbone": self.backbone.to_dict()}
        values = {name: value for name, value in values.items() if name not in older}
        if self.base is not None and not self.base.ages:  # as in older files, whose memories go on
            del values["base"]["ages"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ForecastConfig:
        """Return the configuration of a model file."""
        values = dict(values)
        values["quantiles"] = tuple(values["quantiles"])
        base = values.get("base")
        parts = {"backbone": BackboneConfig.from_dict(values["backbone"]), "base": base and BaseConfig.from_dict(base)}
        return cls(**{**values, **parts})


Phase = Literal["memory", "recollection"]


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """How a forecaster is trained.

    The steps, patience and peak of :class:`titans_ts.learn.run.RunConfig` are those of each phase.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    average: float = 0.97
    segment: int = 64  # tokens between two steps; the state is carried over them, gradients are not
    overlap: float = 0.1  # share of training patches that overlap the one before; none where recollections are trained
    evaluate_every: int = 25
    patience: int = 5
    caution: float = 1.0  # see titans_ts.learn.acceptance.memory_gain

    def steps_of_phases(self, *, layers: int, recollection: int) -> dict[Phase, int]:
        """Return the phases in their order, and the steps of each, at most."""
        memory: dict[Phase, int] = {"memory": self.max_steps} if layers else {}
        return {**memory, "recollection": self.max_steps} if recollection else memory
