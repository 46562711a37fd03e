"""``elman resume``: go on where a run stopped."""

from __future__ import annotations

from collections.abc import Sequence

from elman.cli.arguments import RunPath, parse
from elman.cli.train import run_training

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman resume RUN``."""
    return parse(resume, argv, "resume")


def resume(
    run: RunPath,
    *,
    epochs: float | None = None,
    samples: int | None = None,
    steps: int | None = None,
) -> int:
    """Go on with a run where it stopped, with the same bits as if it never had.

    Args:
        run: The run directory.
        epochs: A new length in epochs, to train a finished run longer.
        samples: The same in training examples.
        steps: The same in optimiser steps.
    """
    from elman.tasks.runs import resume_run

    return run_training(*resume_run(run, epochs=epochs, samples=samples, steps=steps))
