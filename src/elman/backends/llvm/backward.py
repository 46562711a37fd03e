"""The backward kernel of a cell: back-propagation through all steps of one layer and direction.

Steps run backward in chunks. Within a chunk δ of all gates is written down in lines; after it, the gradients of the
weights and of x take the whole chunk in large products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from llvmlite import ir

from elman.backends.llvm.gemm import COLUMNS_TILE, call_tile, tile_height, tile_width
from elman.backends.llvm.kernel import Factor, Kernel, Panels, Tile, evaluate
from elman.backends.llvm.vectors import Integer, Pointer, Shape, Vector
from elman.compiler.plan import Plan

__all__ = ["BACKWARD", "backward_fields", "write_backward"]

BACKWARD: Final = "backward"


def backward_fields(plan: Plan) -> tuple[str, ...]:
    """Name the numbers that the kernel is called with; see `elman.backends.llvm.forward.forward_fields`.

    ``chunk`` is the number of steps of a chunk, ``chunk_rows`` the rows from a line to the next of what holds a chunk.
    Addresses of gradients that nobody asks for are 0.
    """
    states = plan.graph.states
    return (
        *("steps", "batch", "input", "hidden", "vectors", "rows"),
        "row_parts",
        *("x", "x_row", "x_step", "dy", "dy_row", "dy_step", "flags"),
        *("weight_x", "weight_h", "diagonal"),
        *(f"wanted_{s}" for s in states),
        *(f"wanted_row_{s}" for s in states),
        *(f"initial_{s}" for s in states),
        *("history", "kept", "kept_step"),
        *("dx", "dx_row", "dx_step", "dweight_x", "dweight_h", "dbias", "ddiagonal"),
        *("chunk", "chunk_rows", "input_vectors"),
        *("diagonals", "gradients", "delta", "x_lines", "operands", "crossing", "packed_x"),
        *(f"packed_{p}_{k}" for p, phase in enumerate(plan.backward) for k in range(len(phase.products))),
    )


def write_backward(module: ir.Module, shape: Shape, plan: Plan) -> None:
    """Write the kernel into a module."""
    _Backward(module, shape, plan).write()


class _Backward(Kernel):
    def __init__(self, module: ir.Module, shape: Shape, plan: Plan) -> None:
        super().__init__(module, shape, plan, BACKWARD, backward_fields(plan))
        self._crossing = tuple(k for phase in plan.backward for k in phase.crossing)
        self._computed = tuple(k for phase in plan.backward for k in phase.operands)
        self._panels = Panels.of(1, 1, shape)
        self._scratch = [
            [self.stack(shape.rows * shape.columns * shape.lanes) for _ in phase.products] for phase in plan.backward
        ]
        self._result = self.stack(max(shape.rows * shape.columns, tile_height(shape) * tile_width(shape)) * shape.lanes)
        # δ of gates that are multiplied together lie side by side where that is possible
        order = [g for phase in plan.backward for product in phase.products for g in product.gates]
        self._gates = tuple(dict.fromkeys([*order, *plan.graph.gates]))

    def write(self) -> None:
        plan = self.plan
        for p, phase in enumerate(plan.backward):
            for k, product in enumerate(phase.products):
                blocks = [plan.graph.hidden_blocks.index((g, product.operand)) for g in self._in_order(product.gates)]
                self._pack(self.pointer("weight_h"), blocks, self["hidden"], self.pointer(f"packed_{p}_{k}"), own=True)
        with self.when(self.given("dx")):
            blocks = [plan.graph.input_blocks.index(g) for g in self._in_order(plan.graph.input_blocks)]
            self._pack(self.pointer("weight_x"), blocks, self["input"], self.pointer("packed_x"), own=False)
        with self.when(self.thread.equals(0)):
            self.pack_lines(self.pointer("diagonal"), len(plan.graph.diagonals), self.pointer("diagonals"))
        self._begin()
        self.barrier()
        steps, chunk = self["steps"], self["chunk"]
        chunks = (steps + chunk - 1) // chunk
        with self.loop(0, chunks) as loop:
            first = (chunks - 1 - loop.index) * chunk
            count = (steps - first).minimum(chunk)
            with self.when(self.given("dweight_x")):
                self._lay_x(first, count)
            with self.loop(0, count) as back:
                inside = count - 1 - back.index
                self._step(first + inside, inside)
            self.barrier()
            self._input_gradient(first, count)
            self._weight_gradients(first, count, loop.index)
            self.barrier()
        self._end()
        self.finish()

    # weights

    def _in_order(self, gates: Sequence[str]) -> list[str]:
        return sorted(gates, key=self._gates.index)

    def _runs(self, gates: Sequence[str]) -> list[tuple[int, int]]:
        """Return first position and number of each run of gates whose δ lie side by side."""
        runs: list[tuple[int, int]] = []
        for position in sorted(map(self._gates.index, gates)):
            if runs and sum(runs[-1]) == position:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((position, 1))
        return runs

    def _pack(self, source: Pointer, blocks: Sequence[int], width: Integer, to: Pointer, *, own: bool) -> None:
        """Write the packing of weights ``(gates · hidden, width)``: a block has all units of all gates in its rows."""
        vectors = (width + (self.lanes - 1)) // self.lanes
        units, lanes = self._panels.units, self.lanes
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

    # states

    def _gradient(self, step: Integer, state: int) -> Pointer:
        """Return the gradients of the states after a step; two places are used in turn."""
        return self.pointer("gradients") + self.matrix * ((step & 1) * len(self.plan.graph.states) + state)

    def _state(self, step: Integer, state: int) -> Pointer:
        return self.pointer("history") + self.matrix * (step * len(self.plan.graph.states) + state)

    def _begin(self) -> None:
        """Lay the gradients of the final states in lines."""
        with self.tiles(1) as tile:
            for s, name in enumerate(self.plan.graph.states):
                source, row = self.pointer(f"wanted_{name}"), self[f"wanted_row_{name}"]
                with self.loop(tile.row, tile.row + tile.rows) as rows:
                    left = self.choose(self.given(f"wanted_{name}"), self["hidden"] - tile.vector * self.lanes, 0)
                    values = (source + (rows.index * row + tile.vector * self.lanes)).load(self.mask(left))
                    (self._gradient(self["steps"], s) + self.in_lines(rows.index, tile.vector)).store(values)

    def _end(self) -> None:
        zero = self.zero
        with self.tiles(1) as tile:
            for s, name in enumerate(self.plan.graph.states):
                with self.when(self.given(f"initial_{name}")), self.loop(tile.row, tile.row + tile.rows) as rows:
                    values = (self._gradient(zero, s) + self.in_lines(rows.index, tile.vector)).load()
                    place = rows.index * self["hidden"] + tile.vector * self.lanes
                    (self.pointer(f"initial_{name}") + place).store(values, self.units_mask(tile.vector))

    # one step

    @property
    def _chunk_line(self) -> Integer:
        return self["chunk_rows"] * self.lanes

    @property
    def _chunk_matrix(self) -> Integer:
        return self["vectors"] * self._chunk_line

    def _delta(self, position: int) -> Pointer:
        """Return δ of a gate, or behind them the gradient of a diagonal, over a chunk."""
        return self.pointer("delta") + self._chunk_matrix * position

    def _in_chunk(self, inside: Integer, row: Integer, vector: Integer) -> Integer:
        return vector * self._chunk_line + (inside * self["batch"] + row) * self.lanes

    def _step(self, step: Integer, inside: Integer) -> None:
        for p, phase in enumerate(self.plan.backward):
            with self.tiles(self._panels.units if phase.products else 1) as tile:
                for k, product in enumerate(phase.products):
                    factors = self._factors(product.gates, inside, tile.row)
                    inner = self["vectors"] * (len(product.gates) * self.lanes)
                    weights = self.packed(self._panels, self.pointer(f"packed_{p}_{k}"), inner, tile.vector)
                    self.multiply(tile, self._panels, factors, weights, self._scratch[p][k])
                with self.each_vector(tile) as (within, vector):
                    self.each_row(tile, partial(self._rows, p, step, inside, tile, within, vector))
                self._fix(p, step, inside, tile)
            if any(later.products for later in self.plan.backward[p + 1 :]):
                self.step_barrier()

    def _factors(self, gates: Sequence[str], inside: Integer, row: Integer) -> list[Factor]:
        """Return δ of some gates as left factors of a product."""
        return [
            Factor(
                self._delta(first) + (inside * self["batch"] + row) * self.lanes,
                self.lanes,
                self._chunk_line,
                self["vectors"] * count,
                0,
            )
            for first, count in self._runs(gates)
        ]

    def _rows(
        self,
        p: int,
        step: Integer,
        inside: Integer,
        tile: Tile,
        within: Integer,
        vector: Integer,
        rows: list[Integer],
    ) -> None:
        phase, derived = self.plan.backward[p], self.plan.adjoint
        places = [self.in_lines(tile.row + row, vector) for row in rows]
        forward = self._forward_values(step, places, vector)

        def leaf(k: int) -> list[Any] | None:
            node = derived.nodes[k]
            if node.op == "constant":
                return [self.constant(node.value)] * len(rows)
            if node.op == "weight":
                return [self.weights(node.name, vector)] * len(rows)
            if node.op == "forward":
                return forward(int(node.value))
            if any(k in earlier.crossing for earlier in self.plan.backward[:p]):
                matrix = self.pointer("crossing") + self.matrix * self._crossing.index(k)
                return [(matrix + place).load() for place in places]
            if node.op == "gradient":
                return self._wanted(node.name, step, tile, rows, vector)
            if node.op == "add":
                return self._sum(p, k, tile, rows, within, value)
            if node.op == "transposed":
                return [self._product(p, self._operand(k), tile, row, within) for row in rows]
            return None

        def value(k: int) -> list[Any]:
            return values_of([k])[k]

        memory: dict[int, list[Any]] = {}

        def values_of(positions: Sequence[int]) -> dict[int, list[Any]]:
            return evaluate(self, derived.nodes, positions, leaf, lambda name: self.weights(name, vector), memory)

        asked = [
            *(derived.gates[g] for g in phase.gates),
            *(derived.diagonals[d] for d in phase.diagonals),
            *(k for s in phase.states if (k := derived.states[s]) is not None),
            *phase.crossing,
        ]
        values = values_of(asked)
        operands = {k: forward(k) for k in phase.operands}
        for r, (row, place) in enumerate(zip(rows, places, strict=True)):
            mine = {k: value[r] for k, value in values.items()}
            self._store(p, mine, step, self._in_chunk(inside, tile.row + row, vector), place, vector)
            for k, numbers in operands.items():
                matrix = self.pointer("operands") + self._chunk_matrix * self._computed.index(k)
                (matrix + self._in_chunk(inside, tile.row + row, vector)).store(
                    self.blend(self.units_mask(vector), numbers[r], 0.0)
                )

    def _forward_values(self, step: Integer, places: list[Integer], vector: Integer) -> Callable[[int], list[Any]]:
        """Return a function that gives values of the step: read where they were kept, else computed again."""
        graph = self.plan.graph
        memory: dict[int, list[Any]] = {}

        def leaf(k: int) -> list[Any] | None:
            node = graph.nodes[k]
            if node.op == "constant":
                return [self.constant(node.value)] * len(places)
            if node.op == "state":
                matrix = self._state(step, graph.states.index(node.name))
            elif k in self.plan.kept:
                matrix = self.pointer("kept") + (step * self["kept_step"] + self.matrix * self.plan.kept.index(k))
            else:
                return None
            return [self.as_value(node, (matrix + place).load()) for place in places]

        def value(k: int) -> list[Any]:
            return evaluate(self, graph.nodes, [k], leaf, lambda name: self.weights(name, vector), memory)[k]

        return value

    def _wanted(self, name: str, step: Integer, tile: Tile, rows: list[Integer], vector: Integer) -> list[Any]:
        """Return what the loss wants of a new state: for the first, also of the output of this step."""
        s = self.plan.graph.states.index(name)
        values: list[Vector] = []
        for row in rows:
            value = (self._gradient(step + 1, s) + self.in_lines(tile.row + row, vector)).load()
            if s == 0:
                place = step * self["dy_step"] + (tile.row + row) * self["dy_row"] + vector * self.lanes
                value = value + (self.pointer("dy") + place).load(self.units_mask(vector))
            values.append(value)
        return values

    def _operand(self, k: int) -> int:
        node = self.plan.adjoint.nodes[k]
        return self.plan.graph.hidden_operands(node.name)[int(node.value)]

    def _sum(self, p: int, k: int, tile: Tile, rows: list[Integer], within: Integer, value: Any) -> list[Any] | None:
        """Add up a chain of additions; all gates' products with the same operand are one product."""
        nodes = self.plan.adjoint.nodes
        known = {j for earlier in self.plan.backward[:p] for j in earlier.crossing}
        terms: list[int] = []
        waiting = list(reversed(nodes[k].operands))
        while waiting:
            j = waiting.pop()
            if nodes[j].op == "add" and j not in known:
                waiting.extend(reversed(nodes[j].operands))
            else:
                terms.append(j)
        products = dict.fromkeys(self._operand(j) for j in terms if nodes[j].op == "transposed")
        if not products:
            return None
        others = [value(j) for j in terms if nodes[j].op != "transposed"]
        total = []
        for r, row in enumerate(rows):
            sums = [self._product(p, operand, tile, row, within) for operand in products]
            sums += [other[r] for other in others]
            result = sums[0]
            for term in sums[1:]:
                result = result + term
            total.append(result)
        return total

    def _product(self, p: int, operand: int, tile: Tile, row: Integer, within: Integer) -> Vector:
        k = next(k for k, product in enumerate(self.plan.backward[p].products) if product.operand == operand)
        place = row * (self._panels.units * self.lanes) + within * self.lanes
        return (self._scratch[p][k] + place).load()

    def _store(
        self, p: int, values: dict[int, Any], step: Integer, in_chunk: Integer, place: Integer, vector: Integer
    ) -> None:
        phase, derived = self.plan.backward[p], self.plan.adjoint
        mask = self.units_mask(vector)
        for g in phase.gates:
            position = self._gates.index(self.plan.graph.gates[g])
            # lanes that are no units are multiplied with zeros, and would spoil sums if they were not numbers
            (self._delta(position) + in_chunk).store(self.blend(mask, values[derived.gates[g]], 0.0))
        for d in phase.diagonals:
            (self._delta(len(self._gates) + d) + in_chunk).store(values[derived.diagonals[d]])
        for k in phase.crossing:
            (self.pointer("crossing") + (self.matrix * self._crossing.index(k) + place)).store(values[k])
        for s in phase.states:
            source = derived.states[s]
            new = self.constant(0.0) if source is None else values[source]
            (self._gradient(step, s) + place).store(new)

    def _fix(self, p: int, step: Integer, inside: Integer, tile: Tile) -> None:
        """Rows that are over hand the gradients of their states on; those that were reset cut them off."""
        phase = self.plan.backward[p]
        marks = [
            *(self._gates.index(self.plan.graph.gates[g]) for g in phase.gates),
            *(len(self._gates) + d for d in phase.diagonals),
        ]

        def hold(row: Integer) -> None:
            with self.each_vector(tile) as (_, vector):
                for position in marks:
                    (self._delta(position) + self._in_chunk(inside, row, vector)).store(self.constant(0.0))
                for s in phase.states:
                    later = (self._gradient(step + 1, s) + self.in_lines(row, vector)).load()
                    (self._gradient(step, s) + self.in_lines(row, vector)).store(later)

        def cut(row: Integer) -> None:
            with self.each_vector(tile) as (_, vector):
                for s in phase.states:
                    (self._gradient(step, s) + self.in_lines(row, vector)).store(self.constant(0.0))

        if marks or phase.states:
            self.where_marked(step, 1, tile, hold)
        if phase.states:
            self.where_marked(step, 2, tile, cut)

    # the products of a chunk

    def _lay_x(self, first: Integer, count: Integer) -> None:
        """Lay x of a chunk in lines."""
        columns, lanes = self["input_vectors"], self.lanes
        with self.shared(count * self["batch"]) as item:
            inside, row = item // self["batch"], item % self["batch"]
            source = self.pointer("x") + ((first + inside) * self["x_step"] + row * self["x_row"])
            with self.loop(0, columns) as loop:
                values = (source + loop.index * lanes).load(self.mask(self["input"] - loop.index * lanes))
                place = loop.index * self._chunk_line + item * lanes
                (self.pointer("x_lines") + place).store(values)

    def _input_gradient(self, first: Integer, count: Integer) -> None:
        """Multiply δ with the input weights, for the gradient of x."""
        gates = self._in_order(self.plan.graph.input_blocks)
        if not gates:
            return
        units, lanes = self._panels.units, self.lanes
        columns = (self["input"] + (lanes - 1)) // lanes
        panels = (columns + (units - 1)) // units
        inner = self["vectors"] * (len(gates) * lanes)
        with self.when(self.given("dx")), self.shared(panels * count) as item:
            column, inside = item // count * units, item % count
            width = (columns - column).minimum(units)
            with self.row_tiles(0, self["batch"]) as (row, rows):
                tile = Tile(row, rows, column, width)
                weights = self.packed(self._panels, self.pointer("packed_x"), inner, column)
                self.multiply(tile, self._panels, self._factors(gates, inside, row), weights, self._result)
                with self.loop(0, rows) as r, self.loop(0, width) as v:
                    place = (first + inside) * self["dx_step"] + (row + r.index) * self["dx_row"]
                    values = (self._result + (r.index * (units * lanes) + v.index * lanes)).load()
                    mask = self.mask(self["input"] - (column + v.index) * lanes)
                    (self.pointer("dx") + (place + (column + v.index) * lanes)).store(values, mask)

    def _weight_gradients(self, first: Integer, count: Integer, chunk: Integer) -> None:
        graph, batch = self.plan.graph, self["batch"]
        with self.when(self.given("dweight_x")):
            for block, gate in enumerate(graph.input_blocks):
                self._outer(
                    gate,
                    block,
                    count,
                    self.pointer("x_lines"),
                    self._chunk_line,
                    batch * self.lanes,
                    self.pointer("dweight_x"),
                    self["input"],
                    chunk,
                )
        with self.when(self.given("dweight_h")):
            for block, (gate, operand) in enumerate(graph.hidden_blocks):
                node, line = graph.nodes[operand], self.line
                if node.op == "state":
                    right, step = self._state(first, graph.states.index(node.name)), self.matrix * len(graph.states)
                elif operand in self.plan.kept:
                    step = self["kept_step"]
                    right = self.pointer("kept") + (first * step + self.matrix * self.plan.kept.index(operand))
                else:
                    line, step = self._chunk_line, batch * self.lanes
                    right = self.pointer("operands") + self._chunk_matrix * self._computed.index(operand)
                self._outer(gate, block, count, right, line, step, self.pointer("dweight_h"), self["hidden"], chunk)
        with self.when(self.given("dbias")):
            for k, gate in enumerate(graph.biases):
                self._column_sums(self._gates.index(gate), k, self.pointer("dbias"), count, chunk)
        with self.when(self.given("ddiagonal")):
            for k in range(len(graph.diagonals)):
                self._column_sums(len(self._gates) + k, k, self.pointer("ddiagonal"), count, chunk)

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
        delta = self._delta(self._gates.index(gate))
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
                    a=delta + (vector * self._chunk_line + item % halves * height),
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
            lines = self._delta(position) + vector * self._chunk_line
            whole = rows // 4 * 4
            with self.loop(0, whole, 4, carry=[self.constant(0.0)] * 4) as loop:
                loop.values = [total + (lines + (loop.index + k) * lanes).load() for k, total in enumerate(loop.values)]
            a, b, c, d = loop.values
            with self.loop(whole, rows, carry=[(a + b) + (c + d)]) as rest:
                rest.values = [rest.values[0] + (lines + rest.index * lanes).load()]
            place = to + (self["hidden"] * block + vector * lanes)
            self._accumulate(place, rest.values[0], self.units_mask(vector), chunk)
