"""The forward kernel of a cell: all steps of one layer and direction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from llvmlite import ir

from elman.backends.llvm.gemm import DOTS_TILE, call_tile
from elman.backends.llvm.kernel import Factor, Kernel, Panels, Tile, evaluate, widest
from elman.backends.llvm.vectors import Integer, Pointer, Shape
from elman.compiler.plan import Phase, Plan, Product

__all__ = ["FORWARD", "forward_fields", "write_forward"]

FORWARD: Final = "forward"


def forward_fields(plan: Plan) -> tuple[str, ...]:
    """Name the numbers that the kernel is called with.

    Where rows and steps are few, ``direct`` is 1: weights are read as they lie instead of being packed first.

    Sizes count numbers: ``vectors`` are those that hold the units of a row, ``rows`` those from a line to the next.
    ``history`` has the states before each step; ``history_mask`` is -1, or 1 where two places are used in turn.
    """
    states = plan.graph.states
    return (
        *("steps", "batch", "input", "hidden", "vectors", "rows"),
        *("row_parts", "direct", "history_mask", "kept_step"),
        # what a call fills in, in this order
        *("x", "x_row", "x_step", "noise", "noise_row", "noise_step", "y", "y_row", "y_step"),
        *("flags", "history", "work"),
        *("weight_x", "weight_h", "bias", "diagonal"),
        *(f"{what}_{s}" for s in states for what in ("initial", "row_initial", "final", "row_final")),
        # places in memory
        *("kept", "biases", "diagonals", "operands", "crossing"),
        *(f"packed_{p}_{k}" for p, phase in enumerate(plan.forward) for k in range(len(phase.products))),
    )


def write_forward(module: ir.Module, shape: Shape, plan: Plan) -> None:
    """Write the kernel into a module."""
    _Forward(module, shape, plan).write()


class _Forward(Kernel):
    def __init__(self, module: ir.Module, shape: Shape, plan: Plan) -> None:
        super().__init__(module, shape, plan, FORWARD, forward_fields(plan))
        self._crossing = tuple(k for phase in plan.forward for k in phase.crossing)
        self._panels = [[Panels.of(len(p.gates), widest(f), shape) for p in f.products] for f in plan.forward]
        self._scratch = [
            [self.stack(shape.rows * panels.gates * panels.units * shape.lanes) for panels in phase]
            for phase in self._panels
        ]

    def write(self) -> None:
        with self.when(self["direct"].equals(0)):
            for p, phase in enumerate(self.plan.forward):
                for k, product in enumerate(phase.products):
                    source, inner, blocks = self._weights(product)
                    self.pack_transposed(self._panels[p][k], blocks, source, inner, self.pointer(f"packed_{p}_{k}"))
        with self.when(self.thread.equals(0)):
            self.pack_lines(self.pointer("bias"), len(self.plan.graph.biases), self.pointer("biases"))
            self.pack_lines(self.pointer("diagonal"), len(self.plan.graph.diagonals), self.pointer("diagonals"))
        self._begin()
        self.barrier()
        with self.loop(0, self["steps"]) as steps:
            for p in range(len(self.plan.forward)):
                with self.when(steps.index + p > 0):  # nobody reads another thread's units behind the last phase
                    self.step_barrier()
                self._phase(p, steps.index)
        self._end()
        self.finish()

    def _weights(self, product: Product) -> tuple[Pointer, Integer, list[int]]:
        """Return the weights of a product, the length of their rows, and the positions of its gates' blocks."""
        graph = self.plan.graph
        if graph.nodes[product.operand].op == "input":
            blocks = [graph.input_blocks.index(gate) for gate in product.gates]
            return self.pointer("weight_x"), self["input"], blocks
        blocks = [graph.hidden_blocks.index((gate, product.operand)) for gate in product.gates]
        return self.pointer("weight_h"), self["hidden"], blocks

    # states

    def _state(self, step: Integer, state: int) -> Pointer:
        """Return the states before a step."""
        place = Integer(self, self.builder.and_(step.value, self["history_mask"].value))
        return self.pointer("history") + self.matrix * (place * len(self.plan.graph.states) + state)

    def _own(self) -> Any:
        return self.tiles(1)

    def _begin(self) -> None:
        """Lay the initial states in lines; rows that are reset before the first step begin with zeros."""
        zero = self.zero
        with self._own() as tile:
            for s, name in enumerate(self.plan.graph.states):
                source, row = self.pointer(f"initial_{name}"), self[f"row_initial_{name}"]
                with self.loop(tile.row, tile.row + tile.rows) as rows:
                    place = source + (rows.index * row + tile.vector * self.lanes)
                    values = place.load(self.units_mask(tile.vector))
                    (self._state(zero, s) + self.in_lines(rows.index, tile.vector)).store(values)
            self._reset(zero, range(len(self.plan.graph.states)), tile)

    def _end(self) -> None:
        with self._own() as tile:
            for s, name in enumerate(self.plan.graph.states):
                with self.loop(tile.row, tile.row + tile.rows) as rows:
                    values = (self._state(self["steps"], s) + self.in_lines(rows.index, tile.vector)).load()
                    place = rows.index * self[f"row_final_{name}"] + tile.vector * self.lanes
                    (self.pointer(f"final_{name}") + place).store(values, self.units_mask(tile.vector))

    def _reset(self, step: Integer, states: Sequence[int], tile: Tile) -> None:
        """Zero the states of rows whose sequence begins anew before a step."""

        def zero(row: Integer) -> None:
            with self.each_vector(tile) as (_, vector):
                for s in states:
                    (self._state(step, s) + self.in_lines(row, vector)).store(self.constant(0.0))

        self.where_marked(step, 2, tile, zero)

    def _hold(self, step: Integer, states: Sequence[int], tile: Tile) -> None:
        """Let rows that are over keep their states; their output is zero."""

        def hold(row: Integer) -> None:
            with self.each_vector(tile) as (_, vector):
                for s in states:
                    old = (self._state(step, s) + self.in_lines(row, vector)).load()
                    (self._state(step + 1, s) + self.in_lines(row, vector)).store(old)
                if 0 in states:
                    self._y(step, row, vector).store(self.constant(0.0), self.units_mask(vector))

        self.where_marked(step, 1, tile, hold)

    def _y(self, step: Integer, row: Integer, vector: Integer) -> Pointer:
        return self.pointer("y") + (step * self["y_step"] + row * self["y_row"] + vector * self.lanes)

    # a phase

    def _phase(self, p: int, step: Integer) -> None:
        phase = self.plan.forward[p]
        units = self._panels[p][0].units if phase.products else 1
        with self.tiles(units) as tile:
            for k, product in enumerate(phase.products):
                factor = self._factor(product, step, tile)
                with self.builder.if_else(self["direct"].differs(0)) as (then, otherwise):
                    with then:
                        self._dots(tile, self._panels[p][k], product, factor, self._scratch[p][k])
                    with otherwise:
                        start = self.pointer(f"packed_{p}_{k}")
                        weights = self.packed(self._panels[p][k], start, self._weights(product)[1], tile.vector)
                        self.multiply(tile, self._panels[p][k], [factor], weights, self._scratch[p][k])
            with self.each_vector(tile) as (within, vector):
                self.each_row(tile, partial(self._rows, p, step, tile, within, vector))
            if phase.states:
                self._hold(step, phase.states, tile)
                with self.when(step + 1 < self["steps"]):
                    self._reset(step + 1, phase.states, tile)

    def _dots(self, tile: Tile, panels: Panels, product: Product, factor: Factor, result: Pointer) -> None:
        """Write the product of a tile row by row, with the weights as they lie."""
        weights, inner, blocks = self._weights(product)
        hidden, lanes = self["hidden"], self.lanes
        with self.loop(0, tile.rows) as row, self.each_vector(tile) as (within, vector):
            for position, block in enumerate(blocks):
                column = tile.vectors * position + within
                call_tile(
                    self,
                    DOTS_TILE,
                    blocks=factor.blocks,
                    rest=factor.rest,
                    a=factor.start + row.index * factor.row,
                    a_block=factor.block,
                    b=weights + (hidden * block + vector * lanes) * inner,
                    b_row=inner,
                    outputs=(hidden - vector * lanes).minimum(lanes),
                    c=result + (row.index * (panels.gates * panels.units * lanes) + column * lanes),
                )

    def _factor(self, product: Product, step: Integer, tile: Tile) -> Factor:
        """Return what a product reads: x as the caller has it, states and values in lines."""
        graph = self.plan.graph
        node, inner = graph.nodes[product.operand], self._weights(product)[1]
        blocks, rest = inner // self.lanes, inner % self.lanes
        if node.op == "input":
            start = self.pointer("x") + (step * self["x_step"] + tile.row * self["x_row"])
            return Factor(start, self["x_row"], self.lanes, blocks, rest)
        if node.op == "state":
            matrix = self._state(step, graph.states.index(node.name))
        else:
            matrix = self.pointer("operands") + self.matrix * self.plan.computed_operands.index(product.operand)
        return Factor(matrix + tile.row * self.lanes, self.lanes, self.line, blocks, rest)

    def _rows(self, p: int, step: Integer, tile: Tile, within: Integer, vector: Integer, rows: list[Integer]) -> None:
        """Write what follows from the products, for one vector of some rows."""
        phase, graph = self.plan.forward[p], self.plan.graph
        places = [self.in_lines(tile.row + row, vector) for row in rows]

        def leaf(k: int) -> list[Any] | None:
            if graph.nodes[k].op == "affine" and not self._early(p, k):
                return [self._pre_activation(p, graph.nodes[k].name, tile, row, within, vector) for row in rows]
            if graph.nodes[k].op == "noise":
                return self.noise(graph.nodes[k], step, [tile.row + row for row in rows], vector)
            return self._known(p, k, step, places)

        stored = [*(graph.outputs[s] for s in phase.states), *phase.operands, *phase.kept, *phase.crossing]
        values = evaluate(self, graph.nodes, stored, leaf, lambda name: self.weights(name, vector), {})
        for r, (row, place) in enumerate(zip(rows, places, strict=True)):
            self._store(phase, {k: value[r] for k, value in values.items()}, step, place, tile.row + row, vector)

    def _early(self, p: int, k: int) -> bool:
        """Tell whether a value comes from an earlier phase."""
        return any(k in earlier.kept or k in earlier.crossing for earlier in self.plan.forward[:p])

    def _known(self, p: int, k: int, step: Integer, places: list[Integer]) -> list[Any] | None:
        """Return a value that is no operation of this phase, for each row."""
        node = self.plan.graph.nodes[k]
        if node.op == "constant":
            return [self.constant(node.value)] * len(places)
        if node.op == "state":
            matrix = self._state(step, self.plan.graph.states.index(node.name))
        elif not self._early(p, k):
            return None
        elif k in self.plan.kept:
            matrix = self._kept(step, k)
        else:
            matrix = self.pointer("crossing") + self.matrix * self._crossing.index(k)
        return [self.as_value(node, (matrix + place).load()) for place in places]

    def _pre_activation(self, p: int, gate: str, tile: Tile, row: Integer, within: Integer, vector: Integer) -> Any:
        """Add up a gate's products and its bias."""
        phase = self.plan.forward[p]
        total: Any = None
        if gate in self.plan.graph.biases:
            position = self.plan.graph.biases.index(gate)
            total = (self.pointer("biases") + (self["vectors"] * position + vector) * self.lanes).load()
        for k, product in enumerate(phase.products):
            if gate in product.gates:
                panels = self._panels[p][k]
                column = tile.vectors * product.gates.index(gate) + within
                place = row * (panels.gates * panels.units * self.lanes) + column * self.lanes
                term = (self._scratch[p][k] + place).load()
                total = term if total is None else total + term
        return total

    def _kept(self, step: Integer, k: int) -> Pointer:
        return self.pointer("kept") + (step * self["kept_step"] + self.matrix * self.plan.kept.index(k))

    def _store(
        self, phase: Phase, values: dict[int, Any], step: Integer, place: Integer, row: Integer, vector: Integer
    ) -> None:
        for k in phase.kept:
            (self._kept(step, k) + place).store(self.as_numbers(values[k]))
        for k in phase.crossing:
            matrix = self.matrix * self._crossing.index(k)
            (self.pointer("crossing") + (matrix + place)).store(self.as_numbers(values[k]))
        for k in phase.operands:
            matrix = self.matrix * self.plan.computed_operands.index(k)
            (self.pointer("operands") + (matrix + place)).store(values[k])
        for s in phase.states:
            new = values[self.plan.graph.outputs[s]]
            (self._state(step + 1, s) + place).store(new)
            if s == 0:
                self._y(step, row, vector).store(new, self.units_mask(vector))
