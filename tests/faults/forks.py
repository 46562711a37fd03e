"""Runs of pytest in forks of one process that has imported what they need: a fault costs its tests and little more.

As a program it reads a line of JSON for each run, and answers with a line: pytest's exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Forks", "Outcome"]

# Slow to import, the same in every copy of the sources, and without any elman in them.
_PRELOADED = ("numpy", "torch", "pytest", "llvmlite.binding", "safetensors.torch", "lightning_fabric", "pydantic")

_OPTIONS = "-x -q --no-header --tb=line -p no:cacheprovider -o addopts= --import-mode=importlib"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it said; the status is negative where a signal ended it."""

    status: int
    output: str


class Forks:
    """A process to fork from, for as long as the context lasts."""

    def __enter__(self) -> Forks:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()

    def run(self, folder: Path, tests: str, *, timeout: int = 120) -> Outcome:
        """Run tests of a copy of the sources, until the first failure, in a process of their own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(folder), tests, timeout]), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        return Outcome(status, _output(folder).read_text(encoding="utf-8", errors="replace"))


def _output(folder: Path) -> Path:
    return folder / "pytest.txt"


def _serve() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        folder, tests, timeout = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(Path(folder), tests, timeout)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(folder: Path, tests: str, timeout: int) -> None:
    """Turn this fork into a run of pytest."""
    import pytest

    signal.alarm(timeout)
    output = os.open(_output(folder), os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(folder / "src"), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis")}
    sys.path[:0] = [str(folder / "src"), str(folder)]
    status = pytest.main([*shlex.split(_OPTIONS), *shlex.split(tests)])
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
