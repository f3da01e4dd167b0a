"""The benchmark of the memory on a card: without one it says so; its trial on the CPU runs every part."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run_benchmark(*arguments: str) -> str:
    """Return what a fresh interpreter prints that sees no card."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_without_a_card_it_says_so_and_ends_well():
    assert run_benchmark() == "no card: torch sees no CUDA device here, and nothing was measured\n"


@pytest.mark.slow
def test_a_trial_on_the_cpu_runs_every_part():
    lines = run_benchmark("--device", "cpu", "--tiny").splitlines()
    assert "largest relative difference from the CPU in float64: 0.0e+00 (asked: 1e-09)" in lines
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| 64 |")]
    assert [row[1:3] for row in rows] == [
        [precision, what] for precision in ("float32", "auto") for what in ("ours, n = 64", "ours, n = 16", "attention")
    ]
    assert all(float(row[3].replace(",", "")) > 0 and float(row[5].rstrip("%")) > 0 for row in rows)
    assert lines[-1].startswith("absorption, horizon 24, one channel: ")
