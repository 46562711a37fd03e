"""How the states of a step depend on each other, directly: ∂cₜ/∂cₜ₋₁ = diag(fₜ).

The adjoint of a step is linear in the gradients that come into it. Read backwards, what it does to the gradient of one
state on the way to another is a product with the Jacobian between the two: a pointwise product is diag(v), the product
with Uᵀ is U. The other states of the same step are cut loose first: what reaches a state through them belongs to their
Jacobians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Final

from elman.compiler.adjoint import adjoint
from elman.compiler.expression import ZERO, Expression, add, constant, factored, multiply, negate, operation, symbol
from elman.compiler.gradients import Gradients, spliced
from elman.compiler.graph import Graph, Node
from elman.compiler.values import Values

__all__ = ["jacobians"]

_ONE: Final = constant(1.0)
#: A sum of products diag(u) U diag(v) V ... diag(w): by what stands before the last diag, that one's vector.
_Products = dict[tuple[tuple[Expression, Expression], ...], Expression]


def jacobians(values: Values) -> dict[tuple[str, Expression], Expression]:
    """Derive the Jacobians of one step, by the new state and by what it reads: an old state or another new one.

    Example:
        >>> from elman.cells import RNNCell
        >>> from elman.compiler.notation import TEXT
        >>> from elman.compiler.values import free_letters
        >>> for (state, read), expression in jacobians(Values(RNNCell(2, 3).graph, free_letters({"x"}))).items():
        ...     print(state, TEXT.expression(read), TEXT.expression(expression))
        h hₜ₋₁ diag(1 − hₜ²) U
    """
    direct = _Direct(values)
    graph = values.graph
    reads = {f"old {state}": symbol(state, "t−1") for state in graph.states}
    reads |= {f"new {state}": symbol(state, "t") for state in values.owners.values()}
    found = {
        (state, read): direct.between(state, name)
        for state in graph.states
        for name, read in reads.items()
        if read != symbol(state, "t")
    }
    return {between: expression for between, expression in found.items() if expression != ZERO}


class _Direct(Gradients):
    """The adjoint of a step whose new states are cut loose from each other, as matrices."""

    def __init__(self, values: Values) -> None:
        cut, origin = _cut_loose(values)
        derived = adjoint(cut)
        super().__init__(values, derived, origin)
        self._leaves = dict(zip(cut.states, derived.states, strict=True))
        self._order = [values.matrix(gate, operand) for gate, operand in values.graph.hidden_blocks]
        self._linear: set[int] = set()
        for k, node in enumerate(derived.nodes):
            if node.op == "gradient" or self._linear & {*node.operands}:
                self._linear.add(k)

    def between(self, state: str, read: str) -> Expression:
        """The Jacobian of a new state by something that it reads."""
        leaf = self._leaves[read]
        products = {} if leaf is None else self._products(leaf, f"old {state}", {})
        ordered = sorted(products, key=lambda before: [self._order.index(matrix) for _, matrix in before])
        factors = ([*sum(before, ()), products[before]] for before in ordered)
        return add(*(self._written([term, *others]) for first, *others in factors for term in _short(first)))

    def _products(self, position: int, state: str, known: dict[int, _Products]) -> _Products:
        """What stands between the gradient of a state and a value of the backward step."""
        if position not in self._linear:
            return {}  # a 0, in the place of a gradient
        if position not in known:
            known[position] = self._found(
                self.derived.nodes[position], lambda k: self._products(k, state, known), state
            )
        return known[position]

    def _found(self, node: Node, products: Callable[[int], _Products], state: str) -> _Products:
        a, b = (*node.operands, 0, 0)[:2]
        match node.op:
            case "gradient":
                return {(): _ONE} if node.name == state else {}
            case "add":
                return _sum(products(a), products(b))
            case "negate":
                return _times(products(a), negate(_ONE))
            case "multiply":
                linear, factor = (a, b) if a in self._linear else (b, a)
                return _times(products(linear), self.value(factor))
            case "divide":
                return _times(products(a), operation("divide", _ONE, self.value(b)))
            case "where":
                return reduce(_sum, (_times(products(k), held) for k, held in self.sides(node)))
            case "transposed":
                operand = self.values.graph.hidden_operands(node.name)[int(node.value)]
                matrix = self.values.matrix(node.name, operand)
                return {(*before, (last, matrix)): _ONE for before, last in products(a).items()}
        raise NotImplementedError(f"{node.op} of a gradient")

    def _written(self, factors: list[Expression]) -> Expression:
        """Write a product: every second factor is a vector, whose diag it is, the others are matrices."""
        numbers, matrices = [_ONE], list[Expression]()
        for k, factor in enumerate(factors):
            number, vector = (_ONE, factor) if k % 2 else _apart(factor)
            numbers.append(number)
            if vector is not None:
                matrices.append(vector if k % 2 else Expression("diag", (vector,)))
        product = reduce(lambda a, b: operation("matrix", a, b), matrices or [self.values.identity])
        return multiply(*numbers, product)


def _cut_loose(values: Values) -> tuple[Graph, dict[int, int]]:
    """Let what reads a new state inside the step read a state of its own; also map positions back."""
    graph = values.graph
    own = {k: (Node("state", name=f"new {state}"),) for k, state in values.owners.items()}
    nodes, place, origin = spliced(graph, own)
    nodes = tuple(replace(n, name=f"old {n.name}") if n.op == "state" and n.name in graph.states else n for n in nodes)
    mine = [values.owners.get(k) == state for state, k in zip(graph.states, graph.outputs, strict=True)]
    outputs = [place[k] - own_one for k, own_one in zip(graph.outputs, mine, strict=True)]
    states = (*(f"old {state}" for state in graph.states), *(leaf.name for (leaf,) in own.values()))
    return replace(graph, nodes=nodes, states=states, outputs=(*outputs, *(place[k] for k in own))), origin


def _times(products: _Products, factor: Expression) -> _Products:
    """Multiply a sum of products from the right with a diag."""
    return {before: multiply(last, factor) for before, last in products.items()}


def _sum(a: _Products, b: _Products) -> _Products:
    """Add two sums of products."""
    return {k: factored(add(a.get(k, ZERO), b.get(k, ZERO))) for k in {**a, **b}}


def _short(vector: Expression) -> tuple[Expression, ...]:
    """The terms of a long sum, so that each has a diag of its own."""
    return vector.operands if vector.op == "add" and len(vector.operands) > 2 else (vector,)


def _apart(vector: Expression) -> tuple[Expression, Expression | None]:
    """The number in front of a vector, and the vector where more is left than 1."""
    unsigned = vector.operands[0] if vector.op == "negate" else vector
    parts = unsigned.operands if unsigned.op == "multiply" else (unsigned,)
    numbers = [part for part in parts if part.op == "constant"]
    rest = [part for part in parts if part.op != "constant"]
    number = multiply(_ONE, *numbers)
    return negate(number) if vector.op == "negate" else number, multiply(*rest) if rest else None
