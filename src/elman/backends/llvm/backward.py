"""The backward kernel of a cell: back-propagation through all steps of one layer and direction.

Steps run backward in chunks. Within a chunk δ of all gates is written down in lines; after it, the gradients of the
weights and of x take the whole chunk in large products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from llvmlite import ir

from elman.backends.llvm.chunk import ChunkKernel
from elman.backends.llvm.kernel import Tile, evaluate
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
        *("x", "x_row", "x_step", "noise", "noise_row", "noise_step", "dy", "dy_row", "dy_step", "flags"),
        *("weight_x", "weight_h", "diagonal"),
        *(f"wanted_{s}" for s in states),
        *(f"row_wanted_{s}" for s in states),
        *(f"initial_{s}" for s in states),
        *("history", "work", "kept_step"),
        *("dx", "dx_row", "dx_step", "dweight_x", "dweight_h", "dbias", "ddiagonal"),
        *("chunk", "chunk_rows", "input_vectors"),
        *("kept", "diagonals", "gradients", "delta", "x_lines", "operands", "crossing", "packed_x"),
        *(f"packed_{p}_{k}" for p, phase in enumerate(plan.backward) for k in range(len(phase.products))),
    )


def write_backward(module: ir.Module, shape: Shape, plan: Plan) -> None:
    """Write the kernel into a module."""
    _Backward(module, shape, plan).write()


class _Backward(ChunkKernel):
    def __init__(self, module: ir.Module, shape: Shape, plan: Plan) -> None:
        super().__init__(module, shape, plan, BACKWARD, backward_fields(plan))
        self._crossing = tuple(k for phase in plan.backward for k in phase.crossing)
        self._scratch = [
            [self.stack(shape.rows * shape.columns * shape.lanes) for _ in phase.products] for phase in plan.backward
        ]
        transposed = [k for k, node in enumerate(plan.adjoint.nodes) if node.op == "transposed"]
        self._first_share = {self._operand(k): k for k in reversed(transposed)}

    def write(self) -> None:
        plan = self.plan
        for p, phase in enumerate(plan.backward):
            for k, product in enumerate(phase.products):
                blocks = [plan.graph.hidden_blocks.index((g, product.operand)) for g in self.in_order(product.gates)]
                self.pack(self.pointer("weight_h"), blocks, self["hidden"], self.pointer(f"packed_{p}_{k}"), own=True)
        with self.when(self.given("dx")):
            blocks = [plan.graph.input_blocks.index(g) for g in self.in_order(plan.graph.input_blocks)]
            self.pack(self.pointer("weight_x"), blocks, self["input"], self.pointer("packed_x"), own=False)
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
                self.lay_x(first, count)
            with self.loop(0, count) as back:
                inside = count - 1 - back.index
                self._step(first + inside, inside)
            self.barrier()
            self.input_gradient(first, count)
            self.weight_gradients(first, count, loop.index)
            self.barrier()
        self._end()
        self.finish()

    # states

    def _gradient(self, step: Integer, state: int) -> Pointer:
        """Return the gradients of the states after a step; two places are used in turn."""
        return self.pointer("gradients") + self.matrix * ((step & 1) * len(self.plan.graph.states) + state)

    def _begin(self) -> None:
        """Lay the gradients of the final states in lines."""
        with self.tiles(1) as tile:
            for s, name in enumerate(self.plan.graph.states):
                source, row = self.pointer(f"wanted_{name}"), self[f"row_wanted_{name}"]
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

    def _step(self, step: Integer, inside: Integer) -> None:
        for p, phase in enumerate(self.plan.backward):
            with self.tiles(self.panels.units if phase.products else 1) as tile:
                for k, product in enumerate(phase.products):
                    factors = self.factors(product.gates, inside, tile.row)
                    inner = self["vectors"] * (len(product.gates) * self.lanes)
                    weights = self.packed(self.panels, self.pointer(f"packed_{p}_{k}"), inner, tile.vector)
                    self.multiply(tile, self.panels, factors, weights, self._scratch[p][k])
                with self.each_vector(tile) as (within, vector):
                    self.each_row(tile, partial(self._rows, p, step, inside, tile, within, vector))
                self._fix(p, step, inside, tile)
            if any(later.products for later in self.plan.backward[p + 1 :]):
                self.step_barrier()

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
        forward = self._forward_values(step, [tile.row + row for row in rows], vector)

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
            if node.op == "transposed":
                return [self._product(p, k, row, within) for row in rows]
            return None

        asked = [
            *(derived.gates[g] for g in phase.gates),
            *(derived.diagonals[d] for d in phase.diagonals),
            *(k for s in phase.states if (k := derived.states[s]) is not None),
            *phase.crossing,
        ]
        values = evaluate(self, derived.nodes, asked, leaf, lambda name: self.weights(name, vector), {})
        operands = {k: forward(k) for k in phase.operands}
        for r, (row, place) in enumerate(zip(rows, places, strict=True)):
            mine = {k: value[r] for k, value in values.items()}
            self._store(p, mine, step, self.in_chunk(inside, tile.row + row, vector), place, vector)
            for k, numbers in operands.items():
                matrix = self.pointer("operands") + self.chunk_matrix * self.computed.index(k)
                (matrix + self.in_chunk(inside, tile.row + row, vector)).store(
                    self.blend(self.units_mask(vector), numbers[r], 0.0)
                )

    def _forward_values(self, step: Integer, rows: list[Integer], vector: Integer) -> Callable[[int], list[Any]]:
        """Return a function that gives values of the step: read where they were kept, else computed again."""
        graph = self.plan.graph
        places = [self.in_lines(row, vector) for row in rows]
        memory: dict[int, list[Any]] = {}

        def leaf(k: int) -> list[Any] | None:
            node = graph.nodes[k]
            if node.op == "constant":
                return [self.constant(node.value)] * len(places)
            if node.op == "noise":
                return self.noise(node, step, rows, vector)
            if node.op == "state":
                matrix = self.state(step, graph.states.index(node.name))
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

    def _product(self, p: int, k: int, row: Integer, within: Integer) -> Vector:
        """Return a gate's share Uᵀ δ of an operand's gradient.

        The product with the operand has the shares of all gates that read it, which are always added up: the first
        share stands for all of them, the others are nothing.
        """
        operand = self._operand(k)
        if k != self._first_share[operand]:
            return self.constant(-0.0)  # changes nothing that it is added to
        product = [product.operand for product in self.plan.backward[p].products].index(operand)
        place = row * (self.panels.units * self.lanes) + within * self.lanes
        return (self._scratch[p][product] + place).load()

    def _store(
        self, p: int, values: dict[int, Any], step: Integer, in_chunk: Integer, place: Integer, vector: Integer
    ) -> None:
        phase, derived = self.plan.backward[p], self.plan.adjoint
        mask = self.units_mask(vector)
        for g in phase.gates:
            position = self.gates.index(self.plan.graph.gates[g])
            # lanes that are no units are multiplied with zeros, and would spoil sums if they were not numbers
            (self.delta(position) + in_chunk).store(self.blend(mask, values[derived.gates[g]], 0.0))
        for d in phase.diagonals:
            (self.delta(len(self.gates) + d) + in_chunk).store(values[derived.diagonals[d]])
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
            *(self.gates.index(self.plan.graph.gates[g]) for g in phase.gates),
            *(len(self.gates) + d for d in phase.diagonals),
        ]

        def hold(row: Integer) -> None:
            with self.each_vector(tile) as (_, vector):
                for position in marks:
                    (self.delta(position) + self.in_chunk(inside, row, vector)).store(self.constant(0.0))
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
