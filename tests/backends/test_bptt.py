"""The derived back-propagation against torch's, for every cell, by name."""

from __future__ import annotations

import pytest
import torch

import handwritten
from elman.backends.bptt import backpropagate
from elman.backends.reference import unroll
from elman.cells import Affine, Cell
from elman.cells.words import exp, log, maximum, minimum, relu, softplus, sqrt, tanh, where
from elman.compiler.adjoint import adjoint
from elman.compiler.graph import ARITY

OWN = [value for value in vars(handwritten).values() if isinstance(value, type) and issubclass(value, Cell)]
CELLS = [*Cell.registry.values(), *(cell for cell in OWN if cell is not Cell)]


def both_ways(cell, *, batch=3, time=5, inputs=4, hidden=6):
    """Gradients by name, derived and torch's, of a loss that weighs every output and final state differently."""
    torch.manual_seed(1)
    made = cell(inputs, hidden, dtype=torch.float64)
    parameters = dict(made.named_parameters())
    for parameter in parameters.values():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    x = torch.randn(batch, time, inputs, dtype=torch.float64, requires_grad=True)
    state = [torch.rand(batch, hidden, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in cell.states]
    outputs, final = unroll(made.graph, parameters, x, state)
    weights = torch.randn_like(outputs), [torch.randn_like(s) for s in final]
    loss = (outputs * weights[0]).sum() + sum((s * w).sum() for s, w in zip(final, weights[1], strict=True))
    wanted = {"x": x, **{f"state {n}": s for n, s in zip(cell.states, state, strict=True)}, **parameters}
    torchs = dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True), strict=True))
    with torch.no_grad():
        derived = backpropagate(made.graph, parameters, x, state, *weights)
    states = {f"state {name}": value for name, value in zip(cell.states, derived.states, strict=True)}
    return {"x": derived.x, **states, **derived.parameters}, torchs


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_equals_autograd(cell):
    derived, torchs = both_ways(cell)
    assert derived.keys() == torchs.keys()
    for name, expected in torchs.items():
        torch.testing.assert_close(derived[name], expected, rtol=1e-11, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


class EveryOperationCell(Cell):
    """Each operation once, in a domain where it is smooth, with both operands values of the step where it has two."""

    states = ("h", "c")
    a, b = Affine(), Affine()

    def step(self, x, h, c):
        a, b = tanh(self.a(x, h)), tanh(self.b(x, c))
        positive = exp(a) + sqrt(b * b + 1) / 2
        powers = positive**b + positive**2 + positive**0.5 + 2.0**a + a**3
        chosen = where(a < b, maximum(a, 0.1 * b), minimum(a, -b)) + where(a <= 0, 0.5, relu(b) - abs(a))
        h = tanh(log(powers) - softplus(-b) + chosen / positive - 1 / positive)
        return h, minimum(maximum(c, h), 0.9) * 0.5 - h


def test_every_operation():
    used = {node.op for node in EveryOperationCell(2, 2).graph.nodes}
    assert used >= set(ARITY) - {"sigmoid"}
    derived, torchs = both_ways(EveryOperationCell)
    for name, expected in torchs.items():
        torch.testing.assert_close(derived[name], expected, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


class TieCell(Cell):
    """Values that are equal, and a gate that only a comparison reads."""

    states = ("h",)
    a, gate = Affine(), Affine()

    def step(self, x, h):
        a = self.a(x, h)
        tie = maximum(a, a * 1.0) + 2 * minimum(a, a * 1.0)
        return where(self.gate(x, h) > 0, tie * 0.1, h)


def test_ties_and_comparisons():
    derived, torchs = both_ways(TieCell)
    for name, expected in torchs.items():
        torch.testing.assert_close(derived[name], expected, rtol=1e-12, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")


def test_the_lstm_keeps_no_more_than_torch():
    """The classic seven: four gates, tanh(c), the old memory; h_(t-1) and x_t are the outputs and inputs themselves."""
    graph = Cell.registry["lstm"](2, 3).graph
    assert [graph.nodes[k].op for k in adjoint(graph).reads] == ["state", *["sigmoid"] * 3, "tanh", "tanh"]
