"""Intervals of a genome: what a BED file may look like, and whose letters an interval gives."""

import gzip
from pathlib import Path

import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.dna.bases import decode, encode
from titans_ts.dna.genome import Genome, Interval, fetch_intervals, read_bed

TEXT = "# by hand\nbrowser position I\ntrack name=genes\nI\t0\t4\n\nI\t2\t6\tgene one\t0\t-\nII\t1\t3\tb\t.\t+\textra\n"
EXPECTED = [
    Interval("I", 0, 4, line=4),
    Interval("I", 2, 6, "gene one", "-", line=6),
    Interval("II", 1, 3, "b", "+", line=7),
]


@pytest.mark.parametrize("name", ["x.bed", "x.bed.gz"])
@pytest.mark.parametrize("end_of_line", ["\n", "\r\n"])
def test_bed_is_read_with_its_comments_passed_over(tmp_path, name, end_of_line):
    content = TEXT.replace("\n", end_of_line).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_bed(path) == EXPECTED


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
    ids, codes = fetch_intervals(genome, [*EXPECTED, Interval("I", 4, 8, strand="-")])
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
        fetch_intervals(genome, [EXPECTED[0], Interval("II", 1, 4, line=7)])
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
