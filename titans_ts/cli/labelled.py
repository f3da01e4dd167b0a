"""Sequences of plain files for a classifier: tables with a column of labels, a FASTA file a class, regions of a genome."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titans_ts.dna.bases import decode
from titans_ts.dna.genome import Genome, fetch_intervals, read_bed
from titans_ts.dna.sequences import has_sequence_suffix, stream_records
from titans_ts.files.tables import read_table


@dataclass(frozen=True, eq=False)
class Labelled:
    """Sequences with their ids, and their labels if there are any.

    Attributes
    ----------
    ids, sequences : list of str
        Of each sequence.
    labels : ndarray (n,) or None
        Classes.
    """

    ids: list[str]
    sequences: list[str]
    labels: NDArray[Any] | None


def read_labelled(
    sources: Sequence[str],
    *,
    sequence_column: str = "sequence",
    label_column: str = "label",
    labels_required: bool = True,
) -> Labelled:
    """Read one table, one FASTA file, or a FASTA file a class.

    Parameters
    ----------
    sources : sequence of str
        A path; or ``CLASS=PATH`` for each class.
    sequence_column, label_column : str
        Columns of a table.
    labels_required : bool, default=True
        Whether a source without labels is refused.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, a column is missing, or labels are; the message says which.

    Examples
    --------
    >>> read_labelled(["absent.fa"])
    Traceback (most recent call last):
    ValueError: absent.fa is a FASTA file, which has no labels; name the class of each: promoter=absent.fa other=...
    """
    classes = [source.partition("=") for source in sources]
    if all(sign and not os.path.exists(source) for source, (_, sign, _) in zip(sources, classes, strict=True)):
        return _by_class([(name, path) for name, _, path in classes])
    if len(sources) > 1:
        raise ValueError(f"{' '.join(sources)}: give one file, or CLASS=FILE for each class")
    (source,) = sources
    if has_sequence_suffix(source):
        if labels_required:
            raise ValueError(
                f"{source} is a FASTA file, which has no labels; name the class of each: promoter={source} other=..."
            )
        records = list(stream_records(source))
        return Labelled([record.id for record in records], [decode(record.codes) for record in records], None)
    return _table(source, sequence_column, label_column, labels_required=labels_required)


def read_regions(genome: str, bed: str) -> Labelled:
    """Read the intervals of a BED file from a FASTA file, those of the minus strand turned round; they have no labels.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or an interval lies outside its contig; the message names the line.

    Examples
    --------
    >>> read_regions("absent.fa", "absent.bed")
    Traceback (most recent call last):
    FileNotFoundError: absent.bed: no such file; check the path
    """
    intervals = read_bed(bed)
    with Genome(genome) as known:
        ids, codes = fetch_intervals(known, intervals)
    return Labelled(ids, [decode(one) for one in codes], None)


def labelled_table(ids: Sequence[str], labels: NDArray[Any], classes: NDArray[Any], probabilities: NDArray[Any]) -> Any:
    """Return ids, labels and a column of probabilities a class, as a polars frame."""
    import polars as pl

    columns = {f"probability_{name}": probabilities[:, j] for j, name in enumerate(classes)}
    return pl.DataFrame({"id": list(ids), "label": list(map(str, labels)), **columns})


def _by_class(files: Sequence[tuple[str, str]]) -> Labelled:
    ids, sequences, labels = [], [], []
    for name, path in files:
        for record in stream_records(path):
            ids.append(record.id)
            sequences.append(decode(record.codes))
            labels.append(name)
    return Labelled(ids, sequences, np.array(labels))


def _table(source: str, sequence_column: str, label_column: str, *, labels_required: bool) -> Labelled:
    frame = read_table(source, id_column="id")
    wanted = {"--sequence-column": sequence_column} | ({"--label-column": label_column} if labels_required else {})
    for option, name in wanted.items():
        if name not in frame.columns:
            raise ValueError(f"{source} has no column {name!r}, but {', '.join(frame.columns)}; name it with {option}")
    labels = frame[label_column].to_numpy() if label_column in frame.columns else None
    ids = frame["id"].to_list() if "id" in frame.columns else list(map(str, range(len(frame))))
    return Labelled(ids, frame[sequence_column].to_list(), labels)
