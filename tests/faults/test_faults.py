"""The guard of the guards: each of these faults must turn the suite red, and the sources as they are must not.

A new fault is a row in ``core.py``, ``kernels.py`` or ``programs.py``.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from faults import core, kernels, programs
from faults.seeding import Fault, copy_to, run_tests, seed

pytestmark = pytest.mark.faults

ROWS = (*core.FAULTS, *kernels.FAULTS, *programs.FAULTS)
FAULTS = {fault.name: fault for fault in ROWS}
FILES = sorted({word for fault in FAULTS.values() for word in shlex.split(fault.tests) if word.endswith(".py")})
SOUND = "none"


def run(name: str, folder: Path) -> CompletedProcess[str]:
    if name == SOUND:
        copy_to(folder)
        return run_tests(folder, " ".join(FILES), timeout=500)
    seed(FAULTS[name], folder)
    return run_tests(folder, FAULTS[name].tests)


@pytest.mark.parametrize("name", [SOUND, *FAULTS])
def test_fault_is_found(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path / "copy")
    expected = 0 if name == SOUND else 1  # 1: tests failed; more: pytest itself could not run them
    assert done.returncode == expected, (
        f"{name}: pytest left with {done.returncode}\n{done.stdout[-2000:]}{done.stderr}"
    )


def test_every_fault_is_one_place_in_the_sources(tmp_path: Path) -> None:
    assert len(FAULTS) == len(ROWS) >= 40
    with pytest.raises(LookupError, match=r"errors\.py holds 'no such text' 0 times, not once"):
        seed(Fault("", "errors.py", "no such text", "", ""), tmp_path / "copy")
