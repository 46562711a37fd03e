"""Seed a fault into a copy of the sources."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fault", "copy_to", "seed"]

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
    """Copy sources and tests, with what Python has compiled of them: it looks at times and sizes, which stay."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name)
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
