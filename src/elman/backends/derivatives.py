"""Runs of the reference backend and their gradients, in torch operations that torch can differentiate in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from elman.backends import reference
from elman.backends.call import Call, Operands, Request
from elman.backends.segments import across, part, segments
from elman.backends.selection import fall_back

__all__ = ["differentiate", "differentiate_twice", "run"]


def run(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs and the final states by the reference backend."""
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    if call.recompute and torch.is_grad_enabled() and not transformed:  # torch's checkpoints know plain autograd alone
        return _run_in_segments(call, operands)
    return _run(call, operands)


def _run(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    return reference.unroll(
        call.graph,
        operands.parameters,
        operands.x,
        operands.state,
        **operands.masks,
        reverse=call.reverse,
    )


def _run_in_segments(call: Call, operands: Operands) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Keep the states between segments alone."""
    outputs: list[Tensor] = []
    state = tuple(operands.state)
    for k, steps in enumerate(segments(call, operands.x)):
        if k:
            state = across(call, operands, steps, state)
        here = part(operands, steps, state)
        done, state = checkpoint(_run, call, here, use_reentrant=False, preserve_rng_state=False)
        outputs.append(done)
    return torch.cat(outputs[::-1] if call.reverse else outputs, dim=1), state


def differentiate(
    call: Call, operands: Operands, gradients: Sequence[Tensor | None], wanted: Sequence[str]
) -> tuple[Tensor, ...]:
    """Return gradients of a run.

    Args:
        call: what was run.
        operands: on what.
        gradients: of the outputs and of each final state; None where a loss does not depend on them.
        wanted: the names of the gradients to return: ``x``, those of the parameters, ``state:<name>``.
    """
    given = operands.by_name(call)

    def again(*values: Tensor) -> tuple[Tensor, ...]:
        outputs, final = _run(call, operands.exchanged(call, dict(zip(wanted, values, strict=True))))
        return outputs, *final

    results, pull, *_ = torch.func.vjp(again, *(given[name] for name in wanted))
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
    given = {**operands.by_name(request.call), **dict(zip(incoming, gradients, strict=True))}

    def first(*values: Tensor) -> tuple[Tensor, ...]:
        new = dict(zip(needed, values, strict=True))
        exchanged = operands.exchanged(request.call, new)
        return differentiate(request.call, exchanged, [new.get(name, given[name]) for name in incoming], request.wanted)

    _, pull, *_ = torch.func.vjp(first, *(given[name] for name in needed))
    return dict(zip(needed, pull(tuple(second)), strict=True))
