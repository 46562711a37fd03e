"""What the kernels of linear layers have in common: matrices as their owners have them, row by row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from elman.backends.llvm.gemm import COLUMNS_TILE, PIECE, ROWS_TILE, call_tile, tile_height, tile_width
from elman.backends.llvm.team import TeamKernel
from elman.backends.llvm.vectors import INT, Integer, Pointer, Shape, Vector

__all__ = ["DenseKernel"]


class DenseKernel(TeamKernel):
    """Writes a kernel on row-major matrices. Long sums are cut into pieces of `PIECE`, which are added up in order."""

    def __init__(self, module: ir.Module, shape: Shape, name: str, fields: Sequence[str]) -> None:
        super().__init__(module, shape, name, fields)
        self._result = self.stack(max(shape.rows * shape.columns, tile_height(shape) * tile_width(shape)) * shape.lanes)
        # what a maximum begins with: it is finite also where all logits are -inf, as those of forbidden words
        self.lowest = self.constant(-sys.float_info.max if shape.size == 8 else -(2.0 - 2.0**-23) * 2.0**127)

    def larger(self, value: Vector, other: Vector) -> Vector:
        """Return the larger of two; a value that is no number is left out: the sum, of e^value, is none either."""
        return self.blend(value.compare(">", other), value, other)

    def across(self, vector: Vector, combine: Callable[[Vector, Vector], Vector]) -> ir.Value:
        """Combine the lanes of a vector by halves to one number."""
        b, width, value = self.builder, self.lanes, vector.value
        while width > 1:
            width //= 2
            kind, undefined = ir.VectorType(ir.IntType(32), width), ir.Constant(value.type, ir.Undefined)
            lower, upper = (ir.Constant(kind, list(range(k, k + width))) for k in (0, width))
            halves = (Vector(self, b.shuffle_vector(value, undefined, half)) for half in (lower, upper))
            value = combine(*halves).value
        return b.extract_element(value, INT(0))

    def vectors(self, width: Integer) -> Integer:
        """Return how many vectors hold a row."""
        return (width + (self.lanes - 1)) // self.lanes

    def used(self, width: Integer, vector: Integer) -> ir.Value:
        """Return the mask of the lanes of a vector that are in a row."""
        return self.mask(width - vector * self.lanes)

    def tail(self, width: Integer, column: Integer, n: Integer) -> Integer:
        """Return how many lanes of the last of n vectors, from a column of vectors on, are in a row."""
        return (width - (column + n - 1) * self.lanes).minimum(self.lanes)

    def multiply(
        self,
        m: Integer | int,
        n: Integer | int,
        inner: Integer,
        a: tuple[Pointer, Integer | int],
        b: tuple[Pointer, Integer | int],
        tail: Integer | int,
        c: tuple[Pointer, Integer | int] | None = None,
        *,
        add_to: Integer | int = 0,
    ) -> None:
        """Write a tile of A B: each matrix where it begins, and from a row to the next; C is the result in hand.

        Where ``add_to`` is not 0, it is added to what C holds.
        """
        lanes, piece = self.lanes, PIECE // self.lanes
        blocks = inner // lanes
        to, to_row = (self._result, n * lanes) if c is None else c
        with self.loop(0, blocks + 1, piece) as loop:
            left = blocks - loop.index
            call_tile(
                self,
                ROWS_TILE,
                m=m,
                n=n,
                blocks=left.minimum(piece),
                rest=self.choose(left < piece, inner % lanes, 0),
                a=a[0] + loop.index * lanes,
                a_row=a[1],
                a_block=lanes,
                b=b[0] + loop.index * lanes * b[1],
                b_row=b[1],
                tail=tail,
                c=to,
                c_row=to_row,
                accumulate=loop.index + add_to,
            )

    def multiply_transposed(
        self, n: Integer, rows: Integer, a: tuple[Pointer, Integer], b: tuple[Pointer, Integer], tail: Integer | int
    ) -> None:
        """Write a tile of Aᵀ B, in the same way: `tile_height` columns of A times n vectors of B."""
        with self.loop(0, rows, PIECE) as loop:
            call_tile(
                self,
                COLUMNS_TILE,
                n=n,
                steps=1,
                rows=(rows - loop.index).minimum(PIECE),
                a=a[0] + loop.index * a[1],
                a_row=a[1],
                a_step=0,
                b=b[0] + loop.index * b[1],
                b_row=b[1],
                b_vector=self.lanes,
                b_step=0,
                tail=tail,
                c=self._result,
                c_row=n * self.lanes,
                accumulate=loop.index,
            )

    @contextmanager
    def each_result(self, m: Integer | int, n: Integer) -> Iterator[tuple[Integer, Integer, Vector]]:
        """Write a loop over the tile in hand: row, vector, and what is there."""
        with self.loop(0, m) as row, self.loop(0, n) as vector:
            yield row.index, vector.index, (self._result + (row.index * n + vector.index) * self.lanes).load()
