"""What a network of sequences looks at: every single-base change, gradients to bases, and a plain module for other tools."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from titans_ts.bases import Codes, N
from titans_ts.inputs.dna import BASES
from titans_ts.networks.sequence import SequenceNetwork
from titans_ts.sequences.answers import averaged


class OneHotModule(nn.Module):
    """A fitted network as a plain module over one-hot strands, on which captum, tangermeme and their kin run.

    Parameters
    ----------
    network : SequenceNetwork
        Its weights are shared, and no longer trained.
    average : bool, default=False
        Whether to average the answers to both strands.

    Examples
    --------
    >>> from titans_ts.networks.sequence import SequenceConfig
    >>> module = OneHotModule(SequenceNetwork(SequenceConfig(outputs=2)))
    >>> module(torch.eye(4)[None]).shape
    torch.Size([1, 2])
    """

    def __init__(self, network: SequenceNetwork, *, average: bool = False) -> None:
        super().__init__()
        self.network = network.eval()
        self.answer = averaged(network) if average else network

    def forward(self, strand: Tensor) -> Tensor:
        """Map ``(b, 4, t)``, rows A C G T, to ``(b, outputs)``: log-odds, logits or standardised numbers."""
        strand = strand.to(self.network.dtype)
        lengths = torch.full((len(strand),), strand.shape[-1], device=strand.device)
        return self.answer(strand, lengths)


class Mutants(NamedTuple):
    """Every single-base change of a sequence.

    Attributes
    ----------
    codes : list of ndarray (t,)
        Three sequences a base; none where it is N.
    positions : ndarray
        Where each differs, counted from 0.
    alternatives : ndarray
        Code of the base that stands there instead.
    """

    codes: list[Codes]
    positions: NDArray[np.int64]
    alternatives: NDArray[np.uint8]


def mutants(codes: Codes) -> Mutants:
    """Return every single-base change of a sequence.

    Examples
    --------
    >>> len(mutants(np.array([0, 4, 2], np.uint8)).codes)
    6
    """
    found, positions, alternatives = [], [], []
    for position in np.flatnonzero(codes < N):
        for other in range(BASES):
            if other != codes[position]:
                changed = codes.copy()
                changed[position] = other
                found.append(changed)
                positions.append(position)
                alternatives.append(other)
    return Mutants(found, np.array(positions, np.int64), np.array(alternatives, np.uint8))


def base_contributions(network: SequenceNetwork, codes: Codes, *, output: int, average: bool) -> NDArray[np.float64]:
    """Return the gradient of one output with respect to each possible base, ``(t, 4)``, less its mean over the bases.

    The four entries of a one-hot column can only change together; the part of a gradient that raises them all alike points
    to where no sequence is, and is taken away.

    References
    ----------
    Majdandzic et al.: Correcting gradient-based interpretations of deep neural networks for genomics, Genome Biology 2023.
    """
    strand, lengths = network.batch([codes])
    strand.requires_grad_()
    answered = averaged(network) if average else network
    (gradient,) = torch.autograd.grad(answered(strand, lengths)[0, output], strand)
    found: NDArray[np.float64] = (gradient - gradient.mean(1, keepdim=True))[0].T.double().cpu().numpy()
    return found
