"""Compiled code as a function that torch differentiates, when torch is not compiling.

The gradients are compiled code too. Their own derivatives, second and higher ones, are those of the reference backend,
run again on the same operands. Forward mode never comes here: `elman.backends.dispatch` takes the reference for it.

Under `torch.func` nothing is kept between the passes, so that `vmap` can stack and cut operands as it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from elman.backends import reference, segments
from elman.backends.segments import Call, Operands
from elman.backends.selection import fall_back

__all__ = [
    "PACKED",
    "Request",
    "by_name",
    "differentiate",
    "differentiate_twice",
    "flat",
    "intercepted",
    "names",
    "operands_of",
    "requires_grad",
    "run",
    "run_reference",
]

#: The packed parameters of a cell.
PACKED: Final = ("weight_x", "weight_h", "bias", "diagonal")
_FIRST_STATE: Final = 1 + len(PACKED) + 2  # among the operands side by side: x, the parameters, valid, reset, states


def watched(parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> bool:
    """Tell whether torch wants to know how to differentiate or map a run."""
    return torch._C._are_functorch_transforms_active() or requires_grad(parameters, x, state)


def requires_grad(parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> bool:
    """Tell whether a gradient is asked for."""
    return torch.is_grad_enabled() and any(
        tensor.requires_grad for tensors in ((x,), parameters.values(), state) for tensor in tensors
    )


def run(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs and the final states, with whatever derivatives torch asks for."""
    function = _Transformed if torch._C._are_functorch_transforms_active() else _Recorded
    outputs, *final = function.apply(call, *flat(operands))  # type: ignore[no-untyped-call]
    return outputs, tuple(final)


def intercepted(*gradients: Tensor | None) -> str | None:
    """Return what goes on around torch's operations that must see each of them, None where nothing does."""
    if forward_ad._current_level >= 0:
        return "derivatives are taken in forward mode"
    if torch._C._len_torch_dispatch_stack():
        return "a TorchDispatchMode is on"
    if any(gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient) for gradient in gradients):
        return "gradients are batched with is_grads_batched=True"
    return None


def names(call: Call) -> tuple[str, ...]:
    """Name the operands side by side; masks, which have no gradient, have no name."""
    return ("x", *PACKED, "", "", *(f"state:{name}" for name in call.graph.states))


def run_reference(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs and the final states by the reference backend."""
    return reference.unroll(
        call.graph,
        operands.parameters,
        operands.x,
        operands.state,
        valid=operands.valid,
        reset=operands.reset,
        reverse=call.reverse,
    )


def flat(operands: Operands) -> tuple[Tensor | None, ...]:
    """Put operands side by side, as `names` names them."""
    parameters = (operands.parameters.get(name) for name in PACKED)
    return (operands.x, *parameters, operands.valid, operands.reset, *operands.state)


def operands_of(x: Tensor, *others: Tensor | None) -> Operands:
    """Undo `flat`."""
    given = zip(PACKED, others, strict=False)
    *_, valid, reset = others[: _FIRST_STATE - 1]
    state = [s for s in others[_FIRST_STATE - 1 :] if s is not None]
    return Operands({name: value for name, value in given if value is not None}, x, state, valid, reset)


class _Recorded(Function):
    """The forward pass, for the tape of plain autograd."""

    @staticmethod
    def forward(ctx: Any, call: Call, *operands: Any) -> Any:
        outputs, final, kept = segments.forward(call, operands_of(*operands), keep=True)
        ctx.call = call
        ctx.save_for_backward(None if call.recompute else outputs, kept, *operands)
        ctx.set_materialize_grads(False)
        return (outputs, *final)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        outputs, kept, *operands = ctx.saved_tensors
        return None, *_gradients(ctx, outputs, kept, gradients, operands)


class _Transformed(Function):
    """The forward pass, for the transformations of `torch.func`."""

    @staticmethod
    def forward(call: Call, *operands: Any) -> Any:
        outputs, final, _ = segments.forward(call, operands_of(*operands), keep=False)
        return (outputs, *final)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.call, *operands = inputs
        ctx.save_for_backward(*operands)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, *_gradients(ctx, None, None, gradients, ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Call, *operands: Any) -> Any:
        dims, parameters = in_dims[1:], slice(1, 1 + len(PACKED))
        if any(dim is not None for dim in dims[parameters]):
            return _one_by_one(_Transformed, call, operands, dims, info.batch_size)
        return _as_rows(_Transformed, call, operands, dims, info.batch_size, parameters)


@dataclass(frozen=True, slots=True)
class Request:
    """Which gradients of a run are wanted, by name."""

    call: Call
    wanted: tuple[str, ...]

    @property
    def incoming(self) -> int:
        """How many gradients come in: of the outputs and of each final state."""
        return 1 + len(self.call.graph.states)


class _Backward(Function):
    """The backward pass as a function of its own: of the gradients that come in, and of the operands."""

    @staticmethod
    def forward(request: Request, outputs: Any, kept: Any, *tensors: Any) -> Any:
        gradients, operands = tensors[: request.incoming], tensors[request.incoming :]
        found = segments.backward(request.call, operands_of(*operands), outputs, kept, gradients, request.wanted)
        return tuple(found[name] for name in request.wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        # What was kept is a function of the operands, so that the derivative by these says all.
        ctx.request, _, _, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        request, tensors = ctx.request, ctx.saved_tensors
        incoming, operands = tensors[: request.incoming], operands_of(*tensors[request.incoming :])
        every = (*(f"gradient:{k}" for k in range(request.incoming)), *names(request.call))
        needed = [name for name, asked in zip(every, ctx.needs_input_grad[3:], strict=True) if asked]
        found = differentiate_twice(request, operands, incoming, gradients, needed)
        return None, None, None, *(found.get(name) for name in every)

    @staticmethod
    def vmap(info: Any, in_dims: Any, request: Request, outputs: Any, kept: Any, *tensors: Any) -> Any:
        values, dims = (outputs, kept, *tensors), in_dims[1:]
        first = 2 + request.incoming + 1
        parameters = slice(first, first + len(PACKED))
        summed = not set(PACKED).isdisjoint(request.wanted)  # over rows, which therefore cannot be more
        if summed or kept is not None or any(dim is not None for dim in dims[parameters]):
            return _one_by_one(_Backward, request, values, dims, info.batch_size)
        return _as_rows(_Backward, request, values, dims, info.batch_size, parameters)


def _gradients(
    ctx: Any, outputs: Tensor | None, kept: Tensor | None, gradients: Sequence[Tensor | None], operands: Sequence[Any]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the operands that a tape asks for, None for the others."""
    call, every = ctx.call, names(ctx.call)
    if all(gradient is None for gradient in gradients):
        return (None,) * len(every)
    wanted = tuple(name for name, needed in zip(every, ctx.needs_input_grad[1:], strict=True) if needed)
    if reason := intercepted(*gradients):
        fall_back(reason)
        found = dict(zip(wanted, differentiate(call, operands_of(*operands), gradients, wanted), strict=True))
    elif torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        got = _Backward.apply(Request(call, wanted), outputs, kept, *gradients, *operands)
        found = dict(zip(wanted, got, strict=True))
    else:
        found = segments.backward(call, operands_of(*operands), outputs, kept, gradients, wanted)
    return tuple(found.get(name) for name in every)


def differentiate(
    call: Call, operands: Operands, gradients: Sequence[Tensor | None], wanted: Sequence[str]
) -> tuple[Tensor, ...]:
    """Return gradients by the reference backend, in torch operations that can be differentiated in turn."""
    given = by_name(call, operands)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        outputs, final = run_reference(call, _exchanged(call, operands, dict(zip(wanted, values, strict=True))))
        return outputs, *final

    results, pull = torch.func.vjp(run, *(given[name] for name in wanted))
    pairs = zip(results, gradients, strict=True)
    found = pull(tuple(torch.zeros_like(result) if gradient is None else gradient for result, gradient in pairs))
    return tuple(found)


def differentiate_twice(
    request: Request,
    operands: Operands,
    gradients: Sequence[Tensor | None],
    second: Sequence[Tensor],
    needed: Sequence[str],
) -> dict[str, Tensor]:
    """Return the gradients of what `differentiate` returns.

    Args:
        request: what was wanted of it.
        operands: of the run.
        gradients: that came in, of the outputs and of each final state.
        second: the gradients of its results.
        needed: which to return: ``gradient:<k>`` for the k-th that came in, and the names of operands.
    """
    fall_back("second derivatives are taken")
    incoming = [f"gradient:{k}" for k in range(request.incoming)]
    given = {**by_name(request.call, operands), **dict(zip(incoming, gradients, strict=True))}

    def first(*values: Tensor) -> tuple[Tensor, ...]:
        new = dict(zip(needed, values, strict=True))
        exchanged = _exchanged(request.call, operands, new)
        return differentiate(request.call, exchanged, [new.get(k, given[k]) for k in incoming], request.wanted)

    _, pull = torch.func.vjp(first, *(given[name] for name in needed))
    return dict(zip(needed, pull(tuple(second)), strict=True))


def by_name(call: Call, operands: Operands) -> dict[str, Tensor]:
    """Return the operands that have gradients, by the names of these."""
    states = (f"state:{name}" for name in call.graph.states)
    return {"x": operands.x, **operands.parameters, **dict(zip(states, operands.state, strict=True))}


def _exchanged(call: Call, operands: Operands, new: Mapping[str, Tensor]) -> Operands:
    """Put other numbers in the places of some operands, by name."""
    every = {**by_name(call, operands), **new}
    parameters = {name: every[name] for name in operands.parameters}
    return replace(
        operands, x=every["x"], parameters=parameters, state=[every[f"state:{s}"] for s in call.graph.states]
    )


def _one_by_one(
    function: type[Function], what: Any, values: Sequence[Any], dims: Sequence[int | None], size: int
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Run the slices of a mapped dimension after one another."""
    pairs = list(zip(values, dims, strict=True))
    runs = [
        function.apply(what, *(value if dim is None else value.select(dim, k) for value, dim in pairs))
        for k in range(size)
    ]
    return tuple(torch.stack(results) for results in zip(*runs, strict=True)), (0,) * len(runs[0])


def _as_rows(
    function: type[Function], what: Any, values: Sequence[Any], dims: Sequence[int | None], size: int, shared: slice
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Run the slices of a mapped dimension as more rows of the batch, with the shared parameters for all."""

    def rows(value: Tensor, dim: int | None) -> Tensor:
        every = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
        return every.flatten(0, 1)

    stacked = [None if value is None else rows(value, dim) for value, dim in zip(values, dims, strict=True)]
    stacked[shared] = values[shared]
    results = function.apply(what, *stacked)
    cut = (result.reshape(size, result.shape[0] // size, *result.shape[1:]) for result in results)
    return tuple(cut), (0,) * len(results)
