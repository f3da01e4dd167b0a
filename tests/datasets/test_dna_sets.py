"""Public DNA: where it is looked for, what is refused, what is handed out. Real files only when they are at hand."""

import gzip
import hashlib
import re
import sys
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
from titans_ts.datasets.records import DNA_RECORDS, PARTS, DnaFile
from titans_ts.dna.sequences import stream_records

CARDS = Path(__file__).parents[2] / "datasets"
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
    """Keep the machine's own cache, packages and folders out of every test that does not ask for real data."""
    monkeypatch.setenv("TITANS_TS_CACHE", str(tmp_path / "cache"))
    if "data_home" not in request.fixturenames:
        monkeypatch.delenv("TITANS_TS_DATA", raising=False)
        monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)


def register(monkeypatch, like, contents):
    """Register small contents in the place of a real record."""
    record = DNA_RECORDS[like]
    files = {
        part: DnaFile(record.files[part].places, hashlib.sha256(content).hexdigest()) for part, content in contents.items()
    }
    record = replace(record, name="tiny", files=MappingProxyType(files))
    monkeypatch.setattr(load, "DNA_RECORDS", MappingProxyType({"tiny": record}))
    return record


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_rows(folder, suffix=".csv"):
    for part, content in ROWS.items():
        write(folder / f"{part}{suffix}", content)


@pytest.mark.parametrize("return_frame", ["pandas", "polars"])
@pytest.mark.parametrize("place", ["dna/gue_tf_0", "gue_tf_0", "GUE/tf/0"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_set_of_gue_is_found_where_it_may_lie_and_comes_in_three_parts(tmp_path, monkeypatch, place, suffix, return_frame):
    record = register(monkeypatch, "gue/tf_0", ROWS)
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


def test_folders_are_searched_in_order(tmp_path, monkeypatch):
    register(monkeypatch, "ecoli_k12", {"all": b">a\nACGT\n"})
    monkeypatch.setenv("TITANS_TS_DATA", str(tmp_path / "environment"))
    for place in ("cache", "environment", "argument"):
        path = write(tmp_path / place / "genomes" / "MG1655-K12.fasta.gz", b">a\nACGT\n")
        assert load_dataset("tiny", data_home=tmp_path / "argument").path == path


@pytest.mark.parametrize("return_frame", ["pandas", "polars"])
def test_sort_seq_gives_the_mean_bin_of_the_reads_and_the_parts_of_the_file(tmp_path, monkeypatch, return_frame):
    register(monkeypatch, "sortseq", {"all": SORTED})
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
    monkeypatch.undo()  # find_spec is Python's own again
    monkeypatch.setenv("TITANS_TS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TITANS_TS_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    register(monkeypatch, "sortseq", {"all": SORTED})
    assert len(load_dataset("tiny").train) == 2
    assert "mavenn" not in sys.modules


def test_a_genome_is_a_checked_path(tmp_path, monkeypatch):
    record = register(monkeypatch, "ecoli_k12", {"all": b">a\nACGT\n"})
    path = write(tmp_path / "MG1655-K12.fasta", b">a\nACGT\n")
    data = load_dataset("tiny", data_home=tmp_path)
    assert (data.name, data.path, data.card) == ("tiny", path, record.card)
    path.write_bytes(b">a\nACGA\n")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is not the original tiny: expected sha256"):
        load_dataset("tiny", data_home=tmp_path)


def test_a_part_that_is_not_the_original_is_refused_by_name(tmp_path, monkeypatch):
    record = register(monkeypatch, "gue/tf_0", ROWS)
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
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path, name, source, file):
    with pytest.raises(FileNotFoundError, match=f"{name} has no address .*get it by {source}.*, or put {file}, or name"):
        load_dataset(name, data_home=tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_part_that_is_missing_is_named(tmp_path, monkeypatch):
    register(monkeypatch, "gue/tf_0", ROWS)
    write_rows(tmp_path / "gue_tf_0")
    (tmp_path / "gue_tf_0" / "test.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"put test\.csv into .* holds dna/gue_tf_0/test\.csv or "):
        load_dataset("tiny", data_home=tmp_path)


def test_the_kind_of_frame_is_checked_first():
    with pytest.raises(ValueError, match="return_frame='arrow' is unknown"):
        load_dataset("gue/tf_0", return_frame="arrow")


def test_every_name_is_listed_under_one_kind():
    by_kind = [list_datasets(kind=kind) for kind in ("series", "sequences", "genome")]
    assert sorted([name for names in by_kind for name in names], key=str.lower) == list_datasets()
    assert by_kind[2] == ["ecoli_k12"]
    assert {"gue/tf_0", "sortseq"} <= set(by_kind[1])


@pytest.mark.parametrize("name", DNA_RECORDS)
def test_every_record_has_a_card_that_agrees(name):
    record, file = DNA_RECORDS[name], f"{name.replace('/', '_')}.md"
    card, index = (CARDS / file).read_text(encoding="utf-8"), (CARDS / "README.md").read_text(encoding="utf-8")
    facts = [f"# {name}\n", record.licence, record.size, *(each.sha256 for each in record.files.values())]
    for fact in facts:
        assert fact in card, f"datasets/{file} lacks {fact!r}"
        assert fact in record.card or fact.startswith("#")
    assert f"[`{name}`]({file})" in index
    assert " / ".join(f"{n:,}" for n in record.n_sequences) in index or record.kind == "genome"


@pytest.mark.parametrize("name", list_datasets(kind="sequences"))
def test_real_sequences_have_the_registered_sizes(name, data_home):
    record = DNA_RECORDS[name]
    if not sources.find_file(next(iter(record.files.values())).places, data_home):
        pytest.skip(f"{data_home} has no {name}")
    data = load_dataset(name, data_home=data_home)
    frames = dict(zip(PARTS, (data.train, data.dev, data.test), strict=True))
    assert tuple(len(frame) for frame in frames.values()) == record.n_sequences
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
    if not sources.find_file(DNA_RECORDS["gue/prom_core_all"].files["train"].places, data_home):
        pytest.skip(f"{data_home} has no gue/prom_core_all")
    for name, n_shared, n_both in (("gue/prom_core_all", 42, 64), ("gue/prom_300_tata", 6, 15)):
        data = load_dataset(name, data_home=data_home)
        assert len(set(data.test["sequence"]) & set(data.train["sequence"])) == n_shared
        labels = pd.concat([data.train, data.dev, data.test]).groupby("sequence")["label"].nunique()
        assert (labels > 1).sum() == n_both
        assert f"{n_shared} test sequences" in data.card
        assert f"{n_both} sequences have both labels" in data.card


def test_the_real_genome_has_the_registered_length(data_home):
    if not sources.find_file(DNA_RECORDS["ecoli_k12"].files["all"].places, data_home):
        pytest.skip(f"{data_home} has no genomes/MG1655-K12.fasta.gz")
    data = load_dataset("ecoli_k12", data_home=data_home)
    (record,) = stream_records(data.path)
    assert len(record.codes) == DNA_RECORDS["ecoli_k12"].length
    assert np.bincount(record.codes).tolist() == [1_142_228, 1_179_554, 1_176_923, 1_140_970]
