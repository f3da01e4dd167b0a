"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

from titans_ts.series.learning import fitting


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that no core waits for another at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/test_tutorials.py", "tests/integrations/")))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Hold torch to one thread: tests are small, and beside other work two wait for each other many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def heard():
    """Let every fit read its memory: validation lets nothing of a step's training through, and no test would find a fault.

    Returns what tells otherwise which memories are read.
    """
    told = fitting.is_heard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "is_heard", lambda gain: True)
        yield told


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Return the folder of real data sets, or skip and say what to set."""
    folder = os.environ.get("TITANS_TS_DATA")
    if not folder:
        pytest.skip("real data: set TITANS_TS_DATA to a folder that holds series/ETTh1.csv and the like")
    if not Path(folder).is_dir():
        pytest.fail(f"TITANS_TS_DATA={folder!r} is not a folder")
    return Path(folder)
