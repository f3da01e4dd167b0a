"""The training of a forecaster's memory: its correction to what the base foretold out of block, and recollections if any.

Both phases lower the absolute error on streams and keep the averaged weights that are best by validation. The second leaves
the first's as they are, and learns when to add past forecast errors that it finds again. Of what either learns, as much is
used as validation can tell from luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.backbones.stack import State
from titans_ts.backbones.state import map_tensors
from titans_ts.blocks.chance import seeded_generator
from titans_ts.files.facts import fits, require
from titans_ts.learn import distributed
from titans_ts.learn.acceptance import SHARES, MemoryGain, memory_gain
from titans_ts.learn.run import BestWeights, Losses, Piece, Run, mixed_precision
from titans_ts.series.learning.objective import (
    ValidationForecast,
    block_errors,
    point_losses,
    validation_error,
)
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.recollection import CASE_WINDOWS
from titans_ts.series.settings import ForecastConfig, Phase, TrainingConfig
from titans_ts.series.tensors import Lookback, SeriesTensors, Tokens, look_back, to_device, tokens_at

TRUST_SHARE = 10.0
"""Learning rate of the gates of recollections, as a multiple of the backbone's: they have a long way to go."""


def parameter_groups(network: ForecastNetwork, config: TrainingConfig, phase: Phase) -> list[dict[str, Any]]:
    """Return what a phase trains, and the peak of each group's learning rate."""
    if phase == "recollection":
        assert network.recollection is not None
        fast = [network.recollection.trust, *network.recollection.gates.parameters()]
        return [
            {"params": list(network.recollection.features_of.parameters()), "peak": config.learning_rate},
            {"params": fast, "peak": config.learning_rate * TRUST_SHARE},
        ]
    learned = [x for part in (network.embedding, network.backbone, network.head) for x in part.parameters()]
    peak = config.learning_rate
    return [
        {"params": [x for x in learned if x.ndim >= 2], "peak": peak, "weight_decay": config.weight_decay},
        {"params": [x for x in learned if x.ndim < 2], "peak": peak},
    ]


def patch_ends(length: int, patch: int, generator: torch.Generator, *, overlap: float, grid: int = 1) -> Tensor:
    """Return where the patches of a stream end: every ``patch`` rows, but some overlap the one before, by ``grid`` rows."""
    count = length // patch + 1
    steps = torch.full((count,), patch)
    shifted = torch.rand(count, generator=generator) < overlap
    steps = torch.where(shifted, grid * torch.randint(1, patch // grid + 1, (count,), generator=generator), steps)
    ends = steps.cumsum(0)
    return ends[ends <= length]


def _some_lookbacks(series: list[SeriesTensors], network: ForecastNetwork) -> Iterator[Lookback]:
    """Yield look-backs ``(b, c, n, l)`` at patch ends evenly spaced over all series, at most :data:`CASE_WINDOWS`."""
    patch, config = network.config.patch_length, network.config
    ends = [(i, end) for i, one in enumerate(series) for end in range(patch, one.length + 1, patch)]
    chosen: dict[int, list[int]] = {}
    for i, end in ends[:: -(-len(ends) * config.streams // CASE_WINDOWS)]:
        chosen.setdefault(i, []).append(end)
    for i, some in chosen.items():
        yield to_device(look_back(series[i], torch.tensor(some), config, dtype=network.dtype)[0], network.device)


def _first_foretold(series: SeriesTensors) -> int:
    """Return after how many rows a base first foretold something of a series; 0 where it never did."""
    if series.foretold is None:
        return 0
    first = series.foretold.first + series.foretold.step * int(series.foretold.point.isfinite().any(2).any(0).int().argmax())
    return first if first < series.length else 0


class Segment(NamedTuple):
    """What the streams of a step read next."""

    begins: bool  # whether they begin with it
    series: list[SeriesTensors]  # each makes as many streams as it has channels, or one
    starts: list[int]  # first row of each
    ends: Tensor  # n, rows after which patches end, counted from there

    def tokens(self, config: ForecastConfig, dtype: torch.dtype, some: slice = slice(None)) -> Tokens:
        """Return the tokens of some of the series."""
        return tokens_at(self.series[some], self.starts[some], self.ends, config, dtype=dtype)


@dataclass
class StreamSampler:
    """Training segments without end, which can be taken up again at the same segment."""

    series: list[SeriesTensors]  # training parts
    config: ForecastConfig
    batch: int  # streams read side by side, at least; a series counts once for every stream it makes
    segment: int  # tokens of a step
    overlap: float  # share of patches that overlap the one before
    generator: torch.Generator  # source of all chance
    silence: int | None = None  # tokens that a stream may read before the first that was foretold; None for any number
    drawn_from: Tensor = field(init=False)  # state of the generator before the present streams were drawn
    next_token: int = field(init=False, default=0)  # first token of the present streams that has not been given out

    def __post_init__(self) -> None:
        self.drawn_from = self.generator.get_state()
        self._lengths = torch.tensor([float(one.length) for one in self.series])
        self._grid = max((one.foretold.step for one in self.series if one.foretold is not None), default=1)
        self._draw()

    @property
    def crops(self) -> int:
        """Series, or pieces of them, read side by side."""
        return len(self._chosen)

    @property
    def given(self) -> int:
        """Tokens of the present streams that have been given out."""
        return min(self.next_token, len(self._ends))

    def resume(self, drawn_from: Tensor, next_token: int) -> None:
        """Go back to the segment at which ``drawn_from`` and ``next_token`` were these."""
        self.generator.set_state(drawn_from)
        self.drawn_from = drawn_from
        self._draw()
        self.next_token = next_token

    def segments(self) -> Iterator[Segment]:
        """Yield segments without end."""
        while True:
            if self.next_token >= len(self._ends):
                self.drawn_from = self.generator.get_state()
                self._draw()
            begins = self.next_token == 0
            part = self._ends[self.next_token : self.next_token + self.segment]
            self.next_token += self.segment
            yield Segment(begins, self._chosen, self._starts, part)

    def _draw(self) -> None:
        """Choose series, where each begins, and where patches end."""
        crops = max(self.batch // self.config.streams, 1)
        patch = self.config.patch_length
        which = torch.multinomial(self._lengths, crops, replacement=True, generator=self.generator).tolist()
        self._chosen = [self.series[i] for i in which]
        share = 0.3 + 0.7 * float(torch.rand((), generator=self.generator))
        longest = max(int(share * max(one.length for one in self._chosen)), patch)
        self._ends = patch_ends(longest, patch, self.generator, overlap=self.overlap, grid=self._grid)
        places = [(max(one.length - longest, 0) + patch - 1) // self._grid + 1 for one in self._chosen]
        self._starts = [self._grid * int(torch.randint(0, most, (), generator=self.generator)) for most in places]
        if self.silence is not None:
            earliest = [_first_foretold(one) - self.silence * patch for one in self._chosen]
            self._starts = [max(at, row - row % self._grid) for at, row in zip(self._starts, earliest, strict=True)]
        self.next_token = 0


class Training(Run):
    """One training of a forecaster's memory on all rows, phase by phase, in place.

    ``validation_starts`` are the first validation row of each series, its length where there is none. ``watching`` goes to
    :class:`titans_ts.learn.run.Run`; where a callback stops training, no later phase begins.
    """

    config: TrainingConfig

    def __init__(
        self,
        network: ForecastNetwork,
        series: list[SeriesTensors],
        validation_starts: list[int],
        config: TrainingConfig,
        **watching: Any,
    ) -> None:
        super().__init__(network, config, **watching)
        self.series, self.starts = series, validation_starts
        self.validated = any(start < one.length for start, one in zip(validation_starts, series, strict=True))
        self.gain: MemoryGain | None = None
        self.recollection_gain: MemoryGain | None = None
        if not any(start > 0 for start in validation_starts):
            raise ValueError("there are no rows to train on: all are for validation; make validation_fraction smaller")
        self.steps_of_phases = config.steps_of_phases(
            layers=network.config.backbone.layers, recollection=network.config.recollection
        )
        self.begin(next(iter(self.steps_of_phases)))

    def begin(self, phase: Phase) -> None:
        """Set up the first step of a phase."""
        config, network = self.config, self.network
        self.phase, self.step, self.states = phase, 0, {}
        generator = seeded_generator(config.seed)
        training_part = [one.head(start) for one, start in zip(self.series, self.starts, strict=True) if start > 0]
        segment, batch = config.segment, config.batch_size
        overlap = 0.0 if phase == "recollection" else config.overlap  # its errors are counted in whole patches
        silence = 4 * segment if phase == "recollection" else None  # of long series more would be read than there are steps
        self.sampler = StreamSampler(training_part, network.config, batch, segment, overlap, generator, silence=silence)
        self.optimize(parameter_groups(network, config, phase))
        self.best.waited = 0
        if phase == "recollection" and network.recollection is not None:
            network.recollection.open()
            network.recollection.look_at(_some_lookbacks(training_part, network))
            self.best = BestWeights(config.patience)

    def run(self) -> None:
        """Train through all phases and leave the best weights in the network."""
        with self.begun():
            phases = list(self.steps_of_phases)
            self._run_phase()
            for phase in phases[phases.index(self.phase) + 1 :]:
                if self.halted:
                    break
                self._end_phase()
                self.begin(phase)
                self._run_phase()
        self._end_phase()

    def _run_phase(self) -> None:
        validate = self._error if self.validated else None
        if validate and self.step == 0:
            self.evaluate(validate)
        segments = self.sampler.segments()
        for _ in self.take(self.steps_of_phases[self.phase]):
            segment = next(segments)
            if segment.begins:
                self.states = {}
            self.done(partial(self._losses, segment), len(segment.series), validate)

    def _title(self, what: str) -> str:
        phases = list(self.steps_of_phases)
        return f"{what} ({phases.index(self.phase) + 1} of {len(phases)})"

    def _end_phase(self) -> None:
        """Keep the best weights, and of the correction as much as the validation part supports."""
        self.keep_best()
        if self.validated and self.steps:
            self.network.eval()
            if self.phase == "memory":
                self._judge_memory()
            else:
                self._judge_recollection()

    def _judge_memory(self) -> None:
        """Go from the base alone towards what was learned."""

        def with_shares(found: ValidationForecast) -> list[Tensor]:
            return [found.base.lerp(found.corrected, share) for share in SHARES]

        errors = block_errors(self.network, self.series, self.starts, with_shares, after="memory")
        self.gain = distributed.decided(lambda: memory_gain(errors, caution=self.config.caution))
        with torch.no_grad():
            for x in self.network.head.parameters():
                x.mul_(self.gain.share)

    def _judge_recollection(self) -> None:
        """Go from the forecasts without recollections towards those with them."""
        assert self.network.recollection is not None

        def with_shares(found: ValidationForecast) -> list[Tensor]:
            return [found.corrected.lerp(found.point, share) for share in SHARES]

        errors = block_errors(self.network, self.series, self.starts, with_shares)
        self.recollection_gain = distributed.decided(lambda: memory_gain(errors, caution=self.config.caution))
        with torch.no_grad():
            self.network.recollection.trust.mul_(self.recollection_gain.share)

    def _losses(self, segment: Segment, piece: Piece) -> Losses:
        """Return the losses of some series of a segment; their state goes on, its gradient does not."""
        network = self.network
        if network.training != (self.phase == "memory"):
            network.train(self.phase == "memory")
        tokens = to_device(segment.tokens(network.config, network.dtype, piece.places), network.device)
        state = self.states[piece.number] if piece.number in self.states else network.initial_state(len(tokens.target))
        with mixed_precision(self.config.precision, network.device):
            losses, state = self._losses_and_state(tokens, map_tensors(Tensor.detach, state))
        self.states[piece.number] = map_tensors(Tensor.detach, state)
        return losses

    def _losses_and_state(self, tokens: Tokens, state: State) -> tuple[Losses, State]:
        with torch.set_grad_enabled(self.phase == "memory"):
            point, _, state = self.network.corrected(tokens.lookback, tokens.covariates, state, tokens.base)
        if self.phase == "recollection":
            point, state = self.network.recollect(tokens.lookback, point, state)
        return point_losses(point, tokens), state

    def _error(self) -> float:
        return validation_error(self.network, self.series, self.starts, after=self.phase)

    def _data(self) -> Iterable[Any]:
        yield np.array(self.starts)
        for one in self.series:
            yield from (one.rows, one.calendar, one.past, one.future, one.static, *one.scale)
            if one.foretold is not None:
                yield one.foretold.point

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return also where the streams stand, and what earlier phases found."""
        tensors, facts = super().kept()
        tensors |= {"sampler": self.sampler.drawn_from}
        gains = [None if gain is None else asdict(gain) for gain in (self.gain, self.recollection_gain)]
        return tensors, facts | {"next_token": self.sampler.next_token, "gains": gains}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put back what :meth:`kept` returned."""
        self.begin(facts["phase"])
        super().restore(tensors, facts)
        self.gain, self.recollection_gain = (None if gain is None else MemoryGain(**gain) for gain in facts["gains"])
        require(fits(facts["next_token"], int) and facts["next_token"] > 0, "its tokens are no count")
        self.sampler.resume(tensors["sampler"], facts["next_token"])
        crops, streams = self.sampler.crops, self.network.config.streams
        self.restore_state(self.network.state_after(crops * streams, self.sampler.given), tensors, crops, streams=streams)
