"""The machine's peak, which shares are taken of."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import torch

from elman.backends.llvm import runtime

__all__ = ["Peak", "machine_peak"]

_SECONDS: Final = 0.5


class Peak(NamedTuple):
    """The most operations in a second (float32), and of what."""

    flops: float
    of: str


def machine_peak(threads: int) -> Peak:
    """Measure the peak of the machine: the best of half a second, since others may take a core at any moment.

    Example:
        >>> machine_peak(threads=1).flops > 1e8
        True
    """
    measure: Callable[[int], float] = _product
    of = "a large product of torch"
    if not isinstance(runtime.host(), str):  # code can be compiled here
        from elman.backends.llvm.peak import measured_peak

        measure, of = partial(measured_peak, torch.float32), "fused multiply-adds on registers"
    end, best = time.perf_counter() + _SECONDS, 0.0
    while not best or time.perf_counter() < end:
        best = max(best, measure(threads))
    return Peak(best, of)


def _product(threads: int) -> float:
    """Return the operations in a second of a large product."""
    size = 1024
    a = torch.ones(size, size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        started = time.perf_counter()
        torch.mm(a, a)
        return 2 * size**3 / (time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
