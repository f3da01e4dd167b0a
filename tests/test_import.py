"""Importing the library costs next to nothing and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import titans_ts

HEAVY = ("torch", "polars", "Bio", "matplotlib", "pandas", "sklearn", "numpy")
REPOSITORY = Path(titans_ts.__file__).parents[1]


def run_python(*arguments: str, cwd: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that finds this checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def import_seconds(module: str) -> float:
    """Return the cumulative import time of a module, the fastest of three fresh interpreters."""
    times = []
    for _ in range(3):
        report = run_python("-X", "importtime", "-c", f"import {module}").stderr
        line = next(line for line in reversed(report.splitlines()) if line.split("|")[-1].strip() == module)
        times.append(int(line.split("|")[1]) * 1e-6)
    return min(times)


def test_import_brings_nothing_heavy():
    found = run_python("-c", f"import sys, titans_ts; print(*(set({HEAVY!r}) & set(sys.modules)))").stdout.split()
    assert not found, f"`import titans_ts` brings {found}; import them where they are used"


def test_import_costs_no_more_than_scikit_learn():
    ours, theirs = import_seconds("titans_ts"), import_seconds("sklearn")
    assert ours <= theirs, f"import titans_ts took {ours:.3f} s, import sklearn {theirs:.3f} s"


def test_import_writes_nothing(tmp_path):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    run_python("-B", "-c", "from titans_ts import *", cwd=here, HOME=str(home), PYTHONDONTWRITEBYTECODE="1")
    assert list(home.rglob("*")) == []
    assert list(here.rglob("*")) == []


@pytest.mark.parametrize("name", titans_ts.__all__)
def test_every_public_name_is_there(name):
    value = getattr(titans_ts, name)
    assert name in dir(titans_ts)
    assert name == "__version__" or value.__name__ == name


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match=r"no attribute 'TitanForecaster'; it offers .*TitansForecaster"):
        titans_ts.TitanForecaster  # noqa: B018


def test_a_first_fit_leaves_the_compiler_of_torch_alone():
    """It is 800 modules, which take seconds, and it leaves a folder behind."""
    code = (
        "import sys, numpy as np; from titans_ts import TitansForecaster, TitansClassifier; x = np.sin(np.arange(90.0));"
        "TitansForecaster(2, max_steps=1, width=8, heads=2).fit(x).predict();"
        "TitansClassifier(max_steps=1, width=8, heads=2).fit(x.reshape(10, 9), [0, 1] * 5);"
        "print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    assert run_python("-c", code).stdout.strip() == "[]"
