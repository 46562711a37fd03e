"""The machine that is measured on: its name, and what else it does meanwhile."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Final, NamedTuple

import torch

__all__ = ["Load", "describe_machine"]

_STAT: Final = Path("/proc/stat")
_CPUINFO: Final = Path("/proc/cpuinfo")


def describe_machine(threads: int) -> str:
    """Name the processor and what runs on it, in a line."""
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = named[0] if named else platform.processor() or platform.machine()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{processor}, {threads} of {os.cpu_count()} cores, {versions}"


class _Reading(NamedTuple):
    """Seconds: of all cores at work since the machine started, of this process, and of the clock."""

    busy: float
    own: float
    wall: float


class Load:
    """What others take of the processor from here on: other programs, and other guests of the host."""

    def __init__(self) -> None:
        self._began = _read()

    def others(self) -> float | None:
        """Return the share of all cores' time that others have taken; None where the system does not tell."""
        now = _read()
        if self._began is None or now is None or now.wall <= self._began.wall:
            return None
        busy, own, wall = (after - before for before, after in zip(self._began, now, strict=True))
        return min(1.0, max(0.0, busy - own) / (wall * (os.cpu_count() or 1)))


def _read() -> _Reading | None:
    if not _STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = _STAT.read_text(encoding="ascii").split(maxsplit=9)[1:9]
    ticks = sum(map(int, (user, nice, system, irq, softirq, steal)))
    times = os.times()
    return _Reading(ticks / os.sysconf("SC_CLK_TCK"), times.user + times.system, time.perf_counter())
