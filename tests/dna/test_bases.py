"""The letters of DNA: what becomes what, what is refused and where, and the other strand."""

import re
import time

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from titans_ts.dna.bases import LETTERS, N, decode, encode, reverse_complement

IUPAC = "ACGTUNRYSWKMBDHV"


def test_every_letter_of_iupac_in_either_case_has_its_code():
    expected = {"A": 0, "C": 1, "G": 2, "T": 3, "U": 3} | dict.fromkeys("NRYSWKMBDHV", 4)
    for letter in IUPAC:
        assert encode(letter).tolist() == encode(letter.lower()).tolist() == [expected[letter]], letter
    assert encode("ACGTN").dtype == np.uint8
    assert (LETTERS[N], N) == ("N", 4)


def test_nothing_but_iupac_is_a_letter():
    taken = {chr(i) for i in range(0x250) if not refused(chr(i))}
    assert taken == set(IUPAC + IUPAC.lower())


def refused(letter):
    try:
        encode(letter)
    except ValueError:
        return True
    return False


@given(st.text(alphabet="ACGTN", min_size=1))
def test_decoding_gives_the_letters_back(text):
    assert decode(encode(text)) == text
    assert decode(encode(text.lower())) == text


@given(st.text(alphabet="ACGTN", min_size=1))
def test_the_other_strand_is_biopythons_and_twice_is_the_first(text):
    codes = encode(text)
    assert decode(reverse_complement(codes)) == str(Seq(text).reverse_complement())
    np.testing.assert_array_equal(reverse_complement(reverse_complement(codes)), codes)


def test_the_other_strand_of_many_reverses_the_last_axis_and_is_a_new_array():
    codes = np.stack([encode("AACG"), encode("TTNG")])
    before = codes.copy()
    other = reverse_complement(codes)
    assert [decode(row) for row in other] == ["CGTT", "CNAA"]
    other[:] = 0
    np.testing.assert_array_equal(codes, before)


@pytest.mark.parametrize(
    ("text", "letter", "position", "remedy"),
    [
        ("ACG-T", "'-'", 4, "remove the gaps of an alignment"),
        (".ACGT", "'.'", 1, "remove the gaps of an alignment"),
        ("ACGT\n", r"'\n'", 5, "remove white space and numbers"),
        ("1 acgt", "'1'", 1, "remove white space and numbers"),
        ("ACGTE", "'E'", 5, "is this protein?"),
        ("acgtl", "'l'", 5, "is this protein?"),
        ("ACéGT", "'é'", 3, "write N for a base that is not known"),
        ("AC\U0001f9ecGT", "'\U0001f9ec'", 3, "write N for a base that is not known"),
        ("AC?-T", "'?'", 3, "write N for a base that is not known"),
    ],
)
def test_what_is_no_letter_is_refused_by_record_position_and_remedy(text, letter, position, remedy):
    start = f"chr7: {letter} at position {position} (counted from 1) is no letter of DNA; "
    with pytest.raises(ValueError, match=re.escape(start) + ".*" + re.escape(remedy)):
        encode(text, name="chr7")
    with pytest.raises(ValueError, match=f"at position {position + 1000} "):
        encode(text, start_0based=1000)


def test_the_empty_sequence_and_what_is_no_text_are_refused():
    with pytest.raises(ValueError, match="read 3 is empty; expected at least one base"):
        encode("", name="read 3")
    with pytest.raises(TypeError, match="read 3 is bytes; expected a str"):
        encode(b"ACGT", name="read 3")


def test_codes_that_are_none_are_refused():
    assert decode(np.array([], dtype=np.uint8)) == ""
    with pytest.raises(ValueError, match=r"codes hold 5 at index \[1\]; expected 0 to 4 \(ACGTN\)"):
        reverse_complement(np.array([0, 5], dtype=np.uint8))
    with pytest.raises(ValueError, match=r"codes have shape \(2, 1\); expected one sequence"):
        decode(np.zeros((2, 1), dtype=np.uint8))
    with pytest.raises(ValueError, match="codes are of dtype int64; expected uint8"):
        decode(np.array([-1]))


def test_a_chromosome_is_encoded_in_well_under_a_second():
    text = "ACGTNacgtn" * 1_700_000
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        codes = encode(text)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0
    assert np.bincount(codes).tolist() == [3_400_000] * 5
