"""Values of any kind become float64, or are refused by their place."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from titans_ts.frames.read import read_panel
from titans_ts.frames.stream import read_pieces

DAYS = pd.date_range("2024", periods=3)
BIG = 10**400


def values_of(X):
    return read_panel(X)[None].values[:, 0].tolist()


def column(y):
    return pd.DataFrame({"ds": DAYS, "y": y})


READ = {
    "a mask": (np.ma.array([1.0, 1e9, 3], mask=[0, 1, 0]), [1, None, 3]),
    "a mask over whole numbers": (np.ma.array([1, 10**9, 3], mask=[0, 1, 0]), [1, None, 3]),
    "a mask over objects": (np.ma.array([1, Decimal(9), 3], mask=[0, 1, 0], dtype=object), [1, None, 3]),
    "missing in a list": ([1.0, pd.NA, None], [1, None, None]),
    "a tensor with gradient": (torch.tensor([1.0, 2, 3], requires_grad=True), [1, 2, 3]),
    "bfloat16": (torch.tensor([1.0, 2, 3]).bfloat16(), [1, 2, 3]),
    "missing among objects": (column(pd.Series([pd.NA, 1.0, Decimal("2.5")], dtype=object)), [None, 1, 2.5]),
    "missing in an extension column": (column(pd.array([True, None, False], dtype="boolean")), [1, None, 0]),
    "a sparse column": (column(pd.arrays.SparseArray([0.0, 1, 0])), [0, 1, 0]),
    "long doubles": (column(np.arange(3, dtype=np.longdouble)), [0, 1, 2]),
    "64 bits of pandas and Arrow": (column(pd.array([2**63 - 1, None, 3], dtype="int64[pyarrow]")), [2.0**63, None, 3]),
    "64 bits of Arrow": (pa.table({"ds": DAYS, "y": pa.array([2**64 - 1, None, 3], pa.uint64())}), [2.0**64, None, 3]),
    "64 bits of polars": (
        pl.DataFrame({"ds": DAYS, "y": pl.Series([2**64 - 1, None, 3], dtype=pl.UInt64)}),
        [2.0**64, None, 3],
    ),
    "decimals of 256 bits": (
        pa.table({"ds": DAYS, "y": pa.array([Decimal("1.5"), None, Decimal(2)], pa.decimal256(50, 2))}),
        [1.5, None, 2],
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_values_that_are_numbers_are_read(kind):
    X, expected = READ[kind]
    np.testing.assert_array_equal(values_of(X), [np.nan if one is None else one for one in expected])


def test_a_mask_counts_in_lists_and_streams_and_keeps_short_numbers_short():
    masked = np.ma.array([1.0, 9, 3], mask=[0, 1, 0], dtype=np.float32)
    several = read_panel([masked, np.ones(3, np.float32)])
    assert np.isnan(several[0].values[1, 0])
    assert several.layout.value_dtype == "float32"
    for items in ([masked], [[masked, masked]]):
        (piece,) = read_pieces(iter(items))
        assert np.isnan(read_panel(piece).series[0].values[1, 0])


FAULTS = {
    "a number past float64 in a list": ([1.0, BIG], ValueError, r"X has 1000.* at \(1,\), farther from 0"),
    "one in a column": (
        column(pd.Series([1, -BIG, 2], dtype=object)),
        ValueError,
        "X has -1000.* in row 1, column 'y', farther from 0 .*; expected a smaller",
    ),
    "a complex number among objects": (np.array([1.0, 2j], dtype=object), ValueError, r"X has 2j at \(1,\). Complex data"),
    "a dict": ([1.0, {}], TypeError, r"X has {} at \(1,\), a dict and no number"),
    "text among objects": (np.array([1.0, "x"], dtype=object), ValueError, r"X has the text 'x' at \(1,\); convert"),
    "a tensor without numbers": (torch.empty(5, device="meta"), TypeError, "X is a Tensor on device 'meta', which holds no"),
    "a sparse tensor": (torch.eye(3).to_sparse(), TypeError, r"X is a Tensor of layout torch.sparse_coo; .*X.to_dense\(\)"),
    "tensors with gradients in a list": ([torch.ones((), requires_grad=True)] * 3, TypeError, "X is a list that makes no"),
    "named fields": (
        np.zeros(3, dtype=[("a", int), ("b", float)]),
        TypeError,
        "X is a ndarray of dtype .*; expected an array",
    ),
    "dates as targets": (column(DAYS), ValueError, r"X has columns that hold no numbers: \['y'\]"),
    "ids that are lists": (
        column(1.0).assign(unique_id=[[1]] * 3),
        ValueError,
        r"X has \[1\] in row 0 of column 'unique_id'",
    ),
    "ids that are structs": (
        pl.DataFrame({"ds": DAYS, "y": 1.0, "unique_id": [{"a": 1}] * 3}),
        ValueError,
        "X has .* in row 0 of column 'unique_id', of type Struct",
    ),
    "ids that are NaN": (
        pl.DataFrame({"ds": DAYS, "y": 1.0, "unique_id": [1.0, np.nan, 1.0]}),
        ValueError,
        "X has no id in row 1 of column 'unique_id'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_values_that_are_none_are_refused_by_their_place(fault):
    X, kind, message = FAULTS[fault]
    with pytest.raises(kind, match=message) as refusal:
        read_panel(X)
    assert type(refusal.value) is kind
