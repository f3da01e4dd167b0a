"""Stretches and intervals of a genome: on disk as in memory, refused by contig, position and line."""

import gzip
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.dna import genome as module
from titans_ts.dna.bases import decode, encode
from titans_ts.dna.genome import Genome, Interval, fetch_intervals, read_bed

TEXT = ">I one\nACGTA\ncgtac\nNN\n>II\nGGRT\n"
UNEVEN = ">I\nACG\nACGTA\nCG\nTACNN\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "genome" / "g.fa"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def pyfaidx_or_skip():
    return pytest.importorskip("pyfaidx", reason="the extra `genomics` is not installed")


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_stretch_is_what_lies_there(path, in_memory):
    if not in_memory:
        pyfaidx_or_skip()
    with Genome(path, in_memory=in_memory) as genome:
        assert genome.in_memory is in_memory
        assert genome.contigs == {"I": 12, "II": 4}
        assert decode(genome.fetch("I", 0, 12)) == "ACGTACGTACNN"
        assert decode(genome.fetch("I", 3, 6)) == "TAC"
        assert decode(genome.fetch("II", np.int64(0), np.int64(4))) == "GGNT"
        assert genome.fetch("I", 12, 12).shape == (0,)
        part = genome.fetch("I", 0, 5)
        part[:] = 4
        assert decode(genome.fetch("I", 0, 5)) == "ACGTA"  # what was handed out is nobody else's


@given(
    st.lists(st.text(alphabet="ACGTNacgt", min_size=1, max_size=60), min_size=1, max_size=4), st.integers(1, 20), st.data()
)
def test_disk_and_memory_agree(tmp_path_factory, texts, width, data):
    pyfaidx_or_skip()
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    end_of_line = data.draw(st.sampled_from(["\n", "\r\n"]))
    lines = [
        line
        for i, text in enumerate(texts)
        for line in [f">{i}", *(text[a : a + width] for a in range(0, len(text), width))]
    ]
    path.write_bytes(end_of_line.join([*lines, ""]).encode())
    with Genome(path, in_memory=True) as memory, Genome(path, in_memory=False) as disk:
        assert memory.contigs == disk.contigs == {str(i): len(text) for i, text in enumerate(texts)}
        for i, text in enumerate(texts):
            a = data.draw(st.integers(0, len(text)))
            b = data.draw(st.integers(a, len(text)))
            np.testing.assert_array_equal(memory.fetch(str(i), a, b), disk.fetch(str(i), a, b))


def test_nothing_is_written_beside_the_file_or_left_in_the_temporary_folder(path, tmp_path, monkeypatch):
    pyfaidx_or_skip()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with Genome(path, in_memory=False) as genome:
        assert decode(genome.fetch("I", 0, 4)) == "ACGT"
        assert [each.name for each in path.parent.iterdir()] == ["g.fa"]
        assert list(temporary.iterdir()) == []


def test_an_index_that_lies_there_is_used_only_if_it_is_current_and_whole(path):
    pyfaidx_or_skip()
    index = path.with_name("g.fa.fai")
    index.write_text("I\t4\t7\t5\t6\n")  # as if the contig ended early
    with Genome(path, in_memory=False) as genome:
        assert genome.contigs == {"I": 4}
    os.utime(index, (0, 0))
    with Genome(path, in_memory=False) as genome:
        assert genome.contigs == {"I": 12, "II": 4}
    index.write_text("damaged\n")
    with Genome(path, in_memory=False) as genome:
        assert genome.contigs == {"I": 12, "II": 4}
    assert index.read_text() == "damaged\n"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("g.fa.gz", TEXT, "only an uncompressed FASTA file can be read at any position; unpack it"),
        ("g.fa", UNEVEN, "rewrite it with even lines"),
        ("g.fa.gz", None, "rewrite it with even lines"),  # plain, whatever its name says
    ],
    ids=["gzipped", "uneven lines", "plain, called gz"],
)
def test_what_cannot_be_read_in_place_goes_to_memory(tmp_path, name, text, reason):
    pyfaidx_or_skip()
    path = tmp_path / name
    path.write_bytes(
        TEXT.encode() if text is None else gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    )
    with Genome(path) as genome:
        assert genome.in_memory
        assert decode(genome.fetch("I", 2, 8)) == ("GACGTA" if text == UNEVEN else "GTACGT")
    with pytest.raises(ValueError, match=f"in_memory=False, but .* cannot be read in place: .*{reason}"):
        Genome(path, in_memory=False)


def test_without_pyfaidx_the_file_goes_to_memory_and_the_extra_is_named(path, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "pyfaidx", None)
    assert Genome(path).in_memory
    with pytest.raises(ImportError, match=r"needs pyfaidx; `pip install 'titans-ts\[genomics\]'`"):
        Genome(path, in_memory=False)


@pytest.mark.parametrize("in_memory", [True, None])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">I\nAC\n>I\nAC\n", "has two records of id 'I'"),
        (">I\nAC\n>II\n>III\nAC\n", "record 'II' of .* has no sequence"),
        ("ACGT\n", "is it FASTA"),
    ],
)
def test_a_bad_file_is_refused_as_by_stream_records(tmp_path, text, message, in_memory):
    path = tmp_path / "g.fa"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Genome(path, in_memory=in_memory)


@pytest.mark.parametrize("in_memory", [True, None])
def test_a_letter_that_is_none_is_refused_by_contig_and_position(tmp_path, in_memory):
    path = tmp_path / "g.fa"
    path.write_text(">I\nACGT\nAC-T\n")
    with pytest.raises(ValueError, match="'I' of .*: '-' at position 7 "):
        Genome(path, in_memory=in_memory).fetch("I", 5, 8)


@pytest.mark.parametrize("in_memory", [True, None])
@pytest.mark.parametrize(
    ("contig", "start", "end", "message"),
    [
        ("III", 0, 1, r"there is no contig 'III' in .*g\.fa; it has 'I', 'II'$"),
        ("chrII", 0, 1, r"there is no contig 'chrII' in .*; it has 'I', 'II'; is it 'II'\?"),
        ("I", -1, 4, r"-1 to 4 \(counted from 0, half-open\) is no stretch of contig 'I' of length 12"),
        ("I", 0, 13, "0 to 13 .* is no stretch of contig 'I' of length 12"),
        ("I", 5, 4, "5 to 4 .* is no stretch"),
    ],
)
def test_a_stretch_outside_is_refused(path, in_memory, contig, start, end, message):
    with pytest.raises(ValueError, match=message):
        Genome(path, in_memory=in_memory).fetch(contig, start, end)


def test_a_fraction_is_no_position(path):
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        Genome(path).fetch("I", 0.5, 2)


def test_many_contigs_are_not_all_listed(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text("".join(f">c{i}\nA\n" for i in range(8)))
    with pytest.raises(ValueError, match=r"it has 'c0', 'c1', 'c2', 'c3', 'c4' and 3 more$"):
        Genome(path, in_memory=True).fetch("x", 0, 1)


def test_a_real_chromosome_is_the_same_on_disk_and_in_memory(data_home):
    pyfaidx_or_skip()
    path = Path(data_home, "genomes", "yeastSEQCHR1.fa")
    if not path.is_file():
        pytest.skip(f"{data_home} has no genomes/yeastSEQCHR1.fa")
    with Genome(path) as disk, Genome(path, in_memory=True) as memory:
        assert (disk.in_memory, memory.in_memory) == (False, True)
        assert disk.contigs == memory.contigs == {"yeastSEQCHR1": 230_208}
        for start, end in [(0, 230_208), (12_345, 12_346), (100_000, 165_536), (230_200, 230_208)]:
            np.testing.assert_array_equal(disk.fetch("yeastSEQCHR1", start, end), memory.fetch("yeastSEQCHR1", start, end))
    assert not path.with_name(f"{path.name}.fai").exists()


# --- intervals ---------------------------------------------------------------------------------------------------------


BED = "# by hand\nbrowser position I\ntrack name=genes\nI\t0\t4\n\nI\t2\t6\tgene one\t0\t-\nII\t1\t3\tb\t.\t+\textra\n"
INTERVALS = [
    Interval("I", 0, 4, line=4),
    Interval("I", 2, 6, "gene one", "-", line=6),
    Interval("II", 1, 3, "b", "+", line=7),
]


@pytest.mark.parametrize("name", ["x.bed", "x.bed.gz"])
@pytest.mark.parametrize("end_of_line", ["\n", "\r\n"])
def test_bed_is_read_with_its_comments_passed_over(tmp_path, name, end_of_line):
    content = BED.replace("\n", end_of_line).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_bed(path) == INTERVALS


def test_spaces_do_for_tabs(tmp_path):
    path = tmp_path / "x.bed"
    path.write_text("I  0 4\ntracks 2 6 gene 0 -\n")
    assert read_bed(path) == [Interval("I", 0, 4, line=1), Interval("tracks", 2, 6, "gene", "-", line=2)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("I\t4\t4", r"line 2: the end is 4, the start 4; expected an end after the start \(it is not included\)"),
        ("I\t5\t4", "line 2: the end is 4, the start 5"),
        ("I\t-1\t4", r"line 2: the start is -1; expected 0 or more \(BED counts from 0\)"),
        ("I\tx\t4", "line 2: start and end are 'x' and '4'; expected integers"),
        ("I\t0\t4.5", r"line 2: start and end are '0' and '4\.5'; expected integers"),
        ("I\t0", "line 2 has 2 columns; expected at least three: contig, start and end, by tabs"),
        ("I\t0\t4\ta\t0\tx", "line 2: the strand is 'x'; expected"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "x.bed"
    path.write_text("I\t0\t4\n" + line + "\n")
    with pytest.raises(ValueError, match=rf"x\.bed, {message}"):
        read_bed(path)


def test_a_file_of_none_is_refused(tmp_path):
    path = tmp_path / "x.bed"
    path.write_text("track name=x\n")
    with pytest.raises(ValueError, match=r"x\.bed holds no interval; is it BED"):
        read_bed(path)
    with pytest.raises(FileNotFoundError, match=r"none\.bed: no such file"):
        read_bed(tmp_path / "none.bed")


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">I\nACGTTCNA\n>II\nGGA\n")
    return Genome(path)


def test_each_interval_reads_on_its_own_strand(genome):
    ids, codes = fetch_intervals(genome, [*INTERVALS, Interval("I", 4, 8, strand="-")])
    assert ids == ["I:0-4", "gene one", "b", "I:4-8(-)"]
    assert [decode(each) for each in codes] == ["ACGT", "GAAC", "GA", "TNGA"]


@given(st.text(alphabet="ACGTN", min_size=1, max_size=40), st.data())
def test_intervals_are_slices(tmp_path_factory, text, data):
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">I\n{text}\n")
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    genome = Genome(path, in_memory=True)
    _, (plus, minus) = fetch_intervals(genome, [Interval("I", start, end, strand=strand) for strand in "+-"])
    assert decode(plus) == text[start:end]
    assert decode(minus) == str(Seq(text[start:end]).reverse_complement())


def test_an_interval_outside_its_contig_is_refused_by_line_before_any_is_read(genome, monkeypatch):
    monkeypatch.setattr(Genome, "fetch", lambda *_: pytest.fail("a sequence was read"))
    with pytest.raises(ValueError, match=r"line 7: 1 to 4 .* is no stretch of contig 'II' of length 3 in .*g\.fa"):
        fetch_intervals(genome, [INTERVALS[0], Interval("II", 1, 4, line=7)])
    with pytest.raises(ValueError, match=r"interval chrI:0-4: there is no contig 'chrI' in .*g\.fa.*; is it 'I'\?"):
        fetch_intervals(genome, [Interval("chrI", 0, 4)])


def test_a_real_gene_is_read_on_the_minus_strand(data_home, tmp_path):
    path = Path(data_home, "genomes", "lambda_virus.fa.gz")
    if not path.is_file():
        pytest.skip(f"{data_home} has no genomes/{path.name}")
    bed = tmp_path / "genes.bed"
    contig = "gi|9626243|ref|NC_001416.1|"
    bed.write_text(f"{contig}\t37226\t37940\tcI\t0\t-\n{contig}\t38040\t38241\tcro\t0\t+\n")  # the repressor, and cro
    ids, (repressor, cro) = fetch_intervals(Genome(path), read_bed(bed))
    assert ids == ["cI", "cro"]
    assert str(Seq(decode(repressor)).translate(to_stop=True)).startswith(
        "MSTKKKPLTQEQLEDARRLKAIYEKKKNELGLSQESVADKMGMGQSGVG"
    )
    assert str(Seq(decode(cro)).translate()).startswith(
        "MEQRITLKDYAMRFGQTKTAKDLGVYQSAINKAIHAGRKIFLTINADGSVYAEEVKPFPSNKKTTA*"
    )
    assert len(repressor) == 714
    assert encode(decode(cro)).tolist() == cro.tolist()
