"""Compiled code as operators of torch, for `torch.compile` and `torch.export`.

A run is one node, ``elman::unroll``, of torch's graph, whatever its length. The equations go in as text, so that an
exported program holds all that it needs; a process that loads one imports `elman.layers` first, which registers the
operators. Whether compiled code can run, and whether the user wants the reference instead, is seen when the node runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from elman.backends import derivatives, segments
from elman.backends.call import PACKED, Call, Operands, Request, requires_grad
from elman.backends.llvm import recurrence
from elman.backends.selection import fall_back, wanted
from elman.backends.untraced import untraced
from elman.compiler.graph import Graph, Node
from elman.errors import BackendError

__all__ = ["decode", "encode", "traced"]

P = ParamSpec("P")
R = TypeVar("R")

_RUN: Final = (
    "str equations, Tensor x, Tensor[] parameters, Tensor[] state, Tensor? valid, Tensor? reset, "
    "Tensor? noise, bool reverse, bool recompute"
)
_GRADIENTS: Final = "Tensor outputs, Tensor kept, Tensor? grad_outputs, Tensor[] grad_states, str[] wanted"


def _constant(function: Callable[P, R]) -> Callable[P, R]:
    """Let torch.compile call a function while it traces, and keep its result.

    This is `torch.compiler.assume_constant_result` without its import of torch's compiler, which takes a second.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@_constant
def encode(graph: Graph) -> str:
    """Write a graph down as text; equal graphs give equal texts.

    Example:
        >>> from elman import RNNCell
        >>> decode(encode(RNNCell(2, 3).graph)) == RNNCell(2, 3).graph
        True
    """
    nodes = [[node.op, node.operands, node.name, node.value] for node in graph.nodes]
    parts = [nodes, graph.states, graph.outputs, graph.gates, graph.biases, graph.diagonals]
    return json.dumps(parts, separators=(",", ":"))


@lru_cache(maxsize=256)
def decode(equations: str) -> Graph:
    """Read what `encode` wrote."""
    nodes, *parts = json.loads(equations)
    return Graph(
        tuple(Node(op, tuple(operands), name, value) for op, operands, name, value in nodes), *map(tuple, parts)
    )


@lru_cache(maxsize=256)
def _packed(equations: str) -> tuple[str, ...]:
    """Name the packed parameters that a cell has."""
    graph = decode(equations)
    blocks = (graph.input_blocks, graph.hidden_blocks, graph.biases, graph.diagonals)
    return tuple(name for name, held in zip(PACKED, blocks, strict=True) if held)


def traced(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Become one node of the graph that torch is making; torch operations where there is no compiled code."""
    if reason := _refusal(operands):
        _fall_back(reason, operands.x.is_cpu)
        return derivatives.run(call, operands)
    # An exported program is to run, not to train: should it be trained all the same, it runs forward again.
    keep = not torch.compiler.is_exporting() and requires_grad(operands.parameters, operands.x, operands.state)
    outputs, *final, _ = torch.ops.elman.unroll(*_arguments(encode(call.graph), call, operands), keep)
    return outputs, tuple(final)


def _refusal(operands: Operands) -> str | None:
    """Return why there must be no node, as far as it is known before the node runs; torch traces this too."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return "torch.func transforms what torch.compile compiles"
    x = operands.x
    if not x.is_cpu:
        return f"x is on {x.device}; the compiled code is for the CPU"
    if x.dtype not in (torch.float32, torch.float64):
        return f"x is {x.dtype}; the compiled code is for float32 and float64"
    if any(value.dtype != x.dtype for value in (*operands.parameters.values(), *operands.state)):
        return "x, states and weights differ in type or device"
    return None


@_constant
def _fall_back(reason: str, log: bool) -> None:
    fall_back(reason, log=log)


def _arguments(equations: str, call: Call, operands: Operands) -> tuple[Any, ...]:
    """Return the arguments that both operators begin with."""
    parameters = [operands.parameters[name] for name in PACKED if name in operands.parameters]
    state, others = list(operands.state), (operands.valid, operands.reset, operands.noise)
    return equations, operands.x, parameters, state, *others, call.reverse, call.recompute


def _read(
    equations: str,
    x: Tensor,
    parameters: Sequence[Tensor],
    state: Sequence[Tensor],
    valid: Tensor | None,
    reset: Tensor | None,
    noise: Tensor | None,
    reverse: bool,
    recompute: bool,
) -> tuple[Call, Operands]:
    """Undo `_arguments`."""
    operands = Operands(dict(zip(_packed(equations), parameters, strict=True)), x, state, valid, reset, noise)
    return Call(decode(equations), reverse, recompute), operands


def _refuse_forward_mode() -> None:
    """Raise where torch would take zero for a derivative: it does so for operators that have no rule."""
    if forward_ad._current_level >= 0:
        raise BackendError(
            "Forward-mode derivatives (torch.func.jvp, jacfwd, hessian) of a compiled or exported layer are not to be "
            "had. Take them of the layer itself."
        )


def _by_reference(call: Call, operands: Operands) -> bool:
    """Tell whether the reference is to run, and say why where that is not what the user asked for."""
    if wanted() == "reference":
        return True
    if reason := _refused(call, operands):
        fall_back(reason, log=operands.x.is_cpu)
    return reason is not None


def _refused(call: Call, operands: Operands) -> str | None:
    return recurrence.refusal(call.graph, operands.parameters, operands.x, operands.state)


def _room(call: Call, operands: Operands, keep: bool) -> Tensor:
    """Make room for what the steps need; a run that recomputes keeps nothing and will start from the beginning."""
    if not keep or call.recompute or _refused(call, operands):
        return operands.x.new_empty(0)
    batch, time, _ = operands.x.shape
    hidden = operands.state[0].shape[1]
    return operands.x.new_empty(recurrence.kept_size(call.graph, batch, time, hidden, operands.x.dtype))


@untraced
def _unroll(*arguments: Any) -> list[Tensor]:
    *run, keep = arguments
    call, operands = _read(*run)
    _refuse_forward_mode()
    if _by_reference(call, operands):
        outputs, final = derivatives.run(call, operands)
        # That the first number is NaN says that nothing was kept. An operator must not return a tensor twice.
        return [outputs, *(state.clone() for state in final), _room(call, operands, keep).fill_(torch.nan)]
    outputs, final, kept = segments.forward(call, operands, keep=keep and not call.recompute)
    return [outputs, *final, operands.x.new_empty(0) if kept is None else kept]


def _fake_unroll(*arguments: Any) -> list[Tensor]:
    *run, keep = arguments
    call, operands = _read(*run)
    _refuse_forward_mode()
    batch, time, _ = operands.x.shape
    hidden = operands.state[0].shape[1]
    final = [operands.x.new_empty(batch, hidden) for _ in operands.state]
    return [operands.x.new_empty(batch, time, hidden), *final, _room(call, operands, keep)]


@untraced
def _unroll_backward(*arguments: Any) -> list[Tensor]:
    *run, outputs, kept, grad_outputs, grad_states, names = arguments
    call, operands = _read(*run)
    _refuse_forward_mode()
    gradients = (grad_outputs, *grad_states)
    if bool(kept[0].isnan()) if kept.numel() else _by_reference(call, operands):
        found = derivatives.differentiate(call, operands, gradients, names)
        return [gradient.clone(memory_format=torch.contiguous_format) for gradient in found]
    by_name = segments.backward(call, operands, outputs, kept if kept.numel() else None, gradients, names)
    return [by_name[name] for name in names]


def _fake_unroll_backward(*arguments: Any) -> list[Tensor]:
    *run, _, _, _, _, names = arguments
    call, operands = _read(*run)
    _refuse_forward_mode()
    given = operands.by_name(call)
    return [operands.x.new_empty(given[name].shape) for name in names]


def _save_run(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    ctx.call, operands = _read(*inputs[:9])
    ctx.equations = inputs[0]
    ctx.save_for_backward(output[0], output[-1], *operands.flat)
    ctx.set_materialize_grads(False)


def _backward_of_run(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    outputs, kept, *flat = ctx.saved_tensors
    operands = Operands.of(*flat)
    given = operands.by_name(ctx.call)
    _, x, parameters, state, *_ = ctx.needs_input_grad
    names = [name for name, needed in zip(given, (x, *parameters, *state), strict=True) if needed]
    grad_outputs, *grad_states = gradients[:-1]
    found = torch.ops.elman.unroll_backward(
        *_arguments(ctx.equations, ctx.call, operands),
        outputs,
        kept,
        grad_outputs,
        [torch.zeros_like(s) if g is None else g for g, s in zip(grad_states, operands.state, strict=True)],
        names,
    )
    return *_side_by_side(ctx.call, operands, dict(zip(names, found, strict=True))), None


def _save_gradients(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    ctx.call, operands = _read(*inputs[:9])
    *_, grad_outputs, grad_states, names = inputs
    ctx.request = Request(ctx.call, tuple(names))
    ctx.save_for_backward(grad_outputs, *grad_states, *operands.flat)


def _backward_of_gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:
    request, tensors = ctx.request, ctx.saved_tensors
    incoming, operands = tensors[: request.incoming], Operands.of(*tensors[request.incoming :])
    places = [f"gradient:{k}" for k in range(request.incoming)]
    _, x, parameters, state, *_, grad_outputs, grad_states, _ = ctx.needs_input_grad
    every = (*places, *operands.by_name(request.call))
    flags = (grad_outputs, *grad_states, x, *parameters, *state)
    needed = [name for name, asked in zip(every, flags, strict=True) if asked]
    found = derivatives.differentiate_twice(request, operands, incoming, gradients, needed)
    outputs, *states = (found.get(place) for place in places)
    return *_side_by_side(request.call, operands, found), None, None, outputs, states, None


def _side_by_side(call: Call, operands: Operands, found: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """Put gradients in the places of `_arguments`."""
    parameters = [found.get(name) for name in operands.parameters]
    states = [found.get(name) for name in call.state_names]
    return None, found.get("x"), parameters, states, None, None, None, None, None


def _register() -> torch.library.Library:
    """Make the operators known to torch, for as long as the library that is returned lives."""
    library = torch.library.Library("elman", "DEF")  # type: ignore[no-untyped-call]
    operators = {
        f"unroll({_RUN}, bool keep)": (_unroll, _fake_unroll, _save_run, _backward_of_run),
        f"unroll_backward({_RUN}, {_GRADIENTS})": (
            *(_unroll_backward, _fake_unroll_backward),
            *(_save_gradients, _backward_of_gradients),
        ),
    }
    for schema, (function, fake, save, backward) in operators.items():
        name = schema.partition("(")[0]
        library.define(f"{schema} -> Tensor[]", tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]
        library.impl(name, function, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
        torch.library.register_fake(f"elman::{name}", fake, lib=library)
        torch.library.register_autograd(f"elman::{name}", backward, setup_context=save, lib=library)
    return library


_LIBRARY: Final = _register()
