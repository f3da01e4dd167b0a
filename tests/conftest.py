"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def two_threads():
    """Hold torch to two threads: tests are small, and more threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Return the folder of real data sets, or skip and say what to set."""
    folder = os.environ.get("TITANS_TS_DATA")
    if not folder:
        pytest.skip("real data: set TITANS_TS_DATA to a folder that holds series/ETTh1.csv and the like")
    if not Path(folder).is_dir():
        pytest.fail(f"TITANS_TS_DATA={folder!r} is not a folder")
    return Path(folder)
