"""Trainings in processes of their own, for test_interruption.py to stop."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from elman.cli import main
from elman.training.loop import _Training

__all__ = ["command", "stalled_before_the_first_checkpoint"]


def command(arguments: list[str], said: Path, begun: Any) -> None:
    """Run a command at 4 ms a step more; tells when the first step begins, and leaves with its status."""
    step = _Training._step

    def slow_step(self: _Training) -> None:
        begun.set()
        time.sleep(0.004)
        step(self)

    _Training._step = slow_step  # type: ignore[method-assign]
    leave_with(arguments, said)


def stalled_before_the_first_checkpoint(arguments: list[str], said: Path, begun: Any) -> None:
    """Run a command up to where it would write its first checkpoint."""
    from elman.training import loop

    def stall(*_: Any) -> None:
        begun.set()
        time.sleep(60)

    loop.save_checkpoint = stall  # type: ignore[assignment]
    leave_with(arguments, said)


def leave_with(arguments: list[str], said: Path) -> None:
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    sys.exit(main(arguments))
