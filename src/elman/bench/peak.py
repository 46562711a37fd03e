"""The machine's peak, which shares are taken of."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from elman.backends.llvm import runtime

__all__ = ["Peak", "machine_peak"]


class Peak(NamedTuple):
    """The most operations in a second (float32), and of what."""

    flops: float
    of: str


def machine_peak(threads: int) -> Peak:
    """Measure the peak of the machine, in a few milliseconds.

    Example:
        >>> machine_peak(threads=1).flops > 1e8
        True
    """
    if isinstance(runtime.host(), str):  # no code can be compiled here
        return Peak(_product(threads), "a large product of torch")
    from elman.backends.llvm.peak import measured_peak

    return Peak(measured_peak(torch.float32, threads), "fused multiply-adds on registers")


def _product(threads: int) -> float:
    """Return the operations in a second of a large product, the best of some."""
    size, best = 1024, float("inf")
    a = torch.ones(size, size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(10):
            started = time.perf_counter()
            torch.mm(a, a)
            best = min(best, time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return 2 * size**3 / best
