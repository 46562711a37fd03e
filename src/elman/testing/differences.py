"""The classic gradient check: every gradient against central differences of the loss. See `check_gradients`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from elman.backends import selection
from elman.cells import Cell
from elman.testing.subject import Subject, gate_parameters, weighted_sum

__all__ = ["GradientCheck", "check_gradients", "compare_differences"]

_STEP: Final = 1e-5  # about the cube root of float64's precision, where rounding and curvature weigh the same
_LIMIT: Final = 1e-6
_SMALL: Final = 1e-3  # eps, for a loss of 1: below it a difference of losses is rounding


@dataclass(frozen=True)
class GradientCheck:
    """One gradient of a cell at one place, beside central differences.

    Attributes:
        cell: the name of the class.
        name: ``x``, ``initial state h``, ``f/weight_h``, ...
        backend: what ran it.
        device: where.
        entries: how many numbers it has, all of which were compared.
        norm: of the gradient.
        error: the largest |a - n| / max(|a|, |n|, eps); infinite where a number is NaN.
        limit: what is allowed.
    """

    cell: str
    name: str
    backend: str
    device: str
    entries: int
    norm: float
    error: float
    limit: float = _LIMIT

    @property
    def good(self) -> bool:
        """Whether the error is within its limit."""
        return self.error <= self.limit

    def __str__(self) -> str:
        off = f"off by {self.error:.2g}, allowed are {self.limit:.2g}"
        return (
            f"{self.cell}: gradient of {self.name} ({self.backend}, {self.device}) against central differences is {off}"
        )


def check_gradients(
    cell: type[Cell], *, device: torch.device | str = "cpu", backend: selection.Name = "auto"
) -> list[GradientCheck]:
    """Compare each gradient of a cell with central differences of the loss, (L(p + s) - L(p - s)) / 2s, in float64.

    Three units run two rows over three steps from a random state, with the same numbers on every machine, and the loss
    weighs every output and final state differently. s is 1e-5, and eps a thousandth of the loss, at least 1e-3.

    Args:
        cell: the class; its states between 0 and 1 must be in the domain of its equations.
        device: where to run.
        backend: ``llvm``, ``reference``, or ``auto`` for what elman would take.

    Returns:
        Of x, of the initial states and of each gate's parameters. Nothing is raised for a wrong number.

    Raises:
        BackendError: the backend cannot run on this machine or device.

    Example:
        >>> from elman import RNNCell
        >>> for check in check_gradients(RNNCell):
        ...     print(check.name, check.entries, check.good)
        x 12 True
        initial state h 6 True
        n/weight_x 6 True
        n/weight_h 9 True
        n/bias 3 True
    """
    with selection.backend(backend):
        return compare_differences(Subject(cell, "central differences", None, torch.device(device)))


def compare_differences(subject: Subject) -> list[GradientCheck]:
    """Do what `check_gradients` does, on the backend that is wanted here."""
    layer = subject.layer()
    x, state = subject.inputs(layer, batch=2, time=3)
    results = subject.results(layer, layer, x, state)
    leaves = {"x": ("x", x)}  # by the names of the check: the name among the results, and the numbers
    leaves |= {f"initial state {n}": (f"state {n}", s) for n, s in zip(subject.cell.states, state, strict=True)}
    leaves |= {name.rpartition(" ")[2]: (name, value) for name, value, _ in gate_parameters(layer)}

    def loss() -> float:
        return float(weighted_sum(subject.named(*layer(x, state))))

    found = []
    with torch.no_grad():
        small = _SMALL * max(1.0, abs(loss()))
        for name, (result, leaf) in leaves.items():
            gradient, numbers = results[f"the gradient of {result}"], leaf.view(-1)
            slopes = [_difference(loss, numbers, k) for k in range(len(numbers))]
            found.append(
                GradientCheck(
                    cell=subject.cell.__name__,
                    name=name,
                    backend=selection.wanted(),
                    device=str(subject.device),
                    entries=leaf.numel(),
                    norm=float(gradient.norm()),
                    error=_error(gradient.reshape(-1).cpu(), torch.tensor(slopes, dtype=torch.float64), small),
                )
            )
    return found


def _difference(loss: Callable[[], float], numbers: Tensor, k: int) -> float:
    """The slope of the loss over a small way of one number, which is then put back."""
    number = float(numbers[k])
    losses = []
    for moved in (number - _STEP, number + _STEP):
        numbers[k] = moved
        losses.append(loss())
    numbers[k] = number
    return (losses[1] - losses[0]) / (2 * _STEP)


def _error(analytic: Tensor, numeric: Tensor, small: float) -> float:
    """The largest relative error."""
    size = torch.maximum(analytic.abs(), numeric.abs()).clamp(min=small)
    errors = ((analytic - numeric).abs() / size).nan_to_num(nan=math.inf)
    return float(errors.max())
