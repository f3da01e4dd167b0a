"""What all tests of the bench begin with."""

import pytest


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Leave out what only steadies the times."""
    monkeypatch.setattr("titans_bench.history.reading.gc.collect", lambda: 0)
