"""What the forward and the backward kernel of a cell have in common.

Matrices of a layer lie in lines, ``(units / lanes, rows, lanes)``; the number of rows between neighbouring lines is
made odd, so that lines do not fall on the same sets of the cache. A thread owns a range of rows and a range of units:
as long as it owns all units of its rows, it runs through all steps without waiting for anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llvmlite import ir

from elman.backends.llvm.functions import POINTWISE, power
from elman.backends.llvm.gemm import PIECE, ROWS_TILE, TRANSPOSE, call_tile
from elman.backends.llvm.team import TeamKernel
from elman.backends.llvm.vectors import Integer, Pointer, Shape, Vector
from elman.compiler.graph import Node
from elman.compiler.plan import Phase, Plan

__all__ = ["Factor", "Kernel", "Panels", "Tile", "evaluate"]


@dataclass(frozen=True, slots=True)
class Panels:
    """How the weights of a product are packed: blocks of ``units`` vectors of units, ``gates`` vectors for each.

    A block lies number by number of the inner dimension, all its vectors side by side; one that is wider than a tile is
    cut into several.
    """

    gates: int
    units: int
    columns: int

    @classmethod
    def of(cls, gates: int, widest: int, shape: Shape) -> Panels:
        """Return the panels of a product in a phase whose widest product has so many gates."""
        return cls(gates, max(1, shape.columns // widest), shape.columns)

    @property
    def cuts(self) -> list[tuple[int, int]]:
        """First vector and number of vectors of each tile of a block of one vector of units."""
        count = -(-self.gates // self.columns)
        edges = [self.gates * k // count for k in range(count + 1)]
        return [(a, b - a) for a, b in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Factor:
    """The left factor of a product: rows of numbers, and how far it is from one row, and one block, to the next."""

    start: Pointer
    row: Integer | int
    block: Integer | int
    blocks: Integer | int
    rest: Integer | int


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile while it is written: rows, and vectors of units, that it covers."""

    row: Integer
    rows: Integer
    vector: Integer
    vectors: Integer


class Kernel(TeamKernel):
    """Writes a kernel of a cell.

    The last of its ``fields`` are places: ``kept`` counts bytes from ``history``, all behind it from ``work``.
    """

    def __init__(self, module: ir.Module, shape: Shape, plan: Plan, name: str, fields: Sequence[str]) -> None:
        work = fields[fields.index("kept") + 1 :]
        super().__init__(module, shape, name, fields, {"kept": "history", **dict.fromkeys(work, "work")})
        self.plan = plan
        # A team can be smaller than asked for; then its threads share the units of all rows.
        asked, parts = self["threads"], self["row_parts"]
        self.row_parts = self.choose(self.threads.equals(asked), parts, 1)
        self.unit_parts = self.threads // self.row_parts
        row_part, unit_part = self.thread // self.unit_parts, self.thread % self.unit_parts
        self.row_part = row_part
        batch, vectors = self["batch"], self["vectors"]
        self.first_row, self.last_row = batch * row_part // self.row_parts, batch * (row_part + 1) // self.row_parts
        self.first_vector = vectors * unit_part // self.unit_parts
        self.last_vector = vectors * (unit_part + 1) // self.unit_parts

    # geometry

    @property
    def line(self) -> Integer:
        """Numbers from a line to the next, of a matrix with a row for each row of the batch."""
        return self["rows"] * self.lanes

    @property
    def matrix(self) -> Integer:
        """Numbers of a matrix ``(batch, hidden)`` in lines."""
        return self["vectors"] * self.line

    def in_lines(self, row: Integer, vector: Integer) -> Integer:
        """Return where a row's vector lies in a matrix in lines."""
        return vector * self.line + row * self.lanes

    def units_mask(self, vector: Integer) -> ir.Value:
        """Return the mask of those lanes of a vector that are units."""
        return self.mask(self["hidden"] - vector * self.lanes)

    # threads

    def step_barrier(self) -> None:
        """Wait for the others where a thread does not own all units of its rows."""
        with self.when(self.unit_parts > 1):
            self.barrier()

    @contextmanager
    def tiles(self, units: int) -> Iterator[Tile]:
        """Write a loop over the tiles of this thread: blocks of vectors of units, and in each all rows."""
        with self.loop(self.first_vector, self.last_vector, units) as blocks:
            vector = blocks.index
            vectors = (self.last_vector - vector).minimum(units)
            with self.row_tiles(self.first_row, self.last_row) as (row, rows):
                yield Tile(row, rows, vector, vectors)

    @contextmanager
    def row_tiles(self, first: Integer | int, last: Integer) -> Iterator[tuple[Integer, Integer]]:
        """Write a loop over tiles of about equal height."""
        rows = last - first
        count = (rows + (self.shape.rows - 1)) // self.shape.rows
        with self.loop(0, count) as loop:
            row = rows * loop.index // count
            yield row + first, rows * (loop.index + 1) // count - row

    # products

    def packed(self, panels: Panels, start: Pointer, inner: Integer, vector: Integer) -> Pointer:
        """Return where the block that begins with a vector of units lies in packed weights."""
        return start + inner * (vector * (panels.gates * self.lanes))

    def multiply(
        self, tile: Tile, panels: Panels, factors: Sequence[Factor], weights: Pointer, result: Pointer
    ) -> None:
        """Write the product of a tile: ``result[row, gate · vectors + vector]``; several factors are summed.

        Long sums are cut into pieces of `PIECE` numbers, which are added up in order.
        """
        lanes = self.lanes
        piece = PIECE // lanes
        inner: Integer | int = 0
        whole: Integer | int = 0
        for factor in factors:
            whole = factor.blocks * lanes + factor.rest + whole
        cuts = panels.cuts if panels.units == 1 else [(0, tile.vectors * panels.gates)]
        for k, factor in enumerate(factors):
            with self.loop(0, factor.blocks + 1, piece) as loop:
                first = loop.index
                left = self.zero + factor.blocks - first
                last = left < piece
                for start, count in cuts:
                    call_tile(
                        self,
                        ROWS_TILE,
                        m=tile.rows,
                        n=count,
                        blocks=left.minimum(piece),
                        rest=self.choose(last, factor.rest, 0),
                        a=factor.start + first * factor.block,
                        a_row=factor.row,
                        a_block=factor.block,
                        b=weights + (whole * (start * lanes) + (inner + first * lanes) * (count * lanes)),
                        b_row=count * lanes,
                        tail=lanes,
                        c=result + start * lanes,
                        c_row=panels.gates * panels.units * lanes,
                        accumulate=first if k == 0 else 1,
                    )
            inner = factor.blocks * lanes + factor.rest + inner

    def pack_transposed(
        self, panels: Panels, blocks: Sequence[int], source: Pointer, inner: Integer, to: Pointer
    ) -> None:
        """Write the packing of weights ``(gates · hidden, inner)`` for a product with their transpose.

        ``blocks`` are the positions of the gates' blocks. Threads that own the same units share the work.
        """
        hidden, lanes = self["hidden"], self.lanes
        with self.loop(self.first_vector, self.last_vector, panels.units) as loop:
            first = loop.index
            vectors = (self.last_vector - first).minimum(panels.units)
            place = self.packed(panels, to, inner, first)
            mine = ((first - self.first_vector) // panels.units % self.row_parts).equals(self.row_part)
            with self.when(mine), self.loop(0, vectors) as each:
                for position, block in enumerate(blocks):
                    if panels.units == 1:
                        start, count = next(cut for cut in reversed(panels.cuts) if cut[0] <= position)
                        column = place + (inner * (start * lanes) + (position - start) * lanes)
                        width: Integer | int = count * lanes
                    else:
                        column = place + (vectors * position + each.index) * lanes
                        width = vectors * (panels.gates * lanes)
                    unit = (first + each.index) * lanes
                    with self.loop(0, inner, lanes) as part:
                        call_tile(
                            self,
                            TRANSPOSE,
                            source=source + ((hidden * block + unit) * inner + part.index),
                            row=inner,
                            rows=hidden - unit,
                            columns=inner - part.index,
                            to=column + part.index * width,
                            to_row=width,
                        )

    def pack_lines(self, source: Pointer, count: int, to: Pointer) -> None:
        """Write the copy of ``(count, hidden)`` to whole vectors; lanes beyond the units become zeros."""
        for k in range(count):
            with self.loop(0, self["vectors"]) as loop:
                vector = loop.index
                place = source + (self["hidden"] * k + vector * self.lanes)
                (to + (self["vectors"] * k + vector) * self.lanes).store(place.load(self.units_mask(vector)))

    # rows and vectors

    @contextmanager
    def each_vector(self, tile: Tile) -> Iterator[tuple[Integer, Integer]]:
        """Write a loop over the vectors of a tile: its number in the tile, and among all."""
        with self.loop(0, tile.vectors) as loop:
            yield loop.index, tile.vector + loop.index

    def each_row(self, tile: Tile, body: Callable[[list[Integer]], None], together: int = 2) -> None:
        """Write a loop over the rows of a tile, some of them side by side to keep the processor busy."""
        pairs = tile.rows // together * together
        with self.loop(0, pairs, together) as loop:
            body([loop.index + k for k in range(together)])
        with self.loop(pairs, tile.rows) as loop:
            body([loop.index])

    def where_marked(self, step: Integer, bit: int, tile: Tile, body: Callable[[Integer], None]) -> None:
        """Write code for the rows of a tile whose flag of this step has a bit set."""
        with self.when(self.given("flags")), self.loop(tile.row, tile.row + tile.rows) as loop:
            flags = self.load_integer(self.pointer("flags"), step * self["batch"] + loop.index)
            with self.when((flags & bit).differs(0)):
                body(loop.index)

    def noise(self, node: Node, step: Integer, rows: Sequence[Integer], vector: Integer) -> list[Vector]:
        """Read the noise of a step for some rows."""
        column = self["hidden"] * int(node.value) + vector * self.lanes
        start, mask = self.pointer("noise") + (step * self["noise_step"] + column), self.units_mask(vector)
        return [(start + row * self["noise_row"]).load(mask) for row in rows]

    def weights(self, name: str, vector: Integer) -> Vector:
        """Read the weights of a diagonal."""
        position = self.plan.graph.diagonals.index(name)
        return (self.pointer("diagonals") + (self["vectors"] * position + vector) * self.lanes).load()

    def as_numbers(self, value: Any) -> Vector:
        """Return a value as it is written to memory: the outcome of a comparison as 1 or 0."""
        return value if isinstance(value, Vector) else self.blend(value, 1.0, 0.0)

    def as_value(self, node: Node, numbers: Vector) -> Any:
        """Return a node's value as it was before it was written to memory."""
        return numbers.compare("!=", 0.0) if node.op in {"less", "less_equal"} else numbers


def evaluate(
    code: Kernel,
    nodes: Sequence[Node],
    positions: Sequence[int],
    leaf: Callable[[int], list[Any] | None],
    weight: Callable[[str], Vector],
    memory: dict[int, list[Any]],
) -> dict[int, list[Any]]:
    """Write the evaluation of some nodes, for several rows side by side, operation by operation.

    Args:
        code: where to.
        nodes: a graph.
        positions: what is asked for.
        leaf: gives a node's value for each row, or None where it is an operation on others.
        weight: gives the weights of a diagonal.
        memory: values that are written already.
    """

    def operation(node: Node) -> list[Any]:
        rows = list(zip(*(memory[k] for k in node.operands), strict=True))
        if node.op == "diagonal":
            return [operand * weight(node.name) for (operand,) in rows]
        if node.op == "power":
            exponent = _number(nodes, node.operands[1])
            return [power(code, a, b, exponent) for a, b in rows]
        return [POINTWISE[node.op](code, operands) for operands in rows]

    waiting = list(reversed(positions))  # a stack of our own: steps may be deeper than Python's
    while waiting:
        position = waiting[-1]
        known = memory[position] if position in memory else leaf(position)
        if known is None:
            before = [k for k in nodes[position].operands if k not in memory]
            if before:
                waiting.extend(reversed(before))
                continue
            known = operation(nodes[position])
        memory[position] = known
        waiting.pop()
    return {position: memory[position] for position in positions}


def _number(nodes: Sequence[Node], position: int) -> float | None:
    """Return the value of a constant, or of the difference of two, as in the derivative of a power."""
    node = nodes[position]
    if node.op == "constant":
        return node.value
    if node.op == "subtract" and all(nodes[k].op == "constant" for k in node.operands):
        return nodes[node.operands[0]].value - nodes[node.operands[1]].value
    return None


def widest(phase: Phase) -> int:
    """Return the gates of the widest product of a phase."""
    return max((len(product.gates) for product in phase.products), default=1)
