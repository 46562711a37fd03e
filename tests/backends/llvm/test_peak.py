"""What measures the peak does what it counts: as many fused multiply-adds as a tile has sums, on registers alone."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest
import torch
from llvmlite import ir

from elman.backends.llvm import peak, runtime


@pytest.mark.parametrize("size", [4, 8])
def test_a_round_is_as_many_products_as_a_tile_has_sums(size):
    shape, target = runtime.shape(size), runtime._target(runtime.host())
    module = ir.Module("peak")
    module.triple, module.data_layout = runtime.host().triple, str(target.target_data)
    peak._write(module, shape)
    assembly = target.emit_assembly(llvm.parse_assembly(str(module)))
    products = [line for line in assembly.splitlines() if re.search(r"\b(vfn?madd\d+p[sd]|fmla)\b", line)]
    assert len(products) == shape.rows * shape.columns
    assert not [line for line in products if "(" in line or "[" in line]  # an operand in memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_threads_are_counted(dtype, monkeypatch):
    """With a clock that counts runs, the peak is the operations of a run: those of one thread, on each."""
    shape = runtime.shape(dtype.itemsize)
    ticks = iter(range(10_000))
    monkeypatch.setattr(peak.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(peak, "_ROUNDS", 100)
    for threads in (1, 2):
        sums = shape.rows * shape.columns * shape.lanes
        assert peak.measured_peak(dtype, threads) == 2 * sums * 100 * threads
