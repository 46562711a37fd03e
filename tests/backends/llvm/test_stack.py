"""Layers on top of each other that keep nothing: bit for bit what one after the other gives."""

from __future__ import annotations

import pytest
import torch

from backends.llvm.compared import masks_of, numbers
from elman.backends.llvm import recurrence
from elman.cells import LSTMCell, ResetBeforeGRUCell

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@types
@pytest.mark.parametrize("masks", ["", "lengths resets"])
@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", [LSTMCell, ResetBeforeGRUCell], ids=lambda cell: cell.__name__)
def test_a_stack_is_its_layers(kind, directions, layers, batch, masks, dtype):
    hidden, time = 18, 4
    given = masks_of(masks, batch, time)
    x = numbers(batch, time, 5).to(dtype)
    cells = [
        kind(5 if k < directions else directions * hidden, hidden, dtype=dtype) for k in range(layers * directions)
    ]
    parameters = [{name: p.detach() for name, p in cell.named_parameters()} for cell in cells]
    state = [numbers(batch, layers, directions, hidden).to(dtype) for _ in kind.states]
    outputs, final = recurrence.stack(cells[0].graph, parameters, x, state, directions, **given)
    inputs, ends = x, []
    for layer in range(layers):
        runs = []
        for direction in range(directions):
            one = recurrence.forward(
                cells[0].graph,
                parameters[layer * directions + direction],
                inputs,
                [s[:, layer, direction] for s in state],
                **given,
                reverse=direction == 1,
            )
            runs.append(one.outputs)
            ends.append(one.states)
        inputs = torch.cat(runs, dim=2)
    assert outputs.equal(inputs)
    for s, whole in enumerate(final):
        assert whole.equal(torch.stack([end[s] for end in ends], dim=1).unflatten(1, (layers, directions)))
