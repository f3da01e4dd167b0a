"""Bytes of a state: the file says what the library keeps, reading adds nothing, and the linear memory stays small."""

from pathlib import Path

import pytest
import torch

from titans_bench import state_bytes
from titans_bench.rows import read_rows
from titans_bench.state_bytes import StateRow, measure, network_of, sizes_of
from titans_ts.blocks.scale import unknown_scale
from titans_ts.cli import main
from titans_ts.series.base.linear_memory import LinearMemory
from titans_ts.series.reading import absorb, start_state
from titans_ts.series.tensors import SeriesTensors

FILE = Path(__file__).parents[2] / "benchmarks" / "state.csv"
MOST = {96: 20_000, 720: 40_000}


@pytest.fixture(scope="module")
def rows():
    return measure()


def test_the_file_is_what_the_library_keeps(rows):
    assert read_rows(FILE, StateRow) == rows, "run `titans-ts bench state --out benchmarks/state.csv`"
    assert {(row.horizon, row.season, row.layers) for row in rows} == {
        (horizon, season, layers) for horizon in (96, 720) for season in (24, 168) for layers in (0, 2)
    }
    for row in rows:
        parts = row.bank, row.preference, row.memory, row.spread, row.ring, row.backbone, row.rest
        assert sum(parts) == row.whole
        assert (row.backbone > 0) == (row.layers > 0)
        assert row.memory + row.ring <= MOST[row.horizon]


@pytest.mark.parametrize("horizon", MOST)
@pytest.mark.parametrize("frequency", ["h", "30min", "15min", "D"])
def test_a_linear_memory_and_its_ring_are_small_at_every_frequency(horizon, frequency):
    sizes = sizes_of(horizon, frequency)
    memory = LinearMemory(sizes.lookback, horizon, sizes.patch_length)
    assert memory.initial(1).nbytes + 8 * memory.context <= MOST[horizon]


def test_reading_adds_nothing(rows):
    sizes = sizes_of(96)
    network, count = network_of(96, 24, 2, sizes), 33 * sizes.patch_length + 5
    nothing, scale = torch.zeros(count, 0), unknown_scale(1)
    values = torch.sin(torch.arange(count, dtype=torch.float64))[None]
    state = start_state(network, static=torch.zeros(0), scale=scale)
    state = absorb(network, state, SeriesTensors(values, nothing, nothing, nothing, torch.zeros(0), scale))
    assert state.n_seen == count
    assert state.nbytes == next(row.whole for row in rows if (row.horizon, row.season, row.layers) == (96, 24, 2))


def test_the_command_writes_rows_and_shows_the_table(monkeypatch, tmp_path, capsys):
    one = StateRow(96, 24, 0, 672, 16, 1000, 2, 3, 4, 5, 0, 6, 1020)
    monkeypatch.setattr(state_bytes, "measure", lambda: [one])
    assert main(["bench", "state", "--quiet", "--out", str(tmp_path / "state.csv")]) == 0
    assert read_rows(tmp_path / "state.csv", StateRow) == [one]
    assert "| 96 | 24 | 0 | 672 | 1,000 | 2 | 3 | 4 | 5 | 0 | 6 | 1,020 |" in capsys.readouterr().out
