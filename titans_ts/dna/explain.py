"""Explanations of answers about a sequence: every single-base change, gradients to bases, a plain module for other tools."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from titans_ts.dna.bases import BASES, LETTERS, Codes, N
from titans_ts.dna.network import SequenceNetwork
from titans_ts.dna.sequences import read_sequences
from titans_ts.dna.strands import averaged
from titans_ts.learn.supervised import SupervisedTitans


class ExplainedDNA(SupervisedTitans):
    """The methods of an estimator that explain its answers about sequences."""

    network_: SequenceNetwork

    def _output_names(self) -> list[str]:
        """Return what each output is called in a table of effects."""
        raise NotImplementedError

    def _output_of(self, target: Any) -> int:
        """Return the output that a user's target stands for."""
        raise NotImplementedError

    def mutagenesis(self, sequence: Any) -> Any:
        """Return what every single-base change of a sequence does to the answer.

        Parameters
        ----------
        sequence : str, SeqRecord or Seq
            One sequence of any length t; 3 t others are answered.

        Returns
        -------
        pandas.DataFrame
            A row a change: ``position_1based``, ``ref``, ``alt``, and ``effect``, the change of the log-odds (two classes),
            or a column ``effect_<class>`` or ``effect_<target>`` each, the change of the logit or of the prediction.
            Bases that are N are left out.

        Raises
        ------
        TypeError, ValueError
            If it is no DNA; the message names the position.

        >>> from titans_ts import DNAClassifier, make_dna_motifs
        >>> classifier = DNAClassifier(layers=0, random_state=0).fit(*make_dna_motifs(100, length=30, random_state=0))
        >>> classifier.mutagenesis("ACN")[["position_1based", "ref", "alt"]].values.tolist()[:4]
        [[1, 'A', 'C'], [1, 'A', 'G'], [1, 'A', 'T'], [2, 'C', 'A']]
        """
        import pandas as pd

        check_is_fitted(self)
        (codes,) = read_sequences([sequence], name="sequence").codes
        changed = mutants(codes)
        answers = self._answers_to([codes, *changed.codes])
        return pd.DataFrame(
            {
                "position_1based": changed.positions + 1,
                "ref": [LETTERS[x] for x in codes[changed.positions]],
                "alt": [LETTERS[x] for x in changed.alternatives],
                **dict(zip(self._output_names(), (answers[1:] - answers[0]).T, strict=True)),
            }
        )

    def attribute(self, sequences: Any, *, target: Any = None) -> list[NDArray[np.float64]]:
        """Return how much each base of each sequence, and each that might stand there, speaks for an answer.

        It is the gradient of the answer with respect to the one-hot bases, less its mean over the four: to first order, the
        change that each base would make. ``attribution[i, codes[i]]`` is what the base that is there contributes;
        :func:`titans_ts.plots.plot_logo` draws it.

        Parameters
        ----------
        sequences : container like that of ``fit``
            One or more sequences.
        target : class or target column, optional
            What the answer is about; by default the positive class of two, or the only target.

        Returns
        -------
        list of ndarray (t, 4)
            Columns A, C, G, T; log-odds, logits, or the target's own unit.

        Raises
        ------
        ValueError
            If ``target`` is needed and missing, or unknown.

        >>> from titans_ts import DNAClassifier, make_dna_motifs
        >>> classifier = DNAClassifier(layers=0, random_state=0).fit(*make_dna_motifs(100, length=30, random_state=0))
        >>> [one.shape for one in classifier.attribute(["TATAAA", "ACGT"])]
        [(6, 4), (4, 4)]
        """
        check_is_fitted(self)
        output = self._output_of(target)
        table = read_sequences(sequences, name="sequences")
        found = [
            base_contributions(self.network_, one, output=output, average=self._averages is not None) for one in table.codes
        ]
        return [one * self._unit(output) for one in found]

    def _unit(self, output: int) -> float:
        """Return the size of one unit of the network's output on the user's scale."""
        return 1.0

    def as_module(self) -> OneHotModule:
        """Return the fitted network as a plain module over one-hot strands ``(b, 4, t)``, for captum, tangermeme and kin.

        It answers with log-odds (two classes), logits, or standardised numbers, and averages over strands as the estimator
        does.
        """
        check_is_fitted(self)
        return OneHotModule(self.network_, average=self._averages is not None)


class OneHotModule(nn.Module):
    """A fitted network, its weights shared, as a plain module over one-hot strands ``(b, 4, t)``.

    ``average`` averages the answers to both strands.
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
    """Every single-base change of a sequence ``(t,)``: three a base, none where it is N."""

    codes: list[Codes]
    positions: NDArray[np.int64]  # where each differs, counted from 0
    alternatives: NDArray[np.uint8]  # the base that stands there instead


def mutants(codes: Codes) -> Mutants:
    """Return every single-base change of a sequence."""
    changes = [(i, other) for i in np.flatnonzero(codes < N) for other in range(BASES) if other != codes[i]]
    found = [np.concatenate([codes[:i], np.array([other], np.uint8), codes[i + 1 :]]) for i, other in changes]
    return Mutants(found, np.array([i for i, _ in changes], np.int64), np.array([other for _, other in changes], np.uint8))


def base_contributions(network: SequenceNetwork, codes: Codes, *, output: int, average: bool) -> NDArray[np.float64]:
    """Return the gradient of one output with respect to each possible base, ``(t, 4)``, less its mean over the bases.

    A part that raises all four alike points to where no sequence is (Majdandzic et al., Genome Biology 2023).
    """
    strand, lengths = network.batch([codes])
    strand.requires_grad_()
    answer = averaged(network) if average else network
    (gradient,) = torch.autograd.grad(answer(strand, lengths)[0, output], strand)
    found: NDArray[np.float64] = (gradient - gradient.mean(1, keepdim=True))[0].T.double().cpu().numpy()
    return found
