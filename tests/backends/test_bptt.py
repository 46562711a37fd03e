"""The derived back-propagation against torch's, for every cell, by name."""

from __future__ import annotations

import pytest
import torch

import handwritten
from differentiated import EveryOperationCell, TieCell, differentiate
from elman.backends.bptt import backpropagate
from elman.cells import Cell
from elman.compiler.adjoint import adjoint
from elman.compiler.graph import ARITY

OWN = [value for value in vars(handwritten).values() if isinstance(value, type) and issubclass(value, Cell)]
CELLS = [*Cell.registry.values(), *(cell for cell in OWN if cell is not Cell), EveryOperationCell, TieCell]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_equals_autograd(cell):
    case = differentiate(cell, batch=3, time=5)
    parameters = dict(case.cell.named_parameters())
    with torch.no_grad():
        derived = backpropagate(case.cell.graph, parameters, case.x, case.state, case.outputs, case.final)
    got = {"x": derived.x, **dict(zip(cell.states, derived.states, strict=True)), **derived.parameters}
    assert got.keys() == case.gradients.keys()
    for name, expected in case.gradients.items():
        torch.testing.assert_close(got[name], expected, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def test_every_operation_is_among_them():
    used = {node.op for node in EveryOperationCell(2, 2).graph.nodes}
    assert used >= set(ARITY) - {"sigmoid"}


def test_the_lstm_keeps_no_more_than_torch():
    """The old memory, the four gates and tanh(c); h_(t-1) and x_t are outputs and inputs, there anyway."""
    graph = Cell.registry["lstm"](2, 3).graph
    assert [graph.nodes[k].op for k in adjoint(graph).reads] == ["state", *["sigmoid"] * 3, "tanh", "tanh"]
