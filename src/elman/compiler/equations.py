"""The equations of a cell and of its back-propagation through time, as a textbook would write them.

From the graph of a step and its adjoint to equations between named values: trees, which `elman.compiler.notation`
prints. Gates and states keep their names: a gate that one non-linearity reads stands for what that makes of it, and its
δ is the gradient before the non-linearity. What is needed more than once and has no name gets a Greek letter.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from elman.compiler.adjoint import adjoint
from elman.compiler.expression import (
    ZERO,
    Expression,
    add,
    constant,
    factored,
    multiply,
    operation,
    opposite,
    symbol,
)
from elman.compiler.graph import Graph, Node
from elman.compiler.usage import at_a_glance, readings, uses

__all__ = ["Derivation", "Equation", "derive"]

_NONLINEAR: Final = frozenset({"sigmoid", "tanh", "relu", "softplus", "exp"})
_ARITHMETIC: Final = frozenset({"add", "subtract", "multiply", "divide", "negate"})
_GREEK: Final = "αβγεζηθκλμνξρτφχψω"  # δ and σ have a meaning
_READ: Final = frozenset({"constant", "forward", "gradient", "weight", "less", "less_equal"})
_NEXT: Final = {"t−1": "t", "t": "t+1"}
_FIRST: Final = {"t−1": "0", "t": "1"}


@dataclass(frozen=True, slots=True)
class Equation:
    """``target = expression``."""

    target: Expression
    expression: Expression


@dataclass(frozen=True, slots=True)
class Derivation:
    """The equations of a cell, each group in an order in which it can be evaluated.

    Attributes:
        forward: one step.
        backward: δ of every state and gate, from those of the step after.
        parameters: gradients of weights, biases and diagonals, sums over the steps.
        inputs: gradients of x and of the initial states.
    """

    forward: tuple[Equation, ...]
    backward: tuple[Equation, ...]
    parameters: tuple[Equation, ...]
    inputs: tuple[Equation, ...]


def derive(graph: Graph) -> Derivation:
    """Write the equations of a step, and derive those of back-propagation through time.

    Example:
        >>> from elman.cells import RNNCell
        >>> from elman.compiler.notation import TEXT
        >>> derivation = derive(RNNCell(2, 3).graph)
        >>> for equation in (*derivation.forward, *derivation.backward):
        ...     print(TEXT.expression(equation.target), "=", TEXT.expression(equation.expression))
        hₜ = tanh(W xₜ + U hₜ₋₁ + b)
        δhₜ = ∂ℓₜ/∂hₜ + Uᵀ δnₜ₊₁
        δnₜ = δhₜ ⊙ (1 − hₜ²)
    """
    greek = _free_letters({"x", *graph.states, *graph.gates, *graph.diagonals})
    forward = _Forward(graph, greek)
    backward = _Backward(forward, greek)
    return Derivation(forward.equations(), backward.equations(), backward.parameters(), backward.inputs())


def _free_letters(taken: Collection[str]) -> Iterator[str]:
    """Greek letters that the cell does not use, then the same with numbers."""
    for number in itertools.count(1):
        for letter in _GREEK:
            name = letter if number == 1 else f"{letter}_{number}"
            if name not in taken:
                yield name


class _Forward:
    """The values of a step: which have a name, and what they are."""

    def __init__(self, graph: Graph, greek: Iterator[str]) -> None:
        self.graph = graph
        self.owners: dict[int, str] = {}  #: positions that a state defines
        for state, position in zip(graph.states, graph.outputs, strict=True):
            if graph.nodes[position].op != "state":
                self.owners.setdefault(position, state)
        self._tops = self._all_tops()
        self.letters = {
            letter: letter + "′" * any(name.partition("_")[0] == letter for name in graph.diagonals) for letter in "WUb"
        }
        self._biases = {symbol(self._weight("b", gate)) for gate in graph.biases}
        self.extra: dict[int, str] = {}  #: named positions that are neither a state's nor a gate's
        self.names = self._named(greek)

    def _weight(self, letter: str, gate: str, number: int = 0) -> str:
        """Name a weight: of the only gate without its subscript, of several matrices of a gate with a number."""
        parts = [gate] * (len(self.graph.gates) > 1) + [str(number)] * bool(number)
        return self.letters[letter] + ("_" + ",".join(parts) if parts else "")

    def matrix(self, gate: str, operand: int) -> Expression:
        """The matrix that a gate multiplies an operand with."""
        if self.graph.nodes[operand].op == "input":
            return symbol(self._weight("W", gate))
        hidden = self.graph.hidden_operands(gate)
        return symbol(self._weight("U", gate, hidden.index(operand) + 1 if len(hidden) > 1 else 0))

    def bias(self, gate: str) -> Expression:
        """The bias of a gate."""
        return symbol(self._weight("b", gate))

    def _named(self, greek: Iterator[str]) -> dict[int, Expression]:
        """Name states, gates, and what is needed more than once and is not read at a glance."""
        graph = self.graph
        names = {
            k: symbol(node.name, "t" if node.op == "input" else "t−1")
            for k, node in enumerate(graph.nodes)
            if node.op in {"input", "state"}
        }
        names |= {k: symbol(state, "t") for k, state in self.owners.items()}
        gates = self._gate_values()
        read = readings(graph)
        declared = {"x", *graph.states, *graph.gates, *graph.diagonals}
        for k, node in enumerate(graph.nodes):
            if k in names or node.op in {"constant", "less", "less_equal"}:
                continue
            if k in gates:
                names[k] = symbol(gates[k], "t")
            elif read[k] > 1 and not at_a_glance(graph.nodes, node, names.__contains__):
                if node.op == "affine" and node.name not in gates.values():
                    names[k] = symbol(node.name, "t")
                elif node.op == "affine" and (name := f"a_{node.name}") not in declared:
                    names[k] = symbol(name, "t")
                else:
                    self.extra[k] = next(greek)
                    names[k] = symbol(self.extra[k], "t")
        return names

    def _gate_values(self) -> dict[int, str]:
        """Positions of the non-linearities that make the values of gates; n_x and n_h in one make n."""
        graph = self.graph
        inside: dict[int, list[str]] = {}
        for gate in graph.gates:
            top, *others = self._tops[graph.index("affine", gate)]
            if not others and graph.nodes[top].op in _NONLINEAR and top not in self.owners:
                inside.setdefault(top, []).append(gate)
        taken = {"x", *graph.states, *graph.gates, *graph.diagonals}
        values: dict[int, str] = {}
        for top, gates in inside.items():
            stems = {gate.partition("_")[0] for gate in gates}
            if len(gates) == 1:
                values[top] = gates[0]
            elif len(stems) == 1 and not stems & {*taken, *values.values()}:
                values[top] = stems.pop()
        return values

    def _all_tops(self) -> list[set[int]]:
        """Where arithmetic on each value ends: at the functions that read it, or at a state."""
        nodes = self.graph.nodes
        tops: list[set[int]] = [set() for _ in nodes]
        for k in reversed(range(len(nodes))):
            if k in self.owners:
                tops[k] = {k}
            for operand in nodes[k].operands:
                tops[operand] |= tops[k] if nodes[k].op in _ARITHMETIC else {k}
        return tops

    def value(self, position: int) -> Expression:
        """A value by its name, or what it is where it has none."""
        return self.names[position] if position in self.names else self.definition(position)

    def definition(self, position: int) -> Expression:
        """What a value is."""
        node = self.graph.nodes[position]
        if node.op == "constant":
            return constant(node.value)
        values = [self.value(k) for k in node.operands]
        if node.op == "affine":
            products = [
                operation("matrix", self.matrix(node.name, k), v) for k, v in zip(node.operands, values, strict=True)
            ]
            return add(*products, *([self.bias(node.name)] if node.name in self.graph.biases else []))
        if node.op == "diagonal":
            return multiply(symbol(node.name), *values)
        result = operation(node.op, *values)
        if result.op == "add":  # the bias stands last, also behind a peephole
            return replace(result, operands=tuple(sorted(result.operands, key=self._biases.__contains__)))
        return result

    def equations(self) -> tuple[Equation, ...]:
        """Define every named value, gates in the order of their declaration where that can be evaluated."""
        graph = self.graph
        defined = {name: k for k, name in self.names.items() if graph.nodes[k].op not in {"input", "state"}}
        first = [graph.index("affine", gate) for gate in graph.gates]
        order = [k for p in first for k in sorted(self._tops[p] | {p}) if k in self.names and k not in self.owners]
        order = [k for k in order if k not in self.extra]
        order += [k for k in defined.values() if k not in order and k not in self.owners]
        order += [k for k in defined.values() if k in self.owners]
        definitions = {self.names[k]: self.definition(k) for k in order}
        aliases = [
            Equation(symbol(state, "t"), self.value(position))
            for state, position in zip(graph.states, graph.outputs, strict=True)
            if self.owners.get(position) != state
        ]
        return (*_sorted(definitions), *aliases)


class _Backward:
    """The gradients, of which those of states, gates and what is shared have a name."""

    def __init__(self, forward: _Forward, greek: Iterator[str]) -> None:
        self._forward = forward
        graph = forward.graph
        watched = [*forward.owners, *forward.extra]
        probed, self._place = _with_probes(graph, watched)
        self._derived = adjoint(probed)
        totals = dict(zip(watched, self._derived.gates[len(graph.gates) :], strict=True))
        self._names: dict[int, Expression] = {}
        self._targets: dict[Expression, int] = {}
        for state, position in zip(graph.states, graph.outputs, strict=True):
            mine = forward.owners.get(position) == state
            self._target(f"δ{state}", totals[position] if mine else self._leaf(state))
        for gate, node in zip(graph.gates, self._derived.gates, strict=False):
            self._target(f"δ{gate}", node)
        self._name_shared({totals[position]: name for position, name in forward.extra.items()}, greek)

    def _leaf(self, state: str) -> int:
        """The position of what comes into a step for a state."""
        return next(k for k, node in enumerate(self._derived.nodes) if (node.op, node.name) == ("gradient", state))

    def _target(self, name: str, node: int) -> None:
        """Give a gradient its name; a second name of the same one becomes an equation between the two."""
        target = symbol(name, "t")
        self._targets[target] = node
        if self._derived.nodes[node].op != "constant":
            self._names.setdefault(node, target)

    def _name_shared(self, totals: Mapping[int, str], greek: Iterator[str]) -> None:
        """Name what is read more than once: δ of a named value, or a letter."""
        nodes = self._derived.nodes
        asked = {*self._derived.diagonals, *(k for k in self._derived.states if k is not None)}
        read = uses(nodes, {*asked, *self._targets.values()})
        read.update(asked)
        for k, node in enumerate(nodes):
            if read[k] < 2 or k in self._names or node.op in _READ:
                continue
            if not at_a_glance(nodes, node, lambda j: j in self._names or nodes[j].op == "forward"):
                self._target(f"δ{totals[k]}" if k in totals else next(greek), k)

    def _value(self, position: int) -> Expression:
        return self._names[position] if position in self._names else self._definition(position)

    def _definition(self, position: int) -> Expression:
        node = self._derived.nodes[position]
        if node.op == "constant":
            return constant(node.value)
        if node.op == "forward":
            return self._forward.value(self._place[int(node.value)])
        if node.op == "weight":
            return symbol(node.name)
        if node.op == "gradient":
            return self._flowing_in(node.name)
        if node.op == "where":
            return self._chosen(node)
        values = [self._value(k) for k in node.operands]
        if node.op == "transposed":
            operand = self._forward.graph.hidden_operands(node.name)[int(node.value)]
            return operation("matrix", operation("transpose", self._forward.matrix(node.name, operand)), *values)
        return factored(operation(node.op, *values))

    def _chosen(self, node: Node) -> Expression:
        """A choice as a sum: each side times an indicator, [condition]."""
        condition, yes, no = node.operands
        nodes = self._derived.nodes
        held = self._value(condition)
        sides = [(yes, held), (no, opposite(held))]
        if nodes[no].op == "where" and no not in self._names:  # a < b, b < a, and what is left
            other, less, equal = nodes[no].operands
            if nodes[other].operands == nodes[condition].operands[::-1] != ():
                sides[1:] = [(less, self._value(other)), (equal, replace(held, op="equal"))]
        return factored(add(*(multiply(self._value(k), Expression("indicator", (side,))) for k, side in sides)))

    def _flowing_in(self, state: str) -> Expression:
        """What the loss wants of a state itself, and through the step after."""
        graph = self._forward.graph
        output, later = symbol(state, "t"), self._wanted_of(state).at(_NEXT)
        if state != graph.states[0]:
            return later
        return add(operation("partial", symbol("ℓ", "t"), output), later)

    def _wanted_of(self, state: str) -> Expression:
        """What a step wants of the old value of a state."""
        graph = self._forward.graph
        node = self._derived.states[graph.states.index(state)]
        if node is None:
            return ZERO
        order = [symbol(f"δ{gate}", "t") for gate in graph.gates]
        wanted = self._value(node)
        if wanted.op != "add":
            return wanted
        return add(
            *sorted(
                wanted.operands, key=lambda term: max([order.index(s) for s in term.parts() if s in order], default=-1)
            )
        )

    def equations(self) -> tuple[Equation, ...]:
        """δ of states, then of gates, behind what they read of the same step."""
        ranked = {target: self._definition(node) for target, node in self._targets.items()}
        for target, node in self._targets.items():
            if node in self._names and self._names[node] != target:
                ranked[target] = self._names[node]
        return _sorted(ranked)

    def parameters(self) -> tuple[Equation, ...]:
        """Gradients of the weights, gate by gate, and of the diagonals."""
        forward, graph = self._forward, self._forward.graph
        found: list[Equation] = []
        for gate in graph.gates:
            delta = symbol(f"δ{gate}", "t")
            for operand in graph.operands(gate):
                product = operation("matrix", delta, operation("transpose", forward.value(operand)))
                found.append(_summed(forward.matrix(gate, operand), product))
            if gate in graph.biases:
                found.append(_summed(forward.bias(gate), delta))
        for name, node in zip(graph.diagonals, self._derived.diagonals, strict=True):
            found.append(_summed(symbol(name), self._value(node)))
        return tuple(found)

    def inputs(self) -> tuple[Equation, ...]:
        """Gradients of x and of the states before the first step."""
        forward, graph = self._forward, self._forward.graph
        x = graph.index("input", "x")
        of_x = (
            operation("matrix", operation("transpose", forward.matrix(gate, x)), symbol(f"δ{gate}", "t"))
            for gate in graph.input_blocks
        )
        initial = (Equation(_gradient(symbol(s, "0")), self._wanted_of(s).at(_FIRST)) for s in graph.states)
        return (Equation(_gradient(symbol("x", "t")), add(*of_x)), *initial)


def _gradient(of: Expression) -> Expression:
    return operation("partial", symbol("L"), of)


def _summed(of: Expression, expression: Expression) -> Equation:
    """The gradient of a parameter, which every step uses."""
    return Equation(_gradient(of), operation("total", expression))


def _sorted(definitions: Mapping[Expression, Expression]) -> tuple[Equation, ...]:
    """Put each definition behind those that it reads, and keep the order where that leaves a choice."""
    done: dict[Expression, Equation] = {}

    def visit(target: Expression) -> None:
        if target not in done:
            for read in definitions[target].parts():
                if read in definitions and read != target:
                    visit(read)
            done[target] = Equation(target, definitions[target])

    for target in definitions:
        visit(target)
    return tuple(done.values())


def _with_probes(graph: Graph, watched: Collection[int]) -> tuple[Graph, dict[int, int]]:
    """Add a disturbance to some values, whose δ are the gradients of these values; also map positions back."""
    nodes: list[Node] = []
    place: dict[int, int] = {}
    origin: dict[int, int] = {}
    probes = {k: f"disturbance {k}" for k in watched}
    for k, node in enumerate(graph.nodes):
        origin[len(nodes)] = k
        nodes.append(replace(node, operands=tuple(place[j] for j in node.operands)))
        if k in probes:
            value = len(nodes) - 1
            nodes += [Node("affine", name=probes[k]), Node("add", (value, value + 1))]
            origin[value + 2] = k
        place[k] = len(nodes) - 1
    outputs = tuple(place[k] for k in graph.outputs)
    gates = (*graph.gates, *probes.values())
    return replace(graph, nodes=tuple(nodes), outputs=outputs, gates=gates), origin
