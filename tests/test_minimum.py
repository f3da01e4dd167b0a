"""The least versions that are declared are those that `make test-minimum` runs."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import titans_ts

HOUSE = Path(titans_ts.__file__).parents[1]
TOOLS = ("pyarrow", "pytest")  # what `make test-minimum` takes from dev
ELSEWHERE = (
    "dev",
    "fev",
    "panels",
    "ray",
    "dask",
)  # all but the first are what `make test-extras` runs, in an environment of its own


def declared() -> dict[str, str]:
    """Return the least version of each package that pyproject.toml asks for, but for developers' tools."""
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(each for name in extras if name not in ELSEWHERE for each in extras[name])]
    asked += [each for each in extras["dev"] if each.startswith(TOOLS)]
    return dict(each.split(">=") for each in asked if not each.startswith("pytest-"))


def held() -> dict[str, str]:
    """Return the versions of constraints-minimum.txt."""
    lines = (HOUSE / "constraints-minimum.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_hold_every_declared_minimum():
    assert held() == declared()


def test_the_command_installs_every_extra_and_tool():
    text = (HOUSE / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ",".join(name for name in sorted(project["optional-dependencies"]) if name not in ELSEWHERE)
    assert f"'.[{extras}]' {' '.join(TOOLS)}" in text


def test_what_the_extras_leave_out_of_the_tests_is_run_by_a_command_of_its_own():
    text = (HOUSE / "Makefile").read_text(encoding="utf-8")
    asked = re.search(r"pytest -q -m extras (.*)", text)[1].split()
    marked = [path for path in (HOUSE / "tests").rglob("test_*.py") if "mark.extras" in path.read_text(encoding="utf-8")]
    marked.remove(Path(__file__))
    assert len(marked) >= 3
    assert all(any(path.is_relative_to(HOUSE / place) for place in asked) for path in marked)
    assert f"'.[{','.join(name for name in ELSEWHERE if name != 'dev')}]'" in text


def test_no_package_is_older_than_declared():
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split("+")[0].split(".")[:3] if part.isdigit()]

    older = {name: version(name) for name, least in declared().items() if numbers(version(name)) < numbers(least)}
    assert not older, f"older than pyproject.toml declares: {older}"
