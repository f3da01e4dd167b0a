"""What a model of sequences looks at: every single-base change, gradients to bases, a plain module for other tools."""

from __future__ import annotations

from typing import Any

from numpy import float64
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from titans_ts.bases import LETTERS
from titans_ts.data.dna_tables import mutation_frame
from titans_ts.data.sequences import read_sequences
from titans_ts.estimators._supervised import SupervisedTitans
from titans_ts.networks.sequence import SequenceNetwork
from titans_ts.sequences.interpretation import OneHotModule, base_contributions, mutants


class ExplainedDNA(SupervisedTitans):
    """The part of an estimator that explains its answers about sequences."""

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
        """
        check_is_fitted(self)
        (codes,) = read_sequences([sequence], name="sequence").codes
        changed = mutants(codes)
        answers = self._answers_to([codes, *changed.codes])
        refs = codes[changed.positions]
        return mutation_frame(
            positions_1based=changed.positions + 1,
            refs=[LETTERS[x] for x in refs],
            alternatives=[LETTERS[x] for x in changed.alternatives],
            effects=dict(zip(self._output_names(), (answers[1:] - answers[0]).T, strict=True)),
        )

    def attribute(self, sequences: Any, *, target: Any = None) -> list[NDArray[float64]]:
        """Return how much each base of each sequence, and each that might stand there, speaks for an answer.

        The gradient of the answer with respect to the one-hot bases, less its mean over the four: to first order the change
        that each base would make. ``attribution[i, codes[i]]`` is what the base that is there contributes, and
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
        """
        check_is_fitted(self)
        output = self._output_of(target)
        table = read_sequences(sequences, name="sequences")
        found = [base_contributions(self.network_, one, output=output, average=self._averages) for one in table.codes]
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
        return OneHotModule(self.network_, average=self._averages)
