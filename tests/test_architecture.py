"""The plan of the house: which rooms there are, and what each may import, held by walking the imports.

Rooms are the packages directly under ``titans_ts``, and ``titans_bench``. Imports inside functions count for the rooms,
since a lazy import is a dependency all the same; cycles are about what runs at import time or serves types.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LIBRARY, BENCH = "titans_ts", "titans_bench"
HOUSE = Path(__file__).parents[1]

ENGINE = ("files", "ops", "blocks", "memory", "backbones", "frames", "learn")
DOORS = ("series", "windows", "dna")
FACES = ("plots", "integrations", "datasets")
BELOW_LEARN = {"files", "ops", "blocks", "memory", "backbones", "frames"}

MAY_IMPORT = {
    "files": set(),
    "ops": set(),
    "blocks": {"ops"},
    "memory": {"ops", "blocks"},
    "backbones": {"ops", "blocks", "memory"},
    "frames": {"files"},
    "learn": BELOW_LEARN,
    **{door: {*BELOW_LEARN, "learn"} for door in DOORS},
    **{face: {*ENGINE, *DOORS, *FACES} - {face} for face in FACES},
    BENCH: {*ENGINE, *DOORS, *FACES},
    "cli": {*ENGINE, *DOORS, *FACES, BENCH},
    "__main__": {"cli"},
    "__init__": {*ENGINE, *DOORS, *FACES},  # it names what is public, and imports it lazily
}
VERSION = "titans_ts.__version__"  # needs nothing of what the package names lazily
OPEN_TO_ALL = (VERSION, "titans_ts.dna.bases")  # the letters of DNA and their codes are numpy alone
LIVES_ONLY_IN = {
    "sklearn": {"learn", *DOORS, "frames", "integrations"},
    "sktime": {"integrations"},
    "narwhals": {"frames", "files", "windows", "dna", "datasets", "plots", "integrations", "cli", "series", BENCH},
    "pandas": {"frames", "files", "windows", "dna", "datasets", "plots", "integrations", "cli", "series", BENCH},
    "polars": {"frames", "files", "windows", "dna", "datasets", "plots", "integrations", "cli", "series", BENCH},
}
MAY_USE_THE_TOP_LEVEL = {*FACES, BENCH, "cli"}
AT_THE_TOP = {"__init__", "__main__"}
MOST_MODULES = 14
NOT_IN_OPS = ("torch.nn.Module", "torch.nn.Parameter", "numpy.random", "random")
GLOBAL_CHANCE = {"manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "random", "default_generator"}
DRAWS = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli", "multinomial", "normal", "poisson"}
DRAWS_IN_PLACE = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "geometric_", "cauchy_", "log_normal_"}
DROPS = ("nn.Dropout", "F.dropout", "functional.dropout")
ONES_OWN_IN_NUMPY = {"default_rng", "Generator", "RandomState", "SeedSequence"}
HOME_OF_CHANCE = "titans_ts.blocks.chance"


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
        top, *below = self.name.split(".")
        return BENCH if top == BENCH else [*below, "__init__"][0]

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


def read_house(house: Path) -> list[Module]:
    modules = []
    for path in sorted(path for top in (LIBRARY, BENCH) for path in (house / top).rglob("*.py")):
        parts = path.relative_to(house).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, is_package, ast.parse(path.read_text(encoding="utf-8"))))
    return modules


def broken_room_rules(modules: list[Module]) -> list[str]:
    """Say which import goes to a room that the importing room does not know; two doors never know each other."""
    faults = []
    for module in modules:
        if module.room not in MAY_IMPORT:
            faults.append(f"{module.name}: unknown room {module.room!r}; give it a row in MAY_IMPORT and in ARCHITECTURE.md")
            continue
        for each in module.imports():
            top, *rest = each.target.split(".")
            if top not in (LIBRARY, BENCH) or each.target.startswith(OPEN_TO_ALL):
                continue
            room = BENCH if top == BENCH else (rest[0] if rest else "__init__")
            if room not in MAY_IMPORT or room == "__init__":
                if module.room not in MAY_USE_THE_TOP_LEVEL:
                    faults.append(f"{module.name}:{each.line} imports {each.target}; import it from where it lives")
            elif room not in {module.room, *MAY_IMPORT[module.room]}:
                allowed = ", ".join(sorted(MAY_IMPORT[module.room])) or "no other room"
                faults.append(f"{module.name}:{each.line} imports {each.target}; {module.room} may import {allowed}")
    return faults


def broken_plan(modules: list[Module]) -> list[str]:
    """Say what stands at the top that does not belong there, and which room is too full to be seen at a glance."""
    packages = {module.name for module in modules if module.is_package}
    inside: dict[str, list[str]] = {}
    for module in modules:
        if not module.is_package:
            room, _, name = module.name.rpartition(".")
            inside.setdefault(room, []).append(name)
    faults = [f"titans_ts/{name}.py stands at the top" for name in inside.get(LIBRARY, []) if name not in AT_THE_TOP]
    faults += [f"{room} has {len(names)} modules" for room, names in inside.items() if len(names) > MOST_MODULES]
    return faults + [f"{room} is no package" for room in inside.keys() - packages]


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
        if node.attr in {"Module", "Parameter"} or ast.unparse(node) in {f"torch.{name}" for name in DRAWS | GLOBAL_CHANCE}:
            faults.append(f"{module.name}:{node.lineno} uses {ast.unparse(node)}; ops knows no layer and no randomness")
    return faults


def broken_chance_rules(modules: list[Module]) -> list[str]:
    """Say where a generator is used that all threads share: torch's, numpy's or Python's.

    What draws is handed a generator. First weights are drawn in constructors without one: ``drawing`` gives them theirs.
    """
    faults = []
    for module in modules:
        faults += [
            f"{module.name}:{each.line} imports {each.target}, whose chance all threads share"
            for each in module.imports()
            if each.target == "random" or each.target.startswith(("random.", "numpy.random."))
        ]
        if module.name != HOME_OF_CHANCE:
            faults += [f"{module.name}:{line} {what}" for line, what in _shared_chance(module.tree, in_constructor=False)]
    return faults


def _shared_chance(node: ast.AST, *, in_constructor: bool) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.FunctionDef):
        in_constructor = node.name in ("__init__", "reset_parameters")
    if isinstance(node, ast.Attribute):
        place, name = ast.unparse(node.value), node.attr
        shared = place in ("torch", "torch.random", "torch.cuda") and name in GLOBAL_CHANCE
        shared |= place in ("np.random", "numpy.random") and name not in ONES_OWN_IN_NUMPY
        if shared or ast.unparse(node).endswith(DROPS):
            yield node.lineno, f"uses {ast.unparse(node)}; take a generator of one's own ({HOME_OF_CHANCE})"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not in_constructor:
        name, given = node.func.attr, any(keyword.arg == "generator" for keyword in node.keywords)
        draws = name in DRAWS_IN_PLACE or (ast.unparse(node.func.value) == "torch" and name in DRAWS)
        if draws and not given:
            yield node.lineno, f"draws by {ast.unparse(node.func)} without generator="
    for child in ast.iter_child_nodes(node):
        yield from _shared_chance(child, in_constructor=in_constructor)


def import_cycles(modules: list[Module]) -> list[str]:
    """Say which modules need each other: while being imported, or for their types."""
    names = {module.name for module in modules}

    def owner(target: str) -> str | None:
        while target and target not in names:
            target = target.rpartition(".")[0]
        return target or None

    def edges_of(module: Module) -> set[str | None]:
        counted = (x.target for x in module.imports() if x.at_import_time or x.for_types_only)
        return {owner(target) for target in counted if target != VERSION} - {None, module.name}

    edges = {module.name: edges_of(module) for module in modules}
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


RULES = {
    "rooms": broken_room_rules,
    "plan": broken_plan,
    "libraries": broken_library_rules,
    "chance": broken_chance_rules,
    "cycles": import_cycles,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_its_rules(rule):
    faults = RULES[rule](read_house(HOUSE))
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "file", "source", "word"),
    [
        ("rooms", "ops/rule.py", "from titans_ts.memory import gates", "ops may import no other room"),
        ("rooms", "ops/rule.py", "from ..memory import gates", "ops may import no other room"),
        ("rooms", "blocks/layers.py", "def f():\n    import titans_ts.memory.gates", "blocks may import ops"),
        ("rooms", "learn/run.py", "from titans_ts.series import forecaster", "learn may import"),
        ("rooms", "dna/genome.py", "from titans_ts.series import forecaster", "dna may import"),
        ("rooms", "windows/reader.py", "from titans_ts.dna.strands import one_hot", "windows may import"),
        ("rooms", "series/state.py", "from titans_ts import TitansForecaster", "import it from where it lives"),
        ("rooms", "series/state.py", "from titans_ts import dna", "series may import"),
        ("rooms", "learn/run.py", "from titans_bench import protocol", "learn may import"),
        ("rooms", "helpers/all.py", "", "unknown room 'helpers'"),
        ("plan", "helpers.py", "", "helpers.py stands at the top"),
        ("plan", "ops/__init__.py", "", "ops has 15 modules"),
        ("libraries", "ops/rule.py", "import sklearn.base", "sklearn, which lives only in"),
        ("libraries", "learn/run.py", "def f():\n    import polars as pl", "polars, which lives only in"),
        ("libraries", "ops/rule.py", "from torch import nn", "ops knows no layer"),
        ("libraries", "ops/rule.py", "import torch\nx = torch.randn(3)", "no randomness"),
        ("libraries", "ops/rule.py", "import torch\nclass A(torch.nn.Module): pass", "ops knows no layer"),
        ("chance", "learn/run.py", "import torch\ntorch.manual_seed(0)", "uses torch.manual_seed"),
        ("chance", "learn/run.py", "import torch\nwith torch.random.fork_rng(): pass", "uses torch.random"),
        ("chance", "learn/run.py", "import torch\ntorch.cuda.set_rng_state(x)", "uses torch.cuda.set_rng_state"),
        ("chance", "learn/run.py", "import numpy as np\nnp.random.seed(0)", "uses np.random.seed"),
        ("chance", "learn/run.py", "from random import choice", "imports random.choice"),
        ("chance", "learn/run.py", "def f(x):\n    x.normal_()", "draws by x.normal_"),
        ("chance", "learn/run.py", "import torch\ndef f():\n    return torch.randn(3)", "draws by torch.randn"),
        ("chance", "blocks/layers.py", "from torch import nn\nx = nn.Dropout(0.1)", "uses nn.Dropout"),
        ("cycles", "memory/gates.py", "from titans_ts.memory import presets", "is a cycle"),
        (
            "cycles",
            "memory/gates.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from titans_ts.memory import presets",
            "is a cycle",
        ),
    ],
)
def test_a_broken_rule_is_seen(tmp_path, rule, file, source, word):
    files = {
        "__init__.py": "",
        "memory/__init__.py": "",
        "memory/presets.py": "from titans_ts.memory.gates import x",
        "memory/gates.py": "x = 1",
        "learn/run.py": "",
        file: source,
    }
    if word == "ops has 15 modules":
        files |= {f"ops/module_{i}.py": "" for i in range(15)}
    for name, text in files.items():
        path = tmp_path / LIBRARY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    faults = RULES[rule](read_house(tmp_path))
    assert faults
    assert all(word in fault for fault in faults), faults


def test_imports_for_types_may_name_a_frame(tmp_path):
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas as pd\n"
    path = tmp_path / LIBRARY / "learn" / "estimator.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert broken_library_rules(read_house(tmp_path)) == []
