"""The machine that is measured on: its name, its peak, and what else it does."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Final, Self

import torch

__all__ = ["Load", "describe_machine", "measured_peak"]

_STAT: Final = Path("/proc/stat")
_CPUINFO: Final = Path("/proc/cpuinfo")


def describe_machine() -> str:
    """Return the processor's name and what runs on it, in a line."""
    names = [line for line in _CPUINFO.read_text().splitlines() if line.startswith("model name")] if _CPUINFO.exists() else []
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} logical cores; torch {torch.__version__}, Python {platform.python_version()}"


class Load:
    """What others take of the processor while something is measured: other programs, and other guests of the host."""

    def __init__(self) -> None:
        self._began = _reading()

    @classmethod
    def start(cls) -> Self:
        """Begin to watch."""
        return cls()

    def others(self) -> float | None:
        """Return the share of all cores' time that others took since the start; None where the system does not tell."""
        if self._began is None or (now := _reading()) is None:
            return None
        busy, own, wall = (after - before for before, after in zip(self._began, now, strict=True))
        return min(1.0, max(0.0, busy - own) / (wall * (os.cpu_count() or 1))) if wall else 0.0
