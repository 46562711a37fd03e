"""A linear layer in front of the recurrent one: folded into its weights, or not, it gives the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import elman
from elman.cells import Cell
from elman.layers import projection as home
from elman.layers.projection import folds
from handwritten import AutonomousCell, NoBiasCell, SomeBiasesCell

CELLS = [*Cell.registry.values()]


def results(layer, x):
    """Outputs, states, and every gradient by name."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    outputs, state = layer(x)
    (outputs.sin().sum() + sum(s.cos().sum() for s in state)).backward()
    found = {f"gradient of {name}": p.grad.clone() for name, p in layer.named_parameters()}
    return {
        "outputs": outputs.detach(),
        "gradient of x": x.grad,
        **dict(zip(state._fields, state, strict=True)),
        **found,
    }


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_folded_as_unfolded(cell, options, monkeypatch):
    layer = elman.Recurrent(cell, 3, 5, input_projection=7, dtype=torch.float64, **options)
    x = torch.randn(8, 9, 3, dtype=torch.float64)
    asked = []
    monkeypatch.setattr("elman.layers.recurrent.folds", lambda *a: asked.append(folds(*a)) or asked[-1])
    found = results(layer, x)
    assert asked == [True]
    monkeypatch.setattr("elman.layers.recurrent.folds", lambda *_: False)
    for name, value in results(layer, x).items():
        assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_what_cannot_fold():
    for cell in (NoBiasCell, AutonomousCell, SomeBiasesCell):
        made = cell(7, 5)
        assert not folds(made.graph, dict(made.named_parameters()), torch.nn.Linear(2, 7), 10_000)
        layer = elman.Recurrent(cell, 2, 5, input_projection=7)
        layer(torch.randn(2, 3, 2))


def test_what_does_not_pay():
    graph, projection = elman.LSTMCell(128, 128).graph, torch.nn.Linear(28, 128)
    parameters = dict(elman.LSTMCell(128, 128).named_parameters())
    assert folds(graph, parameters, projection, 128 * 28)
    assert not folds(graph, parameters, projection, 1)  # a step of one row: the weights would be multiplied for it
    wide = torch.nn.Linear(4000, 128)
    assert not folds(graph, parameters, wide, 128 * 28)  # it narrows: two small products are less than a large one


def test_dropout_stands_between(monkeypatch):
    monkeypatch.setattr(home, "folded", None)
    layer = elman.LSTM(3, 5, input_projection=7, input_dropout=0.5)
    layer(torch.randn(8, 9, 3))
    monkeypatch.setattr("elman.layers.recurrent.folds", lambda *_: False)
    layer.eval()(torch.randn(8, 9, 3))


def test_padding_and_compiled(monkeypatch):
    layer = elman.GRU(3, 5, input_projection=7, dtype=torch.float64)
    x = torch.randn(8, 9, 3, dtype=torch.float64)
    lengths = torch.tensor([9, 0, 3, 7, 9, 1, 2, 8])
    x[1:3, 4:] = torch.nan
    found, _ = layer(x, lengths=lengths)
    monkeypatch.setattr("elman.layers.recurrent.folds", lambda *_: False)
    assert_close(found, layer(x, lengths=lengths)[0])


def test_autocast_runs_unfolded():
    layer = elman.LSTM(3, 5, input_projection=7)
    x = torch.randn(8, 9, 3)
    expected = layer(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)[0]
    assert_close(found.float(), expected, rtol=0.05, atol=0.05)
