"""Recurrent layers as TensorBoard draws them: the cell's step once, as its equations, not a copy for each time step."""

from __future__ import annotations

from collections.abc import Iterator

from elman.cells import Cell
from elman.layers import Recurrent
from elman.training import GraphNode

__all__ = ["draw_linear", "draw_recurrent"]

_TITLES = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "negate": "Neg",
    "less": "Less",
    "less_equal": "LessEqual",
    "where": "Select",
}


def draw_recurrent(layer: Recurrent, scope: str, source: str) -> tuple[list[GraphNode], list[str]]:
    """Draw a recurrent layer.

    Args:
        layer: the layer.
        scope: the name that its nodes stand under.
        source: the node that it reads.

    Returns:
        The nodes, and the names of those that hold the outputs of the last layer, one a direction.
    """
    nodes: list[GraphNode] = []
    if layer.projection is not None:
        name = f"{scope}/projection"
        nodes += draw_linear(name, source, layer.projection.out_features)
        source = f"{name}/output"
    sources = [source]
    for k in range(layer.num_layers):
        outputs = []
        for place, cell in list(layer.named_cells())[k * layer.directions : (k + 1) * layer.directions]:
            nodes += _draw_cell(cell, f"{scope}/{place}", sources)
            outputs.append(f"{scope}/{place}/outputs")
        sources = outputs
    return nodes, sources


def draw_linear(scope: str, source: str, size: int) -> list[GraphNode]:
    """Draw ``W x + b`` under a name; its value is ``scope/output``."""
    return [
        GraphNode(f"{scope}/weight", "Parameter"),
        GraphNode(f"{scope}/bias", "Parameter", shape=(size,)),
        GraphNode(f"{scope}/output", "Linear", (source, f"{scope}/weight", f"{scope}/bias"), (-1, -1, size)),
    ]


def _draw_cell(cell: Cell, scope: str, sources: list[str]) -> Iterator[GraphNode]:
    """Draw the step of a cell: the states come from the step before, which a loop cannot show, so they are sources."""
    graph = cell.graph
    names: list[str] = []
    per_step, hidden = (-1, -1, cell.hidden_size), cell.hidden_size
    for k, node in enumerate(graph.nodes):
        title = _TITLES.get(node.op, node.op.capitalize())
        name = f"{scope}/step/{node.name or f'{title.lower()}_{k}'}"
        inputs = [names[operand] for operand in node.operands]
        if node.op == "input":
            yield GraphNode(name, "ConcatDirections" if len(sources) > 1 else "Input", tuple(sources))
        elif node.op == "state":
            name = f"{scope}/step/{node.name}_before"
            yield GraphNode(name, "StateOfStepBefore", shape=per_step)
        elif node.op == "constant":
            yield GraphNode(name, "Const", attributes={"value": repr(node.value)})
        elif node.op in {"affine", "diagonal"}:
            for weight, value in _weights(cell, node.name):
                yield GraphNode(f"{name}/{weight}", "Parameter", shape=value)
                inputs.append(f"{name}/{weight}")
            name = f"{name}/{node.op}"
            yield GraphNode(name, node.op.capitalize(), tuple(inputs), per_step)
        else:
            yield GraphNode(name, title, tuple(inputs), per_step)
        names.append(name)
    for state, k in zip(graph.states, graph.outputs, strict=True):
        yield GraphNode(f"{scope}/step/{state}_after", "StateOfStep", (names[k],), (-1, -1, hidden))
    yield GraphNode(f"{scope}/outputs", "Outputs", (f"{scope}/step/{graph.states[0]}_after",), per_step)


def _weights(cell: Cell, gate: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, value, _ in cell.named_gate_parameters():
        owner, _, weight = name.partition("/")
        if owner == gate:
            yield weight or "weight", tuple(value.shape)
