"""Measure what the processor can do at most: fused multiply-adds on registers alone."""

from __future__ import annotations

import functools
import time
from array import array
from typing import Final

import torch
from llvmlite import ir

from elman.backends.llvm import runtime
from elman.backends.llvm.team import TEAM_FIELDS, TeamKernel
from elman.backends.llvm.vectors import Shape

__all__ = ["measured_peak"]

_FIELDS: Final = ("rounds", "out")
_ROUNDS: Final = 20_000
_RUNS: Final = 30


def measured_peak(dtype: torch.dtype, threads: int) -> float:
    """Return the most floating-point operations per second that were reached, of a few tries of about a millisecond.

    Args:
        dtype: float32 or float64.
        threads: how many run at once.

    Raises:
        BackendError: no code can be compiled for this host.
    """
    size = dtype.itemsize
    shape = runtime.shape(size)
    out = torch.zeros(threads * shape.lanes, dtype=dtype)
    entry = _kernel(size)
    numbers = entry.numbers({"rounds": _ROUNDS, "out": out.data_ptr()})
    best = float("inf")
    for _ in range(_RUNS):
        start = time.perf_counter()
        entry(threads, array("q", numbers))
        best = min(best, time.perf_counter() - start)
    return 2 * shape.rows * shape.columns * shape.lanes * _ROUNDS * threads / best


@functools.cache
def _kernel(size: int) -> runtime.Entry:
    library = runtime.load("peak", "", size, _write, ("peak", "peak_shared"))
    return runtime.Entry(library, "peak", (*TEAM_FIELDS, *_FIELDS))


def _write(module: ir.Module, shape: Shape) -> None:
    code = TeamKernel(module, shape, "peak", _FIELDS)
    out = code.pointer("out") + code.thread * code.lanes
    half = out.load() + 0.5
    with code.loop(0, code["rounds"], carry=[half] * (shape.rows * shape.columns)) as loop:
        loop.values = [half.fma(half, value) for value in loop.values]
    total = loop.values[0]
    for value in loop.values[1:]:
        total = total + value
    out.store(total)
    code.finish()
