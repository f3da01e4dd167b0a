"""PhysioNet's formats: what is written comes back, bit for bit, and what is damaged or unknown is refused by name."""

import numpy as np
import pytest

from titans_ts.datasets.wfdb import SYMBOLS, header_words, read_annotations, read_header, read_signals


def packed(numbers):
    """Write whole numbers ``(t, c)`` in format 212, by arithmetic rather than by bits."""
    flat = [int(number) % 4096 for number in np.ravel(numbers)]
    content = bytearray()
    for first, second in zip(flat[::2], [*flat[1::2], 0], strict=False):
        content += bytes([first % 256, first // 256 + 16 * (second // 256), second % 256])
    return bytes(content if len(flat) % 2 == 0 else content[:-1])


def header_of(numbers, *, scale="200", zero=0):
    lines = [f"x {numbers.shape[1]} 360 {len(numbers)}"]
    for place, column in enumerate(numbers.T):
        lines.append(f"x.dat 212 {scale} 12 {zero} {column[0]} {int(column.sum()) % 65536} 0 lead {place}")
    return "\n".join(lines).encode()


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (8, 1), (5, 3), (40, 2)])
def test_signals_of_any_size_come_back(shape):
    numbers = np.random.default_rng(0).integers(-2047, 2048, shape)
    header = read_header(header_of(numbers), name="x.hea")
    assert [signal.name for signal in header.signals] == [f"lead {place}" for place in range(shape[1])]
    np.testing.assert_array_equal(read_signals(packed(numbers), header, name="x.dat"), numbers / 200)


@pytest.mark.parametrize(
    ("scale", "zero", "expected"),
    [
        ("200", 1024, [-0.12, 4.88]),  # the converter's zero stands in for a baseline
        ("100(1000)/uV", 1024, [0.0, 10.0]),
        ("0", 0, [5.0, 10.0]),  # no gain means 200
        ("2.5e2(-500)", 0, [6.0, 10.0]),
    ],
)
def test_gain_and_baseline_are_honoured(scale, zero, expected):
    numbers = np.array([[1000], [2000]])
    header = read_header(header_of(numbers, scale=scale, zero=zero), name="x.hea")
    np.testing.assert_allclose(read_signals(packed(numbers), header, name="x.dat")[:, 0], expected)
    assert header.signals[0].units == ("uV" if "uV" in scale else "mV")


def test_the_least_number_means_not_measured():
    numbers = np.array([[5], [-2048], [7]])
    values = read_signals(packed(numbers), read_header(header_of(numbers), name="x.hea"), name="x.dat")
    np.testing.assert_array_equal(values[:, 0], [0.025, np.nan, 0.035])


def test_comments_blank_lines_and_line_ends_say_nothing():
    plain = header_of(np.array([[1], [2]]))
    odd = b"# who\r\n\r\n" + plain.replace(b"\n", b"\r\n\n") + b"\r\n# what\r\n"
    assert header_words(odd) == header_words(plain) == plain + b"\n"
    assert read_header(odd, name="x.hea") == read_header(plain, name="x.hea")


def word(code, interval):
    return (code << 10 | interval).to_bytes(2, "little")


def test_annotations_of_every_kind_are_read():
    content = b"".join(
        [
            *(word(59, 0), (2).to_bytes(2, "little"), (9).to_bytes(2, "little"), word(1, 100)),  # 2 * 65536 + 9 + 100
            *(word(61, 3), word(60, 2), word(62, 1)),
            *(word(28, 1023), word(63, 3), b"(AB\0"),
            *(word(5, 0), word(8, 5)),
            b"\0\0",
        ]
    )
    rows, symbols = read_annotations(content, name="x.atr")
    assert rows.tolist() == [131_181, 132_204, 132_204, 132_209]
    assert symbols == ["N", "+", "V", "A"]
    assert rows.dtype == np.int64
    assert read_annotations(b"\0\0", name="x.atr")[1] == []
    assert len(set(SYMBOLS.values())) == len(SYMBOLS) == 39


HEADER = header_of(np.array([[1, 2], [3, 4]]))
GOOD = packed(np.array([[1, 2], [3, 4]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.hea is no header of a record: its first line must give a name, signals, rate and rows"),
        (b"\xff\xfe\x00", "x.hea is no header of a record"),
        (b"x 2 360", "x.hea is no header of a record"),
        (HEADER.rpartition(b"\n")[0], "tells of 2 signals of 2 rows and describes 1; fetch it again"),
        (HEADER.replace(b" 212 ", b" 16 "), "a signal is in format 16, expected 212, the only one that is read here"),
        (HEADER.replace(b" 212 ", b" 212x4 "), "a signal is in format 212x4, expected 212"),
        (HEADER.replace(b" 212 200 ", b" 212 much "), "cannot read the signal 'x.dat 212 much 12 0 1 4 0 lead 0'"),
    ],
)
def test_headers_that_cannot_be_read_are_refused_by_name(content, message):
    with pytest.raises(ValueError, match=message):
        read_header(content, name="x.hea")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "x.dat has 5 bytes, expected 6 for 2 rows of 2 signals; fetch it again"),
        (b"\x02" + GOOD[1:], "the first value of 'lead 0' is 2, expected 1 by the header; fetch both again"),
        (GOOD[:-1] + b"\x05", "the checksum of 'lead 1' is 7, expected 6 by the header"),
    ],
)
def test_signals_that_do_not_fit_their_header_are_refused_by_name(content, message):
    with pytest.raises(ValueError, match=message):
        read_signals(content, read_header(HEADER, name="x.hea"), name="x.dat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.atr breaks off after row 0, without its end mark"),
        (word(1, 9), "x.atr breaks off after row 9"),
        (word(1, 9) + b"\0", "x.atr breaks off after row 9"),
        (word(1, 9) + word(63, 40) + b"(N\0\0", "x.atr breaks off after row 9"),
        (word(1, 9) + word(59, 0) + b"\0\0", "x.atr breaks off after row 9"),
        (word(1, 9) + word(50, 1) + b"\0\0", "x.atr: unknown code 50 at byte 2, after row 9"),
        (word(1, 9) + word(59, 0) + b"\xff\xff\xff\xff" + word(1, 0) + b"\0\0", "lies before the one that precedes it"),
    ],
)
def test_damaged_annotations_are_refused_by_name(content, message):
    with pytest.raises(ValueError, match=message):
        read_annotations(content, name="x.atr")
