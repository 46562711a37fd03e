"""Values of a backward step as expressions, and graphs whose adjoint says more than that of the step itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from elman.compiler.adjoint import Adjoint
from elman.compiler.expression import Expression, add, constant, factored, multiply, operation, opposite, symbol
from elman.compiler.graph import Graph, Node
from elman.compiler.values import Values

__all__ = ["Gradients", "spliced"]


class Gradients:
    """Writes the nodes of an adjoint as expressions; ``names`` are those that have one.

    Args:
        values: of the forward step.
        derived: the adjoint of its graph, or of one made of it.
        origin: from a position in that graph to the position of the same value in the step's own.
    """

    def __init__(self, values: Values, derived: Adjoint, origin: Mapping[int, int]) -> None:
        self.values = values
        self.derived = derived
        self.names: dict[int, Expression] = {}
        self._origin = origin

    def value(self, position: int) -> Expression:
        """A value by its name, or what it is where it has none."""
        return self.names[position] if position in self.names else self.definition(position)

    def definition(self, position: int) -> Expression:
        """What a value is."""
        node = self.derived.nodes[position]
        if node.op == "constant":
            of = constant(math.exp(node.value))
            return operation("log", of) if node.name == "log" else constant(node.value)
        if node.op == "forward":
            return self.values.value(self._origin[int(node.value)])
        if node.op == "weight":
            return symbol(node.name)
        if node.op == "where":
            return factored(add(*(multiply(self.value(k), held) for k, held in self.sides(node))))
        return factored(operation(node.op, *map(self.value, node.operands)))

    def sides(self, node: Node) -> list[tuple[int, Expression]]:
        """The sides of a choice, each with the indicator of its condition: their products' sum is the choice."""
        condition, yes, no = node.operands
        nodes = self.derived.nodes
        held = self.value(condition)
        sides = [(yes, held), (no, opposite(held))]
        if nodes[no].op == "where" and no not in self.names:  # a < b, b < a, and what is left
            other, less, equal = nodes[no].operands
            if nodes[other].operands == nodes[condition].operands[::-1] != ():
                sides[1:] = [(less, self.value(other)), (equal, replace(held, op="equal"))]
        return [(k, Expression("indicator", (side,))) for k, side in sides]


def spliced(
    graph: Graph, behind: Mapping[int, Sequence[Node]]
) -> tuple[tuple[Node, ...], dict[int, int], dict[int, int]]:
    """Put nodes behind some values of a graph; what read a value reads the last of them instead.

    Args:
        graph: the graph.
        behind: from the position of a value to the nodes behind it, whose operands count from the value on.

    Returns:
        The nodes; from an old position to that of what is read there now; from a new position to the old one.
    """
    nodes: list[Node] = []
    place: dict[int, int] = {}
    origin: dict[int, int] = {}
    for k, node in enumerate(graph.nodes):
        origin[len(nodes)] = k
        nodes.append(replace(node, operands=tuple(place[j] for j in node.operands)))
        if k in behind:
            here = len(nodes) - 1
            nodes += (replace(node, operands=tuple(here + j for j in node.operands)) for node in behind[k])
        place[k] = len(nodes) - 1
        origin[place[k]] = k
    return tuple(nodes), place, origin
