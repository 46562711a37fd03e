"""The cell as a plain Python loop in torch operations, as it stands and compiled."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from elman.bench.program import Example, Program, plain_program

__all__ = ["compiled", "loop"]


def loop(example: Example, threads: int) -> Program:
    """`elman.bench.plain.Loop`."""
    del threads  # those of torch
    return plain_program(example)


def compiled(example: Example, threads: int) -> Program:
    """`torch.compile` of it, for these shapes alone."""
    del threads
    return plain_program(example, lambda module: cast(nn.Module, torch.compile(module, dynamic=False)))
