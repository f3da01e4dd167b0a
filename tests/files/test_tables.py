"""Tables in files: what is read as what, what is refused, and that nothing is half-written."""

import datetime as dt
import gzip
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from titans_ts.files import tables
from titans_ts.files.tables import (
    SUFFIXES,
    TextForm,
    count_rows,
    date_columns,
    plan_batches,
    read_table,
    read_table_batches,
    replacing,
    table_suffix,
    text_form,
    write_table,
)


def read(path, text, **names):
    path.write_text(text, encoding="utf-8")
    return read_table(path, **names)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_are_found_in_the_header(tmp_path, separator):
    text = "ds,y,note\n2024-01-01,1,a\n2024-01-02,2.5,b\n".replace(",", separator)
    frame = read(tmp_path / "a.csv", text)
    assert frame.rows() == [(dt.date(2024, 1, 1), 1.0, "a"), (dt.date(2024, 1, 2), 2.5, "b")]


def test_words_for_missing_make_no_text_of_numbers(tmp_path):
    frame = read(tmp_path / "a.csv", "ds,a,b,c\n2024-01-01,NA,1,NA\n2024-01-02,2,?,red\n2024-01-03, nan ,3,\n")
    assert frame["a"].to_list() == [None, 2.0, None]
    assert frame["b"].to_list() == [1.0, None, 3.0]
    assert frame["c"].to_list() == ["NA", "red", None], "where there is other text, it is all text"


def test_ids_stay_as_they_are(tmp_path):
    frame = read(tmp_path / "a.csv", "shop,ds,y\n007,2024-01-01,1\nNA,2024-01-01,2\n", id_column="shop")
    assert frame["shop"].to_list() == ["007", "NA"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("2024-01-01", "2024-01-02"), dt.date(2024, 1, 1)),
        (("2024/01/01", "2024/01/02"), dt.date(2024, 1, 1)),
        (("2024-01-01 06:30", "2024-01-01 07:30"), dt.datetime(2024, 1, 1, 6, 30)),
        (("2024-01-01T06:30:00.25", "2024-01-01T07:30:00"), dt.datetime(2024, 1, 1, 6, 30, 0, 250_000)),
        (("2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"), dt.datetime(2024, 3, 31, tzinfo=dt.UTC)),
        (("5", "6"), 5),
        (("01/02/2024", "02/02/2024"), None),
        (("31.12.2023", "01.01.2024"), None),
        (("noon", "2024-01-01"), None),
    ],
)
def test_dates_put_the_year_first(tmp_path, words, expected):
    text = "ds,y\n" + "".join(f"{word},1\n" for word in words)
    if expected is None:
        with pytest.raises(ValueError, match=f"'ds' holds text that is no date, '{words[0]}' in its first row"):
            read(tmp_path / "a.csv", text)
    else:
        assert read(tmp_path / "a.csv", text)["ds"][0] == expected


def test_columns_of_dates_are_found_by_what_they_hold(tmp_path):
    frame = read(tmp_path / "a.csv", "when,y,note\n2024-01-01 00:00,1,2024\n2024-01-01 01:00,2,2025\n")
    assert date_columns(frame) == ["when"]
    stamps = read(tmp_path / "b.csv", "ds,y\n,1\n2024-01-02,2\n")["ds"].to_list()
    assert stamps == [None, dt.date(2024, 1, 2)], "a stamp that is missing is told by row when the frame is read"


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.txt", b"x", "unknown suffix; name it with one of .csv"),
        ("a.csv", b"", "cannot be read as csv: the file is empty"),
        ("a.csv", b"ds,y\n", r"has no rows, only the columns \['ds', 'y'\]"),
        ("a.csv", b"ds,y\n2024-01-01,1,2\n", "cannot be read as csv"),
        ("a.csv", "caf\xe9,y\n1,2\n".encode("latin1"), r"cannot be read as csv: it is no UTF-8 text \(byte 0xe9\)"),
        ("a.csv.gz", b"junk", "cannot be read as csv.gz: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"ds,y\n" * 99, mtime=0)[:-9], "cannot be read as csv.gz"),
        ("a.parquet", b"junk", "cannot be read as parquet"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=word):
        read_table(tmp_path / name)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        write_table(pl.DataFrame({"y": [1.0]}), tmp_path / "absent" / "a.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("backend", ["polars", "pandas"])
def test_what_is_written_is_read_again(tmp_path, suffix, backend):
    stamps = np.datetime64("2024-01-01T00:30", "us") + np.arange(3) * np.timedelta64(90, "m")
    columns = {"unique_id": ["a", "b", "b"], "ds": stamps, "y": np.array([1.5, np.pi, -1e-300])}
    frame = pl.DataFrame(columns) if backend == "polars" else pd.DataFrame(columns)
    write_table(frame, tmp_path / f"Out{suffix.upper()}")
    assert [path.name for path in tmp_path.iterdir()] == [f"Out{suffix.upper()}"]
    assert table_suffix(tmp_path / f"Out{suffix.upper()}") == suffix
    again = read_table(tmp_path / f"Out{suffix.upper()}")
    assert again.rows() == pl.DataFrame(columns).rows(), "to the last bit"


def test_a_gzipped_file_does_not_depend_on_the_clock(tmp_path, monkeypatch):
    write_table(pl.DataFrame({"y": [1.0]}), tmp_path / "a.csv.gz")
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_table(pl.DataFrame({"y": [1.0]}), tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_time_stamps_are_written_for_people(tmp_path):
    stamps = pl.Series("ds", [dt.datetime(2024, 1, 1, 6), dt.datetime(2024, 1, 1, 6, 30)])
    write_table(pl.DataFrame([stamps]), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "ds\n2024-01-01 06:00:00\n2024-01-01 06:30:00\n"
    tokyo = stamps.dt.replace_time_zone("Asia/Tokyo")
    write_table(pl.DataFrame([tokyo]), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "ds\n2024-01-01 06:00:00+09:00\n2024-01-01 06:30:00+09:00\n"


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def hourly(count):
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "unique_id": [f"00{k % 3}" for k in range(count)],
            "ds": np.datetime64("2024-01-01T00:00", "us") + np.arange(count) * np.timedelta64(1, "h"),
            "y": generator.normal(size=count),
            "note": ["red, or\n green" if k % 5 else None for k in range(count)],
        }
    )
    return frame.with_columns(y=pl.when(pl.col("y") > 1).then(None).otherwise(pl.col("y")))


def packed(path, text):
    """Write text as it is: no line end is translated."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("rows", [1, 7, 997, 5000])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_batches_joined_are_the_table(tmp_path, suffix, rows):
    path = tmp_path / f"a{suffix}"
    frame = hourly(50 if rows == 1 else 1200)
    write_table(frame, path)
    batches = list(read_table_batches(path, rows=rows))
    assert_frame_equal(pl.concat(batches), read_table(path), check_exact=True)
    assert pl.concat(batches)["y"].to_list() == frame["y"].to_list()
    assert max(batch.height for batch in batches) <= rows
    assert len({tuple(batch.schema.items()) for batch in batches}) == 1, "one type throughout"


CELLS = [
    ("", "NA", "?", " nan ", '""'),
    ("1", "-3", "007"),
    ("1.5", "1e3", ".5", "inf", "NaN", "+5"),
    ("true", "false"),
    ("red", '"a\nb"', '"a\r\nb"', '"x,y"', '"5""6"'),
    ("2024-01-01", "2024/01/02", "2024-2-3"),
    ("2024-01-01 06:30", "2024-01-02T07:00:00.25"),
    ("2024-01-01 06:30Z", "2024-01-02T07:00:00+02:00"),
    ("2024-02-30", "01/02/2024", "noon"),
]
RUNS = st.lists(st.tuples(st.sampled_from(CELLS), st.integers(1, 4)), min_size=1, max_size=3)  # kinds of cells, how often


@given(runs=st.tuples(RUNS, RUNS), rows=st.integers(1, 5), name=st.sampled_from(["ds", "x"]), data=st.data())
def test_however_columns_change_batches_are_the_table(tmp_path_factory, runs, rows, name, data):
    cells = [[data.draw(st.sampled_from(kind)) for kind, count in run for _ in range(count)] for run in runs]
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join(["unique_id," + name, *map(",".join, zip(*cells, strict=False))]) + data.draw(st.sampled_from(["", end]))
    path = packed(tmp_path_factory.mktemp("tables") / "a.csv", text)
    try:
        whole = read_table(path)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error).partition("no date, ")[0])):
            next(read_table_batches(path, rows=rows))
    else:
        assert_frame_equal(pl.concat(read_table_batches(path, rows=rows)), whole, check_exact=True)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["", "7", ""], [None, 7, None]),
        (["7", "", "2.5"], [7.0, None, 2.5]),
        (["7", "NA", "8"], [7.0, None, 8.0]),
        (["NaN", "2024-01-01", "NA"], [None, dt.date(2024, 1, 1), None]),
        (["2024-01-01 06:30", "2024-01-02"], [dt.datetime(2024, 1, 1, 6, 30), dt.datetime(2024, 1, 2)]),
        (["2024-01-02", "2024-01-01 06:30"], [dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 1, 6, 30)]),
        (["2024-01-01", "2024-01-02T06:00Z"], ["2024-01-01", "2024-01-02T06:00Z"]),
        (["true", "", "false"], [True, None, False]),
        (["true", "1"], ["true", "1"]),
        (["NA", "?"], [None, None]),
    ],
    ids=str,
)
def test_a_batch_is_parsed_as_the_whole_column_would_be(tmp_path, cells, expected):
    path = packed(tmp_path / "a.csv", "x,y\n" + "".join(f"{cell},0\n" for cell in cells))
    batches = list(read_table_batches(path, rows=1))
    assert [batch["x"][0] for batch in batches] == expected
    assert_frame_equal(pl.concat(batches), read_table(path), check_exact=True)


def test_what_a_column_holds_may_show_late(tmp_path):
    text = "ds,a,b,c\n2024-01-01,NA,NA,1\n2024-01-02,3,7,2\n2024-01-03 06:00,2.5,NaN,red\n"
    batches = list(read_table_batches(packed(tmp_path / "a.csv", text), rows=1))
    assert [batch["a"].to_list() for batch in batches] == [[None], [3.0], [2.5]]
    assert [batch["b"].to_list() for batch in batches] == [[None], [7.0], [None]]
    assert [batch["c"].to_list() for batch in batches] == [["1"], ["2"], ["red"]]
    assert [batch["ds"][0] for batch in batches] == [dt.datetime(2024, 1, day, 6 * (day == 3)) for day in (1, 2, 3)]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_batch_ends_within_quotes(tmp_path, name, end):
    text = end.join(["y,note", '1,"one\nwith, ""quotes"""', "2,", '3,"\r\n\n\n"', "4,last"])
    batches = list(read_table_batches(packed(tmp_path / name, text), rows=1))
    assert [row for batch in batches for row in batch.rows()] == [
        (1, 'one\nwith, "quotes"'),
        (2, None),
        (3, "\r\n\n\n"),
        (4, "last"),
    ]


def test_blank_lines_are_rows_as_in_the_table(tmp_path):
    path = packed(tmp_path / "a.csv", "\ufeff\n\ny\n1\n\n2\n\n")
    assert [batch["y"].to_list() for batch in read_table_batches(path, rows=1)] == [[1], [None], [2], [None]]
    assert read_table(path)["y"].to_list() == [1, None, 2, None]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.csv", b"", "a.csv cannot be read as csv: the file is empty"),
        ("a.csv", b"ds,y\n", r"has no rows, only the columns \['ds', 'y'\]"),
        ("a.csv", b"y,z\n" + b"1,2\n" * 5 + b"1,2,3\n", r"a.csv cannot .* row 5 \(counted from 0\): 3 fields under 2 names"),
        ("a.csv", b'y,z\n1,"a\nb"\n2,\n3,4,5\n', r"row 2 \(counted from 0\): 3 fields under 2 names"),
        ("a.csv", b"ds,y\n2024-01-01,1\n\n\nnoon,1\n", r"a.csv: the time column 'ds' .* 'noon' in row 3 \(counted from 0\)"),
        ("a.csv", b"ds,y\n2024-01-01,1\n2024-01-02,1\n2024-02-30,1\n", "'2024-02-30' in row 2"),
        ("a.csv", b"ds,y\n5,1\n6,1\n2024-01-01,1\n", "no date, '5' in its first row"),
        ("a.csv", "caf\xe9,y\n1,2\n".encode("latin1"), r"cannot be read as csv: it is no UTF-8 text \(byte 0xe9\)"),
        ("a.csv", b'y\n1\n"2\n3\n', "a.csv cannot be read as csv"),
        ("a.csv.gz", b"junk", "cannot be read as csv.gz: Not a gzipped file"),
        ("a.parquet", b"junk", "a.parquet cannot be read as parquet"),
    ],
)
def test_what_cannot_be_read_in_batches_is_told_before_the_first(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    batches = read_table_batches(tmp_path / name, rows=2)
    with pytest.raises(ValueError, match=word):
        next(batches)


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda whole: whole[:-300], r"row \d+ \(counted from 0\) or after it"),
        (lambda whole: whole[:-5], r"row 500 \(counted from 0\) or after it"),
        (lambda whole: whole[:12] + b"\xff" * 60 + whole[72:], "Error -3 while decompressing"),
    ],
)
def test_a_damaged_gzip_file_is_told_before_the_first_batch(tmp_path, damage, where):
    path = tmp_path / "a.csv.gz"
    write_table(hourly(500), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="a.csv.gz cannot be read as csv.gz: .*" + where):
        next(read_table_batches(path, rows=10))
    with pytest.raises(ValueError, match="a.csv.gz cannot be read as csv.gz"):
        read_table(path)


def test_bytes_that_are_no_text_are_told_by_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"y\n" + b"1\n" * 9000 + b"\xff\n")
    with pytest.raises(ValueError, match=r"a.csv cannot be read as csv: .* in row 9000 \(counted from 0\) or after it"):
        next(read_table_batches(tmp_path / "a.csv", rows=1000))


def test_a_quote_that_is_not_closed_does_not_take_the_file_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LONGEST_FIELD", 100)
    path = packed(tmp_path / "a.csv", 'y\n1\n"2\n' + "3\n" * 100)
    with pytest.raises(ValueError, match=r"does not end within 100 bytes .*closing quote.* in row 1 \(counted from 0\)"):
        next(read_table_batches(path, rows=1))


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.csv", "ds,y\n2024-01-01,NA\n2024-01-02,2\n")

    def and_change(plan, rows):
        yield from plan_batches(plan, rows)
        packed(path, "ds,y\n2024-01-01,NA\n2024-01-02,red\n")

    monkeypatch.setattr(tables, "plan_batches", and_change)
    with pytest.raises(ValueError, match="a.csv changed while it was read, in column 'y'; read it again"):
        list(read_table_batches(path, rows=10))


READ_AND_MEASURE = """
import re, sys, threading, time
from pathlib import Path
from titans_ts.frames.stream import read_pieces

peak, done = 0, threading.Event()

def own_memory():  # allocations of Rust too, but not the pages of the file
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, own_memory())

list(read_pieces(sys.argv[2], rows=1000))  # what is loaded and kept once
before = own_memory()
watcher = threading.Thread(target=watch)
watcher.start()
rows = sum(len(piece) for piece in read_pieces(sys.argv[1], rows=1000))
done.set()
watcher.join()
print(rows, peak - before)
"""


def memory_to_read(folder, suffix, megabytes, **environment):
    """Return the bytes that a process of its own takes to read a file, beyond those for a short one."""
    line = b"007,2024-01-01 06:30:00,1234567.5," + b"red herring; " * 40 + b"\n"
    count, opened = megabytes * 10**6 // len(line), partial(gzip.open, compresslevel=1) if suffix == ".csv.gz" else open
    for name, blocks in (("long", count // 1000), ("short", 1)):
        with opened(folder / (name + suffix), "wb") as file:
            file.write(b"unique_id,ds,y,note\n")
            for _ in range(blocks):
                file.write(line * 1000)
    paths = [str(folder / (name + suffix)) for name in ("long", "short")]
    command = [sys.executable, "-c", READ_AND_MEASURE, *paths]
    answer = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    rows, taken = map(int, answer.stdout.split())
    assert rows == count // 1000 * 1000
    return taken


needs_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")


@needs_linux
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_of_many_megabytes_takes_few(tmp_path, suffix):
    taken = memory_to_read(tmp_path, suffix, 160, POLARS_CSV_CHUNK_SIZE="100000", POLARS_MAX_THREADS="2")
    assert taken < 140 * 10**6


@needs_linux
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_of_a_gigabyte_takes_a_part_of_it(tmp_path, suffix):
    assert memory_to_read(tmp_path, suffix, 1200) < 450 * 10**6


def test_words_of_a_parquet_file_are_parsed_in_batches_too(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {"unique_id": ["007", "1", "2"], "ds": ["2024-01-01", "NA", "2024-01-03"], "y": ["1", "?", "2.5"]}
    pl.DataFrame(columns).write_parquet(path)
    batches = list(read_table_batches(path, rows=2))
    assert [batch.height for batch in batches] == [2, 1]
    assert pl.concat(batches).rows() == [
        ("007", dt.date(2024, 1, 1), 1.0),
        ("1", None, None),
        ("2", dt.date(2024, 1, 3), 2.5),
    ]
    pl.DataFrame({"ds": ["2024-01-01", "2024-01-02", "noon"]}).write_parquet(path)
    with pytest.raises(ValueError, match=r"a.parquet: the time column 'ds' .* 'noon' in row 2 \(counted from 0\)"):
        next(read_table_batches(path, rows=1))


def test_rows_are_counted_where_that_costs_nothing(tmp_path):
    for suffix, expected in ((".parquet", 30), (".csv", None), (".tsv.gz", None)):
        write_table(hourly(30), tmp_path / f"a{suffix}")
        assert count_rows(tmp_path / f"a{suffix}") == expected
    pl.DataFrame({"y": pl.Series([], dtype=pl.Float64)}).write_parquet(tmp_path / "none.parquet")
    assert count_rows(tmp_path / "none.parquet") == 0
    assert count_rows((tmp_path / "a.parquet").rename(tmp_path / "a[1].parquet")) == 30, "a name, no pattern"
    with pytest.raises(ValueError, match=r"none.parquet has no rows, only the columns \['y'\]"):
        list(read_table_batches(tmp_path / "none.parquet", rows=1))
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk.parquet cannot be read as parquet"):
        count_rows(tmp_path / "junk.parquet")


def test_what_is_wrong_with_the_call_is_told_by_the_call(tmp_path):
    write_table(pl.DataFrame({"y": [1.0]}), tmp_path / "a[1].csv")
    assert [batch.rows() for batch in read_table_batches(tmp_path / "a[1].csv", rows=1)] == [[(1.0,)]], "a name, no pattern"
    assert read_table(tmp_path / "a[1].csv").rows() == [(1.0,)]
    with pytest.raises(ValueError, match="rows=0 must be at least 1"):
        read_table_batches(tmp_path / "a[1].csv", rows=0)
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        read_table_batches(tmp_path / "absent.csv", rows=1)
    with pytest.raises(ValueError, match="unknown suffix"):
        read_table_batches(tmp_path / "a.txt", rows=1)


def test_the_word_that_is_no_date_is_told_with_its_row(tmp_path):
    with pytest.raises(ValueError, match=r"'ds' holds text that is no date, 'noon' in row 2 \(counted from 0\)"):
        read(tmp_path / "a.csv", "ds,y\n2024-01-01,1\n2024-01-02,1\nnoon,1\n")


# --- forms of text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "values"),
    [
        ("a;b\n1,5;2\n,25;3\n-1e3;4\n", TextForm(), [1.5, 0.25, -1000.0]),
        ("a|b\n1.5|2\n", TextForm(), [1.5]),
        ("a\tb\n1,5\t2\n", TextForm(decimal=","), [1.5]),
        ('a,b\n"1,5",2\n', TextForm(decimal=","), [1.5]),
        ("a b\n1.5 2\n", TextForm(" "), [1.5]),
        ("a;b\n1.5;2\n", TextForm(), [1.5]),
    ],
)
def test_separators_and_decimals_are_told_or_given(tmp_path, text, form, values):
    path = tmp_path / "form.csv"
    path.write_text(text)
    assert read_table(path, form=form)["a"].to_list() == values


def test_decimal_commas_are_none_where_the_form_says_point(tmp_path):
    path = tmp_path / "form.csv"
    path.write_text("a;b\n1,5;2\n")
    assert read_table(path, form=TextForm(decimal="."))["a"].to_list() == ["1,5"]
    assert text_form(path) == TextForm(";", ",")
    frame = read_table(path)
    write_table(frame, tmp_path / "again.csv", form=text_form(path))
    assert (tmp_path / "again.csv").read_text() == path.read_text()


def test_a_form_that_cannot_be_is_refused():
    for wrong in ({"separator": "ab"}, {"separator": '"'}, {"decimal": "'"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.* must be"):
            TextForm(**wrong)
