"""History in pieces: joined they are what they were cut from, and what does not fit is told by its place."""

import datetime as dt
import gzip
from collections import deque

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from polars.testing import assert_frame_equal

from titans_ts.files.tables import read_table, write_table
from titans_ts.frames.read import read_panel
from titans_ts.frames.stream import Pieces, is_stream, read_pieces, rows_of, skip_rows

ROWS = np.arange(10.0).reshape(5, 2)
DAYS = pd.date_range("2024-01-01", periods=5, freq="D", name="day")


def table(count):
    generator = np.random.default_rng(1)
    columns = {
        "unique_id": [f"0{k % 2}" for k in range(count)],
        "ds": np.datetime64("2024-01-01T00:00", "us") + np.arange(count) * np.timedelta64(1, "h"),
        "y": generator.normal(size=count),
        "note": ['red, or\n "green"' if k % 5 else None for k in range(count)],
    }
    return pl.DataFrame(columns)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        ("load.csv", True),
        (DAYS, False),
        (ROWS, False),
        ([ROWS], False),
        ((ROWS, ROWS), False),
        (pd.DataFrame(ROWS), False),
        (pl.DataFrame(ROWS), False),
        (pa.table({"y": [1.0]}), False),
        (nw.from_native(pl.DataFrame(ROWS)), False),
        (pl.LazyFrame(ROWS), True),
        (nw.from_native(pl.LazyFrame(ROWS)), True),
        (iter([ROWS]), True),
        ((row for row in ROWS), True),
        (pa.table({"y": [1.0]}).to_reader(), True),
        (torch.zeros(3), False),
        (None, False),
        (5, False),
        ({"y": [1.0]}, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_a_stream(X, expected):
    assert is_stream(X) is expected


def test_a_path_is_a_stream_and_text_alone_is_one_too(tmp_path):
    assert is_stream(tmp_path / "load.parquet")
    with pytest.raises(ValueError, match="ACGT has an unknown suffix"):
        read_pieces("ACGT")


@pytest.mark.parametrize("rows", [1, 7, 997])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_pieces_of_a_file_joined_are_the_table(tmp_path, suffix, rows):
    path = tmp_path / f"a{suffix}"
    frame = table(80)
    write_table(frame, path)
    pieces = read_pieces(str(path), rows=rows)
    assert pieces.total == (80 if suffix == ".parquet" else None)
    joined = pl.concat(pieces)
    assert_frame_equal(joined, read_table(path), check_exact=True)
    assert joined.rows() == frame.rows()


def test_columns_of_a_file_have_the_names_that_are_given(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("shop,when,y\n007,2024-01-01,1\n008,2024-01-02,2\n")
    pieces = list(read_pieces(path, rows=1, time_column="when", id_column="shop"))
    assert [piece.rows() for piece in pieces] == [[("007", dt.date(2024, 1, 1), 1)], [("008", dt.date(2024, 1, 2), 2)]]
    path.write_text("when,y\nnoon,1\n")
    with pytest.raises(ValueError, match="the time column 'when' holds text that is no date, 'noon'"):
        list(read_pieces(path, time_column="when"))


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_pieces(tmp_path / "absent.csv")
    path = tmp_path / "a.csv.gz"
    write_table(table(50), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="a.csv.gz cannot be read as csv.gz: Compressed file ended"):
        next(read_pieces(path, rows=10))
    path.write_bytes(gzip.compress(b"ds,y\n"))
    with pytest.raises(ValueError, match=r"a.csv.gz has no rows, only the columns \['ds', 'y'\]"):
        next(read_pieces(path, rows=10))


@pytest.mark.parametrize("wrap", [lambda plan: plan, nw.from_native], ids=["polars", "narwhals"])
def test_a_lazy_frame_is_carried_out_batch_by_batch(tmp_path, wrap, monkeypatch):
    frame = table(50)
    frame.write_parquet(tmp_path / "a.parquet")
    plan = pl.scan_parquet(tmp_path / "a.parquet").with_columns(z=pl.col("y") * 2).filter(pl.col("y") > 0)
    whole = plan.collect()
    monkeypatch.setattr(pl.LazyFrame, "collect", lambda *_, **__: pytest.fail("collected whole"))
    pieces = read_pieces(wrap(plan), rows=7)
    assert pieces.total is None
    given = list(pieces)
    assert max(piece.height for piece in given) <= 7
    monkeypatch.undo()
    assert_frame_equal(pl.concat(given), whole, check_exact=True)


def test_a_lazy_frame_that_cannot_be_carried_out_is_told(tmp_path):
    wrong = pl.LazyFrame({"y": ["1", "x"]}).select(pl.col("y").cast(pl.Int64))
    with pytest.raises(ValueError, match="X is a lazy frame that cannot be carried out: conversion from `str` to `i64`"):
        list(read_pieces(wrong))
    with pytest.raises(ValueError, match="X is a lazy frame that cannot be carried out: unable to find column"):
        list(read_pieces(pl.LazyFrame({"y": [1]}).select("z")))
    with pytest.raises(ValueError, match="X is a lazy frame that cannot be carried out: No such file"):
        list(read_pieces(pl.scan_parquet(tmp_path / "absent.parquet")))
    with pytest.raises(ValueError, match="X, a lazy frame, has no rows"):
        list(read_pieces(pl.LazyFrame({"y": [1]}).filter(pl.col("y") > 1)))


def test_a_failure_late_in_a_lazy_frame_is_not_taken_for_its_end():
    good, bad = pl.LazyFrame({"y": ["1"] * 50}), pl.LazyFrame({"y": ["1", "x"]})
    pieces = read_pieces(pl.concat([good, bad]).select(pl.col("y").cast(pl.Int64)), rows=10)
    with pytest.raises(ValueError, match="X is a lazy frame that cannot be carried out"):
        list(pieces)


def rows_given(pieces):
    """Return pieces as nested lists, to compare values whatever container they are in."""
    return [nw.from_native(piece, allow_series=True).to_numpy().tolist() for piece in pieces]


@pytest.mark.parametrize(
    "container",
    [
        lambda rows: rows,
        lambda rows: rows.tolist(),
        lambda rows: tuple(map(tuple, rows.tolist())),
        lambda rows: torch.tensor(rows),
        lambda rows: deque(rows.tolist()),
        lambda rows: rows.astype(object),
    ],
    ids=["array", "lists", "tuples", "tensor", "deque", "objects"],
)
def test_arrays_of_an_iterator_are_cut(container):
    pieces = list(read_pieces(iter([container(ROWS), container(ROWS[:1])]), rows=2))
    assert all(isinstance(piece, np.ndarray) for piece in pieces)
    assert [piece.tolist() for piece in pieces] == [*(ROWS[a : a + 2].tolist() for a in (0, 2, 4)), ROWS[:1].tolist()]


def test_arrays_keep_their_type_and_their_memory():
    whole = np.arange(6, dtype=np.float32)
    pieces = list(read_pieces(iter([whole]), rows=4))
    assert [piece.dtype for piece in pieces] == [np.float32, np.float32]
    assert all(np.shares_memory(piece, whole) for piece in pieces)
    assert [piece.tolist() for piece in pieces] == [[0, 1, 2, 3], [4, 5]]


def test_frames_of_an_iterator_are_cut(library):
    pieces = list(read_pieces((library.frame({"a": ROWS[:, 0], "b": ROWS[:, 1]}) for _ in range(2)), rows=3))
    assert all(isinstance(piece, library.kind) for piece in pieces)
    assert rows_given(pieces) == [ROWS[:3].tolist(), ROWS[3:].tolist()] * 2
    (piece,) = read_pieces(iter([library.frame({"a": ROWS[:, 0]})]), rows=5)
    assert isinstance(piece, library.kind), "what need not be cut, too"


@pytest.mark.parametrize(
    ("make", "kind"),
    [(lambda columns: nw.from_native(pl.DataFrame(columns)), pl.DataFrame), (pa.record_batch, pa.Table)],
    ids=["narwhals", "batch"],
)
def test_wrapped_frames_and_record_batches_of_an_iterator_are_cut(make, kind):
    pieces = list(read_pieces(iter([make({"a": ROWS[:, 0], "b": ROWS[:, 1]})]), rows=3))
    assert all(isinstance(piece, kind) for piece in pieces)
    assert rows_given(pieces) == [ROWS[:3].tolist(), ROWS[3:].tolist()]


@pytest.mark.parametrize(
    "series",
    [pd.Series(ROWS[:, 0]), pl.Series("load", ROWS[:, 0]), pa.chunked_array([ROWS[:, 0]])],
    ids=["pandas", "polars", "pyarrow"],
)
def test_series_of_an_iterator_are_cut(series):
    pieces = list(read_pieces(iter([series, series[:1]]), rows=2))
    assert {type(piece) for piece in pieces} == {type(series)}
    assert rows_given(pieces) == [[0.0, 2.0], [4.0, 6.0], [8.0], [0.0]]


def test_a_pandas_frame_keeps_its_index():
    frame = pd.DataFrame({"a": ROWS[:, 0]}, index=DAYS)
    pieces = list(read_pieces(iter([frame]), rows=2))
    pd.testing.assert_frame_equal(pd.concat(pieces), frame, check_freq=False)
    assert [str(piece.index[0].date()) for piece in pieces] == ["2024-01-01", "2024-01-03", "2024-01-05"]
    assert [read_panel(piece).series[0].times[0] for piece in pieces[:2]] == [DAYS[0].to_numpy(), DAYS[2].to_numpy()]


def test_readers_of_other_libraries_are_streams(tmp_path):
    frame = table(20)
    path = tmp_path / "a.parquet"
    frame.write_parquet(path)
    batches = read_pieces(pq.ParquetFile(path).iter_batches(batch_size=6), rows=4)
    assert_frame_equal(pl.concat(pl.DataFrame(piece) for piece in batches), frame)
    write_table(frame.select("y"), tmp_path / "a.csv")
    with pd.read_csv(tmp_path / "a.csv", chunksize=6, float_precision="round_trip") as chunks:
        pieces = list(read_pieces(chunks, rows=4))
    assert [len(piece) for piece in pieces] == [4, 2, 4, 2, 4, 2, 2]
    assert pd.concat(pieces)["y"].tolist() == frame["y"].to_list()


def test_lists_of_arrays_are_given_on_as_they_are():
    first, second = [np.arange(9.0), np.arange(3.0)], [np.arange(2.0), np.zeros(0)]
    pieces = list(read_pieces(iter([first, [np.zeros(0)], second]), rows=2))
    assert [piece is item for piece, item in zip(pieces, [first, second], strict=True)] == [True, True]
    assert [rows_of(piece) for piece in pieces] == [12, 2]


def test_pieces_without_rows_are_left_out():
    empty = [np.zeros((0, 2)), [], ROWS[:2], np.zeros((0, 7)), ROWS[2:]]
    assert [piece.tolist() for piece in read_pieces(iter(empty))] == [ROWS[:2].tolist(), ROWS[2:].tolist()]
    frames = [pd.DataFrame(), pd.DataFrame({"a": [1.0]})]
    assert rows_given(read_pieces(iter(frames))) == [[[1.0]]]


@pytest.mark.parametrize("items", [[], [[]], [np.zeros((0, 3))], [pd.DataFrame({"a": []})]], ids=str)
def test_a_stream_without_rows_is_refused(items):
    with pytest.raises(ValueError, match="X, a generator, has no rows; expected at least 1"):
        list(read_pieces(item for item in items))


@pytest.mark.parametrize(
    ("item", "error", "word"),
    [
        ({"y": [1.0]}, TypeError, "X: item 2 of the iterator is a dict; expected an array of numbers"),
        (3.0, TypeError, "X: item 2 of the iterator is a float; expected"),
        ("1.0,2.0\n", TypeError, "X: item 2 of the iterator is a str; expected"),
        (None, TypeError, "X: item 2 of the iterator is a NoneType; expected"),
        (["a", "b"], TypeError, "X: item 2 of the iterator is a list of dtype <U1; expected"),
        ([[1.0], [1.0, 2.0]], ValueError, r"X: item 2 of the iterator is a list that makes no array \(.*inhomogeneous"),
        (np.zeros((2, 2, 2)), ValueError, r"X: item 2 of the iterator has shape \(2, 2, 2\); expected"),
        (pl.LazyFrame({"y": [1.0]}), TypeError, "X: item 2 of the iterator is a lazy LazyFrame; collect it"),
        ([pd.DataFrame(ROWS)], TypeError, "X: item 2 of the iterator is a list of frames; a list must hold arrays"),
        (ROWS[:, :1], ValueError, "X: item 2 of the iterator is an array of 1 column, but item 1 is an array of 2 columns"),
        (
            [ROWS],
            ValueError,
            "X: item 2 of the iterator is a list of arrays of 2 columns, but item 1 is an array of 2 columns",
        ),
        (
            pd.DataFrame({"a": [1.0], "b": [2.0]}),
            ValueError,
            r"item 2 .* a frame with the columns \['a', 'b'\], but item 1 is an",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_item_that_does_not_fit_is_told_by_its_place(item, error, word):
    pieces = read_pieces(iter([np.zeros((0, 2)), ROWS, item]))
    assert next(pieces).tolist() == ROWS.tolist()
    with pytest.raises(error, match=word):
        next(pieces)


def test_frames_of_other_columns_are_refused():
    first = pl.DataFrame({"a": [1.0], "b": [2.0]})
    with pytest.raises(
        ValueError, match=r"item 1 of the iterator lacks the columns \['b'\] and adds .* \['c'\]; .*of item 0"
    ):
        list(read_pieces(iter([first, pl.DataFrame({"a": [1.0], "c": [2.0]})])))
    with pytest.raises(ValueError, match=r"X: item 1 of the iterator adds the columns \['c'\]; expected those of item 0"):
        list(read_pieces(iter([first, first.with_columns(c=0.0)])))
    wide = pl.DataFrame({f"x{k:02}": [0.0] for k in range(30)}).with_columns(a=0.0)
    with pytest.raises(ValueError, match=r"lacks the columns \['x00', .*'x07', \.\.\.\]"):
        list(read_pieces(iter([wide, wide.select("a")])))
    assert rows_given(read_pieces(iter([first, first.select("b", "a")]))) == [[[1.0, 2.0]], [[2.0, 1.0]]], "in any order"
    series = [pd.Series([1.0]), pd.Series([2.0], name="y"), pd.DataFrame({"y": [3.0]})]
    assert rows_given(read_pieces(iter(series))) == [[1.0], [2.0], [[3.0]]], "a series without a name is called y"


def test_what_an_iterator_raises_comes_through():
    class LostConnectionError(Exception):
        pass

    def feed():
        yield ROWS
        raise LostConnectionError("gone")

    pieces = read_pieces(feed(), rows=4)
    assert [next(pieces).tolist(), next(pieces).tolist()] == [ROWS[:4].tolist(), ROWS[4:].tolist()]
    with pytest.raises(LostConnectionError, match="^gone$"):
        next(pieces)


def test_an_iterator_is_not_read_ahead():
    asked = []

    def feed():
        for k in range(3):
            asked.append(k)
            yield ROWS

    pieces = read_pieces(feed(), rows=3)
    assert asked == []
    next(pieces), next(pieces)
    assert asked == [0]
    next(pieces)
    assert asked == [0, 1]


def test_what_is_wrong_with_the_call_is_told_by_the_call():
    with pytest.raises(ValueError, match="rows=0 must be at least 1"):
        read_pieces(iter([ROWS]), rows=0)
    with pytest.raises(
        TypeError, match=r"X is a ndarray; expected a path, a polars LazyFrame, or an iterator .*iter\(\[X\]\)"
    ):
        read_pieces(ROWS)


def test_pieces_are_gone_through_once():
    pieces = Pieces(iter([ROWS]), total=5)
    assert (pieces.total, len(list(pieces)), list(pieces)) == (5, 1, [])


@pytest.mark.parametrize("left_out", range(11))
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_rows_left_out_are_the_first(tmp_path, rows, left_out):
    values = np.arange(10.0)
    rest = skip_rows(read_pieces(iter([values[:4], values[4:]]), rows=rows), left_out)
    assert [value for piece in rest for value in piece.tolist()] == values[left_out:].tolist()
    pl.DataFrame({"y": values}).write_parquet(tmp_path / "a.parquet")
    rest = skip_rows(read_pieces(tmp_path / "a.parquet", rows=rows), left_out)
    assert rest.total == 10 - left_out
    assert [value for piece in rest for value in piece["y"].to_list()] == values[left_out:].tolist()


def test_rows_left_out_of_frames_and_lists():
    frame = pd.DataFrame({"a": ROWS[:, 0]}, index=DAYS)
    (rest,) = skip_rows(iter([frame]), 3)
    pd.testing.assert_frame_equal(rest, frame.iloc[3:], check_freq=False)
    (rest,) = skip_rows(iter([pa.table({"a": [1.0, 2.0]}), pa.table({"a": [3.0, 4.0]})]), 3)
    assert rest.to_pydict() == {"a": [4.0]}
    lists = [[np.arange(3.0), np.arange(2.0)], [np.arange(1.0)]]
    assert list(skip_rows(iter(lists), 5)) == lists[1:]
    with pytest.raises(ValueError, match="rows=4 ends after 4 of the 5 rows of a list of arrays"):
        list(skip_rows(iter(lists), 4))


def test_more_rows_than_there_are_cannot_be_left_out():
    with pytest.raises(ValueError, match="rows=6 are to be left out, but X has only 5"):
        list(skip_rows(read_pieces(iter([ROWS])), 6))
    with pytest.raises(ValueError, match="rows=6 are to be left out, but X has only 5"):
        skip_rows(Pieces(iter([ROWS]), total=5), 6)
    with pytest.raises(ValueError, match="rows=-1 must be at least 0"):
        skip_rows(Pieces(iter([ROWS])), -1)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_every_piece_is_read_as_a_panel(rows):
    whole = read_panel(ROWS)
    for stream in (iter([ROWS]), iter([ROWS[:2].tolist(), ROWS[2:].tolist()]), pl.LazyFrame(ROWS, schema=["a", "b"])):
        values = np.concatenate([read_panel(piece).series[0].values for piece in read_pieces(stream, rows=rows)])
        np.testing.assert_array_equal(values, whole.series[0].values)
