"""Back-propagation through one step, derived from its graph.

The adjoint of a step takes what the loss wants of the new states (their gradients) and says what it wants of the old
states, of every gate's pre-activation and of every diagonal. Run from the last step to the first, where the gradients
of a step's old states are those of the new states of the step before, it is back-propagation through time.

With δ the gradient of a gate's pre-activation W x + U h + b, the sums over rows and steps of δ xᵀ, δ hᵀ and δ are the
gradients of W, U and b, and Wᵀ δ is that of x: large products that need nothing of the step itself.

Source: P. J. Werbos, Backpropagation Through Time: What It Does and How to Do It, Proceedings of the IEEE 78 (1990).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from elman.compiler.graph import Graph, Node, Nodes

__all__ = ["Adjoint", "adjoint"]


@dataclass(frozen=True, slots=True)
class Adjoint:
    """The backward graph of a step.

    Its nodes are constants (logarithms are named ``log``), pointwise operations of `elman.compiler.graph.ARITY`, and

    - ``forward``: a value of the forward step, whose position there is ``value``;
    - ``gradient``: what the loss wants of the new value of the state ``name``;
    - ``weight``: the weights of the diagonal ``name``;
    - ``transposed``: Uᵀ δ, where δ is the operand, of the gate ``name``; ``value`` is the position of U among the
      gate's hidden operands.

    Attributes:
        nodes: in the order of evaluation.
        states: gradients of the old states; None where the step reads a state nowhere.
        gates: δ of each gate.
        diagonals: gradients of each diagonal's weights, before the sum over rows and steps.
    """

    nodes: tuple[Node, ...]
    states: tuple[int | None, ...]
    gates: tuple[int, ...]
    diagonals: tuple[int, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        """Positions of the forward values that the backward step reads: what has to be kept or computed again."""
        return tuple(sorted(int(node.value) for node in self.nodes if node.op == "forward"))


def adjoint(graph: Graph) -> Adjoint:
    """Derive the backward graph of a step.

    Example:
        >>> from elman.cells import RNNCell
        >>> for node in adjoint(RNNCell(2, 3).graph).nodes:
        ...     print(node.op, node.operands, node.name, node.value)
        gradient () h 0.0
        forward () tanh 3.0
        multiply (1, 1)  0.0
        constant ()  1.0
        subtract (3, 2)  0.0
        multiply (0, 4)  0.0
        transposed (5,) n 0.0
    """
    builder = _Builder(graph)
    for state, output in zip(graph.states, graph.outputs, strict=True):
        builder.add_to(output, builder.node("gradient", name=state))
    for position in reversed(range(len(graph.nodes))):
        builder.visit(position)
    return builder.result()


class _Builder:
    """Collects the backward nodes; equal values get one node, and products with 1 are not written down."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = Nodes()
        self._gradients: dict[int, int] = {}
        self._gates: dict[str, int] = {}
        self._diagonals: dict[str, int] = {}

    def node(self, op: str, *operands: int, name: str = "", value: float = 0.0) -> int:
        """Record a node, or find the equal one, and return its position."""
        return self._nodes.position(Node(op, operands, name, value))

    def constant(self, value: float) -> int:
        """Record a number."""
        return self.node("constant", value=value)

    def forward(self, position: int) -> int:
        """Read a value of the forward step."""
        node = self._graph.nodes[position]
        if node.op == "constant":
            return self.constant(node.value)
        return self.node("forward", name=node.name or node.op, value=float(position))

    def times(self, a: int, b: int) -> int:
        """Record a product."""
        for one, other in ((a, b), (b, a)):
            if self._nodes[one].op == "constant" and self._nodes[one].value == 1.0:
                return other
        return self.node("multiply", a, b)

    def log(self, position: int) -> int:
        """Record the logarithm of a forward value."""
        node = self._graph.nodes[position]
        if node.op == "constant":
            return self.node("constant", name="log", value=math.log(node.value))
        return self.node("log", self.forward(position))

    def add_to(self, position: int, gradient: int) -> None:
        """Add to the gradient of a forward value."""
        if position in self._gradients:
            gradient = self.node("add", self._gradients[position], gradient)
        self._gradients[position] = gradient

    def visit(self, position: int) -> None:
        """Hand the gradient of a forward value on to its operands."""
        node = self._graph.nodes[position]
        if position not in self._gradients or node.op in {"input", "state", "constant", "noise"}:
            return
        gradient = self._gradients[position]
        if node.op == "affine":
            self._gates[node.name] = gradient
            for k, operand in enumerate(self._graph.hidden_operands(node.name)):
                self.add_to(operand, self.node("transposed", gradient, name=node.name, value=float(k)))
        elif node.op == "diagonal":
            (operand,) = node.operands
            self._diagonals[node.name] = self.times(gradient, self.forward(operand))
            self.add_to(operand, self.times(gradient, self.node("weight", name=node.name)))
        else:
            for operand, rule in zip(node.operands, _RULES[node.op], strict=True):
                if rule is not None and self._graph.nodes[operand].op not in {"constant", "noise"}:
                    self.add_to(operand, rule(self, gradient, node.operands, position))

    def result(self) -> Adjoint:
        """Gather what was asked for; a gate that only a comparison reads has no gradient."""
        graph = self._graph
        return Adjoint(
            states=tuple(self._gradients.get(graph.index("state", state)) for state in graph.states),
            gates=tuple(self._gates[gate] if gate in self._gates else self.constant(0.0) for gate in graph.gates),
            diagonals=tuple(
                self._diagonals[name] if name in self._diagonals else self.constant(0.0) for name in graph.diagonals
            ),
            nodes=tuple(self._nodes),
        )


#: How a pointwise operation hands its gradient to one of its operands: (builder, gradient, operands, result).
_Rule = Callable[[_Builder, int, tuple[int, ...], int], int]


def _chosen(builder: _Builder, smaller: int, larger: int, gradient: int, otherwise: int) -> int:
    """The gradient where one value is smaller than another."""
    return builder.node("where", builder.node("less", smaller, larger), gradient, otherwise)


def _abs(builder: _Builder, gradient: int, operands: tuple[int, ...], _: int) -> int:
    a, zero = builder.forward(operands[0]), builder.constant(0.0)
    falling = _chosen(builder, a, zero, builder.node("negate", gradient), zero)
    return _chosen(builder, zero, a, gradient, falling)


def _base(builder: _Builder, gradient: int, operands: tuple[int, ...], _: int) -> int:
    """Of a in a^b: b a^(b-1)."""
    a, b = map(builder.forward, operands)
    below = builder.node("power", a, builder.node("subtract", b, builder.constant(1.0)))
    return builder.times(gradient, builder.times(b, below))


def _exponent(builder: _Builder, gradient: int, operands: tuple[int, ...], result: int) -> int:
    """Of b in a^b: a^b log a."""
    return builder.times(gradient, builder.times(builder.forward(result), builder.log(operands[0])))


def _extreme(mine: int, *, largest: bool) -> _Rule:
    """Of one operand of maximum or minimum; where they are equal, each gets half."""

    def rule(builder: _Builder, gradient: int, operands: tuple[int, ...], _: int) -> int:
        me, other = builder.forward(operands[mine]), builder.forward(operands[1 - mine])
        win, lose = ((other, me), (me, other)) if largest else ((me, other), (other, me))
        half = builder.times(gradient, builder.constant(0.5))
        return _chosen(builder, *win, gradient, _chosen(builder, *lose, builder.constant(0.0), half))

    return rule


def _minus(builder: _Builder, value: int) -> int:
    return builder.node("negate", value)


def _one_minus(builder: _Builder, value: int) -> int:
    return builder.node("subtract", builder.constant(1.0), value)


_RULES: Final[dict[str, tuple[_Rule | None, ...]]] = {
    "add": (lambda _b, g, _o, _r: g, lambda _b, g, _o, _r: g),
    "subtract": (lambda _b, g, _o, _r: g, lambda b, g, _o, _r: _minus(b, g)),
    "multiply": (
        lambda b, g, o, _r: b.times(g, b.forward(o[1])),
        lambda b, g, o, _r: b.times(g, b.forward(o[0])),
    ),
    "divide": (
        lambda b, g, o, _r: b.node("divide", g, b.forward(o[1])),
        lambda b, g, o, r: _minus(b, b.node("divide", b.times(g, b.forward(r)), b.forward(o[1]))),
    ),
    "power": (_base, _exponent),
    "negate": (lambda b, g, _o, _r: _minus(b, g),),
    "abs": (_abs,),
    "exp": (lambda b, g, _o, r: b.times(g, b.forward(r)),),
    "log": (lambda b, g, o, _r: b.node("divide", g, b.forward(o[0])),),
    "maximum": (_extreme(0, largest=True), _extreme(1, largest=True)),
    "minimum": (_extreme(0, largest=False), _extreme(1, largest=False)),
    "relu": (lambda b, g, _o, r: _chosen(b, b.constant(0.0), b.forward(r), g, b.constant(0.0)),),
    "sigmoid": (lambda b, g, _o, r: b.times(g, b.times(b.forward(r), _one_minus(b, b.forward(r)))),),
    "softplus": (lambda b, g, o, _r: b.times(g, b.node("sigmoid", b.forward(o[0]))),),
    "sqrt": (lambda b, g, _o, r: b.node("divide", g, b.times(b.constant(2.0), b.forward(r))),),
    "tanh": (lambda b, g, _o, r: b.times(g, _one_minus(b, b.times(b.forward(r), b.forward(r)))),),
    "less": (None, None),
    "less_equal": (None, None),
    "where": (
        None,
        lambda b, g, o, _r: b.node("where", b.forward(o[0]), g, b.constant(0.0)),
        lambda b, g, o, _r: b.node("where", b.forward(o[0]), b.constant(0.0), g),
    ),
}
