"""The work of a plan: its matrix products with their sizes, and the operations that follow from them unit by unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from elman.compiler.graph import ARITY, Graph, Node
from elman.compiler.plan import Plan

__all__ = [
    "Product",
    "Sizes",
    "backward_operations",
    "backward_products",
    "forward_operations",
    "forward_products",
    "gradient_products",
]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run: rows of the batch, time steps, features of x and units."""

    batch: int
    steps: int
    features: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product of a run, ``(rows, inner)`` times ``(inner, columns)``.

    Attributes:
        what: ``W x`` and ``U h`` forward; backward ``Uᵀ δ`` for an old state or value, ``Wᵀ δ`` for x, and for the
            weights ``δ xᵀ`` and ``δ hᵀ``. A value computed inside the step is v.
        gates: whose weights take part.
        rows: of the left factor.
        inner: numbers in each sum.
        columns: of the right factor.
        flops: floating-point operations in all steps of the run together; a multiplication and a sum are two.
    """

    what: str
    gates: tuple[str, ...]
    rows: int
    inner: int
    columns: int
    flops: int


def forward_products(plan: Plan, sizes: Sizes) -> tuple[tuple[Product, ...], ...]:
    """Return the products of each phase of a step.

    Example:
        >>> from elman.cells import LSTMCell
        >>> from elman.compiler.plan import plan
        >>> ((x, h),) = forward_products(plan(LSTMCell(2, 3).graph), Sizes(batch=4, steps=5, features=2, hidden=3))
        >>> (x.what, x.rows, x.inner, x.columns, x.flops)
        ('W x', 4, 2, 12, 960)
    """
    graph = plan.graph
    return tuple(
        tuple(
            _product(
                f"{'W' if graph.nodes[product.operand].op == 'input' else 'U'} {_name(graph, product.operand)}",
                product.gates,
                (sizes.batch, _width(graph, product.operand, sizes), len(product.gates) * sizes.hidden),
                1,
                sizes,
            )
            for product in phase.products
        )
        for phase in plan.forward
    )


def backward_products(plan: Plan, sizes: Sizes) -> tuple[tuple[Product, ...], ...]:
    """Return the products of each phase of a step backward: those that carry δ to the values before."""
    return tuple(
        tuple(
            _product(
                f"Uᵀ δ for {_name(plan.graph, product.operand)}",
                product.gates,
                (sizes.batch, len(product.gates) * sizes.hidden, sizes.hidden),
                1,
                sizes,
            )
            for product in phase.products
        )
        for phase in plan.backward
    )


def gradient_products(plan: Plan, sizes: Sizes, wanted: Collection[str], chunk: int) -> tuple[Product, ...]:
    """Return the products that give gradients of weights and x, done for ``chunk`` steps at once.

    Args:
        plan: of a cell.
        sizes: of the run.
        wanted: names of gradients: ``x``, ``weight_x``, ``weight_h``; others need no product.
        chunk: steps that are done at once.
    """
    graph, rows = plan.graph, chunk * sizes.batch
    gates = graph.input_blocks
    products = []
    if "x" in wanted and gates:
        shape = (rows, len(gates) * sizes.hidden, sizes.features)
        products.append(_product("Wᵀ δ for x", gates, shape, chunk, sizes))
    if "weight_x" in wanted and gates:
        shape = (len(gates) * sizes.hidden, rows, sizes.features)
        products.append(_product("δ xᵀ", gates, shape, chunk, sizes))
    if "weight_h" in wanted:
        for operand in dict.fromkeys(operand for _, operand in graph.hidden_blocks):
            readers = tuple(gate for gate, read in graph.hidden_blocks if read == operand)
            shape = (len(readers) * sizes.hidden, rows, sizes.hidden)
            products.append(_product(f"δ {_name(graph, operand)}ᵀ", readers, shape, chunk, sizes))
    return tuple(products)


def _product(what: str, gates: tuple[str, ...], shape: tuple[int, int, int], every: int, sizes: Sizes) -> Product:
    rows, inner, columns = shape
    return Product(what, gates, rows, inner, columns, 2 * rows * inner * columns * sizes.steps // every)


def _name(graph: Graph, position: int) -> str:
    node = graph.nodes[position]
    return {"input": "x", "state": node.name}.get(node.op, "v")


def _width(graph: Graph, position: int, sizes: Sizes) -> int:
    return sizes.features if graph.nodes[position].op == "input" else sizes.hidden


def forward_operations(plan: Plan) -> tuple[Counter[str], ...]:
    """Return how often each operation is done for one unit of a row, in each phase of a step.

    A weight of a unit times a value is a ``diagonal``. What adds up the products and the bias of a gate is no
    operation of the graph and not counted.

    Example:
        >>> from elman.cells import LSTMCell
        >>> from elman.compiler.plan import plan
        >>> (phase,) = forward_operations(plan(LSTMCell(2, 3).graph))
        >>> sorted(phase.items())
        [('add', 1), ('multiply', 3), ('sigmoid', 3), ('tanh', 2)]
    """
    graph, counts = plan.graph, []
    for p, phase in enumerate(plan.forward):
        known = {k for earlier in plan.forward[:p] for k in (*earlier.kept, *earlier.crossing)}
        asked = [*(graph.outputs[s] for s in phase.states), *phase.operands, *phase.kept, *phase.crossing]
        counts.append(_count(_reached(graph.nodes, asked, known)))
    return tuple(counts)


def backward_operations(plan: Plan) -> tuple[Counter[str], ...]:
    """Return the same for the phases of a step backward, with values of the step that are computed again."""
    graph, derived, counts = plan.graph, plan.adjoint, []
    for p, phase in enumerate(plan.backward):
        known = {k for earlier in plan.backward[:p] for k in earlier.crossing}
        asked = [
            *(derived.gates[g] for g in phase.gates),
            *(derived.diagonals[d] for d in phase.diagonals),
            *(k for s in phase.states if (k := derived.states[s]) is not None),
            *phase.crossing,
        ]
        reached = _reached(derived.nodes, asked, known)
        again = [*(int(node.value) for node in reached if node.op == "forward"), *phase.operands]
        count = _count(reached) + _count(_reached(graph.nodes, again, plan.kept))
        count["add"] -= _added_by_products(graph, reached)
        counts.append(+count)
    return tuple(counts)


def _added_by_products(graph: Graph, nodes: Iterable[Node]) -> int:
    """Return how many sums a product does: it gives the shares of all gates that read a value as one."""
    shares = [graph.hidden_operands(node.name)[int(node.value)] for node in nodes if node.op == "transposed"]
    return len(shares) - len(set(shares))


def _reached(nodes: Sequence[Node], asked: Iterable[int], known: Collection[int]) -> list[Node]:
    """Return what is evaluated, or read, to give some values where others are known."""
    reached: dict[int, Node] = {}
    rest = list(asked)
    while rest:
        position = rest.pop()
        if position not in reached and position not in known:
            node = reached[position] = nodes[position]
            rest += node.operands if _is_operation(node) else ()
    return list(reached.values())


def _is_operation(node: Node) -> bool:
    return node.op in ARITY or node.op == "diagonal"


def _count(nodes: Iterable[Node]) -> Counter[str]:
    return Counter(node.op for node in nodes if _is_operation(node))
