"""A cell run by the reference backend and differentiated by torch: what elman's own derivation is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elman.backends.reference import unroll
from elman.cells import Affine, Cell
from elman.cells.words import exp, log, maximum, minimum, relu, softplus, sqrt, tanh, where


@dataclass(frozen=True)
class Differentiated:
    """A loss that weighs every output and final state differently, and its gradients.

    The gradients stand under ``x``, the names of the states, and those of the packed parameters.
    """

    cell: Cell
    x: Tensor
    state: list[Tensor]
    outputs: Tensor
    final: list[Tensor]
    gradients: dict[str, Tensor]


def differentiate(cell: type[Cell], *, batch: int, time: int) -> Differentiated:
    """Run a cell of random weights over random inputs in float64."""
    made = cell(4, 5, dtype=torch.float64)
    parameters = dict(made.named_parameters())
    for parameter in parameters.values():
        torch.nn.init.uniform_(parameter, -0.7, 0.7)
    x = torch.randn(batch, time, 4, dtype=torch.float64, requires_grad=True)
    state = [torch.rand(batch, 5, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in cell.states]
    outputs, final = unroll(made.graph, parameters, x, state)
    weights, finals = torch.randn_like(outputs), [torch.randn_like(s) for s in final]
    loss = (outputs * weights).sum() + sum((s * w).sum() for s, w in zip(final, finals, strict=True))
    wanted = {"x": x, **dict(zip(cell.states, state, strict=True)), **parameters}
    gradients = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    by_name = dict(zip(wanted, gradients, strict=True))
    return Differentiated(made, x.detach(), [s.detach() for s in state], weights, finals, by_name)


class EveryOperationCell(Cell):
    """Each operation with values of the step on both sides, where it is smooth; also fractions of fractions."""

    states = ("h", "c")
    a, b = Affine(), Affine()

    def step(self, x, h, c):
        a, b = tanh(self.a(x, h)), tanh(self.b(x, c))
        positive = exp(a) + sqrt(b * b + 1) / 2
        powers = positive**b + positive**2 + positive**0.5 + 2.0**a + a**3
        chosen = where(a < b, maximum(a, 0.1 * b), minimum(a, -b)) + where(a <= 0, 0.5, relu(b) - abs(a))
        h = tanh(log(powers) - softplus(-b) + chosen / positive - 1 / (positive / (a - 3)) / -2)
        return h, minimum(maximum(c, h), 0.9) * 0.5 - h


class TieCell(Cell):
    """Values that are equal, and a gate that only a comparison reads."""

    states = ("h",)
    a, gate = Affine(), Affine()

    def step(self, x, h):
        a = self.a(x, h)
        tie = maximum(a, a * 1.0) + 2 * minimum(a, a * 1.0)
        return where(self.gate(x, h) > 0, tie * 0.1, h)
