"""Back-propagation through time by the derived adjoint of a step, in torch operations.

Layers leave differentiation to torch; this is the derivation itself at work, to be compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.backends.reference import Step
from elman.cells.words import TORCH
from elman.compiler.adjoint import Adjoint, adjoint
from elman.compiler.graph import Graph

__all__ = ["Gradients", "backpropagate"]


class Gradients(NamedTuple):
    """What a loss wants of x ``(batch, time, input)``, the initial states and the packed parameters."""

    x: Tensor
    states: tuple[Tensor, ...]
    parameters: dict[str, Tensor]


def backpropagate(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    outputs: Tensor,
    final: Sequence[Tensor],
    noise: Tensor | None = None,
) -> Gradients:
    """Run a cell over x and back.

    Args:
        graph: the equations of a step.
        parameters: packed, as `elman.Cell` says; those that the cell has.
        x: ``(batch, time, input)``.
        state: the initial states, each ``(batch, hidden)``.
        outputs: gradient of the outputs, ``(batch, time, hidden)``.
        final: gradients of the final states, each ``(batch, hidden)``.
        noise: ``(batch, time, n · hidden)``, for a graph with n nodes of noise.

    Returns:
        The gradients of the loss; a gate's δ of all steps meets x and the states in one product.
    """
    batch, time, _ = x.shape
    hidden = outputs.shape[2]
    step, derived = Step(graph, parameters, hidden), adjoint(graph)
    inputs = step.inputs(x)
    forward: list[list[Any]] = []
    states: Sequence[Tensor] = state
    for t in range(time):
        drawn = None if noise is None else noise[:, t]
        forward.append(step.values(None if inputs is None else inputs[t], states, drawn))
        states = [forward[t][k] for k in graph.outputs]
    backward: list[list[Any]] = []
    zero = x.new_zeros(batch, hidden)
    wanted = list(final)
    for t in reversed(range(time)):
        wanted[0] = wanted[0] + outputs[:, t]
        values = _evaluate(derived, graph, parameters, forward[t], dict(zip(graph.states, wanted, strict=True)))
        wanted = [zero if k is None else values[k] for k in derived.states]
        backward.append(values)
    backward.reverse()

    def over_time(steps: list[list[Any]], k: int) -> Tensor:
        return torch.stack([torch.as_tensor(values[k], dtype=x.dtype) + zero for values in steps], dim=1)

    delta = {gate: over_time(backward, k) for gate, k in zip(graph.gates, derived.gates, strict=True)}
    sums = {
        "weight_x": [torch.einsum("bth,bti->hi", delta[gate], x) for gate in graph.input_blocks],
        "weight_h": [
            torch.einsum("bth,btk->hk", delta[gate], over_time(forward, operand))
            for gate, operand in graph.hidden_blocks
        ],
        "bias": [delta[gate].sum((0, 1)) for gate in graph.biases],
        "diagonal": [over_time(backward, k).sum((0, 1))[None] for k in derived.diagonals],
    }
    from_gates = torch.zeros_like(x)
    for k, gate in enumerate(graph.input_blocks):
        from_gates = from_gates + delta[gate] @ parameters["weight_x"][k * hidden : (k + 1) * hidden]
    return Gradients(from_gates, tuple(wanted), {name: torch.cat(parts) for name, parts in sums.items() if parts})


def _evaluate(
    derived: Adjoint,
    graph: Graph,
    parameters: Mapping[str, Tensor],
    forward: Sequence[Any],
    wanted: Mapping[str, Tensor],
) -> list[Any]:
    """Evaluate every node of the backward graph for one step."""
    values: list[Any] = []
    for node in derived.nodes:
        value: Any
        if node.op == "gradient":
            value = wanted[node.name]
        elif node.op == "forward":
            value = forward[int(node.value)]
        elif node.op == "constant":
            value = node.value
        elif node.op == "weight":
            value = parameters["diagonal"][graph.diagonals.index(node.name)]
        elif node.op == "transposed":
            (delta,) = (values[k] for k in node.operands)
            block = graph.hidden_blocks.index((node.name, graph.hidden_operands(node.name)[int(node.value)]))
            hidden = delta.shape[1]
            value = delta @ parameters["weight_h"][block * hidden : (block + 1) * hidden]
        else:
            value = TORCH[node.op](*(values[k] for k in node.operands))
        values.append(value)
    return values
