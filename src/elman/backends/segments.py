"""Compiled code on plain tensors: over all steps at once or, to save memory, in segments of time.

With ``recompute`` the steps are cut into about √T segments of about √T steps. The forward pass keeps the states between
segments alone; the backward pass runs a segment forward again, keeping what its steps need, goes back through it, and
forgets it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from elman.backends.call import Call, Operands
from elman.backends.llvm import recurrence
from elman.backends.llvm.recurrence import Run

__all__ = ["across", "backward", "forward", "part", "segments"]

_LEAST_ROWS: Final = 32  # of the batch, over all steps of a segment: few run otherwise, so that sums have other bits


def segments(call: Call, x: Tensor) -> list[slice]:
    """Cut the steps of x into segments of about √T, in the order of the run, and of more where there are few rows.

    Example:
        >>> from elman import RNNCell
        >>> segments(Call(RNNCell(2, 3).graph, reverse=True), torch.ones(32, 7, 2))
        [slice(4, 7, None), slice(2, 4, None), slice(0, 2, None)]
    """
    batch, time, _ = x.shape
    length = max(isqrt(time - 1) + 1, _LEAST_ROWS // max(batch, 1))
    count = -(-time // length)
    cuts = [slice(time * k // count, time * (k + 1) // count) for k in range(count)]
    return cuts[::-1] if call.reverse else cuts


def forward(call: Call, operands: Operands, *, keep: bool) -> Run:
    """Run over all steps.

    Args:
        call: what to run.
        operands: on what.
        keep: also return in ``Run.kept`` what `backward` needs; with ``recompute`` these are the states before each
            segment but the first, ``(segments - 1, states, batch, hidden)``.
    """
    if not call.recompute:
        return _forward(call, operands, keep=keep)
    batch, time, _ = operands.x.shape
    state = tuple(operands.state)
    outputs = operands.x.new_empty(batch, time, state[0].shape[1])
    borders: list[Tensor] = []
    for k, steps in enumerate(segments(call, operands.x)):
        if k:
            state = across(call, operands, steps, state)
            borders += [torch.stack(state)] if keep else []
        run = _forward(call, part(operands, steps, state), keep=False)
        outputs[:, steps], state = run.outputs, run.states
    empty = outputs.new_empty(0, len(state), *state[0].shape)
    return Run(outputs, state, torch.stack(borders) if borders else empty if keep else None)


def backward(
    call: Call,
    operands: Operands,
    outputs: Tensor | None,
    kept: Tensor | None,
    gradients: Sequence[Tensor | None],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """Go back through all steps.

    Args:
        call: what was run.
        operands: on what.
        outputs: what came out, ``(batch, time, hidden)``; not read with ``recompute``.
        kept: what `forward` kept; None where it kept nothing: then it runs again.
        gradients: of the outputs and of each final state; None where a loss does not depend on them.
        wanted: the names of the gradients to return: ``x``, those of the parameters, ``state:<name>``.
    """
    if kept is None or (outputs is None and not call.recompute):
        outputs, _, kept = forward(call, operands, keep=True)
    assert kept is not None
    if call.recompute:
        return _backward_in_segments(call, operands, kept, gradients, wanted)
    assert outputs is not None
    return _backward(call, operands, outputs, kept, gradients, wanted)


def _backward_in_segments(
    call: Call,
    operands: Operands,
    borders: Tensor,
    gradients: Sequence[Tensor | None],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """Run each segment forward and back, the last one first."""
    names = [f"state:{name}" for name in call.graph.states]
    grad_outputs, *carried = gradients
    total: dict[str, Tensor] = {"x": torch.empty_like(operands.x)} if "x" in wanted else {}
    cuts = segments(call, operands.x)
    for k, steps in reversed(list(enumerate(cuts))):
        here = part(operands, steps, borders[k - 1].unbind() if k else operands.state)
        run = _forward(call, here, keep=True)
        incoming = None if grad_outputs is None else grad_outputs[:, steps]
        asked = {*wanted, *names} if k else wanted
        assert run.kept is not None
        found = _backward(call, here, run.outputs, run.kept, [incoming, *carried], asked)
        if k:
            carried = list(across(call, operands, steps, [found.pop(name) for name in names]))
        if "x" in found:
            total["x"][:, steps] = found.pop("x")
        for name, gradient in found.items():
            total[name] = total[name].add_(gradient) if name in total else gradient
    return total


def across(call: Call, operands: Operands, steps: slice, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Bring states, or their gradients, over the border at which a segment is entered.

    The reset before step t is met by who comes from the right when step t is done: at the border of two segments it
    belongs to neither. Who comes from the left meets it inside the segment that begins with t.
    """
    if operands.reset is None or not call.reverse:
        return tuple(states)
    fresh = operands.reset[:, steps.stop, None]
    return tuple(state.masked_fill(fresh, 0.0) for state in states)


def part(operands: Operands, steps: slice, state: Sequence[Tensor]) -> Operands:
    """Return the operands of a segment."""
    every = (operands.valid, operands.reset, operands.noise)
    valid, reset, noise = (None if values is None else values[:, steps] for values in every)
    return replace(operands, x=operands.x[:, steps], state=state, valid=valid, reset=reset, noise=noise)


def _forward(call: Call, operands: Operands, *, keep: bool) -> Run:
    return recurrence.forward(
        call.graph,
        operands.parameters,
        operands.x,
        operands.state,
        **operands.masks,
        reverse=call.reverse,
        keep=keep,
    )


def _backward(
    call: Call,
    operands: Operands,
    outputs: Tensor,
    kept: Tensor,
    gradients: Sequence[Tensor | None],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    return recurrence.backward(
        call.graph,
        operands.parameters,
        operands.x,
        operands.state,
        outputs,
        kept,
        **operands.masks,
        reverse=call.reverse,
        grad_outputs=gradients[0],
        grad_states=gradients[1:],
        wanted=wanted,
    )
