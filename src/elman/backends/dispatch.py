"""Choose what runs a cell over time: compiled code where it can, the reference elsewhere, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from elman.backends import autograd, derivatives, operator
from elman.backends.call import Call, Operands, requires_grad
from elman.backends.llvm import recurrence, runtime
from elman.backends.selection import BACKENDS, backend, fall_back, wanted
from elman.compiler.graph import Graph

__all__ = ["BACKENDS", "Choice", "backend", "choose", "stack", "step_refusal", "unroll"]


class Choice(NamedTuple):
    """A backend, ``llvm`` or ``reference``, and why it is this one."""

    name: str
    reason: str


_COMPILED: Final = Choice("llvm", "compiled code runs on this processor and type")
_ASKED_FOR: Final = Choice("reference", "elman.backend('reference') asks for it")


def choose(graph: Graph, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> Choice:
    """Return what `unroll` would take here, outside of `torch.compile`.

    Example:
        >>> from elman import LSTMCell
        >>> cell, h = LSTMCell(3, 4), torch.zeros(2, 4)
        >>> choose(cell.graph, dict(cell.named_parameters()), torch.ones(2, 5, 3, device="meta"), [h, h]).name
        'reference'
    """
    if wanted() == "reference":
        return _ASKED_FOR
    reason = _refusal(graph, parameters, x, state)
    return _COMPILED if reason is None else Choice("reference", reason)


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
    recompute: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over all steps of a sequence, with the backend that `choose` names.

    Args:
        graph: the equations of a step.
        parameters: packed, as `elman.Cell` says; those that the cell has.
        x: ``(batch, time, input)``, finite also where it is not valid.
        state: the initial states, each ``(batch, hidden)``.
        valid: bool ``(batch, time)``: where false, a row keeps its states and its output is zero.
        reset: bool ``(batch, time)``: where true, a row's sequence ends before this step and another begins from zero
            states. False where not valid.
        noise: ``(batch, time, n · hidden)``, of the type of x, for a graph with n nodes of noise.
        reverse: run from the last step to the first.
        recompute: keep states about every √T steps for the backward pass, and run forward again between them.

    Returns:
        The outputs (first state of each step) ``(batch, time, hidden)``, and the states after the last step done.

    Raises:
        BackendError: inside ``elman.backend("llvm")``, if compiled code cannot run this.
    """
    operands = Operands(parameters, x, state, valid, reset, noise)
    if torch.compiler.is_compiling():
        return operator.traced(Call(graph, reverse, recompute), operands)
    choice = choose(graph, parameters, x, state)
    if choice is not _COMPILED:
        if choice is not _ASKED_FOR:
            fall_back(choice.reason, log=x.is_cpu)
        return derivatives.run(Call(graph, reverse, recompute), operands)
    if torch._C._are_functorch_transforms_active() or requires_grad(parameters, x, state):
        return autograd.run(Call(graph, reverse, recompute), operands)
    run = recurrence.forward(graph, parameters, x, state, valid=valid, reset=reset, noise=noise, reverse=reverse)
    return run.outputs, run.states


def stack(
    graph: Graph,
    parameters: Sequence[Mapping[str, Tensor]],
    x: Tensor,
    state: Sequence[Tensor],
    *,
    directions: int,
    valid: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """Run layers on top of each other as one, where compiled code runs and nothing is recorded for a way back.

    Args:
        graph: the equations of a step, without noise.
        parameters: of each layer, and in it of each direction.
        x: as in `unroll`.
        state: the initial states, each ``(batch, layers, directions, hidden)``.
        directions: 1 or 2.
        valid: as in `unroll`.
        reset: as in `unroll`.

    Returns:
        The outputs of the last layer ``(batch, time, directions · hidden)`` and the final states, shaped as ``state``;
        None where the layers are to run one by one with `unroll`, which then says why.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or wanted() == "reference":
        return None
    weights = [parameter for held in parameters for parameter in held.values()]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights, *state)):
        return None
    tensors = (x, *weights, *state)
    if not x.shape[0] or (_seen_by_torch(*tensors) or runtime.refusal(*tensors)) is not None:
        return None
    return recurrence.stack(graph, parameters, x, state, directions, valid, reset)


def step_refusal(inputs: Tensor, state: Sequence[Tensor], dtype: torch.dtype, *, words: bool) -> str | None:
    """Return why compiled code cannot do a step, of words or of x, with weights of a type; None where it can."""
    if torch._C._are_functorch_transforms_active():
        return "torch.func is at work"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if (reason := _seen_by_torch(inputs, *state)) is not None:
        return reason
    if not inputs.shape[0]:
        return "x has no rows"
    for tensor in state if words else (inputs, *state):
        if not tensor.is_cpu or tensor.dtype is not dtype:
            return "x, states and weights differ in type or device"
    return None if inputs.is_cpu else f"words are on {inputs.device}"


def _refusal(graph: Graph, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> str | None:
    """Return why compiled code cannot run this."""
    return _seen_by_torch(x, *parameters.values(), *state) or recurrence.refusal(graph, parameters, x, state)


def _seen_by_torch(*tensors: Tensor) -> str | None:
    """Return why torch has to see its operations on some tensors; None where it has not."""
    for tensor in tensors:
        if type(tensor) is not Tensor and type(tensor) is not nn.Parameter:
            return f"a {type(tensor).__name__} is among the tensors"
    return autograd.intercepted()
