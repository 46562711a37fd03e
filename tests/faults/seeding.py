"""Seed a fault into a copy of the sources and run tests on it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fault", "copy_to", "run_tests", "seed"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fault:
    """A fault that the tests must find.

    Attributes:
        name: what is wrong.
        file: where, under ``src/elman``.
        old: the text, which stands there once.
        new: what it becomes.
        tests: which tests must fail, as arguments of pytest: files, ``-k``.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


def copy_to(folder: Path) -> None:
    """Copy sources and tests."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


def seed(fault: Fault, folder: Path) -> None:
    """Copy everything and put the fault in."""
    copy_to(folder)
    file = folder / "src" / "elman" / fault.file
    text = file.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        raise LookupError(
            f"{fault.file} holds {fault.old!r} {text.count(fault.old)} times, not once: update the fault."
        )
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def run_tests(folder: Path, tests: str, *, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy in a Python of their own until the first failure."""
    options = "-x -q --no-header --tb=line -p no:cacheprovider -o addopts= --import-mode=importlib"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(folder / "src"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
    }
    command = [sys.executable, "-m", "pytest", *shlex.split(options), *shlex.split(tests)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
