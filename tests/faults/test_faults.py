"""The guard of the guards: each of these faults must turn the suite red, and the sources as they are must not.

A new fault is a row in ``core.py``, ``kernels.py`` or ``programs.py``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import core, kernels, programs
from faults.forks import Forks
from faults.seeding import Fault, copy_to, seed

pytestmark = pytest.mark.faults

ROWS = (*core.FAULTS, *kernels.FAULTS, *programs.FAULTS)
FAULTS = {fault.name: fault for fault in ROWS}


def chosen() -> dict[str, str]:
    """All tests that faults name, in two runs: whole files, and those that ``-k`` picks of the others."""
    whole, picked, words = set[str](), set[str](), set[str]()
    for fault in ROWS:
        file, *options = shlex.split(fault.tests)
        (picked if options else whole).add(file)
        words |= {f"({word})" for word in options if word != "-k"}
    return {
        "whole files": shlex.join(sorted(whole)),
        "picked tests": shlex.join([*sorted(picked - whole), "-k", " or ".join(sorted(words))]),
    }


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(name: str, tmp_path: Path, forks: Forks) -> None:
    seed(FAULTS[name], tmp_path / "copy")
    done = forks.run(tmp_path / "copy", FAULTS[name].tests)
    assert done.status == 1, f"{name}: pytest left with {done.status}\n{done.output[-2000:]}"  # 1: tests failed


@pytest.mark.parametrize("options", sorted(chosen()))
def test_sources_as_they_are_pass(options: str, tmp_path: Path, forks: Forks) -> None:
    """What is red above is so for its fault, and not for being run in a copy."""
    copy_to(tmp_path / "copy")
    done = forks.run(tmp_path / "copy", chosen()[options], timeout=500)
    assert done.status == 0, f"pytest left with {done.status}\n{done.output[-2000:]}"


def test_every_fault_is_one_place_in_the_sources(tmp_path: Path) -> None:
    assert len(FAULTS) == len(ROWS) >= 40
    with pytest.raises(LookupError, match=r"errors\.py holds 'no such text' 0 times, not once"):
        seed(Fault("", "errors.py", "no such text", "", ""), tmp_path / "copy")
