"""The graph of one step of a cell.

A graph is a tuple of nodes in the order of evaluation; a node names its operands by their positions. It holds no
sizes, no weights and no source lines, so that equal equations make equal graphs: two cells of the same graph share
their compiled code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["ARITY", "Graph", "Node", "Nodes"]

#: The pointwise operations and the number of their operands.
ARITY: Final[dict[str, int]] = {
    "add": 2,
    "subtract": 2,
    "multiply": 2,
    "divide": 2,
    "power": 2,
    "negate": 1,
    "abs": 1,
    "exp": 1,
    "log": 1,
    "maximum": 2,
    "minimum": 2,
    "relu": 1,
    "sigmoid": 1,
    "softplus": 1,
    "sqrt": 1,
    "tanh": 1,
    "less": 2,
    "less_equal": 2,
    "where": 3,
}


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a step.

    Attributes:
        op: ``input`` (x), ``state``, ``constant``, ``noise`` (numbers that a run is given for each step, unit by unit,
            and that have no gradient: `elman.compiler.noise`), ``affine`` (a gate: W x + U h + b), ``diagonal``
            (p * s), or a pointwise operation of `ARITY`.
        operands: positions of the operands in `Graph.nodes`.
        name: of an input, a state, a gate or a diagonal; empty elsewhere.
        value: of a constant; of noise, its place among all noise of the graph.
    """

    op: str
    operands: tuple[int, ...] = ()
    name: str = ""
    value: float = 0.0


class Nodes(list[Node]):
    """Nodes in the order of evaluation, while a graph is written down; equal ones are one."""

    def __init__(self) -> None:
        super().__init__()
        self._positions: dict[tuple[Node, str], int] = {}

    def position(self, node: Node) -> int:
        """Return where a node stands; a new one is put last."""
        key = (node, repr(node.value))  # 0.0 and -0.0 are equal, and differ
        if key not in self._positions:
            self._positions[key] = len(self)
            self.append(node)
        return self._positions[key]


@dataclass(frozen=True, slots=True)
class Graph:
    """The equations of one step: ``outputs[k]`` is the node that holds the new value of ``states[k]``.

    Every node but the inputs and states serves an output. Gates, those of them that have a bias, and diagonals stand
    in the order of their declaration, which is the order of their blocks in the packed parameters.
    """

    nodes: tuple[Node, ...]
    states: tuple[str, ...]
    outputs: tuple[int, ...]
    gates: tuple[str, ...]
    biases: tuple[str, ...]
    diagonals: tuple[str, ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Layers look their compiled code up by their graph, at every call.
        object.__setattr__(self, "_hash", hash((self.nodes, self.states, self.outputs, self.gates)))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Graph], tuple[object, ...]]:
        """Leave the hash behind: another process hashes names otherwise."""
        return Graph, (self.nodes, self.states, self.outputs, self.gates, self.biases, self.diagonals)

    def index(self, op: str, name: str) -> int:
        """Return the position of the one node of this operation and name."""
        return next(k for k, node in enumerate(self.nodes) if node.op == op and node.name == name)

    def operands(self, gate: str) -> tuple[int, ...]:
        """Return what a gate reads, in the order of its call."""
        return self.nodes[self.index("affine", gate)].operands

    def reads_input(self, gate: str) -> bool:
        """Tell whether a gate reads x."""
        return any(self.nodes[k].op == "input" for k in self.operands(gate))

    def hidden_operands(self, gate: str) -> tuple[int, ...]:
        """Return the operands of size H of a gate: states and values computed inside the step."""
        return tuple(k for k in self.operands(gate) if self.nodes[k].op != "input")

    @property
    def input_blocks(self) -> tuple[str, ...]:
        """The gates that have a block of H rows in ``weight_x``, in the order of the blocks."""
        return tuple(gate for gate in self.gates if self.reads_input(gate))

    @property
    def hidden_blocks(self) -> tuple[tuple[str, int], ...]:
        """The pairs (gate, operand) that have a block of H rows in ``weight_h``, in the order of the blocks."""
        return tuple((gate, operand) for gate in self.gates for operand in self.hidden_operands(gate))
