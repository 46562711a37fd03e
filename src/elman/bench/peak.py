"""The machine's peak, which shares are taken of."""

from __future__ import annotations

import time

import torch

__all__ = ["PEAK", "measured_peak"]

PEAK = "torch.mm, a stand-in"  #: what the peak is that of, for reports


def measured_peak(dtype: torch.dtype, threads: int) -> float:
    """Return FLOP/s."""
    size, best = 2048, float("inf")
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(before)
    return 2 * size**3 / best
