"""Training streams: what a step reads.

A stream begins at a random row with a fresh memory and runs forward, a segment of tokens a step, its state carried. Now
and then a patch overlaps the one before it, as the last, provisional patch of a forecast asked between two patches does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from titans_ts.networks.forecast import ForecastConfig
from titans_ts.origins import Origins, SeriesTensors, origins_at


def patch_ends(length: int, patch: int, generator: torch.Generator, *, overlap: float) -> Tensor:
    """Return where the patches of a stream end: every ``patch`` rows, but some overlap the one before."""
    count = length // patch + 1
    steps = torch.full((count,), patch)
    shifted = torch.rand(count, generator=generator) < overlap
    steps = torch.where(shifted, torch.randint(1, patch + 1, (count,), generator=generator), steps)
    ends = steps.cumsum(0)
    return ends[ends <= length]


@dataclass
class StreamSampler:
    """Training segments without end, which can be stopped and taken up again at the same segment.

    Parameters
    ----------
    series : list of SeriesTensors
        Training parts.
    config : ForecastConfig
        Sizes.
    batch : int
        Streams read side by side, at least; a series counts once for every stream it makes.
    segment : int
        Tokens of a step.
    overlap : float
        Share of patches that overlap the one before.
    generator : torch.Generator
        Source of all chance.
    dtype : torch.dtype, default=torch.float32
        Of what comes out.
    """

    series: list[SeriesTensors]
    config: ForecastConfig
    batch: int
    segment: int
    overlap: float
    generator: torch.Generator
    dtype: torch.dtype = torch.float32
    drawn_from: torch.Tensor = field(init=False)
    """State of the generator before the present streams were drawn."""
    next_token: int = field(init=False, default=0)
    """First token of the present streams that has not been given out."""

    def __post_init__(self) -> None:
        self.drawn_from = self.generator.get_state()
        self._lengths = torch.tensor([float(one.length) for one in self.series])
        self._draw()

    @property
    def streams(self) -> int:
        """Streams read side by side."""
        return len(self._chosen) * self.config.streams

    def resume(self, drawn_from: Tensor, next_token: int) -> None:
        """Go back to a segment, by what :attr:`drawn_from` and :attr:`next_token` were."""
        self.generator.set_state(drawn_from)
        self.drawn_from = drawn_from
        self._draw()
        self.next_token = next_token

    def segments(self) -> Iterator[tuple[bool, Origins]]:
        """Yield, for ever, whether streams begin with a segment, and its tokens."""
        while True:
            if self.next_token >= len(self._ends):
                self.drawn_from = self.generator.get_state()
                self._draw()
            begins = self.next_token == 0
            part = self._ends[self.next_token : self.next_token + self.segment]
            self.next_token += self.segment
            yield begins, origins_at(self._chosen, self._starts, part, self.config, dtype=self.dtype)

    def _draw(self) -> None:
        """Choose series, where each begins, and where patches end."""
        crops = max(self.batch // self.config.streams, 1)
        patch = self.config.patch_length
        which = torch.multinomial(self._lengths, crops, replacement=True, generator=self.generator).tolist()
        self._chosen = [self.series[i] for i in which]
        share = 0.3 + 0.7 * float(torch.rand((), generator=self.generator))
        longest = max(int(share * max(one.length for one in self._chosen)), patch)
        self._ends = patch_ends(longest, patch, self.generator, overlap=self.overlap)
        self._starts = [
            int(torch.randint(0, max(one.length - longest, 0) + patch, (), generator=self.generator)) for one in self._chosen
        ]
        self.next_token = 0
