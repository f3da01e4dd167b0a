"""Tables in files: what is read as what, what is refused, and that nothing is half-written."""

import datetime as dt
import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.data.files import SUFFIXES, csv_text, date_columns, read_table, replacing, table_suffix, write_table


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
        ("a.csv", "caf\xe9,y\n1,2\n".encode("latin1"), "cannot be read as csv: 'utf-8' codec"),
        ("a.csv.gz", b"junk", "cannot be read as csv.gz: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"ds,y\n" * 99)[:-9], "cannot be read as csv.gz"),
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


def test_time_stamps_are_written_for_people():
    stamps = pl.Series("ds", [dt.datetime(2024, 1, 1, 6), dt.datetime(2024, 1, 1, 6, 30)])
    assert csv_text(pl.DataFrame([stamps])) == "ds\n2024-01-01 06:00:00\n2024-01-01 06:30:00\n"
    tokyo = stamps.dt.replace_time_zone("Asia/Tokyo")
    assert csv_text(pl.DataFrame([tokyo])) == "ds\n2024-01-01 06:00:00+09:00\n2024-01-01 06:30:00+09:00\n"


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
