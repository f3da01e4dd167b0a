"""What the library knows of every public data set of DNA: origin, licence, checksums, sizes and standard split.

The data themselves are never part of the package. A record is a row of one table, so that adding a data set is
adding a row (and a card in ``datasets/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

PARTS = ("train", "dev", "test")

_GUE_ORIGIN = "https://github.com/MAGICS-LAB/DNABERT_2"
_GUE_CITATION = (
    "Zhou et al. (2024), DNABERT-2: efficient foundation model and benchmark for multi-species genomes, ICLR; "
    "arXiv:2306.15006"
)
_GUE_OBTAIN = "the archive of GUE linked from https://github.com/MAGICS-LAB/DNABERT_2 (unpack it there)"


@dataclass(frozen=True)
class DnaFile:
    """One file of a data set.

    Parameters
    ----------
    places : tuple of str
        Where it may lie in a folder of data, unpacked; ``<place>.gz`` is taken too.
    sha256 : str
        Checksum of the unpacked bytes, in hexadecimal.
    """

    places: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DnaRecord:
    """One data set as its origin publishes it.

    Parameters
    ----------
    name : str
        The name `load_dataset` takes.
    kind : {"sequences", "genome"}
        Sequences with a target each, in three parts; or a genome.
    what : str
        What it is, in a few words.
    files : mapping of str to DnaFile
        By part (``"train"``, ``"dev"``, ``"test"``), or a single one under ``"all"``.
    n_sequences : tuple of int
        Sequences of the training, validation and test part; of a genome its contigs.
    length : int
        Bases of a sequence; of a genome in all.
    target : str
        Name of the column of targets; empty for a genome.
    n_classes : int or None
        Number of classes; None where the target is a number.
    origin, licence, citation, obtain : str
        Where the data come from, on what terms, whom to cite, and where a person finds the files.
    package : tuple of str or None
        An installable distribution that ships the file: (distribution, module, path inside the module).
    note : str
        What a careful reader should know.
    """

    name: str
    kind: Literal["sequences", "genome"]
    what: str
    files: Mapping[str, DnaFile]
    n_sequences: tuple[int, ...]
    length: int
    target: str = ""
    n_classes: int | None = None
    origin: str
    licence: str
    citation: str
    obtain: str
    package: tuple[str, str, str] | None = None
    note: str = ""

    @property
    def size(self) -> str:
        """Sizes for a person, as the card in ``datasets/`` has them too."""
        if self.kind == "genome":
            return f"{self.length:,} bp"
        parts = zip(self.n_sequences, ("training", "validation", "test"), strict=True)
        return f"{', '.join(f'{n:,} {part}' for n, part in parts)} sequences of {self.length} bp"

    @property
    def card(self) -> str:
        """A few lines for a person: what it is, from where, on what terms."""
        target = f"{self.n_classes} classes" if self.n_classes else "a number"
        lines = [
            f"{self.name}: {self.what}",
            f"size: {self.size}",
            *([f"target: {self.target}, {target}"] if self.target else []),
            f"origin: {self.origin}",
            f"licence: {self.licence}",
            f"cite: {self.citation}",
            *(f"sha256 ({part}): {file.sha256}" for part, file in self.files.items()),
        ]
        return "\n".join(lines + ([f"note: {self.note}"] if self.note else []))


def _gue(
    task: str,
    folder: str,
    what: str,
    *,
    length: int,
    n_sequences: tuple[int, int, int],
    sha256: tuple[str, str, str],
    note: str = "",
) -> DnaRecord:
    """Return the record of one task of GUE, which lies in `folder` of its archive."""
    mine = f"gue_{folder.replace('/', '_')}"
    return DnaRecord(
        name=f"gue/{task}",
        kind="sequences",
        what=what,
        files=MappingProxyType(
            {
                part: DnaFile((f"dna/{mine}/{part}.csv", f"{mine}/{part}.csv", f"GUE/{folder}/{part}.csv"), checksum)
                for part, checksum in zip(PARTS, sha256, strict=True)
            }
        ),
        n_sequences=n_sequences,
        length=length,
        target="label",
        n_classes=2,
        origin=_GUE_ORIGIN,
        licence="Apache-2.0",
        citation=_GUE_CITATION,
        obtain=_GUE_OBTAIN,
        note=f"scored by Matthews' correlation{'; ' if note else ''}{note}",
    )


_SORTSEQ = DnaRecord(
    name="sortseq",
    kind="sequences",
    what="lac promoters of E. coli, mutated, and how brightly the cells that carry them glow",
    files=MappingProxyType(
        {
            "all": DnaFile(
                ("dna/sortseq_data.csv", "sortseq_data.csv"),
                "b4b1419ad324d24104b32f80a1363af215bc0cd818b83beea20bdd263c4ecf82",
            )
        }
    ),
    n_sequences=(30_516, 10_067, 9_935),
    length=75,
    target="mean_bin",
    origin="https://github.com/jbkinney/mavenn (experiment full-wt of https://github.com/jbkinney/09_sortseq)",
    licence="MIT (mavenn)",
    citation="Kinney et al. (2010), PNAS 107(20):9158-9163; doi:10.1073/pnas.1004290107",
    obtain="`pip install --no-deps mavenn`, which ships it (without --no-deps it brings TensorFlow)",
    package=("mavenn", "mavenn", "examples/datasets/sortseq_data.csv.gz"),
    note="97 % of the sequences were read once, so that mean_bin is mostly a single, noisy bin",
)

_ECOLI_K12 = DnaRecord(
    name="ecoli_k12",
    kind="genome",
    what="genome of Escherichia coli K-12 MG1655",
    files=MappingProxyType(
        {
            "all": DnaFile(
                ("genomes/MG1655-K12.fasta", "MG1655-K12.fasta"),
                "3d70cf9dee928a6bf8f4763a3db0e0f8bf0ae32d25123a73f7a5bf2fe4d16828",
            )
        }
    ),
    n_sequences=(1,),
    length=4_639_675,
    origin="INSDC; as long as its U00096.2 (RefSeq NC_000913.2)",
    licence="none stated; INSDC asks for free and unrestricted access",
    citation="Blattner et al. (1997), Science 277:1453-1462; doi:10.1126/science.277.5331.1453",
    obtain="someone who has MG1655-K12.fasta (the genome assemblers' SPAdes tests on it); NCBI's file of the same letters "
    "has another header, so that its checksum differs: read that one with titans_ts.data.fasta",
    note="circular, though its file has two ends; no N",
)

DNA_RECORDS: Mapping[str, DnaRecord] = MappingProxyType(
    {
        record.name: record
        for record in (
            _gue(
                "prom_core_all",
                "prom/prom_core_all",
                "core promoters of human genes (-34 to +35 about the start of transcription) against other sequences",
                length=70,
                n_sequences=(47_356, 5_920, 5_920),
                sha256=(
                    "a36e0bbf2b59e01479bb904534d310041b493fec9221ccd74b518893d74054ed",
                    "98dd5d2b5df3c93cad9fa0a4a36078d28fa95b7bf9ab73fb2e5ba1fa74877f2b",
                    "b1babbb52abd0fb5328eccc4ce8ab60d0a58d28bdc88c30f8e2140cf1684ce0c",
                ),
                note="42 test sequences stand in the training part too, and 64 sequences have both labels",
            ),
            _gue(
                "prom_300_tata",
                "prom/prom_300_tata",
                "human promoters with a TATA box (-249 to +50 about the start of transcription) against other sequences",
                length=300,
                n_sequences=(4_904, 613, 613),
                sha256=(
                    "d0dd45bad89aee2564b8831d38a393989942d79b673203e7eb50e19ec8e6242e",
                    "4de0f8163d964e4004f0a11036d9a9c5ec6fe2ad5953f962acf66150a2f44592",
                    "30432e9845277559043c2bb3bfed37b9bc7efc15748880f3adeeaddc16b76deb",
                ),
                note="6 test sequences stand in the training part too, and 15 sequences have both labels",
            ),
            _gue(
                "tf_0",
                "tf/0",
                "where a transcription factor binds in the human genome, against elsewhere",
                length=101,
                n_sequences=(32_378, 1_000, 1_000),
                sha256=(
                    "930080e019fb92961cbd71998839466c2fc4c34da8fc174999a2ed04ef46822f",
                    "17ff638046d146102a86b727adc9ddead9f1f1793577a38961e1f3319da7f738",
                    "d29934d0df424a91ef70f6a62671d9d1c4661b485d7010983b49c8bcfba6aeab",
                ),
            ),
            _gue(
                "mouse_0",
                "mouse/0",
                "where a transcription factor binds in the mouse genome, against elsewhere",
                length=101,
                n_sequences=(6_478, 810, 810),
                sha256=(
                    "6f507b130c5a94c63f4a36748da66579cd682a34f7296ab08e4805ee75091a35",
                    "f44e2d3e29a778364d329cfef046deccdfb484c12af6dde7f04b7de8bcb8bf9a",
                    "e2c54b74410f1d263f9dcba371f0d50b5f207960673e385cd4b95989e3e6d6be",
                ),
            ),
            _SORTSEQ,
            _ECOLI_K12,
        )
    }
)
