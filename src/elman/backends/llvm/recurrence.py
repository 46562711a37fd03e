"""Run a cell over time, and back, in compiled code: one layer and direction on plain tensors.

Nothing here knows of autograd; `elman.backends.dispatch` decides who runs, and `elman.backends.operator` makes it a
citizen of PyTorch.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from elman.backends.llvm import runtime
from elman.backends.llvm.draft import Sizes, stack_program, step_program
from elman.backends.llvm.layout import backward_layout, forward_layout
from elman.backends.llvm.memory import rows_together, whole
from elman.backends.untraced import untraced
from elman.compiler.graph import Graph
from elman.compiler.plan import plan

__all__ = ["Run", "Step", "backward", "forward", "kept_size", "refusal", "stack"]


class Run(NamedTuple):
    """What a run gives: outputs ``(batch, time, hidden)``, final states, and what the way back needs."""

    outputs: Tensor
    states: tuple[Tensor, ...]
    kept: Tensor | None


def refusal(graph: Graph, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> str | None:
    """Say why the compiled code cannot run this; None where it can."""
    if not x.shape[0]:
        return "x has no rows"
    return runtime.refusal(x, *state, *parameters.values())


def kept_size(graph: Graph, batch: int, time: int, hidden: int, dtype: torch.dtype) -> int:
    """Return how many numbers a run keeps for the way back: the states before each step, and values of the steps."""
    cell, width = plan(graph), runtime.shape(dtype.itemsize).lanes
    matrix = -(-hidden // width) * width * (batch | 1)
    return matrix * ((time + 1) * len(graph.states) + time * len(cell.kept))


@untraced
def forward(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    *,
    valid: Tensor | None = None,
    reset: Tensor | None = None,
    noise: Tensor | None = None,
    reverse: bool = False,
    keep: bool = False,
) -> Run:
    """Run a cell over all steps; see `elman.backends.reference.unroll`. ``keep`` what `backward` needs, or nothing."""
    batch, time, features = x.shape
    hidden = state[0].shape[1]
    layout = forward_layout(graph, x.element_size(), batch, time, features, hidden, keep, runtime.team())
    outputs = x.new_empty(batch, time, hidden)
    final = tuple([x.new_empty(batch, hidden) for _ in graph.states])
    kept, work = x.new_empty(layout.kept), x.new_empty(layout.work)
    x, state = rows_together(x), [rows_together(s) for s in state]
    noise = None if noise is None else rows_together(noise)
    weights = [(name, whole(parameter)) for name, parameter in parameters.items()]
    flags = _flags(valid, reset, reverse)
    ends = [(old.data_ptr(), old.stride(0), new.data_ptr(), hidden) for old, new in zip(state, final, strict=True)]
    layout.run(
        [
            *layout.strided(x.data_ptr(), x.stride(0), x.stride(1), reverse),
            *layout.strided(*_place(noise), reverse),
            *layout.strided(outputs.data_ptr(), time * hidden, hidden, reverse),
            *(0 if flags is None else flags.data_ptr(), kept.data_ptr(), work.data_ptr()),
            *_addresses(weights),
            *itertools.chain.from_iterable(ends),
        ]
    )
    return Run(outputs, final, kept if keep else None)


@untraced
def stack(
    graph: Graph,
    parameters: Sequence[Mapping[str, Tensor]],
    x: Tensor,
    state: Sequence[Tensor],
    directions: int,
    valid: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run layers on top of each other, keeping nothing: what `forward` does, with little between the layers.

    Args:
        graph: the equations of a step.
        parameters: of each layer, and in it of each direction.
        x: ``(batch, time, input)``.
        state: the initial states, each ``(batch, layers, directions, hidden)``.
        directions: 1 or 2.
        valid: as in `forward`.
        reset: as in `forward`.

    Returns:
        The outputs of the last layer ``(batch, time, directions · hidden)``, and the final states, shaped as ``state``.
    """
    batch, time, features = x.shape
    _, layers, _, hidden = state[0].shape
    x, state, size = rows_together(x), [whole(s) for s in state], x.element_size()
    row, step, _ = x.stride()
    shapes, names = (batch, time, features, hidden, layers, directions), tuple(parameters[0])
    program, numbers = stack_program(graph, size, *shapes, names, runtime.team())
    memory, outputs = x.new_empty(numbers), x.new_empty(batch, time, directions * hidden)
    final = tuple([torch.empty_like(s) for s in state])
    flags = [_flags(valid, reset, False), _flags(valid, reset, True) if directions == 2 else None]
    weights = [whole(own[name]) for own in parameters for name in names]
    program(
        [
            *(x.data_ptr(), row, step, x.data_ptr() + (time - 1) * step * size, -step),
            *(outputs.data_ptr(), memory.data_ptr()),
            *[0 if each is None else each.data_ptr() for each in flags],
            *[tensor.data_ptr() for tensor in (*state, *final, *weights)],
        ]
    )
    return outputs, final


class Step:
    """Steps of a model on inputs of one kind; nothing is checked here.

    ``outputs, state = step(inputs, state)``

    Args:
        graph: the equations of a step.
        sizes: of all parts.
        names: of the weights, as `step_program` has them.
        weights: their addresses.
        inputs: such as the steps will have.
        state: the same.
        team: how many threads a step may use.

    Shapes:
        - inputs: words ``(batch,)``, or x ``(batch, features)``; in one piece.
        - state: each ``(batch, layers, 1, hidden)``, in one piece; so are the new states.
        - outputs: log-probabilities ``(batch, vocabulary)``, or those of the layers ``(batch, hidden)``.
    """

    def __init__(
        self,
        graph: Graph,
        sizes: Sizes,
        names: tuple[str, ...],
        weights: Sequence[int],
        inputs: Tensor,
        state: Sequence[Tensor],
        team: int,
    ) -> None:
        batch = inputs.shape[0]
        self._shape = (batch, sizes.hidden if sizes.readout is None else sizes.readout)
        self._program, self._numbers = step_program(graph, state[0].element_size(), batch, sizes, names, team)
        self._weights = weights
        self._spare: list[Tensor] = []  # working memory that no step is using: other threads may be in the midst of one

    @untraced
    def __call__(self, inputs: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Do a step."""
        first = state[0]
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = first.new_empty(self._numbers)
        outputs, final = first.new_empty(self._shape), [torch.empty_like(s) for s in state]
        addresses = [tensor.data_ptr() for tensor in (inputs, outputs, memory, *state, *final)]
        self._program([*addresses, *self._weights])
        self._spare.append(memory)
        return outputs, final


@untraced
def backward(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    outputs: Tensor,
    kept: Tensor,
    *,
    valid: Tensor | None,
    reset: Tensor | None,
    noise: Tensor | None = None,
    reverse: bool,
    grad_outputs: Tensor | None,
    grad_states: Sequence[Tensor | None],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """Run back through all steps.

    Args:
        graph: the equations of a step.
        parameters: as in `forward`.
        x: as in `forward`.
        state: as in `forward`.
        outputs: what `forward` gave.
        kept: what `forward` kept.
        valid: as in `forward`.
        reset: as in `forward`.
        noise: as in `forward`.
        reverse: as in `forward`.
        grad_outputs: gradient of the outputs; None for zeros.
        grad_states: gradients of the final states; None for zeros.
        wanted: names of gradients: ``x``, those of parameters, and ``state:h`` for the initial state h.

    Returns:
        The wanted gradients by name.
    """
    batch, time, features = x.shape
    hidden = state[0].shape[1]
    needs = frozenset(wanted)
    layout = backward_layout(graph, x.element_size(), batch, time, features, hidden, needs, runtime.team())
    x = rows_together(x)
    dy = x.new_zeros(hidden).expand(batch, time, hidden) if grad_outputs is None else rows_together(grad_outputs)
    weights = [(name, whole(parameter)) for name, parameter in parameters.items()]
    flags = _flags(valid, reset, reverse)
    noise = None if noise is None else rows_together(noise)
    work = x.new_empty(layout.work)
    numbers: dict[str, int] = {"history": kept.data_ptr(), "work": work.data_ptr()}

    def put(name: str, start: int, row: int, step: int) -> None:
        places = (name, f"{name}_row", f"{name}_step")
        numbers.update(zip(places, layout.strided(start, row, step, reverse), strict=True))

    put("x", x.data_ptr(), x.stride(0), x.stride(1))
    put("dy", dy.data_ptr(), dy.stride(0), dy.stride(1))
    put("noise", *_place(noise))
    gradients: dict[str, Tensor] = {}
    for name, tensor in weights:
        if name != "bias":  # its value plays no part
            numbers[name] = tensor.data_ptr()
        if name in needs:
            gradients[name] = torch.empty_like(tensor)
            numbers[f"d{name}"] = gradients[name].data_ptr()
    if "x" in needs:
        # x that no gate reads has no influence
        gradients["x"] = x.new_empty(x.shape) if graph.input_blocks else x.new_zeros(x.shape)
        put("dx", gradients["x"].data_ptr(), time * features, features)
    late = [None if g is None else rows_together(g) for g in grad_states]
    for name, g in zip(graph.states, late, strict=True):
        if g is not None:
            numbers[f"wanted_{name}"] = g.data_ptr()
            numbers[f"row_wanted_{name}"] = g.stride(0)
        if (key := f"state:{name}") in needs:
            gradients[key] = x.new_empty(batch, hidden)
            numbers[f"initial_{name}"] = gradients[key].data_ptr()
    if flags is not None:
        numbers["flags"] = flags.data_ptr()
    layout.run_named(numbers)
    return gradients


def _place(noise: Tensor | None) -> tuple[int, int, int]:
    """Return the address of noise, and how far it is from row to row and step to step."""
    return (0, 0, 0) if noise is None else (noise.data_ptr(), noise.stride(0), noise.stride(1))


_PLACES = {"weight_x": 0, "weight_h": 1, "bias": 2, "diagonal": 3}


def _addresses(weights: Sequence[tuple[str, Tensor]]) -> list[int]:
    """Return the addresses of the packed parameters, 0 for those that a cell has not."""
    addresses = [0, 0, 0, 0]
    for name, tensor in weights:
        addresses[_PLACES[name]] = tensor.data_ptr()
    return addresses


def _flags(valid: Tensor | None, reset: Tensor | None, reverse: bool) -> Tensor | None:
    """Return ``(time, batch)`` in the order of the run: 1 where a row is over, 2 where it begins anew before a step."""
    if valid is None and reset is None:
        return None
    flags = torch.zeros(1, dtype=torch.int64)
    if valid is not None:
        flags = flags + (~valid).long()
    if reset is not None:
        if reverse:  # a reset lies between two steps: who comes from the right meets it one step earlier
            reset = torch.cat([reset[:, 1:], torch.zeros_like(reset[:, :1])], dim=1)
        flags = flags + 2 * reset.long()
    return (flags.flip(1) if reverse else flags).t().contiguous()
