"""A linear-chain conditional random field by compiled code where that can run, with all derivatives.

Compiled code sums over all paths and keeps what its way back needs; per-row gradients come in there, so that a backward
pass costs the same whatever the loss makes of its rows. Second derivatives, forward mode and `torch.func` go the way of
torch's operations (``chain.py``). What `torch.compile` compiles holds operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad

from elman.backends import chain as reference
from elman.backends.autograd import intercepted
from elman.backends.chain import PADDING, Chain, check_values
from elman.backends.linear import transformed
from elman.backends.llvm import paths, runtime
from elman.backends.selection import fall_back, wanted
from elman.errors import BackendError

__all__ = ["loss", "marginals", "viterbi"]


def loss(chain: Chain, tags: Tensor | None) -> Tensor:
    """Return -log p of the tags of each row, log Z where there are none: ``(batch,)``."""
    if _compiling(chain):
        return cast(Tensor, _operator(*chain, tags)[0])
    if not _compiled(chain):
        return reference.loss(chain, tags)
    return cast(Tensor, _Loss.apply(tags, *chain))  # type: ignore[no-untyped-call]


def marginals(chain: Chain) -> Tensor:
    """Return the probability of each tag at each step, 0 past a row's end: ``(batch, time, tags)``."""
    if _compiling(chain):
        return cast(Tensor, _marginals_operator(*chain))
    if not _compiled(chain):
        return reference.marginals(chain)
    return cast(Tensor, _Marginals.apply(*chain))  # type: ignore[no-untyped-call]


def viterbi(chain: Chain) -> tuple[Tensor, Tensor]:
    """Return the tags of the best path ``(batch, time)``, `PADDING` past a row's end, and its score ``(batch,)``."""
    if _compiling(chain):
        return cast(tuple[Tensor, Tensor], _viterbi_operator(*chain))
    return paths.viterbi(*chain, PADDING) if _compiled(chain) else reference.viterbi(chain)


def _compiling(chain: Chain) -> bool:
    """Tell whether torch compiles, and an operator is to stand in its graph; an exported program needs none."""
    emissions = chain.emissions
    return (
        torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not transformed()
        and emissions.is_cpu
        and emissions.dtype in (torch.float32, torch.float64)
    )


def _compiled(chain: Chain) -> bool:
    """Tell whether compiled code is to run; where it cannot, the reason is logged, or raised as `BackendError`."""
    if torch.compiler.is_compiling() or wanted() == "reference":
        return False
    reason = _reason(chain)
    if reason is not None:
        fall_back(reason, log=chain.emissions.is_cpu)
    return reason is None


def _reason(chain: Chain) -> str | None:
    """Say why compiled code cannot run; None where it can."""
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms the operations of a CRF"
    if reason := intercepted():
        return reason
    if kinds := {type(tensor).__name__ for tensor in chain if type(tensor) not in (Tensor, nn.Parameter)}:
        return f"tensors are of the class {kinds.pop()}"
    return runtime.refusal(*chain[:4])


def _differentiated(function: Callable[[Chain], Tensor], chain: Chain, grad: Tensor, places: Sequence[int]) -> Any:
    """Return gradients with respect to some operands, by their places, in operations to be differentiated again."""

    def again(*values: Tensor) -> Tensor:
        every = list(chain)
        for k, value in zip(places, values, strict=True):
            every[k] = value
        return function(Chain(*every))

    found: list[Tensor | None] = [None] * len(chain)
    pull = torch.func.vjp(again, *(chain[k] for k in places))[1]
    for k, gradient in zip(places, pull(grad), strict=True):
        found[k] = gradient
    return found


def _places(needed: Sequence[bool]) -> list[int]:
    return [k for k, wants in enumerate(needed) if wants]


class _Loss(Function):
    """The sums over all paths, for torch's tape."""

    @staticmethod
    def forward(ctx: Any, tags: Tensor | None, *operands: Tensor) -> Tensor:
        chain = Chain(*operands)
        result, kept = paths.forward(*chain, tags)
        ctx.save_for_backward(tags, kept, *chain)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        tags, kept, *operands = ctx.saved_tensors
        chain, needed = Chain(*operands), ctx.needs_input_grad[1:]
        if reason := "derivatives of gradients are wanted" if torch.is_grad_enabled() else intercepted(grad):
            fall_back(reason)
            return None, *_differentiated(lambda chain: reference.loss(chain, tags), chain, grad, _places(needed))
        found = paths.backward(chain.transitions, chain.end, chain.lengths, tags, kept, grad, wanted=any(needed[1:4]))
        return None, *_chosen(found, needed)


class _Marginals(Function):
    """The gradient of log Z, for torch's tape; what is further differentiated goes the way of torch's operations."""

    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        ctx.save_for_backward(*operands)
        return _gamma(Chain(*operands))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        fall_back("derivatives of marginals are wanted")
        return tuple(
            _differentiated(reference.marginals, Chain(*ctx.saved_tensors), grad, _places(ctx.needs_input_grad))
        )


def _gamma(chain: Chain) -> Tensor:
    result, kept = paths.forward(*chain, None)
    one = torch.ones_like(result)
    return paths.backward(chain.transitions, chain.end, chain.lengths, None, kept, one, wanted=False)[0]


def _chosen(found: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor | None]:
    """Return those gradients that are needed; None in the other places."""
    return [found[k] if wants else None for k, wants in enumerate(needed)]


# operators, for torch.compile; backward passes go the way of their forward pass, which says so in a truth value


@torch.library.custom_op("elman::crf", mutates_args=())
def _operator(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, tags: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    chain = _checked(Chain(emissions, transitions, start, end, lengths), tags)
    if _compiled(chain):
        return *paths.forward(*chain, tags), torch.tensor(True)
    return reference.loss(chain, tags), _room(chain), torch.tensor(False)


@_operator.register_fake
def _fake(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, tags: Tensor | None
) -> Any:
    chain = Chain(emissions, transitions, start, end, lengths)
    return emissions.new_empty(emissions.shape[0]), _room(chain), torch.empty((), dtype=torch.bool)


def _room(chain: Chain) -> Tensor:
    """Make room for what compiled code keeps, if there can be compiled code."""
    if isinstance(runtime.host(), str):
        return chain.emissions.new_empty(0)
    return chain.emissions.new_empty(paths.kept_shape(chain.emissions.element_size(), *chain.emissions.shape))


def _checked(chain: Chain, tags: Tensor | None) -> Chain:
    """Check what could not be looked at while torch compiled, and refuse forward mode: torch would take it for zero."""
    if forward_ad._current_level >= 0:
        raise BackendError(
            "Forward-mode derivatives (torch.func.jvp, jacfwd, hessian) of a compiled CRF are not to be had. Take them "
            "of the module itself."
        )
    check_values(tags, chain)
    return chain


@torch.library.custom_op("elman::crf_backward", mutates_args=())
def _backward_operator(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    tags: Tensor | None,
    kept: Tensor,
    by_compiled_code: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    chain = Chain(emissions, transitions, start, end, lengths)
    if by_compiled_code:
        found = paths.backward(transitions, end, lengths, tags, kept, grad, wanted=True)
    else:
        found = _differentiated(lambda chain: reference.loss(chain, tags), chain, grad, range(4))
    return cast(tuple[Tensor, Tensor, Tensor, Tensor], tuple(g.contiguous() for g in found[:4]))


@_backward_operator.register_fake
def _fake_backward(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, *others: Any) -> Any:
    return tuple(torch.empty_like(tensor) for tensor in (emissions, transitions, start, end))


@torch.library.custom_op("elman::crf_marginals", mutates_args=())
def _marginals_operator(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    chain = _checked(Chain(emissions, transitions, start, end, lengths), None)
    return _gamma(chain) if _compiled(chain) else reference.marginals(chain)


@_marginals_operator.register_fake
def _fake_marginals(emissions: Tensor, *others: Tensor) -> Tensor:
    return emissions.new_empty(emissions.shape)


@torch.library.custom_op("elman::crf_marginals_backward", mutates_args=())
def _marginals_backward_operator(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    fall_back("derivatives of marginals are wanted")
    found = _differentiated(reference.marginals, Chain(emissions, transitions, start, end, lengths), grad, range(4))
    return cast(tuple[Tensor, Tensor, Tensor, Tensor], tuple(g.contiguous() for g in found[:4]))


_marginals_backward_operator.register_fake(_fake_backward)


@torch.library.custom_op("elman::crf_viterbi", mutates_args=())
def _viterbi_operator(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    chain = _checked(Chain(emissions, transitions, start, end, lengths), None)
    return paths.viterbi(*chain, PADDING) if _compiled(chain) else reference.viterbi(chain)


@_viterbi_operator.register_fake
def _fake_viterbi(emissions: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    batch, time, _ = emissions.shape
    return emissions.new_empty((batch, time), dtype=torch.int64), emissions.new_empty(batch)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs, *output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, *others: Any) -> Any:
    if grad is None:
        return (None,) * 6
    found = _backward_operator(*ctx.saved_tensors, grad)
    return *_chosen(found, ctx.needs_input_grad[:4]), None, None


def _keep_operands(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward_of_marginals(ctx: Any, grad: Tensor) -> Any:
    found = _marginals_backward_operator(*ctx.saved_tensors, grad)
    return *_chosen(found, ctx.needs_input_grad[:4]), None


def _no_second(ctx: Any, *gradients: Any) -> Any:
    raise BackendError("Second derivatives of a compiled CRF are not to be had. Take them of the module itself.")


_operator.register_autograd(_backward, setup_context=_keep)
_marginals_operator.register_autograd(_backward_of_marginals, setup_context=_keep_operands)
_backward_operator.register_autograd(_no_second)
_marginals_backward_operator.register_autograd(_no_second)
