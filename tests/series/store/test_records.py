"""States as bytes: the same to the last bit, whatever their form, and without what can be made again."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from series.estimator_cases import COVARIATES, HOURS, fitted, wave

from titans_ts.backbones.state import map_tensors, pack
from titans_ts.series.store.records import states_from_bytes, states_to_bytes


def same(a, b):
    """Tell whether two states are equal bit for bit, NaN included."""
    a, b = pack(a), pack(b)
    forms = [(x.shape, x.dtype) for x in a.values()] == [(x.shape, x.dtype) for x in b.values()]
    return list(a) == list(b) and forms and all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)


def frame(rows, series=5, *, step=1, covariates=False):
    """Series that begin one after the other."""
    parts = []
    for i in range(series):
        values, begin = wave(300, 1, i), i * step
        columns = {"unique_id": f"s{i}", "ds": HOURS[begin : begin + rows[i]], "y": values[: rows[i], 0]}
        if covariates:
            columns |= {"past": values[: rows[i], 0] ** 2, "ahead": np.sin(np.arange(rows[i]))}
            columns["site"] = float(i % 2)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


CASES = {
    "hourly": ({}, False),
    "mixed channels": ({"channels": "mixed"}, False),
    "covariates": (COVARIATES, True),
    "slots": ({"slots": 4}, False),
    "full attention": ({"variant": "full_attention"}, False),
    "no layers": ({"layers": 0}, False),
    "lstm in float64": ({"variant": "lstm", "precision": "float64"}, False),
}


@pytest.mark.parametrize("case", CASES)
def test_states_come_back_bit_for_bit(case):
    arguments, covariates = CASES[case]
    long = [100] * 5
    reader = fitted(frame(long, covariates=covariates), **{"layers": 1, **arguments}).reader_
    states = []
    for rows in (long, [100, 99, 60, 5, 1]):  # in step, and each at its own row
        for panel in [reader.panel(frame(rows, covariates=covariates))]:
            states += reader.read(panel, {}).states.values()
    states.append(reader.fresh_state())
    data = states_to_bytes(reader.network, states)
    back = states_from_bytes(reader.network, reader.fresh_state(), data)
    assert [state.n_seen for state in back] == [100] * 5 + [100, 99, 60, 5, 1, 0]
    assert all(map(same, states, back))
    assert states_to_bytes(reader.network, back) == data


def test_what_can_be_made_again_is_left_out():
    reader = fitted(frame([100] * 5), layers=0).reader_
    config = reader.network.config
    states = list(reader.read(reader.panel(frame([100] * 5, step=0)), {}).states.values()) * 40
    held, kept = sum(state.nbytes for state in states), len(states_to_bytes(reader.network, states))
    assert config.calendar > 0
    ring, calendar = 8 * config.lookback, 4 * config.lookback * config.calendar
    assert kept < held - len(states) * (0.95 * (ring + calendar)) + 4000
    staggered = list(reader.read(reader.panel(frame([100] * 5, step=3)), {}).states.values())
    one_by_one = sum(len(states_to_bytes(reader.network, [state])) for state in staggered)
    assert len(states_to_bytes(reader.network, staggered)) < one_by_one - 3 * calendar  # rows in common lie there once


def test_a_ring_that_the_rows_do_not_give_is_kept():
    reader = fitted(frame([100] * 5), layers=0).reader_
    states = list(reader.read(reader.panel(frame([100] * 5)), {}).states.values())
    moved = states[2]._replace(base=states[2].base._replace(rows=states[2].base.rows + 1e-9))
    states[2] = moved
    data = states_to_bytes(reader.network, states)
    back = states_from_bytes(reader.network, reader.fresh_state(), data)
    assert all(map(same, states, back))
    groups = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])[0]["groups"]
    assert [group["ring"] for group in groups] == [True, False]


def test_states_that_came_back_are_views_which_nothing_writes_to():
    reader = fitted(frame([100] * 5), layers=1).reader_
    read = reader.read(reader.panel(frame([100] * 5, step=0)), {})
    back = states_from_bytes(
        reader.network, reader.fresh_state(), states_to_bytes(reader.network, list(read.states.values()))
    )
    before = [map_tensors(torch.clone, state) for state in back]
    again = reader.panel(frame([300] * 5, step=0).groupby("unique_id").tail(200), follow=read.last_times)
    reader.read(again, dict(zip(read.states, back, strict=True)))
    assert all(map(same, before, back))
