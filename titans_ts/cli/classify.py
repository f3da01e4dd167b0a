"""``titans-ts classify``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from titans_ts.cli._shared import (
    OptionError,
    add_command,
    add_options,
    check_out,
    check_source,
    fit,
    loaded,
    save,
    say,
    training_of,
)


def add(commands: Any) -> None:
    """Describe the command."""
    about = "classify DNA sequences of CSV or FASTA files"
    more = ": fits a classifier, or uses one fitted before (--model)."
    epilog = (
        "A table has a column of sequences and one of labels. A FASTA file has no labels: give one a class, as "
        "promoter=positive.fa other=negative.fa."
    )
    classify = add_command(commands, "classify", run, about, more, epilog=epilog)
    files = "a table (.csv, .tsv, either .gz, .parquet), or CLASS=FASTA for each class"
    classify.add_argument("test", nargs="+", metavar="TEST", help=f"what to classify: {files}, or a FASTA file")
    classify.add_argument("--train", nargs="+", metavar="FILE", help=f"what to learn from: {files}")
    classify.add_argument("--dev", nargs="+", metavar="FILE", help="what to choose by (default: a tenth of --train)")
    classify.add_argument("--bed", metavar="FILE", help="classify these intervals of the FASTA file TEST, a genome")
    classify.add_argument("--sequence-column", default="sequence", metavar="NAME", help="(default: %(default)s)")
    classify.add_argument("--label-column", default="label", metavar="NAME", help="(default: %(default)s)")
    classify.add_argument("--out", type=Path, metavar="FILE", default=Path("classes.csv"), help="(default: %(default)s)")
    strands = ("average", "augment", "equivariant", "none")
    about_strands = "average, augment, equivariant or none: how strands are treated (default: %(default)s)"
    classify.add_argument("--reverse-complement", choices=strands, default="none", help=about_strands)
    add_options(classify, "--variant", "--seed", "--model", "--save", "--max-steps", "--max-minutes", "--overwrite")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    import polars as pl

    from titans_ts.files.tables import SUFFIXES, write_table

    check_out(arguments.out, "--out", SUFFIXES, overwrite=arguments.overwrite)
    check_out(arguments.save, "--save", (), overwrite=arguments.overwrite)
    check_source(arguments, "FILE", "classifier")
    test = _read_regions(arguments) if arguments.bed is not None else _read(arguments, arguments.test, labels_required=False)
    model = _fitted(arguments) if arguments.model is None else loaded(arguments.model, "DNAClassifier")
    probabilities = model.predict_proba(test.sequences)
    labels = model.classes_[probabilities.argmax(1)]
    columns = {f"probability_{name}": probabilities[:, j] for j, name in enumerate(model.classes_)}
    write_table(pl.DataFrame({"id": test.ids, "label": list(map(str, labels)), **columns}), arguments.out)
    print(f"classes: {arguments.out}")
    if test.labels is not None:
        from titans_ts.dna.classify import agreement

        accuracy, mcc = agreement(test.labels.astype(str), labels.astype(str))
        print(f"accuracy {accuracy:.4f}, MCC {mcc:.4f} on {len(labels):,} sequences")
    save(arguments, model)


def _fitted(arguments: argparse.Namespace) -> Any:
    from titans_ts import DNAClassifier

    train = _read(arguments, arguments.train)
    given = {}
    if arguments.dev is not None:
        dev = _read(arguments, arguments.dev)
        given = {"X_val": dev.sequences, "y_val": dev.labels}
    say(arguments, f"read {len(train.sequences):,} sequences; fitting")
    strands = None if arguments.reverse_complement == "none" else arguments.reverse_complement
    model = DNAClassifier(variant=arguments.variant, reverse_complement=strands, **training_of(arguments))
    return fit(arguments, model, train.sequences, train.labels, **given)


class Sequences(NamedTuple):
    """Sequences with their ids, and their labels if there are any."""

    ids: list[str]
    sequences: list[str]
    labels: Any  # array (n,), or None


def _read(arguments: argparse.Namespace, sources: Sequence[str], *, labels_required: bool = True) -> Sequences:
    """Read one table, one FASTA file, or a FASTA file for each class, written ``CLASS=PATH``."""
    from titans_ts.dna.sequences import has_sequence_suffix

    classes = [source.partition("=") for source in sources]
    if all(sign and not os.path.exists(source) for source, (_, sign, _) in zip(sources, classes, strict=True)):
        return _read_fasta([(name, path) for name, _, path in classes])
    if len(sources) > 1:
        raise OptionError(f"{' '.join(sources)}: give one file, or CLASS=FILE for each class")
    (source,) = sources
    if not has_sequence_suffix(source):
        return _read_table(arguments, source, labels_required=labels_required)
    if labels_required:
        raise OptionError(
            f"{source} is a FASTA file, which has no labels; name the class of each: promoter={source} other=..."
        )
    return _read_fasta([("", source)])._replace(labels=None)


def _read_fasta(files: Sequence[tuple[str, str]]) -> Sequences:
    """Read a FASTA file for each class."""
    import numpy as np

    from titans_ts.dna.bases import decode
    from titans_ts.dna.sequences import stream_records

    records = [(name, record) for name, path in files for record in stream_records(path)]
    labels = np.array([name for name, _ in records])
    return Sequences([record.id for _, record in records], [decode(record.codes) for _, record in records], labels)


def _read_regions(arguments: argparse.Namespace) -> Sequences:
    """Read the intervals of a BED file from a FASTA file, those of the minus strand turned round; they have no labels."""
    from titans_ts.dna.bases import decode
    from titans_ts.dna.genome import Genome, fetch_intervals, read_bed

    if len(arguments.test) > 1:
        raise OptionError(f"--bed goes with one FASTA file, got {' '.join(arguments.test)}")
    intervals = read_bed(arguments.bed)
    with Genome(arguments.test[0]) as genome:
        ids, codes = fetch_intervals(genome, intervals)
    return Sequences(ids, [decode(one) for one in codes], None)


def _read_table(arguments: argparse.Namespace, source: str, *, labels_required: bool) -> Sequences:
    from titans_ts.files.tables import read_table

    frame = read_table(source, id_column="id")
    named = {"--sequence-column": arguments.sequence_column, "--label-column": arguments.label_column}
    for option, name in named.items():
        if name not in frame.columns and (labels_required or option == "--sequence-column"):
            raise OptionError(f"{source} has no column {name!r}, but {', '.join(frame.columns)}; name it with {option}")
    label_column = arguments.label_column
    labels = frame[label_column].to_numpy() if label_column in frame.columns else None
    ids = frame["id"].to_list() if "id" in frame.columns else list(map(str, range(len(frame))))
    return Sequences(ids, frame[arguments.sequence_column].to_list(), labels)
