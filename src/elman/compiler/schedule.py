"""Group the matrix products of a graph: many small ones become few large ones.

Gates that read the same values form a group; a group's pre-activations are computed together, as one block of columns.
All groups that read a value share one product with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from elman.compiler.graph import Graph

__all__ = ["Group", "Schedule", "schedule"]


@dataclass(frozen=True, slots=True)
class Group:
    """Gates that read the same values: ``reads_input`` says whether x, ``operands`` which nodes of size H."""

    gates: tuple[str, ...]
    reads_input: bool
    operands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The groups of a graph and, for each product, which gates' blocks it takes in which order.

    Attributes:
        groups: in the order of the first gate of each.
        input_gates: columns of the product with x, a block of H a gate; gates of a group stand together.
        hidden_gates: the same for the product with each value of size H, by node.
    """

    groups: tuple[Group, ...]
    input_gates: tuple[str, ...]
    hidden_gates: dict[int, tuple[str, ...]]


def schedule(graph: Graph) -> Schedule:
    """Group the gates of a graph by what they read."""
    members: dict[tuple[bool, tuple[int, ...]], list[str]] = {}
    for gate in graph.gates:
        reads = (graph.reads_input(gate), tuple(sorted(graph.hidden_operands(gate))))
        members.setdefault(reads, []).append(gate)
    groups = tuple(Group(tuple(gates), reads_input, operands) for (reads_input, operands), gates in members.items())
    operands = dict.fromkeys(operand for group in groups for operand in group.operands)
    return Schedule(
        groups=groups,
        input_gates=tuple(gate for group in groups if group.reads_input for gate in group.gates),
        hidden_gates={k: tuple(g for group in groups if k in group.operands for g in group.gates) for k in operands},
    )
