"""Equations that must hold between cells, and truncated back-propagation through time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import logsigmoid

from elman import LSTM, CoupledLSTM, PeepholeLSTM, Recurrent, RNNCell
from elman.cells import Cell, LSTMCell

OPTIONS = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def run(layer, x):
    """Outputs, states, and the gradients by gate of a sum in which every number weighs differently."""
    x = x.clone().requires_grad_()
    outputs, state = layer(x)
    values = torch.cat([outputs.flatten(), *(s.flatten() for s in state)])
    (values * torch.cos(torch.arange(values.numel()))).sum().backward()
    gradients = {
        f"{place} {name}": gradient
        for place, cell in layer.named_cells()
        for name, _, gradient in cell.named_gate_parameters()
    }
    return outputs, state, x.grad, gradients


def test_zero_peepholes_make_an_lstm():
    lstm, peephole = LSTM(3, 4, **OPTIONS), PeepholeLSTM(3, 4, **OPTIONS)
    zeros = {name: torch.zeros_like(p) for name, p in peephole.named_parameters() if name.endswith("diagonal")}
    peephole.load_state_dict({**lstm.state_dict(), **zeros})
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    outputs, state, x_gradient, gradients = run(peephole, x)
    expected_outputs, expected_state, expected_x, expected = run(lstm, x)
    close(outputs, expected_outputs)
    close(tuple(state), tuple(expected_state))
    close(x_gradient, expected_x)
    close({name: gradients[name] for name in expected}, expected)
    assert all(gradients[f"{place} p_{gate}"].any() for place, _ in lstm.named_cells() for gate in "ifo")


def test_coupled_is_an_lstm_with_the_input_gate_one_minus_f():
    """1 - sigmoid(a) = sigmoid(-a): the weights of i are those of f, negated."""
    coupled, lstm = CoupledLSTM(3, 4, **OPTIONS), LSTM(3, 4, **OPTIONS)
    with torch.no_grad():
        for (_, theirs), (_, ours) in zip(lstm.named_cells(), coupled.named_cells(), strict=True):
            for packed in ("weight_x", "weight_h", "bias"):
                f, g, o = getattr(ours, packed).uniform_(-1, 1).chunk(3)
                getattr(theirs, packed).copy_(torch.cat([-f, f, g, o]))
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    outputs, state, x_gradient, gradients = run(coupled, x)
    expected_outputs, expected_state, expected_x, expected = run(lstm, x)
    close(outputs, expected_outputs)
    close(tuple(state), tuple(expected_state))
    close(x_gradient, expected_x)
    for name, gradient in gradients.items():
        other = name.replace(" f/", " i/")
        close(gradient, expected[name] - expected[other] if other != name else expected[name])


def test_an_lstm_that_keeps_everything_keeps_its_memory():
    layer = LSTM(3, 4, initial_bias={"f": 60.0, "i": -60.0}, dtype=torch.float64)
    c = torch.randn(2, 1, 1, 4, dtype=torch.float64)
    _, state = layer(torch.randn(2, 50, 3, dtype=torch.float64), [torch.zeros_like(c), c])
    close(state.c, c)


@pytest.mark.parametrize("cell", Cell.registry.values(), ids=Cell.registry)
def test_truncated_bptt(cell):
    """Detaching the carried state changes no value and cuts the gradient to exactly zero."""
    layer = Recurrent(cell, 3, 4, num_layers=2, dtype=torch.float64)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    whole, final = layer(x)

    first, second = x[:, :3].clone().requires_grad_(), x[:, 3:].clone().requires_grad_()
    left, state = layer(first)
    right, end = layer(second, [s.detach() for s in state])
    close(torch.cat([left, right], dim=1), whole)
    close(tuple(end), tuple(final))
    across, within = torch.autograd.grad(
        right.square().sum(), (first, second), allow_unused=True, materialize_grads=True
    )
    assert not across.any()
    assert within.any()

    carried, _ = layer(second, state)
    across, kept = torch.autograd.grad(carried.square().sum(), (first, second))
    assert across.any()
    close(kept, within)


def test_the_gradient_of_a_long_lstm_is_the_product_of_its_forget_gates():
    """With nothing but the memory's own path, dc_T / dc_0 is the product of f over time."""
    layer = Recurrent(LSTMCell, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.cell_at(0, 0).bias[1] = 2.0
    c = torch.tensor([[[[0.7]]]], dtype=torch.float64, requires_grad=True)
    _, state = layer(torch.zeros(1, 20, 1, dtype=torch.float64), [torch.zeros_like(c), c])
    (gradient,) = torch.autograd.grad(state.c.sum(), c)
    close(gradient.flatten(), torch.exp(20 * logsigmoid(torch.tensor([2.0], dtype=torch.float64))))


def test_an_identity_rnn_adds_up():
    layer = Recurrent(RNNCell, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.cell_at(0, 0).weight_x.fill_(1e-4)
        layer.cell_at(0, 0).weight_h.fill_(1.0)
    outputs, _ = layer(torch.ones(1, 10, 1, dtype=torch.float64))
    torch.testing.assert_close(outputs.flatten(), torch.arange(1, 11, dtype=torch.float64) * 1e-4, rtol=1e-5, atol=0)
