"""The reference backend: one layer and direction over all steps, in torch operations.

The product of x with the weights of all gates is done for all steps at once; inside a step, each state or value is
multiplied once with the weights of all gates that read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells.words import TORCH
from elman.compiler.graph import Graph
from elman.compiler.schedule import Group, Schedule, schedule

__all__ = ["Step", "unroll"]


def unroll(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    *,
    valid: Tensor | None = None,
    reset: Tensor | None = None,
    noise: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over all steps of a sequence.

    Args:
        graph: the equations of a step.
        parameters: ``weight_x``, ``weight_h``, ``bias``, ``diagonal``, packed as `elman.Cell` says; those that the
            cell has.
        x: ``(batch, time, input)``, finite also where it is not valid.
        state: the initial states, each ``(batch, hidden)``.
        valid: bool ``(batch, time)``: where false, a row keeps its states and its output is zero.
        reset: bool ``(batch, time)``: where true, a row's sequence ends before this step and another begins from zero
            states. False where not valid.
        noise: ``(batch, time, n · hidden)``, for a graph with n nodes of noise.
        reverse: run from the last step to the first.

    Returns:
        The outputs (first state of each step) ``(batch, time, hidden)``, and the states after the last step done.
    """
    time = x.shape[1]
    hidden = state[0].shape[1]
    step = Step(graph, parameters, hidden)
    inputs = step.inputs(x)
    zero = x.new_zeros(())
    fresh = None if reset is None else _fresh(reset, reverse)
    outputs: list[Tensor] = [zero] * time
    states = tuple(state)
    for t in reversed(range(time)) if reverse else range(time):
        if fresh is not None:
            states = tuple(torch.where(fresh[:, t, None], zero, s) for s in states)
        new = step(None if inputs is None else inputs[t], states, None if noise is None else noise[:, t])
        if valid is not None:
            new = tuple(torch.where(valid[:, t, None], n, s) for n, s in zip(new, states, strict=True))
        outputs[t], states = new[0], new
    stacked = torch.stack(outputs, dim=1)
    return (stacked if valid is None else torch.where(valid[:, :, None], stacked, zero)), states


def _fresh(reset: Tensor, reverse: bool) -> Tensor:
    """Before which steps the states are zeroed, in the order of the run.

    A reset lies between step t - 1 and step t; who comes from the right meets it before step t - 1.
    """
    if not reverse:
        return reset
    return torch.cat([reset[:, 1:], torch.zeros_like(reset[:, :1])], dim=1)


class Step:
    """One step of a graph with its weights laid out for grouped products."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Tensor], hidden: int) -> None:
        self._graph = graph
        self._hidden = hidden
        self._schedule: Schedule = schedule(graph)
        input_order = [graph.input_blocks.index(gate) for gate in self._schedule.input_gates]
        self._weight_x = _blocks(parameters["weight_x"], input_order, hidden) if input_order else None
        self._weights_h = {
            operand: _blocks(
                parameters["weight_h"], [graph.hidden_blocks.index((gate, operand)) for gate in gates], hidden
            ).transpose(0, 1)
            for operand, gates in self._schedule.hidden_gates.items()
        }
        self._bias = parameters.get("bias")
        self._diagonals = {name: parameters["diagonal"][k] for k, name in enumerate(graph.diagonals)}
        self._group = {gate: group for group in self._schedule.groups for gate in group.gates}

    def inputs(self, x: Tensor) -> Sequence[Tensor] | None:
        """Return W x + b of all gates that read x, for all steps at once: a ``(batch, gates · hidden)`` a step."""
        if self._weight_x is None:
            return None
        bias = self._biases(self._schedule.input_gates)
        return F.linear(x.transpose(0, 1), self._weight_x, bias).unbind(0)

    def __call__(
        self, inputs: Tensor | None, states: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the new states."""
        values = self.values(inputs, states, noise)
        return tuple(values[k] for k in self._graph.outputs)

    def values(self, inputs: Tensor | None, states: Sequence[Tensor], noise: Tensor | None = None) -> list[Any]:
        """Evaluate every node of the graph, in its order; None stands for x."""
        values: list[Any] = []
        products: dict[int, Tensor] = {}
        gates: dict[str, Tensor] = {}
        waiting = iter(states)
        for node in self._graph.nodes:
            value: Any
            if node.op == "input":
                value = None  # read through `inputs` alone
            elif node.op == "state":
                value = next(waiting)
            elif node.op == "constant":
                value = node.value
            elif node.op == "noise" and noise is not None:
                value = noise.narrow(1, int(node.value) * self._hidden, self._hidden)
            elif node.op == "diagonal":
                value = values[node.operands[0]] * self._diagonals[node.name]
            elif node.op == "affine":
                if node.name not in gates:
                    group = self._group[node.name]
                    total = self._pre_activations(group, inputs, values, products)
                    gates.update(zip(group.gates, total.chunk(len(group.gates), dim=1), strict=True))
                value = gates[node.name]
            else:
                value = TORCH[node.op](*(values[k] for k in node.operands))
            values.append(value)
        return values

    def _pre_activations(
        self, group: Group, inputs: Tensor | None, values: Sequence[Any], products: dict[int, Tensor]
    ) -> Tensor:
        """Return W x + U h + ... + b of a group's gates, ``(batch, gates · hidden)``."""
        total: Tensor | None
        if group.reads_input and inputs is not None:
            total = self._columns(inputs, self._schedule.input_gates, group)
        else:
            total = self._biases(group.gates)
        for operand in group.operands:
            value, sharers = values[operand], self._schedule.hidden_gates[operand]
            if len(sharers) == len(group.gates) and total is not None:
                total = torch.addmm(total, value, self._weights_h[operand])
                continue
            if operand not in products:
                products[operand] = value @ self._weights_h[operand]
            product = self._columns(products[operand], sharers, group)
            total = product if total is None else total + product
        assert total is not None  # a gate has an operand
        return total

    def _columns(self, product: Tensor, gates: Sequence[str], group: Group) -> Tensor:
        """Take a group's columns out of a product that several groups share."""
        start = gates.index(group.gates[0]) * self._hidden
        return product.narrow(1, start, len(group.gates) * self._hidden)

    def _biases(self, gates: Sequence[str]) -> Tensor | None:
        """Return the biases of some gates in a row, zeros for those without; None where none has one."""
        known = self._graph.biases
        if self._bias is None or not any(gate in known for gate in gates):
            return None
        if all(gate in known for gate in gates):
            return _blocks(self._bias, [known.index(gate) for gate in gates], self._hidden)
        zeros = self._bias.new_zeros(self._hidden)
        blocks = torch.split(self._bias, self._hidden)
        return torch.cat([blocks[known.index(gate)] if gate in known else zeros for gate in gates])


def _blocks(packed: Tensor, order: Sequence[int], hidden: int) -> Tensor:
    """Take blocks of H rows out of a packed parameter, in this order; a view where they stand in it already."""
    if list(order) == list(range(order[0], order[0] + len(order))):
        return packed.narrow(0, order[0] * hidden, len(order) * hidden)
    blocks = torch.split(packed, hidden)
    return torch.cat([blocks[k] for k in order])
