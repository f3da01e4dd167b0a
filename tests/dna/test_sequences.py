"""DNA comes in by one door: every container gives the same codes, and what is no DNA is refused by row."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

from titans_ts.dna.bases import decode
from titans_ts.dna.sequences import read_sequences

TEXTS = ["ACGT", "ttn", "GRU"]
LETTERS = ["ACGT", "TTN", "GNT"]

CONTAINERS = {
    "list": TEXTS,
    "tuple": tuple(TEXTS),
    "array of objects": np.array(TEXTS, dtype=object),
    "array of str": np.array(TEXTS),
    "array of StringDType": np.array(TEXTS, dtype=np.dtypes.StringDType()),
    "column of ColumnTransformer": np.array(TEXTS, dtype=object)[:, None],
    "pandas Series": pd.Series(TEXTS, index=[7, 8, 9]),
    "pandas Series of objects": pd.Series(TEXTS, dtype=object),
    "pandas categories": pd.Series(TEXTS, dtype="category"),
    "pandas frame": pd.DataFrame({"sequence": TEXTS}),
    "polars Series": pl.Series(TEXTS),
    "polars frame": pl.DataFrame({"sequence": TEXTS}),
    "pyarrow table": pa.table({"sequence": TEXTS}),
    "Biopython Seq": [Seq(text) for text in TEXTS],
}


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS)
def test_every_container_gives_the_same_sequences(X):
    table = read_sequences(X)
    assert [decode(codes) for codes in table.codes] == LETTERS
    assert table.ids == ["0", "1", "2"]
    assert len(table.ids) == 3


def test_records_keep_their_ids_and_one_without_is_called_by_its_row():
    table = read_sequences([SeqRecord(Seq("ACGT"), id="gene"), SeqRecord(Seq("TT"))])
    assert table.ids == ["gene", "1"]


@pytest.mark.parametrize("as_path", [Path, str])
def test_a_file_is_read_by_its_path(tmp_path, as_path):
    path = tmp_path / "two.fasta"
    path.write_text(">a x\nACGT\n>b\nttn\n")
    table = read_sequences(as_path(path))
    assert (table.ids, [decode(codes) for codes in table.codes]) == (["a", "b"], ["ACGT", "TTN"])
    unnamed = tmp_path / "sequences"
    unnamed.write_text(path.read_text())
    assert read_sequences(as_path(unnamed)).ids == ["a", "b"]


def test_a_path_of_no_file_is_said_to_be_that(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.fa\.gz: no such file"):
        read_sequences(str(tmp_path / "none.fa.gz"))
    with pytest.raises(FileNotFoundError, match=r"none\.txt: no such file"):
        read_sequences(tmp_path / "none.txt")


def test_a_single_sequence_must_be_wrapped():
    for text in ("ACGT", "ACGT" * 5000):  # the second is longer than a path may be
        with pytest.raises(ValueError, match=r"X='ACGT.*' is a single sequence; wrap it in a list: \[X\]"):
            read_sequences(text)
    with pytest.raises(ValueError, match=r"sequences='promoters\.txt' is neither a file that exists nor DNA"):
        read_sequences("promoters.txt", name="sequences")
    for single in (Seq("ACGT"), SeqRecord(Seq("ACGT"))):
        with pytest.raises(TypeError, match=r"wrap it in a list: \[X\]"):
            read_sequences(single)


@pytest.mark.parametrize("missing", [None, np.nan, float("nan"), pd.NA, pd.NaT], ids=["None", "numpy", "float", "NA", "NaT"])
def test_missing_rows_are_refused_by_number(missing):
    with pytest.raises(ValueError, match=r"X\[1\] is missing .*drop the row"):
        read_sequences(["ACGT", missing, "A"])
    with pytest.raises(ValueError, match=r"X\[1\] is missing"):
        read_sequences(pd.Series(["ACGT", missing, "A"], dtype=object))


@pytest.mark.parametrize(
    "X",
    [
        pd.Series(["ACGT", None], dtype="str"),
        pd.Series(["ACGT", None], dtype="string"),
        pd.DataFrame({"sequence": ["ACGT", None]}),
        pl.Series(["ACGT", None]),
        pl.DataFrame({"sequence": ["ACGT", None]}),
        pa.table({"sequence": ["ACGT", None]}),
    ],
    ids=["pandas str", "pandas string", "pandas frame", "polars", "polars frame", "pyarrow"],
)
def test_missing_rows_of_columns_are_refused_by_number(X):
    with pytest.raises(ValueError, match=r"reads\[1\] is missing"):
        read_sequences(X, name="reads")


@pytest.mark.parametrize(
    "X",
    [
        np.arange(3),
        np.zeros((4, 7)),
        np.array([True]),
        np.array([b"ACGT"]),
        pd.Series([1.0, 2.0]),
        pd.DataFrame({"a": [1]}),
        pl.Series([1]),
        pd.Series(pd.date_range("2024-01-01", periods=2)),
        [1, 2],
        [[0.5], [1.5]],
        [b"ACGT"],
        {"a": "ACGT"},
        3,
    ],
    ids=repr,
)
def test_what_is_no_text_is_refused_and_dna_asked_for(X):
    with pytest.raises(TypeError, match="expected DNA sequences: a list of str, a column of strings"):
        read_sequences(X)


def test_other_shapes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"X has shape \(2, 2\); expected \(n,\) or \(n, 1\)"):
        read_sequences(np.array([["A", "C"], ["G", "T"]]))
    with pytest.raises(ValueError, match=r"X has 2 columns \('sequence', 'label'\); expected one"):
        read_sequences(pd.DataFrame({"sequence": ["A"], "label": [0]}))
    with pytest.raises(TypeError, match=r"X is a lazy LazyFrame; pass X\.collect\(\)"):
        read_sequences(pl.LazyFrame({"sequence": ["A"]}))
    with pytest.raises(TypeError, match=r"X is an iterator \(generator\), which can be read only once; pass list\(X\)"):
        read_sequences(text for text in TEXTS)
    for empty in ([], np.array([], dtype=object), pd.Series([], dtype=object), pl.DataFrame({"sequence": []})):
        with pytest.raises(ValueError, match=r"X is empty: 0 sample\(s\)"):
            read_sequences(empty)


def test_what_is_no_dna_is_refused_by_row_or_record_and_position():
    with pytest.raises(ValueError, match=re.escape("X[3]: '-' at position 2 (counted from 1) is no letter of DNA")):
        read_sequences(["A", "C", "G", "T-A"])
    with pytest.raises(ValueError, match=r"X\[1\] is empty"):
        read_sequences(["A", ""])
    with pytest.raises(ValueError, match=re.escape("X[0], record 'gene': 'E' at position 3")):
        read_sequences([SeqRecord(Seq("ACEG"), id="gene")])
    with pytest.raises(ValueError, match=r"X\[0\] has a length but no letters"):
        read_sequences([SeqRecord(Seq(None, length=10), id="gene")])
    with pytest.raises(ValueError, match=r"X\[0\] is a record without a sequence"):
        read_sequences([SeqRecord(None, id="gene")])


def test_strings_need_no_biopython(monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "Bio"]:
        monkeypatch.setitem(sys.modules, module, None)  # any import of it now fails
    assert len(read_sequences(TEXTS).codes) == 3


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_a_real_column_is_read_whole(data_home, backend):
    path = data_home / "dna" / "gue_tf_0" / "test.csv.gz"
    if not path.is_file():
        pytest.skip(f"{data_home} has no dna/gue_tf_0/test.csv.gz")
    frame = pd.read_csv(path) if backend == "pandas" else pl.read_csv(path)
    table = read_sequences(frame["sequence"])
    assert [decode(codes) for codes in table.codes] == frame["sequence"].to_list()
    assert {len(codes) for codes in table.codes} == {101}
