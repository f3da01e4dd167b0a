"""Motifs as tokens: what a few steps look like, wherever they lie in a sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.blocks.chance import Dropout

COMBINED = 5
"""Steps over which motifs are combined."""
POSITION_SCALES = 10
"""Distances from either end are given on scales of 1, 2, 4, ... steps."""


def places(lengths: Tensor, first: int, end: int) -> Tensor:
    """Return ``(b, 2 scales, end - first)``: how near some steps are to the start and to the end, on doubling scales.

    ``exp(-distance / scale)`` is bounded for every length, and a sequence turned round (the other strand of DNA) has the two
    halves exchanged.
    """
    steps = torch.arange(first, end, device=lengths.device)
    scales = 2.0 ** torch.arange(POSITION_SCALES, device=lengths.device)
    from_end = (lengths[:, None] - 1 - steps).clamp_min(0)
    distances = torch.stack([steps.expand_as(from_end), from_end], dim=1)  # b, 2, t
    return torch.exp(-distances[:, :, None] / scales[:, None]).flatten(1, 2).to(torch.get_default_dtype())


class MotifStem(nn.Module):
    """Make one token of model width ``d`` from every ``patch_length`` steps of a sequence ``(b, c, t)``.

    Two convolutions look at the surroundings of each step, the first over ``kernel`` steps (odd), the second adding to it;
    in each channel the strongest response of a patch is the token's.
    """

    def __init__(self, channels: int, width: int, *, kernel: int, patch_length: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.patch_length = patch_length
        self.margin = kernel // 2 + COMBINED // 2  # steps around a part that its tokens depend on
        self.look = nn.Conv1d(channels, width, kernel, padding="same")
        self.place = nn.Conv1d(2 * POSITION_SCALES, width, 1, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.combine = nn.Conv1d(width, width, COMBINED, padding="same")
        self.dropout = Dropout(dropout)

    def forward(
        self, sequence: Tensor, lengths: Tensor, state: None = None, *, first: int = 0, end: int | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Return the tokens ``(b, n, d)`` of the steps ``first`` to ``end``, and how many each sequence has, ``(b,)``.

        Sequences are ``(b, c, t)``, lengths ``(b,)`` in steps; ``first`` is a multiple of ``patch_length``. What surrounds
        the part is seen as in the whole. Nothing is carried from part to part: the state is None.
        """
        end = sequence.shape[-1] if end is None else min(end, sequence.shape[-1])
        begin, stop = max(first - self.margin, 0), min(end + self.margin, sequence.shape[-1])
        inside = (torch.arange(begin, stop, device=sequence.device) < lengths[:, None])[..., None]
        alike = lengths[:1] if bool((lengths == lengths[0]).all()) else lengths  # places are made once for all
        where = F.linear(places(alike, begin, stop).to(sequence.dtype).mT, self.place.weight[..., 0])
        seen = F.gelu(_along_steps(self.look, sequence[..., begin:stop].mT.contiguous()) + where)
        seen = self.norm(seen) * inside
        seen = seen + F.gelu(_along_steps(self.combine, self.dropout(seen)))
        part = slice(first - begin, end - begin)
        pooled = strongest(seen[:, part], inside[:, part], self.patch_length)
        counts = -(-(lengths - first).clamp(0, end - first) // self.patch_length)
        return self.dropout(pooled), counts, None

    def initial_state(self, batch: int) -> None:
        """Return what is carried before the first step: nothing."""


def strongest(seen: Tensor, inside: Tensor, patch_length: int) -> Tensor:
    """Return each channel's greatest of every patch's steps that lie inside: ``(b, t, d)`` to ``(b, n, d)``."""
    size = max(min(patch_length, seen.shape[1]), 1)
    here = F.pad(seen.masked_fill(~inside, -torch.inf), (0, 0, 0, -seen.shape[1] % size), value=-torch.inf)
    pooled = here.unflatten(1, (-1, size)).amax(2)
    return torch.where(pooled.isneginf(), 0, pooled)


def _along_steps(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve ``(b, t, c)`` along its steps; as an image whose channels are last in memory, so that nothing is turned."""
    weight, kernel = convolution.weight[:, :, None], convolution.kernel_size[0]
    return F.conv2d(x.mT[:, :, None], weight, convolution.bias, padding=(0, kernel // 2))[:, :, 0].mT
