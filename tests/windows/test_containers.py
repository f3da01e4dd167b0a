"""Sequences of numbers in any container: read as the same, refused by place, batched with a mask of what is missing."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from tolerances import assert_agree

from titans_ts.blocks.scale import FARTHEST, Scale
from titans_ts.windows.containers import batch_of_windows, common_scale, is_table, read_windows

NAN = np.nan
CPU = torch.device("cpu")


def block(n=3, channels=2, steps=5):
    return np.arange(float(n * channels * steps)).reshape(n, channels, steps)


def same(found, expected):
    """Each sequence has the same numbers and gaps, in float64."""
    assert [one.dtype for one in found] == [np.float64] * len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# --- is it a table? --------------------------------------------------------------------------------------------------

TABLES = {
    "an array": np.zeros((3, 4)),
    "a frame of pandas": pd.DataFrame(np.zeros((3, 4))),
    "a frame of polars": pl.DataFrame(np.zeros((3, 4))),
    "lists of equal length": [[1, 2], [3, 4]],
    "tuples of equal length": ((1, 2), (3, 4)),
    "arrays of one axis and equal length": [np.zeros(4), np.ones(4)],
    "columns of pandas of equal length": [pd.Series([1.0, 2.0]), pd.Series([3.0, 4.0])],
    "a row of a table": [[1, 2, 3]],
    "numbers, which scikit-learn refuses": [1, 2, 3],
}
SEQUENCES = {
    "a block": np.zeros((3, 1, 4)),
    "lists of unequal length": [[1, 2], [3]],
    "arrays of unequal length": [np.zeros(4), np.ones(5)],
    "arrays (t, c) of equal length": [np.zeros((4, 1)), np.ones((4, 1))],
    "nested lists (t, c)": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
    "steps of unequal width": [[[1, 2], [3]], [[5, 6], [7, 8]]],
    "nothing": [],
    "what holds nothing": 3.0,
    "one array (t, c)": [np.zeros((4, 2))],
    "one array (t,): one long series": [np.zeros(4)],
    "one column of pandas": [pd.Series([1.0, 2.0])],
    "frames in a list": [pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [3.0, 4.0]})],
}


@pytest.mark.parametrize("X", TABLES.values(), ids=TABLES)
def test_tables_are_told(X):
    assert is_table(X)


@pytest.mark.parametrize("X", SEQUENCES.values(), ids=SEQUENCES)
def test_sequences_are_told(X):
    assert not is_table(X)


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_block_is_its_sequences_with_time_first():
    X = block()
    found = read_windows(X)
    for i, one in enumerate(found):
        for step in range(5):
            for channel in range(2):
                assert one[step, channel] == X[i, channel, step]
    assert [one.shape for one in found] == [(5, 2)] * 3


LISTS = {
    "arrays": list,
    "a tuple": tuple,
    "nested lists": lambda parts: [one.tolist() for one in parts],
    "frames of pandas": lambda parts: [pd.DataFrame(one, columns=["a", "b"], index=range(9, 9 + len(one))) for one in parts],
    "frames of polars": lambda parts: [pl.DataFrame(one) for one in parts],
    "whole numbers": lambda parts: [one.astype(np.int16) for one in parts],
    "float32": lambda parts: [one.astype(np.float32) for one in parts],
    "objects": lambda parts: [one.astype(object) for one in parts],
    "in another order in storage": lambda parts: [np.asfortranarray(one) for one in parts],
    "of several kinds": lambda parts: [parts[0], pl.DataFrame(parts[1]), parts[2].tolist()],
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("lengths", [(5, 5, 5), (5, 1, 3)], ids=str)
def test_any_list_of_sequences_is_read_as_the_same(kind, lengths):
    parts = [one.T[:length] for one, length in zip(block(), lengths, strict=True)]
    same(read_windows(LISTS[kind](parts)), parts)


COLUMNS = {
    "arrays": np.array,
    "lists": list,
    "series of pandas": pd.Series,
    "series of polars": pl.Series,
    "columns of arrow": pa.array,
    "frames of one column": lambda x: pd.DataFrame({"a": x}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_sequence_of_one_axis_has_one_channel(kind):
    found = read_windows([COLUMNS[kind](one) for one in ([1.0, 2.0], [3.0, 4.0, 5.0])])
    same(found, [[[1.0], [2.0]], [[3.0], [4.0], [5.0]]])


GAPS = {
    "NaN": np.array([1.0, NAN]),
    "None": [1.0, None],
    "of pandas": pd.Series([1, None], dtype="Int64"),
    "of polars": pl.Series([1.0, None]),
    "masked": np.ma.array([1.0, 7.0], mask=[False, True]),
    "masked whole numbers": np.ma.array([1, 7], mask=[False, True]),
}


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_what_is_missing_is_nan(gap):
    same(read_windows([gap, [2.0]]), [[[1.0], [NAN]], [[2.0]]])


def test_nothing_but_gaps_and_truth_values_are_read():
    same(read_windows([[NAN, NAN], [NAN]]), [[[NAN], [NAN]], [[NAN]]])
    same(read_windows([np.array([True, False]), np.array([True])]), [[[1.0], [0.0]], [[1.0]]])


def test_what_is_read_is_a_copy():
    X, parts = block(), [np.ones((3, 2)), np.ones((2, 2))]
    for given in (X, parts):
        for one in read_windows(given):
            one[...] = -1
    np.testing.assert_array_equal(X, block())
    assert all((part == 1).all() for part in parts)


# --- what is refused -------------------------------------------------------------------------------------------------


def with_inf(value=np.inf):
    X = block()
    X[1, 1, 3] = value
    return X


REFUSED = {
    "no container": (None, TypeError, r"X must be a table of windows \(n, t\), a block .* or a list .*, got NoneType"),
    "text": ("1 2 3", TypeError, "X must be .*, got str"),
    "a dictionary": ({"a": [1.0]}, TypeError, "X must be .*, got dict"),
    "four axes": (np.zeros((2, 2, 2, 2)), ValueError, "X has 4 axes; give a table of windows"),
    "one axis": (np.zeros(5), ValueError, r"X has 1 axes; give .*, where there is one sequence \[X\]"),
    "an empty list": ([], ValueError, "X holds no sequence; give one or more"),
    "an empty block": (np.zeros((0, 2, 5)), ValueError, "X holds no sequence; give one or more"),
    "a block without steps": (np.zeros((2, 3, 0)), ValueError, r"X\[0\] holds nothing, shape \(0, 3\); drop it"),
    "a block without channels": (np.zeros((2, 0, 4)), ValueError, r"X\[0\] holds nothing, shape \(4, 0\); drop it"),
    "an empty sequence": ([[1.0], []], ValueError, r"X\[1\] holds nothing, shape \(0, 1\); drop it"),
    "an empty array first": ([np.zeros((0, 2)), np.ones((3, 2))], ValueError, r"X\[0\] holds nothing, shape \(0, 2\)"),
    "None": ([[1.0], None], TypeError, r"X\[1\] is None, not numbers; a list holds one array"),
    "a word": ([[1.0, 2.0], "ab"], TypeError, r"X\[1\] is 'ab', not numbers"),
    "bytes": ([b"ab"], TypeError, r"X\[0\] is b'ab', not numbers"),
    "a number": ([np.zeros(3), 4.0], ValueError, r"X\[1\] has 0 axes; a sequence of a list is \(t, c\)"),
    "a sequence of three axes": ([np.zeros((2, 2, 2))], ValueError, r"X\[0\] has 3 axes; a sequence of a list is \(t, c\)"),
    "words in an array": ([[1.0], np.array(["a"])], ValueError, r"X\[1\] is of type <U1 and holds something that is no"),
    "words in a frame": (
        [pd.DataFrame({"a": [1.0], "b": ["x"]})],
        ValueError,
        r"X\[0\] has the text 'x' at step 0, channel 1; convert it to numbers first",
    ),
    "words in a block": (np.full((2, 1, 3), "a"), ValueError, "X is of type <U1 and holds something that is no number"),
    "complex numbers": ([np.array([1 + 2j])], ValueError, r"Complex data not supported: X\[0\] is of type complex128"),
    "a complex block": (block() * 1j, ValueError, "Complex data not supported: X is of type complex128"),
    "times": ([[1.0], np.array(["2020-01-01"], "datetime64[D]")], ValueError, r"X\[1\] holds times, of type datetime64.D.;"),
    "times in a frame": ([pd.DataFrame({"ds": pd.to_datetime(["2020"])})], ValueError, r"X\[0\] holds times"),
    "steps of unequal width": ([[[1, 2], [3]], [[1, 2]]], ValueError, r"X\[0\] has steps of unequal numbers of channels"),
    "inf in a block": (with_inf(), ValueError, r"X\[1\] is inf at step 3, channel 1; give a finite number, or NaN where"),
    "-inf in a block": (with_inf(-np.inf), ValueError, r"X\[1\] is -inf at step 3, channel 1"),
    "inf in a list": ([[1.0, 2.0], [3.0, np.inf, 4.0]], ValueError, r"X\[1\] is inf at step 1, channel 0"),
    "more than float64 holds": ([[1.0], [10**400]], ValueError, r"X\[1\] has 1000.*000 at step 0, farther from 0 than"),
    "another number of channels": (
        [np.zeros((5, 2)), np.zeros((4, 2)), np.zeros((6, 3))],
        ValueError,
        r"X\[0\] has 2 channels and X\[2\] has 3; give all the same ones, as \(t, c\)$",
    ),
    "transposed": (
        [np.zeros((2, 5)), np.zeros((2, 5)), np.zeros((2, 9))],
        ValueError,
        r"X\[0\] has 5 channels and X\[2\] has 9; .* All have 2 rows: transposed\? Then give \(t, c\), X\[i\]\.T",
    ),
}


@pytest.mark.parametrize("bad", REFUSED)
def test_what_cannot_be_read_is_refused_by_sequence_step_and_channel(bad):
    X, error, message = REFUSED[bad]
    with pytest.raises(error, match=message):
        read_windows(X)
    with pytest.raises(error, match=message.replace("X", "X_val")):
        read_windows(X, name="X_val")


# --- one batch of them -----------------------------------------------------------------------------------------------


def windows_of(lengths=(7, 1, 12, 4), channels=3, *, missing=0.2, level=0.0, seed=0):
    chance = np.random.default_rng(seed)
    found = [level + 2 * chance.normal(size=(length, channels)) for length in lengths]
    for one in found:
        one[chance.random(one.shape) < missing] = NAN
    return found


def batch(items, scale=None, dtype=torch.float64):
    return batch_of_windows(items, common_scale(items) if scale is None else scale, device=CPU, dtype=dtype)


# --- the scale -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, -1e3, 1e9])
def test_level_and_spread_are_mean_and_deviation_over_all_steps_of_all_windows_of(level):
    items = windows_of(level=level)
    found, steps = common_scale(items), np.concatenate(items)
    assert found.level.dtype == found.spread.dtype == torch.float64
    np.testing.assert_allclose(found.level, np.nanmean(steps, 0)[None], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.spread, np.nanstd(steps, 0)[None], rtol=1e-6)


def test_neither_order_nor_cut_of_sequences_changes_the_scale():
    items = windows_of()
    found = common_scale(items)
    for other in (items[::-1], [np.concatenate(items)], [row[None] for one in items for row in one]):
        for x, y in zip(common_scale(other), found, strict=True):
            assert_agree(x, y)


def test_a_channel_that_does_not_vary_or_was_not_measured_has_a_spread_of_one():
    steps = np.column_stack([np.full(6, 7.0), np.full(6, NAN), [5.0, *[NAN] * 5], np.arange(6.0)])
    found = common_scale([steps[:2], steps[2:]])
    assert found.level.tolist() == [[7.0, 0.0, 5.0, 2.5]]
    assert found.spread[0, :3].tolist() == [1.0, 1.0, 1.0]
    assert found.spread[0, 3] == pytest.approx(np.arange(6).std())


def test_the_largest_numbers_do_not_overflow():
    found = common_scale([np.array([[1e300], [-1e300]])])
    assert found.spread.tolist() == [[pytest.approx(1e300)]]


# --- the batch -------------------------------------------------------------------------------------------------------


def by_loop(items, level, spread):
    """Return inputs and lengths, number by number."""
    channels, longest = items[0].shape[1], max(len(one) for one in items)
    found = np.zeros((len(items), 2 * channels, longest))
    for i, one in enumerate(items):
        for step, row in enumerate(one):
            for channel, value in enumerate(row):
                if np.isnan(value):
                    found[i, channels + channel, step] = 1
                else:
                    found[i, channel, step] = (value - level[channel]) / spread[channel]
    return found, [len(one) for one in items]


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_a_slow_loop(channels):
    items = windows_of(channels=channels)
    level, spread = np.arange(channels) + 0.5, np.arange(channels) + 2.0
    inputs, lengths = batch(items, Scale(torch.tensor(level)[None], torch.tensor(spread)[None]))
    expected, ends = by_loop(items, level, spread)
    assert_agree(inputs, torch.from_numpy(expected))
    assert lengths.tolist() == ends


def test_a_high_level_takes_no_digit_off_what_lies_on_it():
    rows = np.arange(8.0)[:, None]
    low, high = (batch([rows + level], dtype=torch.float32)[0] for level in (0.0, 1e9))
    assert low.dtype == torch.float32
    assert_agree(high, low)
    assert low[0, 0].std(correction=0) == pytest.approx(1, abs=1e-6)


def test_padding_and_neighbours_change_nothing():
    items, scale = windows_of(), common_scale(windows_of())
    together, lengths = batch(items, scale)
    for one, row, length in zip(items, together, lengths, strict=True):
        alone, _ = batch([one], scale)
        assert torch.equal(row[:, :length], alone[0])
        assert not row[:, length:].any(), "neither values nor gaps past the end"


def test_what_is_missing_is_told_from_what_lies_at_the_level():
    inputs, _ = batch([np.array([[2.0, NAN], [NAN, 3.0]])], Scale(torch.tensor([[2.0, 3.0]]).double(), torch.ones(1, 2)))
    assert inputs[0].tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


def test_what_is_given_is_left_alone():
    items, scale = windows_of(), common_scale(windows_of())
    before = [one.copy() for one in items]
    batch(items, scale)[0].fill_(5.0)
    for one, other in zip(items, before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert torch.equal(scale.level, common_scale(before).level)


def test_rows_of_any_size_stay_finite():
    inputs, _ = batch([np.array([[1e300], [-1e300], [0.0]])], Scale(torch.zeros(1, 1), torch.ones(1, 1)), torch.float32)
    assert inputs[0, 0].tolist() == pytest.approx([FARTHEST, -FARTHEST, 0.0])
    assert torch.isfinite(inputs.square().sum())
