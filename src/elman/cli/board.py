"""``elman board``: TensorBoard on a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from elman.cli.arguments import RunPath, parse
from elman.errors import CheckpointError, describe

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman board RUN``."""
    return parse(board, argv, "board")


def board(run: RunPath, *, port: int = 6006, host: str = "localhost") -> int:
    """Open TensorBoard on a run, or on a folder of runs to compare them; also while they train. Ctrl-C ends it.

    Args:
        run: The run directory, or a folder of run directories.
        port: Where the page is served.
        host: Address to listen at; 0.0.0.0 for other machines too.
    """
    if not any(run.glob("**/events.out.tfevents.*")):
        got = "one without" if run.is_dir() else "nothing there"
        raise CheckpointError(describe(str(run), expected="a folder with TensorBoard events", got=got))
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--port", str(port), "--host", host]
    return subprocess.call(command)
