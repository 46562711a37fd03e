"""Who reads a value: what is read once stands where it is read, what is read more often gets a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from elman.compiler.adjoint import adjoint
from elman.compiler.graph import Graph, Node

__all__ = ["at_a_glance", "readings", "uses"]


def uses(nodes: Sequence[Node], roots: Iterable[int]) -> Counter[int]:
    """How many values read each value, among those that the roots need."""
    reached, waiting = set[int](), [*roots]
    while waiting:
        if (k := waiting.pop()) not in reached:
            reached.add(k)
            waiting.extend(nodes[k].operands)
    return Counter(operand for k in reached for operand in {*nodes[k].operands})


def readings(graph: Graph) -> Counter[int]:
    """How often the values of a step are read: by each other, by the backward step and by gradients of matrices."""
    derived = adjoint(graph)
    read = uses(graph.nodes, graph.outputs)
    read.update(operand for _, operand in graph.hidden_blocks)
    backward = uses(derived.nodes, [*derived.gates, *derived.diagonals, *(k for k in derived.states if k is not None)])
    for k, node in enumerate(derived.nodes):
        if node.op == "forward":
            position = int(node.value)
            comparison = graph.nodes[position].op in {"less", "less_equal"}
            for value in graph.nodes[position].operands if comparison else (position,):
                read[value] += backward[k]
    return read


def at_a_glance(nodes: Sequence[Node], node: Node, named: Callable[[int], bool]) -> bool:
    """Tell whether a value is as short as a name would be: a function of one named value and numbers."""
    read = {k for k in node.operands if nodes[k].op != "constant"}
    return node.op not in {"affine", "transposed"} and len(read) == 1 and all(map(named, read))
