"""Files of sequences: what is read, in records and in pieces, and what is refused by file, record and position."""

import gzip
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.dna.bases import decode
from titans_ts.dna.sequences import open_text, stream_pieces, stream_records

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
