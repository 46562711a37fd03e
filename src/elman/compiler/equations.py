"""The equations of a cell and of its back-propagation through time, as a textbook would write them.

From the graph of a step and its adjoint to equations between named values: trees, which `elman.compiler.notation`
prints. Gates and states keep their names: a gate that one non-linearity reads stands for what that makes of it, and its
δ is the gradient before the non-linearity. What is needed more than once and has no name gets a Greek letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from elman.compiler.adjoint import adjoint
from elman.compiler.expression import ZERO, Expression, add, operation, symbol
from elman.compiler.gradients import Gradients, spliced
from elman.compiler.graph import Graph, Node
from elman.compiler.usage import at_a_glance, uses
from elman.compiler.values import Equation, Values, free_letters, in_order

__all__ = ["Derivation", "Equation", "derive"]

_READ: Final = frozenset({"constant", "forward", "gradient", "weight", "less", "less_equal"})
_NEXT: Final = {"t−1": "t", "t": "t+1"}
_FIRST: Final = {"t−1": "0", "t": "1"}


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

    def sections(self) -> Iterator[tuple[str, tuple[Equation, ...]]]:
        """The groups of equations with their headings."""
        yield "Forward, t from 1 to T", self.forward
        yield "Backward, t from T to 1", self.backward
        yield "Gradients of the weights", self.parameters
        yield "Gradients of the inputs and of the initial state", self.inputs

    def notes(self) -> Iterator[tuple[str | Expression, ...]]:
        """What the reader has to know, sentence by sentence; expressions stand among the words."""
        loss, step, delta = symbol("L"), symbol("ℓ", "t"), symbol("δ")
        yield (
            "The loss is ",
            operation("equal", loss, operation("total", step)),
            ", where ",
            step,
            " is that of step t.",
        )
        yield (
            delta,
            " of a state is its gradient; ",
            delta,
            " of a gate is that of its pre-activation, before the ",
            "non-linearity.",
        )
        yield (
            "At t = T every gradient of step t + 1 is 0. A loss that also reads a final state adds to its ",
            delta,
            " there.",
        )
        if any(part.op == "indicator" for e in self.backward for part in e.expression.parts()):
            yield Expression("indicator", (symbol("condition"),)), " is 1 where the condition holds, and 0 elsewhere."


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
    greek = free_letters({"x", *graph.states, *graph.gates, *graph.diagonals})
    forward = Values(graph, greek)
    backward = _Backward(forward, greek)
    return Derivation(forward.equations(), backward.equations(), backward.parameters(), backward.inputs())


class _Backward(Gradients):
    """The gradients, of which those of states, gates and what is shared have a name."""

    def __init__(self, forward: Values, greek: Iterator[str]) -> None:
        graph = forward.graph
        watched = [*forward.owners, *forward.extra]
        probed, origin = _with_probes(graph, watched)
        super().__init__(forward, adjoint(probed), origin)
        totals = dict(zip(watched, self.derived.gates[len(graph.gates) :], strict=True))
        self._targets: dict[Expression, int] = {}
        for state, position in zip(graph.states, graph.outputs, strict=True):
            mine = forward.owners.get(position) == state
            self._target(f"δ{state}", totals[position] if mine else self._leaf(state))
        for gate, node in zip(graph.gates, self.derived.gates, strict=False):
            self._target(f"δ{gate}", node)
        self._name_shared({totals[position]: name for position, name in forward.extra.items()}, greek)

    def _leaf(self, state: str) -> int:
        """The position of what comes into a step for a state."""
        return next(k for k, node in enumerate(self.derived.nodes) if (node.op, node.name) == ("gradient", state))

    def _target(self, name: str, node: int) -> None:
        """Give a gradient its name; a second name of the same one becomes an equation between the two."""
        target = symbol(name, "t")
        self._targets[target] = node
        if self.derived.nodes[node].op != "constant":
            self.names.setdefault(node, target)

    def _name_shared(self, totals: Mapping[int, str], greek: Iterator[str]) -> None:
        """Name what is read more than once: δ of a named value, or a letter."""
        nodes = self.derived.nodes
        asked = {*self.derived.diagonals, *(k for k in self.derived.states if k is not None)}
        read = uses(nodes, {*asked, *self._targets.values()})
        read.update(asked)
        for k, node in enumerate(nodes):
            if read[k] < 2 or k in self.names or node.op in _READ:
                continue
            if not at_a_glance(nodes, node, lambda j: j in self.names or nodes[j].op == "forward"):
                self._target(f"δ{totals[k]}" if k in totals else next(greek), k)

    def definition(self, position: int) -> Expression:
        """What a value is; a gradient that comes into the step is what the loss and the step after want."""
        node = self.derived.nodes[position]
        if node.op == "gradient":
            return self._flowing_in(node.name)
        if node.op == "transposed":
            operand = self.values.graph.hidden_operands(node.name)[int(node.value)]
            matrix = operation("transpose", self.values.matrix(node.name, operand))
            return operation("matrix", matrix, self.value(node.operands[0]))
        return super().definition(position)

    def _flowing_in(self, state: str) -> Expression:
        """What the loss wants of a state itself, and through the step after."""
        graph = self.values.graph
        output, later = symbol(state, "t"), self._wanted_of(state).at(_NEXT)
        if state != graph.states[0]:
            return later
        return add(operation("partial", symbol("ℓ", "t"), output), later)

    def _wanted_of(self, state: str) -> Expression:
        """What a step wants of the old value of a state."""
        graph = self.values.graph
        node = self.derived.states[graph.states.index(state)]
        if node is None:
            return ZERO
        order = [symbol(f"δ{gate}", "t") for gate in graph.gates]
        wanted = self.value(node)
        if wanted.op != "add":
            return wanted
        return add(
            *sorted(
                wanted.operands, key=lambda term: max([order.index(s) for s in term.parts() if s in order], default=-1)
            )
        )

    def equations(self) -> tuple[Equation, ...]:
        """δ of states, then of gates, behind what they read of the same step."""
        ranked = {target: self.definition(node) for target, node in self._targets.items()}
        for target, node in self._targets.items():
            if node in self.names and self.names[node] != target:
                ranked[target] = self.names[node]
        return in_order(ranked)

    def parameters(self) -> tuple[Equation, ...]:
        """Gradients of the weights, gate by gate, and of the diagonals."""
        forward, graph = self.values, self.values.graph
        found: list[Equation] = []
        for gate in graph.gates:
            delta = symbol(f"δ{gate}", "t")
            for operand in graph.operands(gate):
                product = operation("matrix", delta, operation("transpose", forward.value(operand)))
                found.append(_summed(forward.matrix(gate, operand), product))
            if gate in graph.biases:
                found.append(_summed(forward.bias(gate), delta))
        for name, node in zip(graph.diagonals, self.derived.diagonals, strict=True):
            found.append(_summed(symbol(name), self.value(node)))
        return tuple(found)

    def inputs(self) -> tuple[Equation, ...]:
        """Gradients of x and of the states before the first step."""
        forward, graph = self.values, self.values.graph
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


def _with_probes(graph: Graph, watched: Collection[int]) -> tuple[Graph, dict[int, int]]:
    """Add a disturbance to some values, whose δ are the gradients of these values; also map positions back."""
    probes = {k: f"disturbance {k}" for k in watched}
    disturbed = {k: (Node("affine", name=name), Node("add", (0, 1))) for k, name in probes.items()}
    nodes, place, origin = spliced(graph, disturbed)
    outputs = tuple(place[k] for k in graph.outputs)
    return replace(graph, nodes=nodes, outputs=outputs, gates=(*graph.gates, *probes.values())), origin
