"""`reference.unroll` by itself: what a layer asks of a backend, against the oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.backends.reference import unroll
from elman.cells import Cell, GRUCell, LSTMCell, RNNCell
from handwritten import HANDWRITTEN
from oracles import oracle_of

ORACLES = {**{cell: oracle_of(name) for name, cell in Cell.registry.items()}, **HANDWRITTEN}


def random_cell(cell):
    one = cell(2, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.uniform_(-1, 1)
    return one


def arguments(cell, batch=2, time=4):
    state = [torch.rand(batch, 3, dtype=torch.float64) for _ in cell.states]
    return cell.graph, dict(cell.named_parameters()), torch.randn(batch, time, 2, dtype=torch.float64), state


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", ORACLES, ids=lambda cell: cell.__name__)
def test_against_the_oracle(kind, reverse):
    cell = random_cell(kind)
    graph, parameters, x, state = arguments(cell)
    outputs, final = unroll(graph, parameters, x, state, reverse=reverse)
    named = {name: value.detach().numpy() for name, value, _ in cell.named_gate_parameters()}
    states, expected = tuple(s.numpy() for s in state), np.zeros((2, 4, 3))
    for t in (3, 2, 1, 0) if reverse else (0, 1, 2, 3):
        states = ORACLES[kind](named, x[:, t].numpy(), *states)
        expected[:, t] = states[0]
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    for got, state_expected in zip(final, states, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), state_expected, rtol=1e-12, atol=1e-13)


def test_a_row_that_is_not_valid_keeps_its_state():
    cell = random_cell(LSTMCell)
    graph, parameters, x, state = arguments(cell)
    valid = torch.tensor([[True, True, False, False], [False] * 4])
    outputs, (h, c) = unroll(graph, parameters, x, state, valid=valid)
    expected, (first_h, first_c) = unroll(graph, parameters, x[:1, :2], [s[:1] for s in state])
    assert outputs[:1, :2].allclose(expected, rtol=1e-12)
    assert not outputs[0, 2:].any()
    assert not outputs[1].any()
    assert h[0].allclose(first_h[0], rtol=1e-12)
    assert c[0].allclose(first_c[0], rtol=1e-12)
    assert h[1].equal(state[0][1])
    assert c[1].equal(state[1][1])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_backward_direction_starts_at_the_end_of_each_row(reverse):
    cell = random_cell(GRUCell)
    graph, parameters, x, state = arguments(cell)
    valid = torch.tensor([[True, True, True, False], [True, False, False, False]])
    outputs, (h,) = unroll(graph, parameters, x, state, valid=valid, reverse=reverse)
    for row, length in enumerate((3, 1)):
        alone, (end,) = unroll(graph, parameters, x[row : row + 1, :length], [state[0][row : row + 1]], reverse=reverse)
        torch.testing.assert_close(outputs[row, :length], alone[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(h[row], end[0], rtol=1e-12, atol=0)


def test_a_reset_lies_between_two_steps():
    cell = random_cell(RNNCell)
    graph, parameters, x, state = arguments(cell)
    reset = torch.tensor([[False, False, True, False], [True, False, False, False]])
    zero = [torch.zeros(1, 3, dtype=torch.float64)]
    forward, _ = unroll(graph, parameters, x, state, reset=reset)
    backward, (last,) = unroll(graph, parameters, x, state, reset=reset, reverse=True)
    right, _ = unroll(graph, parameters, x[:1, 2:], zero)
    left, _ = unroll(graph, parameters, x[:1, :2], zero, reverse=True)
    fresh, _ = unroll(graph, parameters, x[1:], zero)
    whole, (end,) = unroll(graph, parameters, x[1:], [state[0][1:]], reverse=True)
    torch.testing.assert_close(forward[0, 2:], right[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(forward[1], fresh[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(backward[0, :2], left[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(backward[1], whole[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(last[1], end[0], rtol=1e-12, atol=0)


def test_one_product_a_step_serves_all_gates():
    """The loop does one matrix product a step for an LSTM, and one for all inputs before it."""
    cell = random_cell(LSTMCell)
    graph, parameters, x, state = arguments(cell)
    with torch.profiler.profile() as profile, torch.no_grad():
        unroll(graph, parameters, x, state)
    products = [event for event in profile.events() if event.name in {"aten::addmm", "aten::mm", "aten::bmm"}]
    assert len(products) == 1 + x.shape[1]
