"""The cell as a plain Python loop in torch operations, as it stands and compiled."""

from __future__ import annotations

from elman.bench.example import Example
from elman.bench.program import Program, plain_program

__all__ = ["compiled", "loop"]


def loop(example: Example, threads: int) -> Program:
    """`elman.bench.plain.Loop`."""
    del threads  # those of torch
    return plain_program(example)


def compiled(example: Example, threads: int) -> Program:
    """`torch.compile` of it, for these shapes alone."""
    del threads
    return plain_program(example, compiled=True)
