"""The values of a step as people name them, and the equations that define them.

Gates and states keep their names: a gate that one non-linearity reads stands for what that makes of it. What is needed
more than once and has no name gets a Greek letter.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from elman.compiler.expression import Expression, add, constant, multiply, operation, symbol
from elman.compiler.graph import Graph
from elman.compiler.usage import at_a_glance, readings

__all__ = ["Equation", "Values", "free_letters", "in_order"]

_NONLINEAR: Final = frozenset({"sigmoid", "tanh", "relu", "softplus", "exp"})
_ARITHMETIC: Final = frozenset({"add", "subtract", "multiply", "divide", "negate"})
_GREEK: Final = "αβγεζηθκλμνξρτφχψω"  # δ and σ have a meaning


@dataclass(frozen=True, slots=True)
class Equation:
    """``target = expression``.

    Attributes:
        target: what is defined.
        expression: what it is.
        remarks: what to say about each term of the expression, or nothing.
    """

    target: Expression
    expression: Expression
    remarks: tuple[Expression, ...] = ()


def free_letters(taken: Collection[str]) -> Iterator[str]:
    """Greek letters that the cell does not use, then the same with numbers."""
    for number in itertools.count(1):
        for letter in _GREEK:
            name = letter if number == 1 else f"{letter}_{number}"
            if name not in taken:
                yield name


def in_order(definitions: Mapping[Expression, Expression]) -> tuple[Equation, ...]:
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


class Values:
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
        declared = {"x", *graph.states, *graph.gates, *graph.diagonals}
        self.identity = symbol("I" + "′" * ("I" in declared))
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
        return (*in_order(definitions), *aliases)
