"""Which share of the processor's peak a run of compiled code should reach, told without running it.

A model of three times: that of the products (of all numbers that are multiplied, also those that only fill vectors, and
by the thread that has most of them), that of the operations between them, and that of packing the weights once a run.
Its constants were measured on one processor with AVX-512. It is within a tenth there, and promises too much where
layers have fewer than some 32 units, and where weights come from memory. `elman bench` measures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from elman.backends.llvm import runtime
from elman.backends.llvm.layout import Facts
from elman.compiler.plan import Plan
from elman.compiler.work import (
    Product,
    Sizes,
    backward_operations,
    backward_products,
    forward_operations,
    forward_products,
    gradient_products,
)

__all__ = ["backward_share", "forward_share"]

_TILES: Final = 0.9  #: of the peak, what large products reach
_FULL: Final = 6  #: rows of a thread below which weights are read more slowly than they are multiplied
_UNITS: Final = 8  #: units whose weights' gradients are one tile
#: Times of operations in float32, in that of adding two vectors; others are 1.
_TIMES: Final = {"exp": 20, "sigmoid": 20, "tanh": 20, "log": 30, "softplus": 60, "power": 200, "divide": 8, "sqrt": 8}
_LONGER: Final = 1.6  #: how much longer they take in float64
_PACK: Final = (1.2, 0.2)  #: the time of packing a number of the weights: transposed, and as it lies


def forward_share(plan: Plan, sizes: Sizes, facts: Facts, size: int) -> float | None:
    """Return the share of the peak of torch's threads; None where reading the weights takes longer than all else.

    Args:
        plan: of the cell.
        sizes: of the run.
        facts: how it is laid out.
        size: bytes of a number.
    """
    if _few_rows(sizes, facts):
        return None
    needed = _flops(product for phase in forward_products(plan, sizes) for product in phase)
    model = _Model(sizes, facts, size)
    work = model.own(needed * model.hidden / sizes.hidden) + model.operations(forward_operations(plan))
    blocks = len(plan.graph.input_blocks) * sizes.features + len(plan.graph.hidden_blocks) * sizes.hidden
    return model.share(needed, work + model.packing(_PACK[0], blocks * model.hidden))


def backward_share(plan: Plan, sizes: Sizes, facts: Facts, size: int, wanted: Collection[str]) -> float | None:
    """Return the same for the way back that gives the ``wanted`` gradients."""
    if _few_rows(sizes, facts):
        return None
    model = _Model(sizes, facts, size)
    padded = Sizes(sizes.batch, sizes.steps, model.padded(sizes.features), model.hidden)

    def flops(of: Sizes) -> tuple[int, int]:
        steps = _flops(product for phase in backward_products(plan, of) for product in phase)
        return steps, _flops(gradient_products(plan, of, wanted, facts.chunk))

    steps, chunks = flops(padded)
    work = model.own(steps) + model.shared(chunks) + model.operations(backward_operations(plan))
    weights = len(plan.graph.hidden_blocks) * model.hidden**2
    return model.share(sum(flops(sizes)), work + model.packing(_PACK[1], weights))


def _few_rows(sizes: Sizes, facts: Facts) -> bool:
    return facts.direct or sizes.batch // facts.row_parts < _FULL


def _flops(products: Iterable[Product]) -> int:
    return sum(product.flops for product in products)


class _Model:
    """Times of a run, in floating-point operations that one thread could do at its peak."""

    def __init__(self, sizes: Sizes, facts: Facts, size: int) -> None:
        self._sizes = sizes
        self._size = size
        self._threads = facts.threads
        self._lanes = runtime.shape(size).lanes
        self.hidden = self.padded(sizes.hidden)
        vectors, unit_parts = self.hidden // self._lanes, facts.threads // facts.row_parts
        self._most = _largest(sizes.batch, facts.row_parts) * _largest(vectors, unit_parts)

    def padded(self, numbers: int) -> int:
        """Return how many numbers whole vectors have."""
        return -(-numbers // self._lanes) * self._lanes

    def own(self, flops: float) -> float:
        """Time of products of the rows and units that a thread owns."""
        return flops * self._most / _TILES

    def shared(self, flops: float) -> float:
        """Time of products that all threads share, some units of a gate at a time."""
        return flops * _largest(self.hidden // min(_UNITS, self._lanes), self._threads) / _TILES

    def operations(self, phases: Iterable[Counter[str]]) -> float:
        """Time of the operations between products."""
        longer = 1.0 if self._size == 4 else _LONGER
        time = sum(
            count * (_TIMES[op] * longer if op in _TIMES else 1) for phase in phases for op, count in phase.items()
        )
        return 2 * time * self._sizes.batch * self._sizes.steps * self.hidden * self._most

    def packing(self, time: float, numbers: int) -> float:
        """Time of packing weights, which threads share."""
        return 2 * time * self._lanes * numbers / self._threads

    def share(self, needed: float, time: float) -> float:
        """Return the share of the peak of all threads that torch has."""
        return needed / (time * max(runtime.team(), self._threads))


def _largest(count: int, parts: int) -> float:
    """Return the share of the one that has most, where so many things are cut into parts."""
    return -(-count // parts) / count
