"""Imports go down only; docs/architecture.md explains the rule."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lit_cnn"
# From the top floor down; a room imports rooms on lower floors, and on its own floor where no circle comes of it.
FLOORS = (
    {"__init__", "__main__", "api"},
    {"cli"},
    {"tuner", "export", "serve"},
    {"tasks", "callbacks", "inspection", "interpret"},
    {"models", "data", "checkpoint", "distributed"},
    {"optim", "results", "run_folder", "plugins"},
    {"utils"},
    {"nn", "errors"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
NEVER = {("models", "data"), ("data", "models"), ("tasks", "data"), ("results", "torch"), ("results", "lightning")}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere in it, except for type checking; ``lit_cnn.*`` as files of the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


GRAPH = {name: {found for found in imports(path) if found != name} for name, path in MODULES.items()}


def room(module: str) -> str:
    if module == "lit_cnn":
        return "__init__"
    parts = module.split(".")
    return parts[1] if parts[0] == "lit_cnn" else parts[0]


def test_every_room_has_its_floor():
    assert {room(name) for name in MODULES} == FLOOR.keys()


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name):
    for found in GRAPH[name]:
        pair = room(name), room(found)
        assert pair not in NEVER
        # the version, and where the package lies
        if found in MODULES and found != "lit_cnn" and pair[0] != pair[1]:
            assert FLOOR[pair[1]] >= FLOOR[pair[0]], f"{name} imports {found}"


def test_no_circles_not_even_by_imports_inside_functions():
    circles, done = [], set()

    def follow(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circles.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for found in sorted(GRAPH.get(name, set()) - {"lit_cnn"}):
                follow(found, (*trail, name))
            done.add(name)

    for name in MODULES:
        follow(name, ())
    assert circles == []


def test_rooms_on_one_floor_do_not_import_each_other_both_ways():
    pairs = {(room(name), room(found)) for name in MODULES for found in GRAPH[name] if found in MODULES}
    assert [(a, b) for a, b in pairs if a < b and (b, a) in pairs and "__init__" not in (a, b)] == []


@pytest.mark.parametrize(
    "code",
    ["import lit_cnn", "import lit_cnn.cli.main", "import lit_cnn.results.curves, lit_cnn.results.tables"],
)
def test_neither_torch_nor_lightning_is_imported(code):
    check = "import sys; print({'torch', 'lightning', 'jsonargparse'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", f"{code}; {check}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_private_names_of_lightning_stand_in_one_file():
    found = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lightning"):
                found += [f"{name}: {alias.name}" for alias in node.names if alias.name.startswith("_")]
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = ast.unparse(node.value)
                if owner.rpartition(".")[2] in ("trainer", "fit_loop", "epoch_loop", "strategy", "launcher"):
                    found.append(f"{name}: {owner}.{node.attr}")
    assert [entry for entry in found if not entry.startswith("lit_cnn.utils.lightning_internals")] == []


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_can_be_read_at_one_sitting(name):
    text = MODULES[name].read_text(encoding="utf-8")
    assert text.count("\n") <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 <= 80, node.name


def test_no_other_file_is_longer_either():
    files = [path for folder in ("tests", "benchmarks", "tools", "examples") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if path.read_text(encoding="utf-8").count("\n") > 320] == []


LIBRARY = [name for name in MODULES if room(name) not in ("cli", "api", "plugins")]  # api calls the command line


@pytest.mark.parametrize("name", LIBRARY)
def test_only_the_command_line_spells_flags(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None
    }
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert [n.value for n in texts if n not in docstrings and re.search(r"(^|\W)--[a-z]", n.value)] == []
