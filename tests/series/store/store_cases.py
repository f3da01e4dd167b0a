"""A store of a few short series without stamps or frames, which forked processes may read; and what is done to its file."""

import os
import sqlite3
import sys
import traceback
from contextlib import closing

import numpy as np
from series.estimator_cases import fitted, wave

ARGUMENTS = {"horizon": 4, "lookback": 24, "patch_length": 4, "width": 16, "layers": 1}
HOURS = np.datetime64("2024-01-01", "ns") + np.arange(400) * np.timedelta64(1, "h")


def asked(path, statement, *values):
    """Ask or change the file behind a store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        return file.execute(statement, values).fetchall()


def listed_rows(count, series=3, first=0):
    """The next rows of each series, as a list of arrays."""
    return [wave(400, 1, seed)[first : first + count] for seed in range(series)]


def stamped_rows(count, series=3, first=0):
    """The same as a long frame with time stamps, so that rows that overlap are known."""
    import pandas as pd

    parts = [
        pd.DataFrame({"unique_id": f"well {seed}", "ds": HOURS[first : first + count], "y": values[:, 0]})
        for seed, values in enumerate(listed_rows(count, series, first))
    ]
    return pd.concat(parts, ignore_index=True)


def made(rows):
    return fitted(rows(160), **ARGUMENTS)


def forked(call):
    """Run in a child; returns its number. It ends with 0, or with 1 and the error on its standard error."""
    child = os.fork()
    if child:
        return child
    try:
        call()
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)
    os._exit(0)


def ended_well(*children):
    """Say of each child whether it ended with 0."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children]


def everything(store):
    """Return all that a store answers of every series."""
    states = {name: store[name] for name in store}
    return {
        name: (
            state.n_seen,
            state.last_time,
            {part: x.nan_to_num(7.0).numpy().tobytes() for part, x in state.tensors.items()},
        )
        for name, state in states.items()
    }
