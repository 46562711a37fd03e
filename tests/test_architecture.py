"""The shape of the package: imports point down, every cell is complete, the light modules stay light."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import elman
from elman.cells import Cell
from elman.cli import COMMANDS
from oracles import oracle_of

SOURCE = Path(elman.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

_LAYERS = {"layers", "backends", "cells", "compiler", "errors"}
_TASKS = {"training", "insight", "data", *_LAYERS}
#: What each folder (or module beside them) may import besides itself.
BELOW = {
    "errors": set(),
    "lazy": {"errors"},
    "compiler": {"errors"},
    "cells": {"compiler", "errors"},
    "backends": {"cells", "compiler", "errors"},
    "layers": _LAYERS - {"layers"},
    "interop": _LAYERS,
    "testing": _LAYERS,
    "insight": _LAYERS,
    "data": {"errors", "lazy"},
    "training": {"lazy", *_LAYERS},
    "tasks": {"lazy", *_TASKS},
    "bench": {"tasks", "testing", *_TASKS},
    "cli": {"bench", "play", "tasks", "interop", "testing", *_TASKS},
    "play": {"tasks", "interop", *_TASKS},
    "__main__": {"cli"},
    "__init__": {"backends", "cells", "interop", "layers", "lazy"},
}


def folder_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, at its top, inside functions and for type checkers, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports from elman out"
            if node.module == "elman":  # what a name of the top stands for is its home
                homes = {name: module for module, names in elman._HOME.items() for name in names}
                names = [alias.name for alias in node.names if alias.name != "__version__"]
                yield from ((node.lineno, homes.get(name, f"elman.{name}")) for name in names)
            else:
                yield node.lineno, node.module or ""


def test_every_folder_has_its_place():
    assert {folder_of(path) for path in FILES} <= set(BELOW), "say in BELOW what the new folder may import"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    folder = folder_of(path)
    for line, module in imported(path):
        top, _, rest = module.partition(".")
        if top == "elman":
            assert rest, f"{path}:{line}: import the module that you mean, not all of elman"
            target = rest.partition(".")[0]
            assert target == folder or target in BELOW[folder], f"{path}:{line}: {folder} must not import {module}"


def test_the_check_sees_imports_in_functions(tmp_path):
    lines = ["def f():", "from elman.tasks.base import Task", "from elman import LSTM, __version__", "import elman.cli"]
    source = "\n    ".join(lines)
    (tmp_path / "sneaky.py").write_text(source)
    assert list(imported(tmp_path / "sneaky.py")) == [(2, "elman.tasks.base"), (3, "elman.layers"), (4, "elman.cli")]


def test_the_compiler_stands_on_python_alone():
    for path in (SOURCE / "compiler").rglob("*.py"):
        others = {module.partition(".")[0] for _, module in imported(path)} - set(sys.stdlib_module_names)
        assert others <= {"elman"}, path


def test_no_drawer_for_everything():
    assert not [path for path in FILES if re.fullmatch("utils?|helpers?|common|misc", path.stem)]


@pytest.mark.parametrize("name", Cell.registry)
def test_every_cell_is_complete(name):
    cell = Cell.registry[name]
    assert re.fullmatch("[a-z]+(-[a-z]+)*", name)
    assert callable(oracle_of(name))
    assert cell.__name__.endswith("Cell")
    layer = getattr(elman, cell.__name__.removesuffix("Cell"))
    assert layer(2, 3).cell is cell
    assert getattr(elman, cell.__name__) is cell
    for part in (".. math::", "Source:", ">>>"):
        assert part in cell.__doc__, f"{cell.__name__}: the docstring has no {part}"


def test_one_cell_one_file():
    homes = [cell.__module__ for cell in Cell.registry.values()]
    assert len(set(homes)) == len(homes)


HEAVY = "torch lightning_fabric tensorboard sklearn onnx gradio"


def loaded_after(code: str) -> list[str]:
    """Which heavy packages a fresh Python has loaded after this code."""
    report = f"import sys; print('HEAVY', [name for name in {HEAVY.split()} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.rpartition("HEAVY")[2].strip())


def test_the_check_sees_torch():
    assert "torch" in loaded_after("import elman; elman.LSTM")


@pytest.mark.parametrize("module", ["elman", "elman.data", "elman.tasks", "elman.training", "elman.cli"])
def test_light_to_import(module):
    assert loaded_after(f"import {module}") == []


def test_config_modules_import_no_torch():
    configs = [".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in SOURCE.rglob("config.py")]
    assert "elman.training.config" in configs
    assert loaded_after("\n".join(f"import {config}" for config in configs)) == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_no_torch(command):
    code = f"""
import runpy, sys
sys.argv = ["elman", *{[command] if command else []}, "--help"]
try:
    runpy.run_module("elman", run_name="__main__")
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""
    assert loaded_after(code) == []
