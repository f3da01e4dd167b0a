"""``titans-ts classify``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from titans_ts.backbones.variants import VARIANTS
from titans_ts.cli._shared import check_out, loaded, say, steps_of, stopping


def add(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    about = "classify DNA sequences of CSV or FASTA files"
    classify = commands.add_parser(
        "classify",
        parents=parents,
        help=about,
        description=about[0].upper() + about[1:] + ": fits a classifier, or uses one fitted before (--model).",
        epilog="A table has a column of sequences and one of labels. A FASTA file has no labels: give one a class, as "
        "promoter=positive.fa other=negative.fa.",
    )
    files = "a table (.csv, .tsv, either .gz, .parquet), or CLASS=FASTA for each class"
    classify.add_argument("test", nargs="+", metavar="TEST", help=f"what to classify: {files}, or a FASTA file")
    classify.add_argument("--train", nargs="+", metavar="FILE", help=f"what to learn from: {files}")
    classify.add_argument("--dev", nargs="+", metavar="FILE", help="what to choose by (default: a tenth of --train)")
    classify.add_argument("--bed", metavar="FILE", help="classify these intervals of the FASTA file TEST, a genome")
    classify.add_argument("--sequence-column", default="sequence", metavar="NAME", help="(default: %(default)s)")
    classify.add_argument("--label-column", default="label", metavar="NAME", help="(default: %(default)s)")
    classify.add_argument("--out", type=Path, metavar="FILE", default=Path("classes.csv"), help="(default: %(default)s)")
    about_strands = "average, augment, equivariant or none: how strands are treated (default: %(default)s)"
    strands = ("average", "augment", "equivariant", "none")
    classify.add_argument("--reverse-complement", choices=strands, default="none", help=about_strands)
    about_variant = "where the memory sits, or a baseline without one (default: %(default)s)"
    classify.add_argument("--variant", choices=VARIANTS, default="mac", help=about_variant)
    classify.add_argument("--seed", type=int, metavar="N", default=0, help="of all chance (default: %(default)s)")
    classify.add_argument("--model", type=Path, metavar="FILE", help="a fitted model to use instead of fitting one")
    classify.add_argument("--save", type=Path, metavar="FILE", help="keep the fitted model in this file")
    classify.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_ts.cli.labelled import labelled_table, read_labelled, read_regions
    from titans_ts.files.tables import SUFFIXES, write_table

    check_out(arguments.out, "--out", SUFFIXES)
    check_out(arguments.save, "--save", ())
    if (arguments.train is None) == (arguments.model is None):
        raise ValueError("give --train FILE to fit a classifier, or --model FILE to use one, and not both")
    columns = {"sequence_column": arguments.sequence_column, "label_column": arguments.label_column}
    if arguments.bed is not None:
        test = read_regions(_one(arguments.test, "--bed"), arguments.bed)
    else:
        test = read_labelled(arguments.test, **columns, labels_required=False)
    if arguments.model is not None:
        model = loaded(arguments.model, "DNAClassifier")
    else:
        train = read_labelled(arguments.train, **columns)
        dev = None if arguments.dev is None else read_labelled(arguments.dev, **columns)
        model = _fitted(arguments, train, dev)
    probabilities = model.predict_proba(test.sequences)
    labels = model.classes_[probabilities.argmax(1)]
    write_table(labelled_table(test.ids, labels, model.classes_, probabilities), arguments.out)
    print(f"classes: {arguments.out}")
    if test.labels is not None:
        from titans_ts.dna.classify import agreement

        accuracy, mcc = agreement(test.labels.astype(str), labels.astype(str))
        print(f"accuracy {accuracy:.4f}, MCC {mcc:.4f} on {len(labels):,} sequences")
    if arguments.save is not None:
        model.save(arguments.save)
        print(f"model: {arguments.save}")


def _one(files: list[str], option: str) -> str:
    if len(files) > 1:
        raise ValueError(f"{option} goes with one FASTA file, got {' '.join(files)}")
    return files[0]


def _fitted(arguments: argparse.Namespace, train: Any, dev: Any) -> Any:
    from titans_ts import DNAClassifier

    say(arguments, f"read {len(train.sequences):,} sequences; fitting")
    begun = time.perf_counter()
    model = DNAClassifier(
        variant=arguments.variant,
        reverse_complement=None if arguments.reverse_complement == "none" else arguments.reverse_complement,
        random_state=arguments.seed,
        verbose=int(not arguments.quiet),
        callbacks=stopping(arguments),
        **steps_of(arguments),
    )
    given = {} if dev is None else {"X_val": dev.sequences, "y_val": dev.labels}
    model.fit(train.sequences, train.labels, **given)
    say(arguments, f"fitted in {time.perf_counter() - begun:.0f} s")
    return model
