"""Run a module of these tests in a Python of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import elman

TESTS = Path(__file__).parents[2]
SOURCES = Path(elman.__file__).parents[1]


def run(module: str, *arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module beside this one; a crash or a hang is its return code or an error."""
    paths = {"PYTHONPATH": os.pathsep.join([str(SOURCES), str(TESTS)])}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", f"backends.llvm.{module}", *arguments],
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
