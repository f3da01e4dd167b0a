"""Variants: the same from VCF, frames and tuples; put where they belong; a reference that disagrees is told."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.dna.bases import decode, encode
from titans_ts.dna.genome import Genome
from titans_ts.dna.variants import Variant, read_variants, window_of

HEADER = "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
ROWS = [
    ("I", 3, "rs1", "G", "GA"),
    ("I", 3, "rs1", "G", "T"),
    ("II", 12, ".", "CT", "C"),
    ("II", 40, ".", "R", "A"),
]
EXPECTED = [Variant(*row) for row in ROWS]
TEXT = HEADER + "I\t3\trs1\tG\tGA,T\t50\tPASS\t.\nII\t12\t.\tCT\tc\t.\t.\t.\n\nII\t40\t.\tr\tA\n"


def frame(**columns):
    return {name: list(values) for name, values in columns.items()}


CONTIGS, POSITIONS, IDS, REFS, ALTS = zip(*ROWS, strict=True)


@pytest.mark.parametrize("name", ["x.vcf", "x.vcf.gz", "x.txt"])
@pytest.mark.parametrize("end_of_line", ["\n", "\r\n"])
@pytest.mark.parametrize("as_path", [Path, str])
def test_vcf_gives_one_variant_for_each_alternative(tmp_path, name, end_of_line, as_path):
    path = tmp_path / name
    content = TEXT.replace("\n", end_of_line).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_variants(as_path(path)) == EXPECTED


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize(
    ("contig", "position", "ref", "alt", "id_"),
    [
        ("contig", "pos", "ref", "alt", "id"),
        ("#CHROM", "POS", "REF", "ALT", "ID"),
        ("chrom", "position_1based", "ref", "alt", "id"),
    ],
)
def test_a_frame_gives_the_same(make, contig, position, ref, alt, id_):
    columns = {alt: ALTS, ref: REFS, position: POSITIONS, contig: CONTIGS, id_: IDS, "score": [1.0] * 4}
    assert read_variants(make(frame(**columns))) == EXPECTED
    del columns[id_]
    assert [variant.id for variant in read_variants(make(frame(**columns)))] == ["."] * 4


def test_a_list_gives_the_same():
    assert read_variants(EXPECTED) == read_variants(ROWS) == read_variants(tuple(map(list, ROWS))) == EXPECTED
    without = read_variants([(contig, position, ref, alt) for contig, position, _, ref, alt in ROWS])
    assert without == [variant._replace(id=".") for variant in EXPECTED]
    assert read_variants([(1, np.int64(3), "u", "A"), (1, 3.0, "A", "T"), ("1", "3", "A", "T")]) == [
        Variant("1", 3, ".", "U", "A"),
        Variant("1", 3, ".", "A", "T"),
        Variant("1", 3, ".", "A", "T"),
    ]


def test_alleles_without_letters_are_left_out_and_counted(tmp_path):
    path = tmp_path / "x.vcf"
    path.write_text(HEADER + "I\t3\t.\tG\t<DEL>,T,*\nI\t4\t.\tG\tG]II:9]\nI\t5\t.\tG\t<DUP>\nI\t6\t.\tG\t.\n")
    message = r"x\.vcf: 5 alleles without letters are left out \(2 symbolic, 1 '\*', 1 breakends, 1 without ALT\)"
    with pytest.warns(UserWarning, match=message):
        assert read_variants(path) == [Variant("I", 3, ".", "G", "T")]
    with pytest.warns(UserWarning, match="the list of variants: 1 alleles without letters"):
        assert read_variants([("I", 3, "G", "<DEL>")]) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("I\t0\t.\tG\tA", "line 4: the position is '0'; expected an integer from 1 on"),
        ("I\tx\t.\tG\tA", "line 4: the position is 'x'"),
        ("I\t2.5\t.\tG\tA", r"line 4: the position is '2\.5'"),
        (
            "I\t2\t.\t\tA",
            "line 4: REF is ''; an insertion or deletion is written with the base before it|line 4: REF is empty",
        ),
        ("I\t2\t.\tG\t", "line 4: ALT is empty; expected letters"),
        ("I\t2\t.\tG\tA,,T", "line 4: ALT is ''"),
        ("I\t2\t.\t-\tA", "line 4: REF is '-'; an insertion or deletion is written with the base before it"),
        ("I\t2\t.\tGE\tA", "line 4: REF: 'E' at position 2 "),
        ("I\t2\t.\tG\tAXA", "line 4: ALT: 'X' at position 2 "),
        ("I\t2\t.\tG", "line 4 has 4 columns; expected at least five: CHROM POS ID REF ALT"),
        ("\t2\t.\tG\tA", "line 4: the contig is missing"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "x.vcf"
    path.write_text(HEADER + "I\t1\t.\tG\tA\n" + line + "\n")
    with pytest.raises(ValueError, match=rf"x\.vcf, {message}"):
        read_variants(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pos", np.nan, "variants, row 1: the position is nan; expected an integer from 1 on"),
        ("pos", 2.5, r"variants, row 1: the position is 2\.5"),
        ("pos", -1, "variants, row 1: the position is -1"),
        ("ref", None, "variants, row 1: REF is None|variants, row 1: REF is nan"),
        ("alt", None, "variants, row 1: ALT is None|variants, row 1: ALT is nan"),
        ("contig", None, "variants, row 1: the contig is missing"),
    ],
)
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_bad_row_is_named(make, column, value, message):
    columns = {"contig": ["I", "I"], "pos": [1, 2], "ref": ["A", "A"], "alt": ["C", "C"]}
    columns[column] = [float(columns[column][0]) if isinstance(value, float) else columns[column][0], value]
    with pytest.raises(ValueError, match=message):
        read_variants(make(columns))


def test_what_is_no_table_of_variants_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"variants have no column 'position_1based' or 'pos' for the position"):
        read_variants(pd.DataFrame({"contig": ["I"], "ref": ["A"], "alt": ["C"]}))
    with pytest.raises(ValueError, match=r"variants have both 'chrom' and 'contig' for the contig"):
        read_variants(pd.DataFrame({"chrom": ["I"], "contig": ["I"], "pos": [1], "ref": ["A"], "alt": ["C"]}))
    with pytest.raises(TypeError, match="variants are one column; expected a frame"):
        read_variants(pd.Series(["I:3 G>A"]))
    with pytest.raises(ValueError, match=r"variants\[1\] is 'I:3 G>A'; expected \(contig, position_1based, ref, alt\)"):
        read_variants([("I", 3, "G", "A"), "I:3 G>A"])
    with pytest.raises(ValueError, match=r"variants\[0\]: the position is True"):
        read_variants([("I", True, "G", "A")])
    for single in (3, EXPECTED[0], {"contig": "I"}):
        with pytest.raises(
            TypeError, match="expected the path of a VCF file, a frame with columns contig, pos, ref and alt"
        ):
            read_variants(single)
    with pytest.raises(FileNotFoundError, match=r"none\.vcf: no such file"):
        read_variants(str(tmp_path / "none.vcf"))
    (tmp_path / "empty.vcf").write_text(HEADER)
    for empty in (tmp_path / "empty.vcf", [], pd.DataFrame({"contig": [], "pos": [], "ref": [], "alt": []})):
        with pytest.raises(ValueError, match="holds no variants; expected at least one row"):
            read_variants(empty)
    (tmp_path / "x.bcf").write_bytes(gzip.compress(b"BCF\x02\x02\n"))
    with pytest.raises(ValueError, match=r"x\.bcf is BCF, not VCF; convert it: bcftools view"):
        read_variants(tmp_path / "x.bcf")


CONTIG = "ACGTACGTNN"


@pytest.fixture(params=["mapping", "genome"])
def genome(request, tmp_path):
    if request.param == "mapping":
        return {"I": encode(CONTIG), "II": encode("GG")}
    (tmp_path / "g.fa").write_text(f">I\n{CONTIG}\n>II\nGG\n")
    return Genome(tmp_path / "g.fa")


@pytest.mark.parametrize(
    ("variant", "flank", "expected"),
    [
        (("I", 3, ".", "G", "A"), 2, ("AC", "G", "TA", True)),
        (("I", 3, ".", "g", "A"), 0, ("", "G", "", True)),
        (("I", 3, ".", "A", "G"), 2, ("AC", "G", "TA", False)),
        (("I", 4, ".", "TAC", "T"), 3, ("ACG", "TAC", "GTN", True)),
        (("I", 1, ".", "A", "T"), 3, ("", "A", "CGT", True)),
        (("I", 8, ".", "TN", "A"), 4, ("TACG", "TN", "N", True)),
        (("I", 9, ".", "AC", "A"), 1, ("T", "NN", "", True)),  # N in the reference agrees with anything
        (("I", 2, ".", "R", "A"), 1, ("A", "C", "G", True)),  # and so does a letter of uncertainty in REF
        (("I", 2, ".", "CA", "A"), 1, ("A", "CG", "T", False)),
        (("II", 2, ".", "G", "A"), 100, ("G", "G", "", True)),
    ],
)
def test_a_window_is_what_stands_around_the_variant(genome, variant, flank, expected):
    window = window_of(genome, Variant(*variant), flank=flank)
    assert (*(decode(part) for part in window[:3]), window.ref_match) == expected
    assert isinstance(window.ref_match, bool)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (("I", 11, ".", "A", "C"), "variant I:11 A>C ends at position 11, beyond contig 'I' of length 10"),
        (("I", 10, ".", "AC", "C"), "variant I:10 AC>C ends at position 11, beyond contig 'I' of length 10"),
        (("chrI", 1, ".", "A", "C"), "variant chrI:1 A>C: there is no contig 'chrI' in .*; is it 'I'"),
    ],
)
def test_a_variant_outside_is_refused(genome, variant, message):
    with pytest.raises(ValueError, match=message):
        window_of(genome, Variant(*variant), flank=5)
    with pytest.raises(ValueError, match="flank=-1 must be 0 bases or more"):
        window_of(genome, Variant("I", 1, ".", "A", "C"), flank=-1)


@given(st.text(alphabet="ACGTN", min_size=4, max_size=30), st.text(alphabet="ACGT", min_size=1, max_size=4), st.data())
def test_a_window_is_the_contig_around_the_variant_and_tells_whether_ref_stands_there(text, ref, data):
    place = data.draw(st.integers(0, len(text) - len(ref)))
    window = window_of({"I": encode(text)}, Variant("I", place + 1, ".", ref, "A"), flank=3)
    end = place + len(ref)
    found = [decode(part) for part in window[:3]]
    assert found == [text[max(place - 3, 0) : place], text[place:end], text[end : end + 3]]
    assert window.ref_match == all(a in (b, "N") for a, b in zip(text[place:end], ref, strict=True))


def test_a_real_genome_agrees_with_itself_and_the_wrong_strand_is_told(data_home):
    path = Path(data_home, "genomes", "NC_045512.2_SARS-CoV-2.fasta")
    if not path.is_file():
        pytest.skip(f"{data_home} has no genomes/{path.name}")
    with Genome(path) as genome:
        d614g, wrong = read_variants([("NC_045512.2", 23403, "A", "G"), ("NC_045512.2", 23402, "A", "G")])
        window = window_of(genome, d614g, flank=5)
        assert decode(np.concatenate([window.before, window.ref_in_reference, window.after])) == "TCAGGATGTTA"
        assert window.ref_match
        assert not window_of(genome, wrong, flank=5).ref_match
