"""`torch.compile` and `torch.export` take a whole layer as one graph."""

from __future__ import annotations

import pytest
import torch

from elman import GRU, LSTM

close = torch.testing.assert_close


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_is_one_graph(backend):
    torch.compiler.reset()
    layer = LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64)
    x, lengths = torch.randn(2, 3, 3, dtype=torch.float64), torch.tensor([3, 1])
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    outputs, state = compiled(x, lengths=lengths)
    expected, expected_state = layer(x, lengths=lengths)
    close(outputs, expected)
    close(tuple(state), tuple(expected_state))
    got = torch.autograd.grad(outputs.square().sum(), list(layer.parameters()))
    close(got, torch.autograd.grad(expected.square().sum(), list(layer.parameters())))


def test_export():
    layer, x = GRU(3, 4, dtype=torch.float64), torch.randn(2, 3, 3, dtype=torch.float64)
    program = torch.export.export(layer, (x,))
    close(program.module()(x)[0], layer(x)[0])
