"""DNA as it comes in: containers, and files whole or in pieces, read alike and refused by row, record and position."""

import gzip
import re
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.dna.bases import decode
from titans_ts.dna.sequences import open_text, read_sequences, stream_pieces, stream_records

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


# --- files -------------------------------------------------------------------------------------------------------------


TWO = ">a first of two\nACGT\nacgtn\n>b\nGGU\n"
READERS = {"records": stream_records, "pieces": stream_pieces}


def write(folder, text, name="x.fa"):
    path = folder / name
    content = text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def in_records(path, **keywords):
    return {record.id: decode(record.codes) for record in stream_records(path, **keywords)}


def in_pieces(path, **keywords):
    found = {}
    for piece in stream_pieces(path, **keywords):
        assert len(found.get(piece.id, "")) == piece.start_0based
        found[piece.id] = found.get(piece.id, "") + decode(piece.codes)
    return found


@pytest.mark.parametrize("name", ["x.fa", "x.fa.gz", "no_suffix"])
@pytest.mark.parametrize(
    "text",
    [
        TWO,
        TWO.replace("\n", "\r\n"),
        TWO.replace("\n", "\r"),
        TWO.replace("\n", "\n\n"),
        "\n \n" + TWO.rstrip(),
        "\ufeff" + TWO,
        TWO.replace("acgtn", "ac gtn  "),
    ],
    ids=["plain", "Windows", "old Mac", "blank lines", "blank start, no last line end", "byte order mark", "spaces"],
)
def test_whatever_the_line_ends_the_sequences_are_the_same(tmp_path, text, name):
    path = write(tmp_path, text, name)
    assert in_records(path) == in_pieces(path) == {"a": "ACGTACGTN", "b": "GGT"}


def test_gzip_is_known_by_its_first_bytes(tmp_path):
    path = tmp_path / "packed.fa"
    path.write_bytes(gzip.compress(TWO.encode()[:20]) + gzip.compress(TWO.encode()[20:]))  # in members, as bgzip makes
    assert in_records(path) == in_pieces(path) == {"a": "ACGTACGTN", "b": "GGT"}
    unpacked = tmp_path / "plain.fa.gz"
    unpacked.write_text(TWO)
    assert in_records(unpacked) == in_pieces(unpacked) == {"a": "ACGTACGTN", "b": "GGT"}


@given(
    st.lists(st.text(alphabet="ACGTN", min_size=1, max_size=40), min_size=1, max_size=5),
    st.integers(1, 50),
    st.integers(1, 9),
)
def test_pieces_joined_are_the_records_and_every_one_but_the_last_is_full(tmp_path_factory, texts, piece_length, width):
    lines = [f">{i}\n" + "\n".join(text[a : a + width] for a in range(0, len(text), width)) for i, text in enumerate(texts)]
    path = write(tmp_path_factory.mktemp("pieces"), "\n".join(lines))
    expected = {str(i): text for i, text in enumerate(texts)}
    assert in_pieces(path, piece_length=piece_length) == in_records(path) == expected
    for piece in stream_pieces(path, piece_length=piece_length):
        ends = piece.start_0based + len(piece.codes) == len(expected[piece.id])
        assert piece.is_last == ends
        assert len(piece.codes) == piece_length or (ends and 0 < len(piece.codes) < piece_length)


@pytest.mark.parametrize("width", [70, 5_000_000], ids=["wrapped", "on one line"])
def test_a_record_in_pieces_is_never_whole_in_memory(tmp_path, width):
    n = 5_000_000
    line = "ACGTN" * (width // 5) + "\n"
    path = write(tmp_path, ">long\n" + line * (n // width))
    tracemalloc.start()
    try:
        length = sum(len(piece.codes) for piece in stream_pieces(path, piece_length=10_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == n // width * width
    assert peak < n / 5


def genbank(folder, records, name="x.gb"):
    records = [
        SeqRecord(Seq(letters), id=f"{id_}.1", name=id_, annotations={"molecule_type": "DNA"}) for id_, letters in records
    ]
    plain = folder / "written.txt"
    SeqIO.write(records, plain, "genbank")
    return write(folder, plain.read_text(), name)


@pytest.mark.parametrize("name", ["x.gb", "x.gbk", "x.genbank.gz", "no_suffix"])
def test_genbank_is_read_with_accession_and_version(tmp_path, name):
    path = genbank(tmp_path, [("ONE", "ACGT" * 40), ("TWO", "NNRA")], name)
    assert in_records(path) == {"ONE.1": "ACGT" * 40, "TWO.1": "NNNA"}
    assert in_records(path, format="genbank") == in_records(path)
    with pytest.raises(ValueError, match="is GenBank, which is read record by record; use stream_records"):
        stream_pieces(path)


def test_genbank_that_is_cut_short_or_none_is_refused(tmp_path):
    whole = genbank(tmp_path, [("ONE", "ACGT" * 40), ("TWO", "GG" * 300)]).read_text()
    for cut in (whole[:-80], whole[: whole.rindex("FEATURES") + 30], whole[: whole.rindex("ORIGIN")]):
        with pytest.raises(ValueError, match=r"x\.gb is no whole GenBank file \(Premature end.*\) after record 'ONE\.1'"):
            list(stream_records(write(tmp_path, cut, "x.gb")))
    lost = whole.replace(whole.splitlines(keepends=True)[-3], "")  # a line of letters
    with pytest.raises(ValueError, match=r"x\.gb is no whole GenBank file \(Expected sequence length 600, found 540"):
        list(stream_records(write(tmp_path, lost, "x.gb")))
    start, end = whole.index("ORIGIN"), whole.index("//")
    with pytest.raises(ValueError, match=r"record 'ONE\.1' of .*x\.gb has no sequence"):
        list(stream_records(write(tmp_path, whole[:start] + "CONTIG      join(U1.1:1..160)\n" + whole[end:], "x.gb")))
    for text in ("", "hello\n"):
        with pytest.raises(ValueError, match=r"x\.gb has no record; is it GenBank\?"):
            list(stream_records(write(tmp_path, text, "x.gb")))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"x\.fa has no record: the file is empty; is it FASTA\?"),
            ("\n\n", r"x\.fa has no record: the file is empty; is it FASTA\?"),
            ("ACGT\n", r"x\.fa begins with 'ACGT'; expected a header line, '>' and an id: is it FASTA\?"),
            ("; note\n>a\nA\n", r"x\.fa begins with '; note'"),
            ("@read\nACGT\n+\nIIII\n", r"x\.fa begins with '@read'"),
        ],
    )
    def test_what_is_no_fasta_is_refused_by_the_call(self, tmp_path, read, text, message):
        with pytest.raises(ValueError, match=message):
            read(write(tmp_path, text))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (">a\nAC\n>b\n>c\nGG\n", r"record 'b' of .*x\.fa has no sequence"),
            (">a\nAC\n>b\n \n", r"record 'b' of .*x\.fa has no sequence"),
            (">a\nAC\n>  \nAC\n", r"x\.fa: record 2 \(counted from 1\) has no id after its '>'"),
            (">a 1\nAC\n>b\nA\n>a 2\nAC\n", r"x\.fa has two records of id 'a' \(the first word of the header\)"),
            (">a\nAC\n>b\nACGT\nAC-T\n", r"record 'b' of .*x\.fa: '-' at position 7 \(counted from 1\)"),
            (">a\nACGT\n1 ACGT\n", r"record 'a' of .*x\.fa: '1' at position 5 \(counted from 1\)"),
        ],
    )
    def test_a_bad_record_is_named(self, tmp_path, read, text, message):
        reader = read(write(tmp_path, text))
        with pytest.raises(ValueError, match=message):
            list(reader)

    def test_position_counts_from_the_start_of_the_record_also_in_pieces(self, tmp_path, read):
        path = write(tmp_path, ">a\n" + "ACGTA\n" * 20 + "AXCGT\n")
        reader = read(path, piece_length=7) if read is stream_pieces else read(path)
        with pytest.raises(ValueError, match="record 'a' of .*: 'X' at position 102 "):
            list(reader)

    def test_a_header_begins_a_line_and_not_the_part_of_a_long_one(self, tmp_path, read):
        reader = read(write(tmp_path, ">a\n" + "A" * 65_536 + ">b\nACGT\n"))
        with pytest.raises(ValueError, match="record 'a' of .*: '>' at position 65537 "):
            list(reader)

    def test_bytes_that_are_no_text_are_refused_by_position(self, tmp_path, read):
        path = tmp_path / "x.fa"
        path.write_bytes(b">\xe9\nACG\xe9T\n")  # in the header it would do
        with pytest.raises(ValueError, match="at position 4 .*is no letter of DNA"):
            list(read(path))

    def test_a_missing_file_and_a_folder_are_refused_by_the_call(self, tmp_path, read):
        with pytest.raises(FileNotFoundError, match=r"none\.fa: no such file; check the path"):
            read(tmp_path / "none.fa")
        with pytest.raises(FileNotFoundError, match="is a folder; name a file in it"):
            read(tmp_path)

    def test_a_cut_or_damaged_gzip_is_refused(self, tmp_path, read):
        letters = "".join("ACGT"[i] for i in np.random.default_rng(0).integers(0, 4, 400_000))
        path = write(tmp_path, f">a\n{letters}\n", "x.fa.gz")
        whole = path.read_bytes()
        path.write_bytes(whole[:-20_000])
        reader = read(path)
        with pytest.raises(ValueError, match=r"x\.fa\.gz is damaged or cut short \(.*\); fetch it again"):
            list(reader)
        path.write_bytes(whole[:60_000] + bytes(100) + whole[60_100:])
        reader = read(path)
        with pytest.raises(ValueError, match=r"is damaged or cut short|is no letter of DNA"):
            list(reader)


def test_unknown_arguments_are_refused(tmp_path):
    path = write(tmp_path, TWO)
    with pytest.raises(ValueError, match="format='embl' is unknown; take 'auto', 'fasta' or 'genbank'"):
        stream_records(path, format="embl")
    with pytest.raises(ValueError, match="piece_length=0 must be at least 1 base"):
        stream_pieces(path, piece_length=0)


REAL = {
    "NC_045512.2_SARS-CoV-2.fasta": ("NC_045512.2", 29_906, "ATTAAAGGTTTATACC"),  # with three N that NCBI's has not
    "lambda_virus.fa.gz": ("gi|9626243|ref|NC_001416.1|", 48_502, "GGGCGGCGACCTCGCG"),
    "yeastSEQCHR1.fa": ("yeastSEQCHR1", 230_208, "CCACACCACACCCACA"),
    "MG1655-K12.fasta.gz": ("K-12-MG1655", 4_639_675, "AGCTTTTCATTCTGAC"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_genomes_are_read_whole(data_home, name):
    path = Path(data_home, "genomes", name)
    if not path.is_file():
        pytest.skip(f"{data_home} has no genomes/{name}")
    (record,) = stream_records(path)
    assert (record.id, len(record.codes), decode(record.codes[:16])) == REAL[name]
    with open_text(path) as file:  # independently: every line but the header
        letters = "".join(line.strip() for line in file if not line.startswith(">"))
    assert decode(record.codes) == re.sub("[^ACGT]", "N", letters.upper())
    pieces = [piece.codes for piece in stream_pieces(path)]
    np.testing.assert_array_equal(np.concatenate(pieces), record.codes)
    assert len(pieces) == -(-len(record.codes) // 65_536)
