"""What is done to good inputs: tables ``SAME`` change how a thing is written, ``OTHER`` what it says.

Each mutation takes a thing and a source of chance and returns another thing; the thing itself stays as it is.
"""

import datetime as dt
import decimal
import fractions
import gzip

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch

NUMBERS = (1e300, -1e300, 1e-300, 5e-324, -0.0, 1e15, 2.0**63, np.finfo(float).max, 3.0)
ODD = (
    np.inf, -np.inf, np.nan, None, pd.NA, pd.NaT, "x", "3", "", b"3", True, 10**400, 1 + 2j, decimal.Decimal("2.5"),
    decimal.Decimal("NaN"), decimal.Decimal("sNaN"), decimal.Decimal("1e999"), fractions.Fraction(1, 3), [1], {}, object(),
    float, np.datetime64("2024-01-01"), dt.timedelta(1), "\ud800", "١", "1,5", 1e300, -1e300, np.float32(2), np.bool_(True),
)  # fmt: skip
"""Values that may stand where a number is expected."""
NOTHINGS = (
    None,
    "",
    "no such file",
    7,
    7.5,
    object(),
    {},
    set(),
    [],
    (),
    range(3),
    b"abc",
    float,
    np.nan,
    {"y": [1.0]},
    iter([]),
)
"""Things that are no container of series at all, or an empty one."""


def cell(x, chance):
    """Choose a place of an array."""
    return tuple(int(chance.integers(n)) for n in x.shape)


def changed(table, name, thing, chance):
    """Apply a mutation; where it cannot be made, as of stamps that are not there, the thing stays as it is."""
    try:
        return table[name](thing, chance)
    except Exception:  # pandas and numpy refuse what cannot be, each in its own way
        return thing


def held_by(backend, frame):
    """Return a frame in a container of another kind; where that cannot hold it, as it is."""
    try:
        return BACKENDS[backend](frame)
    except Exception:
        return frame


def choose(options, chance):
    """Choose one; numpy's own choice would make an array of them."""
    options = list(options)
    return options[int(chance.integers(len(options)))]


# --- arrays -----------------------------------------------------------------------------------------------------------


def put(x, chance, value):
    changed = x.astype(object) if not isinstance(value, float | np.floating) else x.copy()
    changed[cell(x, chance)] = value
    return changed


def far_apart(x):
    """Return the same numbers in memory that is not in one piece."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]))
    wide[..., ::2] = x
    return wide[..., ::2]


ARRAY_SAME = {
    "as it is": lambda x, _: x,
    "nested lists": lambda x, _: x.tolist(),
    "objects": lambda x, _: x.astype(object),
    "in Fortran's order": lambda x, _: np.asfortranarray(x),
    "not in one piece": lambda x, _: far_apart(x),
    "of the other byte order": lambda x, _: x.astype(">f8"),
    "not to be written": lambda x, _: np.frombuffer(x.tobytes()).reshape(x.shape),
    "masked nowhere": lambda x, _: np.ma.masked_array(x),
    "a tensor": lambda x, _: torch.tensor(x),
    "a tensor with a gradient": lambda x, _: torch.tensor(x, requires_grad=True),
    "Python's decimals": lambda x, _: np.vectorize(decimal.Decimal, otypes=[object])(x),
}
ARRAY_OTHER = {
    "an odd value": lambda x, chance: put(x, chance, choose(ODD, chance)),
    "a far number": lambda x, chance: put(x, chance, choose(NUMBERS, chance)),
    "odd values": lambda x, chance: put(put(x, chance, choose(ODD, chance)), chance, choose(ODD, chance)),
    "nothing measured": lambda x, _: np.full_like(x, np.nan),
    "constant": lambda x, chance: np.full_like(x, choose(NUMBERS, chance)),
    "tiny": lambda x, _: x * 1e-300,
    "huge": lambda x, _: x * 1e300,
    "masked somewhere": lambda x, chance: np.ma.masked_array(x, chance.random(x.shape) < 0.3),
    "masked everywhere": lambda x, _: np.ma.masked_array(x, True),
    "complex": lambda x, _: x + 1j,
    "text": lambda x, _: x.astype(str),
    "bytes": lambda x, _: x.astype("S8"),
    "truth values": lambda x, _: x > 0,
    "small integers": lambda x, _: np.clip(x, 0, 100).astype(np.uint8),
    "half precision": lambda x, _: x.astype(np.float16),
    "dates": lambda x, _: x.astype("i8").astype("M8[s]"),
    "spans": lambda x, _: x.astype("i8").astype("m8[s]"),
    "records": lambda x, _: np.zeros(len(x), [("a", "f8"), ("b", "i4")]),
    "an axis more": lambda x, _: x[None],
    "an axis at the end": lambda x, _: x[..., None],
    "no axis": lambda x, _: np.asarray(x).ravel()[0],
    "transposed": lambda x, _: x.T,
    "flat": lambda x, _: x.ravel(),
    "empty": lambda x, _: x[:0],
    "no columns": lambda x, _: x.reshape(len(x), -1)[:, :0],
    "one row": lambda x, _: x[:1],
    "twice the columns": lambda x, _: np.concatenate([x, x], axis=-1),
    "backwards": lambda x, _: x[::-1],
    "ragged": lambda x, _: [row[: 1 + i % 3] if np.ndim(row) else [row] * (i % 3) for i, row in enumerate(x.tolist())],
    "in a tuple": lambda x, _: (x,),
    "in a list": lambda x, _: [x],
    "in two lists": lambda x, _: [[x]],
    "several and nothing": lambda x, _: [x, None],
    "several and an empty one": lambda x, _: [x, x[:0], x],
    "a dictionary": lambda x, _: dict(enumerate(x.tolist())),
    "an iterator": lambda x, _: iter(x),
    "an iterator of cuts": lambda x, chance: iter(np.array_split(x, 1 + int(chance.integers(4)))),
    "memory": lambda x, _: memoryview(np.ascontiguousarray(x)),
    "a matrix": lambda x, _: np.asmatrix(x) if x.ndim <= 2 else x,
    "itself within": lambda x, _: within_itself(),
    "a narrow tensor": lambda x, _: torch.tensor(x).to(torch.bfloat16),
    "a sparse tensor": lambda x, _: torch.tensor(x).to_sparse(),
    "a tensor of nothing": lambda x, _: torch.empty(x.shape, device="meta"),
    "nothing of the kind": lambda x, chance: choose(NOTHINGS, chance),
}


def within_itself():
    """Return a list that holds itself."""
    endless: list = []
    endless.append(endless)
    return endless


# --- frames -----------------------------------------------------------------------------------------------------------


def numeric(frame, chance):
    """Choose a column of numbers."""
    return choose([name for name in frame.columns if name not in ("unique_id", "ds")], chance)


def put_in(frame, chance, value, column=None):
    """Change one cell."""
    frame, column = frame.copy(), numeric(frame, chance) if column is None else column
    if not isinstance(value, float | np.floating) or column in ("unique_id", "ds"):
        frame[column] = frame[column].astype(object)
    values = frame[column].to_numpy(copy=True)
    values[int(chance.integers(len(frame)))] = value
    frame[column] = pd.Series(values, index=frame.index, dtype=frame[column].dtype)
    return frame


def restamped(change):
    """Change the time stamps of a frame that has some, in a column or in its index."""

    def changed(frame, chance):
        if "ds" in frame.columns:
            return frame.assign(ds=pd.Series(change(pd.DatetimeIndex(frame["ds"]), chance), index=frame.index))
        if isinstance(frame.index, pd.DatetimeIndex):
            return frame.set_axis(pd.Index(change(frame.index, chance), name=frame.index.name), axis=0)
        return frame

    return changed


def renamed(change):
    """Change the names of the columns."""
    return lambda frame, chance: frame.set_axis(change(list(frame.columns), chance), axis=1)


def with_ids(change):
    """Change the ids of a long frame."""

    def changed(frame, chance):
        if "unique_id" not in frame:
            return frame
        return frame.assign(unique_id=pd.Series(change(frame["unique_id"].tolist(), chance), index=frame.index))

    return changed


def someone(ids, value):
    """Put another id in place of the first series'."""
    return pd.Series([value if name == ids[0] else name for name in ids], dtype=object).tolist()


def numbers_as(dtype):
    """Keep the numbers in another type."""
    return lambda frame, _: frame.astype({name: dtype for name in frame.columns if name not in ("unique_id", "ds")})


def stamps_as(unit):
    return restamped(lambda times, _: times.as_unit(unit))


BACKENDS = {
    "pandas": lambda frame: frame,
    "pandas on arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "pandas with nulls": lambda frame: frame.convert_dtypes(),
    "polars": lambda frame: pl.from_pandas(frame.reset_index() if frame.index.name == "ds" else frame),
    "pyarrow": lambda frame: pa.Table.from_pandas(
        frame.reset_index() if frame.index.name == "ds" else frame, preserve_index=False
    ),
    "polars of views": lambda frame: pl.from_pandas(frame.reset_index() if frame.index.name == "ds" else frame).with_columns(
        pl.col(pl.String).cast(pl.Categorical)
    ),
}
FRAME_SAME = {
    "as it is": lambda frame, _: frame,
    "shuffled": lambda frame, chance: (
        frame.iloc[chance.permutation(len(frame))] if "ds" in frame or isinstance(frame.index, pd.DatetimeIndex) else frame
    ),
    "newest first": lambda frame, _: (
        frame.iloc[::-1] if "ds" in frame or isinstance(frame.index, pd.DatetimeIndex) else frame
    ),
    "columns moved": lambda frame, chance: frame[[frame.columns[i] for i in chance.permutation(frame.shape[1])]],
    "numbers as objects": numbers_as(object),
    "numbers with nulls": numbers_as("Float64"),
    "ids in categories": with_ids(lambda ids, _: pd.Categorical(ids)),
    "stamps in seconds": stamps_as("s"),
    "stamps in microseconds": stamps_as("us"),
    "another index": lambda frame, _: frame.set_axis(np.arange(len(frame)) * 3 + 7, axis=0) if "ds" in frame else frame,
    "an index of words": lambda frame, _: (
        frame.set_axis([f"r{i}" for i in range(len(frame))], axis=0) if "ds" in frame else frame
    ),
    "an index that repeats": lambda frame, _: frame.set_axis([0] * len(frame), axis=0) if "ds" in frame else frame,
}
FRAME_OTHER = {
    "an odd value": lambda frame, chance: put_in(frame, chance, choose(ODD, chance)),
    "a far number": lambda frame, chance: put_in(frame, chance, choose(NUMBERS, chance)),
    "an odd id": lambda frame, chance: (
        put_in(frame, chance, choose(ODD, chance), "unique_id") if "unique_id" in frame else frame
    ),
    "an odd stamp": lambda frame, chance: put_in(frame, chance, choose(ODD, chance), "ds") if "ds" in frame else frame,
    "a series by an odd name": with_ids(lambda ids, chance: someone(ids, choose(ODD, chance))),
    "nothing measured": lambda frame, chance: frame.assign(**{str(numeric(frame, chance)): np.nan}),
    "a row twice": lambda frame, chance: frame.iloc[sorted([*range(len(frame)), int(chance.integers(len(frame)))])],
    "a row less": lambda frame, chance: frame.drop(frame.index[int(chance.integers(len(frame)))]),
    "rows less": lambda frame, chance: frame[chance.random(len(frame)) < 0.7],
    "all but one row less": lambda frame, _: frame.iloc[:1],
    "empty": lambda frame, _: frame.iloc[:0],
    "a column less": lambda frame, chance: frame.drop(columns=choose(frame.columns, chance)),
    "a column more": lambda frame, chance: frame.assign(**{choose(("z", "", "ds ", "Y"), chance): 1.0}),
    "a column twice": lambda frame, chance: pd.concat([frame, frame[[choose(frame.columns, chance)]]], axis=1),
    "a column by another name": renamed(lambda names, chance: ["other", *names[1:]]),
    "a column without a name": renamed(lambda names, chance: [None, *names[1:]]),
    "a column named by a number": renamed(lambda names, chance: [*names[:-1], 3]),
    "a column named by an odd thing": renamed(lambda names, chance: [*names[:-1], (1, 2)]),
    "names in levels": lambda frame, _: frame.set_axis(pd.MultiIndex.from_product([frame.columns, ["a"]]), axis=1),
    "numbers as text": numbers_as(str),
    "truth values": numbers_as(bool),
    "single precision": numbers_as("float32"),
    "categories": numbers_as("category"),
    "complex": numbers_as(complex),
    "stamps as text": restamped(lambda times, _: times.astype(str)),
    "stamps as dates of Python": restamped(lambda times, _: times.date),
    "stamps as numbers": restamped(lambda times, _: times.as_unit("s").asi8),
    "stamps as fractions": restamped(lambda times, _: times.as_unit("s").asi8 / 7),
    "stamps as periods": restamped(lambda times, _: times.to_period("h")),
    "stamps as spans": restamped(lambda times, _: times - times[0]),
    "stamps in a zone": restamped(
        lambda times, chance: times.tz_localize(choose(ZONES, chance), ambiguous="NaT", nonexistent="NaT")
    ),
    "stamps long ago": restamped(lambda times, _: times.as_unit("s") - pd.Timedelta(days=365 * 500)),
    "stamps far ahead": restamped(lambda times, _: times.as_unit("s") + pd.Timedelta(days=365 * 5000)),
    "stamps late by a little": restamped(
        lambda times, chance: (
            times + pd.to_timedelta(np.where(np.arange(len(times)) == chance.integers(len(times)), 1, 0), "s")
        )
    ),
    "stamps of one moment": restamped(lambda times, _: times[:1].repeat(len(times))),
    "a gap of years": restamped(
        lambda times, _: times + pd.to_timedelta(np.arange(len(times)) // (len(times) - 1) * 9999, "D")
    ),
    "no stamp": restamped(lambda times, chance: times.where(np.arange(len(times)) != chance.integers(len(times)))),
    "ids as numbers": with_ids(lambda ids, _: [len(str(name)) for name in ids]),
    "ids as fractions": with_ids(lambda ids, _: [len(str(name)) / 3 for name in ids]),
    "every row its own series": with_ids(lambda ids, _: [f"{name}{i}" for i, name in enumerate(ids)]),
    "ids of other series": with_ids(lambda ids, _: [f"new {name}" for name in ids]),
    "ids in bytes": with_ids(lambda ids, _: [str(name).encode() for name in ids]),
    "ids in tuples": with_ids(lambda ids, _: [(name, 1) for name in ids]),
    "ids in the index": lambda frame, _: frame.set_index("unique_id") if "unique_id" in frame else frame,
    "ids and stamps in the index": lambda frame, _: (
        frame.set_index(["unique_id", "ds"]) if {"unique_id", "ds"} <= set(frame) else frame
    ),
    "a dictionary": lambda frame, _: frame.to_dict("list"),
    "records": lambda frame, _: frame.to_dict("records"),
    "a lazy frame": lambda frame, _: pl.from_pandas(frame.reset_index(drop="ds" in frame)).lazy(),
    "an iterator of cuts": lambda frame, chance: iter(
        [frame.iloc[part] for part in np.array_split(np.arange(len(frame)), 1 + int(chance.integers(4)))]
    ),
    "a column alone": lambda frame, chance: frame[choose(frame.columns, chance)],
    "numbers without names": lambda frame, _: frame.select_dtypes("number").to_numpy(),
    "nothing of the kind": lambda _, chance: choose(NOTHINGS, chance),
}
ZONES = ("UTC", "Europe/Paris", "America/Port-au-Prince", "Asia/Kathmandu", dt.timezone(dt.timedelta(hours=5, minutes=7)))


# --- words and files --------------------------------------------------------------------------------------------------

ARGUMENTS = (
    None, 0, -1, 1, 2, 3.0, 1.5, "3", "", True, np.nan, np.inf, 10**9, 10**30, np.int64(2), np.float32(80), [], [80],
    [80, 95], [0.8], [0], [-5], [100], [101], ["80"], [None], [np.nan], [80, 80], (), {}, {80: 1}, object(), b"80",
    np.array([80]), np.array([[80]]), np.array(80), range(80, 81), 1 + 1j, float, pd.NA, decimal.Decimal(80), [[80]],
    iter([80]), 80, .8, [50.0],
)  # fmt: skip
"""What may be given for an argument that is a number or a list of numbers."""


def spliced(data, chance, piece):
    """Put bytes anywhere."""
    at = int(chance.integers(len(data) + 1))
    return data[:at] + piece + data[at:]


def a_line(data, chance, change):
    """Change one line."""
    lines = data.split(b"\n")
    at = int(chance.integers(len(lines)))
    return b"\n".join([*lines[:at], change(lines[at]), *lines[at + 1 :]])


FILE_SAME = {
    "as it is": lambda data, _: data,
    "ends of lines of Windows": lambda data, _: data.replace(b"\n", b"\r\n"),
    "with a mark of its order": lambda data, _: b"\xef\xbb\xbf" + data,
    "without a last end of line": lambda data, _: data.rstrip(b"\n"),
}
FILE_OTHER = {
    "empty": lambda data, _: b"",
    "white": lambda data, _: b" \n \n",
    "cut": lambda data, chance: data[: int(chance.integers(len(data)))],
    "the first line alone": lambda data, _: data.split(b"\n")[0],
    "without the first line": lambda data, _: b"\n".join(data.split(b"\n")[1:]),
    "a line twice": lambda data, chance: a_line(data, chance, lambda line: line + b"\n" + line),
    "a line less": lambda data, chance: a_line(data, chance, lambda line: b""),
    "a ragged line": lambda data, chance: a_line(data, chance, lambda line: line + b",7\t9;x"),
    "a short line": lambda data, chance: a_line(data, chance, lambda line: line[: len(line) // 2]),
    "empty lines at the end": lambda data, _: data + b"\n\n",
    "NUL": lambda data, chance: spliced(data, chance, b"\0"),
    "a quote": lambda data, chance: spliced(data, chance, b'"'),
    "a word": lambda data, chance: spliced(
        data, chance, choose((b"x", b"nan", b"inf", b"-", b"1e999", b"NA", b">"), chance)
    ),
    "letters of no encoding": lambda data, chance: spliced(data, chance, b"\xff\xfe\xe9"),
    "in two bytes": lambda data, _: data.decode().encode("utf-16"),
    "semicolons": lambda data, _: data.replace(b",", b";"),
    "spaces": lambda data, _: data.replace(b",", b" ").replace(b"\t", b" "),
    "bytes of chance": lambda data, chance: chance.bytes(200),
    "packed": lambda data, _: gzip.compress(data),
    "packed and cut": lambda data, _: gzip.compress(data)[: len(gzip.compress(data)) // 2],
    "packed twice": lambda data, _: gzip.compress(gzip.compress(data)),
    "a very long line": lambda data, chance: a_line(data, chance, lambda line: line + b"A" * 3000),
}
LETTERS = (
    "",
    " ",
    "\n",
    "-",
    "*",
    "N",
    "acgt",
    "ACGU",
    "1",
    "é",
    "\0",
    "\ud800",
    "🧬",
    ">x",
    "RYKM",
    "ACDEFGHIKL",
    "X",
    "A" * 3000,
)
SEQUENCES_SAME = {
    "as they are": lambda texts, _: texts,
    "in a tuple": lambda texts, _: tuple(texts),
    "an array of objects": lambda texts, _: np.array(texts, dtype=object),
    "an array of text": lambda texts, _: np.array(texts),
    "a column of pandas": lambda texts, _: pd.Series(texts),
    "a column of arrow": lambda texts, _: pd.Series(texts, dtype="string[pyarrow]"),
    "a column of polars": lambda texts, _: pl.Series(texts),
    "categories": lambda texts, _: pd.Series(texts, dtype="category"),
    "small letters": lambda texts, _: [text.lower() for text in texts],
}
SEQUENCES_OTHER = {
    "an odd one": lambda texts, chance: [*texts[:2], choose((*ODD, *NOTHINGS), chance), *texts[2:]],
    "odd letters": lambda texts, chance: [texts[0] + choose(LETTERS, chance) + texts[1], *texts[2:]],
    "letters alone": lambda texts, chance: [*texts, choose(LETTERS, chance)],
    "one, not in a list": lambda texts, chance: texts[0],
    "bytes": lambda texts, _: [text.encode() for text in texts],
    "nested": lambda texts, _: [texts],
    "letter by letter": lambda texts, _: [list(text) for text in texts],
    "empty": lambda texts, _: texts[:0],
    "a dictionary": lambda texts, _: dict(enumerate(texts)),
    "an iterator": lambda texts, _: iter(texts),
    "a frame": lambda texts, _: pd.DataFrame({"sequence": texts}),
    "two columns": lambda texts, _: pd.DataFrame({"a": texts, "b": texts}),
    "an array of two axes": lambda texts, _: np.array(texts, dtype=object).reshape(2, -1) if len(texts) % 2 == 0 else texts,
    "missing ones": lambda texts, _: pd.Series([*texts, None]),
    "numbers": lambda texts, _: np.zeros((len(texts), 4)),
    "nothing of the kind": lambda _, chance: choose(NOTHINGS, chance),
}
