"""What the backward kernel does with a chunk of steps at once: the gradients of the weights and of x.

δ of a chunk lies in lines, gate by gate, behind them the gradients of the diagonals before their sum; a row for each
row of each step.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from elman.backends.llvm.gemm import COLUMNS_TILE, call_tile, tile_height, tile_width
from elman.backends.llvm.kernel import Factor, Kernel, Panels, Tile
from elman.backends.llvm.vectors import Integer, Pointer, Shape, Vector
from elman.compiler.plan import Plan

__all__ = ["ChunkKernel"]


class ChunkKernel(Kernel):
    """Writes a kernel that works on chunks of steps."""

    def __init__(self, module: ir.Module, shape: Shape, plan: Plan, name: str, fields: Sequence[str]) -> None:
        super().__init__(module, shape, plan, name, fields)
        self.computed = tuple(k for phase in plan.backward for k in phase.operands)
        self.panels = Panels.of(1, 1, shape)
        # δ of gates that are multiplied together lie side by side where that is possible
        order = [g for phase in plan.backward for product in phase.products for g in product.gates]
        self.gates = tuple(dict.fromkeys([*order, *plan.graph.gates]))
        self._result = self.stack(max(shape.rows * shape.columns, tile_height(shape) * tile_width(shape)) * shape.lanes)

    # geometry

    @property
    def chunk_line(self) -> Integer:
        """Numbers from a line of a chunk to the next."""
        return self["chunk_rows"] * self.lanes

    @property
    def chunk_matrix(self) -> Integer:
        """Numbers of a matrix with a row for each row of each step of a chunk."""
        return self["vectors"] * self.chunk_line

    def delta(self, position: int) -> Pointer:
        """Return δ of a gate, or behind them the gradient of a diagonal, over a chunk."""
        return self.pointer("delta") + self.chunk_matrix * position

    def in_chunk(self, inside: Integer, row: Integer, vector: Integer) -> Integer:
        """Return where a row's vector of a step lies in such a matrix."""
        return vector * self.chunk_line + (inside * self["batch"] + row) * self.lanes

    def state(self, step: Integer, state: int) -> Pointer:
        """Return the states before a step, as the forward kernel kept them."""
        return self.pointer("history") + self.matrix * (step * len(self.plan.graph.states) + state)

    # weights

    def in_order(self, gates: Sequence[str]) -> list[str]:
        """Sort gates as their δ lie."""
        return sorted(gates, key=self.gates.index)

    def _runs(self, gates: Sequence[str]) -> list[tuple[int, int]]:
        """Return first position and number of each run of gates whose δ lie side by side."""
        runs: list[tuple[int, int]] = []
        for position in sorted(map(self.gates.index, gates)):
            if runs and sum(runs[-1]) == position:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((position, 1))
        return runs

    def pack(self, source: Pointer, blocks: Sequence[int], width: Integer, to: Pointer, *, own: bool) -> None:
        """Write the packing of weights ``(gates · hidden, width)``: a block has all units of all gates in its rows."""
        vectors = (width + (self.lanes - 1)) // self.lanes
        units, lanes = self.panels.units, self.lanes
        inner = self["vectors"] * (len(blocks) * lanes)
        first, last = (self.first_vector, self.last_vector) if own else (self.zero, vectors)
        with self.loop(first, last, units) as loop:
            column = loop.index
            count = (last - column).minimum(units)
            place = to + inner * (column * lanes)
            number = (column - first) // units
            turn = (
                (number % self.row_parts).equals(self.row_part) if own else (number % self.threads).equals(self.thread)
            )
            with self.when(turn):
                for k, block in enumerate(blocks):
                    with self.loop(0, self["vectors"] * lanes) as unit:
                        inside = unit.index < self["hidden"]
                        row = source + (self["hidden"] * block + unit.index) * width
                        to_row = place + (self["vectors"] * (k * lanes) + unit.index) * (count * lanes)
                        with self.loop(0, count) as v:
                            left = self.choose(inside, width - (column + v.index) * lanes, 0)
                            values = (row + (column + v.index) * lanes).load(self.mask(left))
                            (to_row + v.index * lanes).store(values)

    def factors(self, gates: Sequence[str], inside: Integer, row: Integer) -> list[Factor]:
        """Return δ of some gates as left factors of a product."""
        return [
            Factor(
                self.delta(first) + (inside * self["batch"] + row) * self.lanes,
                self.lanes,
                self.chunk_line,
                self["vectors"] * count,
                0,
            )
            for first, count in self._runs(gates)
        ]

    # the products of a chunk

    def lay_x(self, first: Integer, count: Integer) -> None:
        """Lay x of a chunk in lines."""
        columns, lanes = self["input_vectors"], self.lanes
        with self.shared(count * self["batch"]) as item:
            inside, row = item // self["batch"], item % self["batch"]
            source = self.pointer("x") + ((first + inside) * self["x_step"] + row * self["x_row"])
            with self.loop(0, columns) as loop:
                values = (source + loop.index * lanes).load(self.mask(self["input"] - loop.index * lanes))
                place = loop.index * self.chunk_line + item * lanes
                (self.pointer("x_lines") + place).store(values)

    def input_gradient(self, first: Integer, count: Integer) -> None:
        """Multiply δ with the input weights, for the gradient of x."""
        gates = self.in_order(self.plan.graph.input_blocks)
        if not gates:
            return
        units, lanes = self.panels.units, self.lanes
        columns = (self["input"] + (lanes - 1)) // lanes
        panels = (columns + (units - 1)) // units
        inner = self["vectors"] * (len(gates) * lanes)
        with self.when(self.given("dx")), self.shared(panels * count) as item:
            column, inside = item // count * units, item % count
            width = (columns - column).minimum(units)
            with self.row_tiles(0, self["batch"]) as (row, rows):
                tile = Tile(row, rows, column, width)
                weights = self.packed(self.panels, self.pointer("packed_x"), inner, column)
                self.multiply(tile, self.panels, self.factors(gates, inside, row), weights, self._result)
                with self.loop(0, rows) as r, self.loop(0, width) as v:
                    place = (first + inside) * self["dx_step"] + (row + r.index) * self["dx_row"]
                    values = (self._result + (r.index * (units * lanes) + v.index * lanes)).load()
                    mask = self.mask(self["input"] - (column + v.index) * lanes)
                    (self.pointer("dx") + (place + (column + v.index) * lanes)).store(values, mask)

    def weight_gradients(self, first: Integer, count: Integer, chunk: Integer) -> None:
        """Add a chunk's share to the gradients of the parameters; the last chunk in time begins them."""
        graph, batch = self.plan.graph, self["batch"]
        with self.when(self.given("dweight_x")):
            for block, gate in enumerate(graph.input_blocks):
                self._outer(
                    gate,
                    block,
                    count,
                    self.pointer("x_lines"),
                    self.chunk_line,
                    batch * self.lanes,
                    self.pointer("dweight_x"),
                    self["input"],
                    chunk,
                )
        with self.when(self.given("dweight_h")):
            for block, (gate, operand) in enumerate(graph.hidden_blocks):
                node, line = graph.nodes[operand], self.line
                if node.op == "state":
                    right, step = self.state(first, graph.states.index(node.name)), self.matrix * len(graph.states)
                elif operand in self.plan.kept:
                    step = self["kept_step"]
                    right = self.pointer("kept") + (first * step + self.matrix * self.plan.kept.index(operand))
                else:
                    line, step = self.chunk_line, batch * self.lanes
                    right = self.pointer("operands") + self.chunk_matrix * self.computed.index(operand)
                self._outer(gate, block, count, right, line, step, self.pointer("dweight_h"), self["hidden"], chunk)
        with self.when(self.given("dbias")):
            for k, gate in enumerate(graph.biases):
                self._column_sums(self.gates.index(gate), k, self.pointer("dbias"), count, chunk)
        with self.when(self.given("ddiagonal")):
            for k in range(len(graph.diagonals)):
                self._column_sums(len(self.gates) + k, k, self.pointer("ddiagonal"), count, chunk)

    def _outer(
        self,
        gate: str,
        block: int,
        count: Integer,
        right: Pointer,
        right_line: Integer,
        right_step: Integer,
        to: Pointer,
        width: Integer,
        chunk: Integer,
    ) -> None:
        """Add δᵀ times what a gate read, over a chunk, to a block of weight gradients; threads share its units."""
        height, across, lanes = tile_height(self.shape), tile_width(self.shape), self.lanes
        columns = (width + (lanes - 1)) // lanes
        halves = lanes // height
        delta = self.delta(self.gates.index(gate))
        with self.loop(0, columns, across) as panels:
            column = panels.index
            n = (columns - column).minimum(across)
            with self.shared(self["vectors"] * halves) as item:
                vector, unit = item // halves, item * height
                call_tile(
                    self,
                    COLUMNS_TILE,
                    n=n,
                    steps=count,
                    rows=self["batch"],
                    a=delta + (vector * self.chunk_line + item % halves * height),
                    a_row=lanes,
                    a_step=self["batch"] * lanes,
                    b=right + column * right_line,
                    b_row=lanes,
                    b_vector=right_line,
                    b_step=right_step,
                    tail=lanes,
                    c=self._result,
                    c_row=n * lanes,
                    accumulate=0,
                )
                left = (self["hidden"] - unit).minimum(height)
                with self.loop(0, left) as u, self.loop(0, n) as v:
                    mask = self.mask(width - (column + v.index) * lanes)
                    place = to + ((self["hidden"] * block + unit + u.index) * width + (column + v.index) * lanes)
                    values = (self._result + (u.index * n + v.index) * lanes).load()
                    self._accumulate(place, values, mask, chunk)

    def _accumulate(self, place: Pointer, values: Vector, mask: ir.Value, chunk: Integer) -> None:
        """Add to a gradient; the first chunk begins it."""
        before = place.load(self.only_if(chunk > 0, mask))
        place.store(before + values, mask)

    def _column_sums(self, position: int, block: int, to: Pointer, count: Integer, chunk: Integer) -> None:
        """Add up the rows of a chunk, four at a time."""
        lanes = self.lanes
        rows = count * self["batch"]
        with self.shared(self["vectors"]) as vector:
            lines = self.delta(position) + vector * self.chunk_line
            whole = rows // 4 * 4
            with self.loop(0, whole, 4, carry=[self.constant(0.0)] * 4) as loop:
                loop.values = [total + (lines + (loop.index + k) * lanes).load() for k, total in enumerate(loop.values)]
            a, b, c, d = loop.values
            with self.loop(whole, rows, carry=[(a + b) + (c + d)]) as rest:
                rest.values = [rest.values[0] + (lines + rest.index * lanes).load()]
            place = to + (self["hidden"] * block + vector * lanes)
            self._accumulate(place, rest.values[0], self.units_mask(vector), chunk)
