"""Compiled code as a function that torch differentiates, when torch is not compiling.

The gradients are compiled code too. Their own derivatives, second and higher ones, are those of the reference backend,
run again on the same operands. Forward mode does not come here: `elman.backends.dispatch` takes the reference for it.

Under `torch.func` nothing is kept between the passes, so that `vmap` can stack and cut operands as it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from elman.backends import segments
from elman.backends.call import PACKED, Call, Operands, Request
from elman.backends.derivatives import differentiate, differentiate_twice
from elman.backends.selection import fall_back
from elman.backends.untraced import untraced

__all__ = ["intercepted", "run"]


def run(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs and the final states, with whatever derivatives torch asks for."""
    function = _Transformed if torch._C._are_functorch_transforms_active() else _Recorded
    outputs, *final = function.apply(call, *operands.flat)  # type: ignore[no-untyped-call]
    return outputs, tuple(final)


def intercepted(*gradients: Tensor | None) -> str | None:
    """Say what goes on around torch's operations that must see each of them; None where nothing does."""
    if forward_ad._current_level >= 0:
        return "derivatives are taken in forward mode"
    if torch._C._len_torch_dispatch_stack():
        return "a TorchDispatchMode is on"
    if torch._C._is_tracing():
        return "torch.jit.trace is on"
    if any(gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient) for gradient in gradients):
        return "gradients are batched with is_grads_batched=True"
    return None


class _Recorded(Function):
    """The forward pass, for the tape of plain autograd."""

    @staticmethod
    @untraced
    def forward(ctx: Any, call: Call, *operands: Any) -> Any:
        outputs, final, kept = segments.forward(call, Operands.of(*operands), keep=True)
        ctx.call = call
        ctx.save_for_backward(None if call.recompute else outputs, kept, *operands)
        ctx.set_materialize_grads(False)
        return (outputs, *final)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: Any) -> Any:
        outputs, kept, *operands = ctx.saved_tensors
        return None, *_gradients(ctx, outputs, kept, gradients, operands)


class _Transformed(Function):
    """The forward pass, for the transformations of `torch.func`."""

    @staticmethod
    @untraced
    def forward(call: Call, *operands: Any) -> Any:
        outputs, final, _ = segments.forward(call, Operands.of(*operands), keep=False)
        return (outputs, *final)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.call, *operands = inputs
        ctx.save_for_backward(*operands)
        ctx.set_materialize_grads(False)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, *_gradients(ctx, None, None, gradients, ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Call, *operands: Any) -> Any:
        dims, parameters = in_dims[1:], slice(1, 1 + len(PACKED))
        if any(dim is not None for dim in dims[parameters]):
            return _one_by_one(_Transformed, call, operands, dims, info.batch_size)
        return _as_rows(_Transformed, call, operands, dims, info.batch_size, parameters)


class _Backward(Function):
    """The backward pass as a function of its own: of the gradients that come in, and of the operands."""

    @staticmethod
    @untraced
    def forward(request: Request, outputs: Any, kept: Any, *tensors: Any) -> Any:
        gradients, operands = tensors[: request.incoming], Operands.of(*tensors[request.incoming :])
        found = segments.backward(request.call, operands, outputs, kept, gradients, request.wanted)
        return tuple(found[name] for name in request.wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        # What was kept is a function of the operands, so that the derivative by these says all.
        ctx.request, _, _, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    @untraced
    def backward(ctx: Any, *second: Any) -> Any:
        request, tensors = ctx.request, ctx.saved_tensors
        gradients, operands = tensors[: request.incoming], Operands.of(*tensors[request.incoming :])
        every = (*(f"gradient:{k}" for k in range(request.incoming)), *request.call.names)
        needed = [name for name, asked in zip(every, ctx.needs_input_grad[3:], strict=True) if asked]
        found = differentiate_twice(request, operands, gradients, second, needed)
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
    call: Call = ctx.call
    if all(gradient is None for gradient in gradients):
        return (None,) * len(call.names)
    wanted = tuple(name for name, needed in zip(call.names, ctx.needs_input_grad[1:], strict=True) if needed)
    if reason := intercepted(*gradients):
        fall_back(reason)
        found = dict(zip(wanted, differentiate(call, Operands.of(*operands), gradients, wanted), strict=True))
    elif torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        request = Request(call, wanted)
        got = _Backward.apply(request, outputs, kept, *gradients, *operands)  # type: ignore[no-untyped-call]
        found = dict(zip(wanted, got, strict=True))
    else:
        found = segments.backward(call, Operands.of(*operands), outputs, kept, gradients, wanted)
    return tuple(found.get(name) for name in call.names)


def _one_by_one(
    function: type[Function], what: Any, values: Sequence[Any], dims: Sequence[int | None], size: int
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Run the slices of a mapped dimension after one another."""
    pairs = list(zip(values, dims, strict=True))
    runs = [
        function.apply(  # type: ignore[no-untyped-call]
            what, *(value if dim is None else value.select(dim, k) for value, dim in pairs)
        )
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
    results = function.apply(what, *stacked)  # type: ignore[no-untyped-call]
    cut = (result.reshape(size, result.shape[0] // size, *result.shape[1:]) for result in results)
    return tuple(cut), (0,) * len(results)
