"""What a run of compiled code does, told without compiling or running it.

The share of the processor's peak is that of a simple model: the time of the products (of all numbers that are
multiplied, also those that only fill vectors; of the thread that has most of them), of the pointwise operations, and of
packing the weights once a run. Its numbers were measured on one processor with AVX-512; expect it to be off by a tenth,
and by more where a run takes less than a few tenths of a millisecond.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from elman.backends.llvm import runtime
from elman.backends.llvm.gemm import tile_height
from elman.backends.llvm.layout import Facts
from elman.compiler.graph import Graph
from elman.compiler.plan import Plan, plan
from elman.compiler.pointwise import backward_operations, forward_operations

__all__ = ["Pass", "Product", "Sizes", "backward_pass", "forward_pass"]

_TILES: Final = 0.9  #: of the peak, what large products of full tiles reach
_FULL: Final = 6  #: rows of a thread below which weights are read faster than they are multiplied
_SLOW: Final = {"divide": 8, "sqrt": 8, "log": 25, "softplus": 60, "power": 200}  #: in vector operations; others 1
_EXPONENTIALS: Final = {"exp", "sigmoid", "tanh"}
_EXPONENTIAL: Final = {4: 20, 8: 26}  #: the same, by the bytes of a number
_PACK: Final = (1.2, 0.2)  #: vector operations to pack a number, transposed and as it lies
