"""Cut a step and its adjoint into phases: matrix products first, then everything that follows unit by unit.

Within a phase each unit needs nothing of the others, so that a phase runs tile by tile, all of it while a tile's
products are at hand. A gate that reads a value computed inside the step begins another phase.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from elman.compiler.adjoint import Adjoint, adjoint
from elman.compiler.graph import Graph, Node

__all__ = ["Phase", "Plan", "Product", "plan"]


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product of a phase.

    Forward, ``operand`` (a node of the step) is multiplied with the weights of all ``gates`` of the phase that read it;
    backward, δ of all ``gates`` that read ``operand`` with their weights transposed, which gives its gradient.
    """

    operand: int
    gates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase computes; nodes are those of the step (of the adjoint, in a backward phase).

    Attributes:
        products: to be done before.
        states: positions of the states whose new values (backward: gradients of the old ones) are ready here.
        gates: backward, positions of the gates whose δ is ready here.
        diagonals: backward, positions of the diagonals whose gradients are ready here.
        operands: nodes of the step that matrix products read: forward, those of later phases; backward, those of the
            weights' gradients that were not kept.
        kept: forward, nodes to keep for the adjoint.
        crossing: nodes that a later phase reads.
    """

    products: tuple[Product, ...]
    states: tuple[int, ...]
    gates: tuple[int, ...]
    diagonals: tuple[int, ...]
    operands: tuple[int, ...]
    kept: tuple[int, ...]
    crossing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cell runs over time in compiled code.

    Attributes:
        graph: the step.
        adjoint: its adjoint.
        forward: phases of a step.
        backward: phases of a step backward; the last ones complete the gradients of the old states.
        kept: nodes of the step whose values are kept for the adjoint, besides all old states; what the adjoint reads
            and these give is computed again.
    """

    graph: Graph
    adjoint: Adjoint
    forward: tuple[Phase, ...]
    backward: tuple[Phase, ...]
    kept: tuple[int, ...]

    @property
    def computed_operands(self) -> tuple[int, ...]:
        """Values computed inside the step that gates read."""
        return tuple(dict.fromkeys(k for _, k in self.graph.hidden_blocks if self.graph.nodes[k].op != "state"))


@lru_cache(maxsize=256)
def plan(graph: Graph) -> Plan:
    """Plan the phases of a graph.

    Example:
        >>> from elman.cells import LSTMCell, ResetBeforeGRUCell
        >>> len(plan(LSTMCell(2, 3).graph).forward), len(plan(ResetBeforeGRUCell(2, 3).graph).forward)
        (1, 2)
    """
    derived = adjoint(graph)
    kept = _kept(graph, derived)
    return Plan(graph, derived, _forward(graph, kept), _backward(graph, derived, kept), kept)


def _forward(graph: Graph, kept: tuple[int, ...]) -> tuple[Phase, ...]:
    levels: list[int] = []
    for node in graph.nodes:
        inner = [levels[k] for k in node.operands]
        if node.op == "affine":
            computed = [levels[k] for k in node.operands if graph.nodes[k].op not in {"input", "state"}]
            levels.append(1 + max(computed, default=-1))
        else:
            levels.append(max(inner, default=0))
    operands = {k for _, k in graph.hidden_blocks if graph.nodes[k].op != "state"}
    crossing = _crossing(graph.nodes, levels, {"input", "state", "constant", "noise"}, lambda node: node.op != "affine")
    # A new state that is computed in an early phase is stored at once and crosses nothing.
    phases = []
    for level in range(max(levels, default=0) + 1):
        gates = [gate for gate in graph.gates if levels[graph.index("affine", gate)] == level]
        reads = dict.fromkeys(k for gate in gates for k in graph.operands(gate))
        here = [k for k, node in enumerate(graph.nodes) if levels[k] == level and node.op not in {"input", "constant"}]
        phases.append(
            Phase(
                products=tuple(Product(k, tuple(g for g in gates if k in graph.operands(g))) for k in reads),
                states=tuple(s for s, k in enumerate(graph.outputs) if _level(graph, levels, k) == level),
                gates=(),
                diagonals=(),
                operands=tuple(k for k in here if k in operands),
                kept=tuple(k for k in here if k in kept),
                crossing=tuple(k for k in here if k in crossing and k not in kept),
            )
        )
    return tuple(phases)


def _level(graph: Graph, levels: list[int], position: int) -> int:
    """Return the phase of a new state; one that is an old state or a constant is ready in the first."""
    return 0 if graph.nodes[position].op in {"state", "constant"} else levels[position]


def _crossing(
    nodes: tuple[Node, ...], levels: list[int], leaves: set[str], reads: Callable[[Node], bool]
) -> frozenset[int]:
    """Return the values that a later phase reads unit by unit."""
    return frozenset(
        k
        for position, node in enumerate(nodes)
        if reads(node)
        for k in node.operands
        if 0 <= levels[k] < levels[position] and nodes[k].op not in leaves
    )


def _backward(graph: Graph, derived: Adjoint, kept: tuple[int, ...]) -> tuple[Phase, ...]:
    readers = {k: tuple(g for g in graph.gates if k in graph.hidden_operands(g)) for _, k in graph.hidden_blocks}
    levels = _adjoint_levels(graph, derived, readers)
    crossing = _crossing(derived.nodes, levels, {"gradient"}, lambda node: node.op != "transposed")
    transposed = {
        graph.hidden_operands(node.name)[int(node.value)]: levels[position]
        for position, node in enumerate(derived.nodes)
        if node.op == "transposed"
    }
    computed = {k for _, k in graph.hidden_blocks if graph.nodes[k].op != "state"}
    phases = []
    for level in range(max([0, *levels]) + 1):

        def ready(k: int, level: int = level) -> bool:
            return max(0, levels[k]) == level

        phases.append(
            Phase(
                products=tuple(Product(k, readers[k]) for k, when in transposed.items() if when == level),
                states=tuple(s for s, k in enumerate(derived.states) if (ready(k) if k is not None else level == 0)),
                gates=tuple(g for g, k in enumerate(derived.gates) if ready(k)),
                diagonals=tuple(d for d, k in enumerate(derived.diagonals) if ready(k)),
                operands=tuple(sorted(computed - set(kept))) if level == 0 else (),
                kept=(),
                crossing=tuple(k for k in crossing if levels[k] == level),
            )
        )
    return tuple(phases)


def _adjoint_levels(graph: Graph, derived: Adjoint, readers: dict[int, tuple[str, ...]]) -> list[int]:
    """Return the phase of every node of the adjoint; -1 for what follows from the forward pass alone.

    All gates that read a value are multiplied in one product, which waits for the last δ of them.
    """
    delta = dict(zip(graph.gates, derived.gates, strict=True))
    levels = [-1] * len(derived.nodes)
    while True:
        before = list(levels)
        for position, node in enumerate(derived.nodes):
            if node.op == "gradient":
                levels[position] = 0
            elif node.op == "transposed":
                operand = graph.hidden_operands(node.name)[int(node.value)]
                levels[position] = 1 + max(0, *(levels[delta[gate]] for gate in readers[operand]))
            else:
                levels[position] = max((levels[k] for k in node.operands), default=-1)
        if levels == before:
            return levels


def _kept(graph: Graph, derived: Adjoint) -> tuple[int, ...]:
    """Choose what to keep: a value that follows unit by unit from what is kept is computed again instead."""
    operands = {k for _, k in graph.hidden_blocks}
    needed = {k for k in (*derived.reads, *operands) if graph.nodes[k].op != "state"}
    kept: list[int] = []
    there: list[bool] = []  # whether a node is kept or follows from what is
    for position, node in enumerate(graph.nodes):
        leaf = node.op in {"input", "affine"}
        follows = node.op in {"state", "constant", "noise"} or (not leaf and all(there[k] for k in node.operands))
        if position in needed and not follows:
            kept.append(position)
        there.append(follows or position in needed)
    return tuple(kept)
