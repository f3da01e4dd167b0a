"""The rooms of the house and what each may import, held by walking the imports.

Rooms are the modules and packages directly under ``titans_ts``. Imports inside functions count for the rooms, since a
lazy import is a dependency all the same; only cycles are about what runs at import time.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "titans_ts"
ROOT = Path(__file__).parents[1] / PACKAGE

BRICKS = {"_shapes", "ops", "blocks"}
MODEL = {
    *BRICKS,
    "bases",
    "memory",
    "backbones",
    "inputs",
    "heads",
    "state",
    "networks",
    "interventions",
    "origins",
    "reading",
    "reading_together",
    "watching",
    "sequences",
    "files",
    "memory_state",
}
BELOW_ESTIMATORS = MODEL - {"ops", "memory"} | {"data", "training"}
ABOVE = {"model_selection", "integrations", "plots", "bench"}
EVERYTHING = {*MODEL, "data", "training", "estimators", *ABOVE}

MAY_IMPORT = {
    "_shapes": set(),
    "bases": set(),  # the letters of DNA: numpy alone
    "ops": {"_shapes"},
    "blocks": {"_shapes", "ops"},
    "memory": BRICKS,
    "backbones": {*BRICKS, "memory"},
    "inputs": {"_shapes", "bases", "blocks"},
    "heads": {"_shapes", "bases", "blocks", "inputs"},
    "files": set(),
    "state": {*BRICKS, "memory", "backbones", "inputs"},
    "memory_state": {"files", "state"},
    "networks": {*BRICKS, "bases", "memory", "backbones", "inputs", "heads"},
    "interventions": {"memory", "backbones", "networks"},
    "origins": {"inputs", "networks"},
    "reading": {"backbones", "heads", "inputs", "interventions", "networks", "origins", "state"},
    "reading_together": {"heads", "inputs", "networks", "origins", "reading", "state"},
    "watching": {"memory", "backbones", "interventions", "networks", "origins", "reading", "state"},
    "sequences": {"bases", "heads", "inputs", "networks", "state"},
    "data": {"bases"},
    "training": {*MODEL, "data"},
    "estimators": BELOW_ESTIMATORS,
    **{room: EVERYTHING - {room} for room in ABOVE},
    "cli": EVERYTHING,
    "__main__": {"cli"},
    "__init__": EVERYTHING,  # it names what is public, and imports it lazily
}
LIVES_ONLY_IN = {
    "sklearn": {"estimators", "model_selection"},
    "sktime": {"integrations"},
    "narwhals": {"data"},
    "pandas": {"data"},
    "polars": {"data"},
}
MAY_USE_THE_TOP_LEVEL = {*ABOVE, "cli"}
NOT_IN_OPS = ("torch.nn.Module", "torch.nn.Parameter", "numpy.random", "random")
RANDOM_IN_TORCH = {"manual_seed", "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli"}


@dataclass(frozen=True)
class Import:
    """One imported name, written out in full, and how it is imported."""

    target: str
    line: int
    at_import_time: bool
    for_types_only: bool


@dataclass(frozen=True)
class Module:
    """A source file: dotted name, whether it is a package's ``__init__``, and its syntax tree."""

    name: str
    is_package: bool
    tree: ast.Module

    @property
    def room(self) -> str:
        return [*self.name.split("."), "__init__"][1]

    def imports(self) -> Iterator[Import]:
        yield from self._walk(self.tree.body, at_import_time=True, for_types_only=False)

    def _walk(self, body: Iterable[ast.AST], *, at_import_time: bool, for_types_only: bool) -> Iterator[Import]:
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for target in self._targets(node):
                    yield Import(target, node.lineno, at_import_time and not for_types_only, for_types_only)
            elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield from self._walk(node.body, at_import_time=at_import_time, for_types_only=True)
                yield from self._walk(node.orelse, at_import_time=at_import_time, for_types_only=for_types_only)
            else:
                now = at_import_time and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from self._walk(ast.iter_child_nodes(node), at_import_time=now, for_types_only=for_types_only)

    def _targets(self, node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        base = node.module or ""
        if node.level:
            package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
            base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
        return [f"{base}.{alias.name}" for alias in node.names]


def read_house(root: Path) -> list[Module]:
    modules = []
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, is_package, ast.parse(path.read_text(encoding="utf-8"))))
    return modules


def broken_room_rules(modules: list[Module]) -> list[str]:
    """Say which import goes to a room that the importing room does not know."""
    rooms, faults = {module.room for module in modules} | set(MAY_IMPORT), []
    for module in modules:
        if module.room not in MAY_IMPORT:
            faults.append(f"{module.name}: unknown room {module.room!r}; give it a row in MAY_IMPORT and in the design")
            continue
        for each in module.imports():
            head, *rest = each.target.split(".")
            if head != PACKAGE or (rest and rest[0] in {module.room, "__version__"}):
                continue
            if not rest or rest[0] not in rooms:
                if module.room not in MAY_USE_THE_TOP_LEVEL:
                    faults.append(f"{module.name}:{each.line} imports {each.target}; import it from where it lives")
            elif rest[0] not in MAY_IMPORT[module.room]:
                allowed = ", ".join(sorted(MAY_IMPORT[module.room])) or "no other room"
                faults.append(f"{module.name}:{each.line} imports {each.target}; {module.room} may import {allowed}")
    return faults


def broken_library_rules(modules: list[Module]) -> list[str]:
    """Say where scikit-learn, a data frame library, or in ops a layer or randomness appears."""
    faults = []
    for module in modules:
        for each in module.imports():
            library = each.target.split(".")[0]
            rooms = LIVES_ONLY_IN.get(library, {module.room})
            if module.room not in rooms and not (each.for_types_only and library != "sklearn"):
                faults.append(f"{module.name}:{each.line} imports {library}, which lives only in {sorted(rooms)}")
        if module.room == "ops":
            faults += broken_ops_rules(module)
    return faults


def broken_ops_rules(module: Module) -> list[str]:
    """Say where an op is more than a pure function of tensors."""
    faults = [
        f"{module.name}:{each.line} imports {each.target}; ops knows no layer, configuration or randomness"
        for each in module.imports()
        if each.target == "torch.nn" or each.target.startswith(NOT_IN_OPS)
    ]
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Attribute):
            continue
        if node.attr in {"Module", "Parameter"} or ast.unparse(node) in {f"torch.{name}" for name in RANDOM_IN_TORCH}:
            faults.append(f"{module.name}:{node.lineno} uses {ast.unparse(node)}; ops knows no layer and no randomness")
    return faults


def import_cycles(modules: list[Module]) -> list[str]:
    """Say which modules import each other while being imported."""
    names = {module.name for module in modules}

    def owner(target: str) -> str | None:
        while target and target not in names:
            target = target.rpartition(".")[0]
        return target or None

    edges = {
        module.name: {owner(each.target) for each in module.imports() if each.at_import_time} - {None, module.name}
        for module in modules
    }
    faults, done = [], set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            faults.append(" -> ".join((*trail[trail.index(name) :], name)) + " is a cycle")
        elif name not in done:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())
    return faults


RULES = {"rooms": broken_room_rules, "libraries": broken_library_rules, "cycles": import_cycles}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_its_rules(rule):
    faults = RULES[rule](read_house(ROOT))
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "room_and_file", "source", "word"),
    [
        ("rooms", "ops/rule.py", "from titans_ts.memory import gates", "ops may import _shapes"),
        ("rooms", "bases.py", "from titans_ts.data import fasta", "bases may import no other room"),
        ("rooms", "ops/rule.py", "from ..memory import gates", "ops may import _shapes"),
        ("rooms", "blocks/norm.py", "def f():\n    import titans_ts.memory.gates", "blocks may import"),
        ("rooms", "estimators/forecaster.py", "from titans_ts.ops import rule", "estimators may import"),
        ("rooms", "estimators/forecaster.py", "from titans_ts import ops", "estimators may import"),
        (
            "rooms",
            "heads/forecast.py",
            "from titans_ts.ops.rule import WriteRule",
            "heads may import _shapes, bases, blocks",
        ),
        (
            "rooms",
            "data/load.py",
            "from titans_ts.networks.forecast import ForecastNetwork",
            "data may import bases",
        ),
        ("rooms", "networks/forecast.py", "from titans_ts.training import loop", "networks may import"),
        ("rooms", "networks/forecast.py", "from titans_ts import TitansForecaster", "import it from where it lives"),
        ("rooms", "helpers.py", "", "unknown room 'helpers'"),
        ("libraries", "training/loop.py", "import sklearn.base", "sklearn, which lives only in"),
        ("libraries", "estimators/forecaster.py", "def f():\n    import polars as pl", "polars, which lives only in"),
        ("libraries", "ops/rule.py", "from torch import nn", "ops knows no layer"),
        ("libraries", "ops/rule.py", "import torch\nx = torch.randn(3)", "no randomness"),
        ("libraries", "ops/rule.py", "import torch\nclass A(torch.nn.Module): pass", "ops knows no layer"),
        ("cycles", "memory/gates.py", "from titans_ts.memory import presets", "is a cycle"),
    ],
)
def test_a_broken_rule_is_seen(tmp_path, rule, room_and_file, source, word):
    files = {
        "__init__.py": "",
        "memory/__init__.py": "",
        "memory/presets.py": "from titans_ts.memory.gates import x",
        "memory/gates.py": "x = 1",
        "ops/__init__.py": "",
        "networks/forecast.py": "",
        "training/loop.py": "",
        room_and_file: source,
    }
    for name, text in files.items():
        path = tmp_path / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    faults = RULES[rule](read_house(tmp_path / PACKAGE))
    assert len(faults) == 1, faults
    assert word in faults[0]


def test_imports_for_types_may_name_a_frame(tmp_path):
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas as pd\n"
    path = tmp_path / PACKAGE / "estimators.py"
    path.parent.mkdir()
    path.write_text(source, encoding="utf-8")
    assert broken_library_rules(read_house(tmp_path / PACKAGE)) == []
