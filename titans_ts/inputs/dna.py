"""Bases as numbers: one-hot strands, their reverse complement, motifs as tokens.

A strand is ``(b, 4, t)``, A C G T along its second axis; N, and whatever lies past the end of a shorter sequence of a batch,
is four zeros. Everything here is linear or smooth in it, so that gradients reach every base.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.bases import N

BASES = N  # codes below it
COMBINED = 5
"""Bases over which motifs are combined."""
POSITION_SCALES = 10
"""Distances from either end are told on scales of 1, 2, 4, ... bases."""


def one_hot(codes: Tensor) -> Tensor:
    """Turn codes ``(b, t)``, A C G T N = 0 ... 4, into ``(b, 4, t)``.

    Examples
    --------
    >>> one_hot(torch.tensor([[2, 4]]))[0].T.tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return F.one_hot(codes.long(), BASES + 1)[..., :BASES].transpose(1, 2).to(torch.get_default_dtype())


def reverse_complement(strand: Tensor, lengths: Tensor) -> Tensor:
    """Read a batch from the other strand; what lies past an end stays there.

    Parameters
    ----------
    strand : Tensor
        ``(b, 4, t)``.
    lengths : Tensor
        ``(b,)``: bases of each sequence.

    Examples
    --------
    >>> strand = one_hot(torch.tensor([[0, 0, 1, 4]]))  # AAC, and an end
    >>> reverse_complement(strand, torch.tensor([3]))[0].argmax(0)[:3].tolist()  # GTT
    [2, 3, 3]
    """
    return reverse_in_place(strand.flip(1), lengths)


def other_strand(codes: Tensor, lengths: Tensor) -> Tensor:
    """Read codes ``(b, t)`` from the other strand; what lies past an end stays there.

    Examples
    --------
    >>> other_strand(torch.tensor([[0, 0, 1, 4]]), torch.tensor([3])).tolist()
    [[2, 3, 3, 4]]
    """
    complement = torch.tensor([3, 2, 1, 0, N], dtype=codes.dtype, device=codes.device)
    return reverse_in_place(complement[codes.long()][:, None], lengths)[:, 0]


def reverse_in_place(x: Tensor, lengths: Tensor) -> Tensor:
    """Turn the first ``lengths`` entries of ``(b, c, t)`` round and leave the rest where it is."""
    steps = torch.arange(x.shape[-1], device=x.device)
    places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(-1, places[:, None].expand_as(x))


def places(lengths: Tensor, first: int, end: int) -> Tensor:
    """Return ``(b, 2 scales, end - first)``: how near some bases are to the start and to the end, on doubling scales.

    ``exp(-distance / scale)`` is bounded whatever the length, and the same from both ends: the other strand sees the two
    halves change places.
    """
    steps = torch.arange(first, end, device=lengths.device)
    scales = 2.0 ** torch.arange(POSITION_SCALES, device=lengths.device)
    from_end = (lengths[:, None] - 1 - steps).clamp_min(0)
    distances = torch.stack([steps.expand_as(from_end), from_end], dim=1)  # b, 2, t
    return torch.exp(-distances[:, :, None] / scales[:, None]).flatten(1, 2).to(torch.get_default_dtype())


class MotifStem(nn.Module):
    """One token of model width for every ``patch_length`` bases: which motifs lie there, and where that is.

    Two convolutions look at the surroundings of each base, the second adding to the first; of each channel the strongest
    response of a stretch of ``patch_length`` bases is the token's.

    Parameters
    ----------
    width : int
        Model width ``d``.
    kernel : int
        Bases seen by the first convolution, odd.
    patch_length : int
        Bases of a token.
    dropout : float, default=0.0
        Share of a token set to zero in training.

    Examples
    --------
    >>> stem = MotifStem(8, kernel=5, patch_length=4)
    >>> tokens, lengths, _ = stem(one_hot(torch.tensor([[0, 1, 2, 3, 0]])), torch.tensor([5]))
    >>> tokens.shape, lengths.tolist()
    (torch.Size([1, 2, 8]), [2])
    """

    def __init__(self, width: int, *, kernel: int, patch_length: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.patch_length = patch_length
        self.margin = kernel // 2 + COMBINED // 2  # bases around a part that its tokens depend on
        self.look = nn.Conv1d(BASES, width, kernel, padding="same")
        self.place = nn.Conv1d(2 * POSITION_SCALES, width, 1, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.combine = nn.Conv1d(width, width, COMBINED, padding="same")
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, strand: Tensor, lengths: Tensor, state: None = None, *, first: int = 0, end: int | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Return the tokens of the bases ``first`` to ``end``, and how many of them each sequence has.

        Parameters
        ----------
        strand : Tensor
            ``(b, 4, t)``.
        lengths : Tensor
            ``(b,)``, in bases.
        state : None
            Nothing is carried from part to part.
        first, end : int, optional
            A part, from a multiple of ``patch_length``; what lies around it is seen as it is in the whole.

        Returns
        -------
        tokens : Tensor
            ``(b, ceil((end - first) / patch_length), d)``.
        counts : Tensor
            ``(b,)``: tokens of the part that lie inside each sequence.
        state : None
            Nothing.
        """
        end = strand.shape[-1] if end is None else min(end, strand.shape[-1])
        begin, stop = max(first - self.margin, 0), min(end + self.margin, strand.shape[-1])
        inside = (torch.arange(begin, stop, device=strand.device) < lengths[:, None])[:, None]
        where = places(lengths, begin, stop).to(strand.dtype)
        seen = F.gelu(self.look(strand[..., begin:stop]) + self.place(where))
        seen = self.norm(seen.transpose(1, 2)).transpose(1, 2) * inside
        seen = seen + F.gelu(self.combine(self.dropout(seen)))
        part = slice(first - begin, end - begin)
        pooled = strongest(seen[..., part], inside[..., part], self.patch_length)
        counts = -(-(lengths - first).clamp(0, end - first) // self.patch_length)
        return self.dropout(pooled), counts, None

    def initial_state(self, batch: int) -> None:
        """Return what is carried before the first base: nothing."""


def strongest(seen: Tensor, inside: Tensor, patch_length: int) -> Tensor:
    """Return of each channel ``(b, d, t)`` the greatest of every patch's bases that are inside, ``(b, n, d)``."""
    pooled = F.max_pool1d(seen.masked_fill(~inside, -torch.inf), patch_length, ceil_mode=True)
    return torch.where(pooled.isneginf(), 0, pooled).transpose(1, 2)
