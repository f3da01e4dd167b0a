"""``titans-ts score``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from titans_ts.cli._shared import add_command, add_options, check_out, check_source, fit, loaded, save, say, training_of


def add(commands: Any) -> None:
    """Describe the command."""
    about = "score DNA by a language model: records by likelihood, or variants of them"
    more = ". Fits a model (--train), or uses one fitted before (--model)."
    epilog = "Records are streamed: a chromosome is read in a state of fixed size."
    score = add_command(commands, "score", run, about, more, epilog=epilog)
    score.add_argument("file", metavar="FASTA", help="records to score; with --vcf the reference")
    score.add_argument("--train", metavar="FASTA", help="what to learn from")
    score.add_argument("--vcf", metavar="FILE", help="a VCF file: score each variant instead of the records")
    score.add_argument("--flank", type=int, default=512, metavar="N", help="bases around a variant (default: %(default)s)")
    score.add_argument("--out", type=Path, metavar="FILE", default=Path("scores.csv"), help="(default: %(default)s)")
    add_options(score, "--seed", "--model", "--save", "--max-steps", "--max-minutes", "--overwrite")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    import pandas as pd

    from titans_ts.dna.sequences import existing_file, stream_pieces
    from titans_ts.dna.variants import read_variants
    from titans_ts.files.tables import SUFFIXES, write_table

    check_out(arguments.out, "--out", SUFFIXES, overwrite=arguments.overwrite)
    check_out(arguments.save, "--save", (), overwrite=arguments.overwrite)
    check_source(arguments, "FASTA", "language model")
    existing_file(arguments.file)
    variants = None if arguments.vcf is None else read_variants(arguments.vcf)
    model = _fitted(arguments) if arguments.model is None else loaded(arguments.model, "DNALanguageModel")
    if variants is not None:
        found = model.score_variants(variants, arguments.file, flank=arguments.flank)
        wrong = int((~found["ref_match"]).sum())
        if wrong:
            say(
                arguments, f"{wrong:,} of {len(found):,} variants have a REF that the reference does not hold: see ref_match"
            )
    else:
        next(stream_pieces(arguments.file))  # whatever is wrong with its beginning is told before the work
        model.forget().update(arguments.file)
        states = model.states_.values()
        means = np.array([state.mean for state in states])
        found = pd.DataFrame(
            {
                "id": list(model.states_),
                "bases": [state.n_seen for state in states],
                "log_likelihood_per_base": means,
                "bits_per_base": -means / np.log(2),
            }
        )
    write_table(found, arguments.out)
    print(f"scores: {arguments.out}")
    save(arguments, model.forget())


def _fitted(arguments: argparse.Namespace) -> Any:
    from titans_ts import DNALanguageModel

    say(arguments, f"fitting on {arguments.train}")
    return fit(arguments, DNALanguageModel(**training_of(arguments)), arguments.train)
