from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from elman.tasks.classification.task import Classification

MakeTask = Callable[..., Classification]
CELLS = ["rnn", "rnn-relu", "lstm", "peephole", "coupled", "gru", "gru-reset-before"]


def test_names_of_an_lstm(make_task: MakeTask) -> None:
    task = make_task(num_layers=2, bidirectional=True, dropout=0.1, input_projection=3)
    cells = [f"recurrent/layer_{k}/{direction}" for k in (0, 1) for direction in ("forward", "backward")]
    parts = [f"{gate}/{part}" for part in ("weight_x", "weight_h", "bias") for gate in "ifgo"]
    expected = {
        *(f"{cell}/{part}" for cell in cells for part in parts),
        *("recurrent/projection/weight", "recurrent/projection/bias", "readout/weight", "readout/bias"),
    }
    assert {name for name, _, _ in task.parameters_by_name()} == expected


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "input_projection": 3}])
def test_every_parameter_once(make_task: MakeTask, cell: str, options: dict[str, Any]) -> None:
    task = make_task(cell=cell, **options)
    total = sum(parameter.numel() for parameter in task.model.parameters())
    numbers = torch.randperm(total)  # each element has a number of its own
    with torch.no_grad():
        start = 0
        for parameter in task.model.parameters():
            parameter.copy_(numbers[start : start + parameter.numel()].view_as(parameter))
            parameter.grad = -parameter.detach().clone()
            start += parameter.numel()
    found = list(task.parameters_by_name())
    assert len({name for name, _, _ in found}) == len(found)
    values = torch.cat([value.flatten() for _, value, _ in found])
    assert torch.equal(values.sort()[0], torch.arange(total, dtype=values.dtype))
    for name, value, gradient in found:
        assert torch.equal(gradient, -value), name


def test_names_point_at_the_right_weights(make_task: MakeTask) -> None:
    task = make_task(bidirectional=True)
    named = {name: value for name, value, _ in task.parameters_by_name()}
    assert all(gradient is None for _, _, gradient in task.parameters_by_name())
    backward = task.model.recurrent.cell_at(0, 1)
    assert torch.equal(named["recurrent/layer_0/backward/f/weight_h"], backward.f.weights_h[0])
    assert torch.equal(named["recurrent/layer_0/backward/o/weight_x"], backward.o.weight_x)
    assert set(named["recurrent/layer_0/forward/f/bias"].tolist()) == {1.0}
    assert set(named["recurrent/layer_0/forward/i/bias"].tolist()) == {0.0}


def test_nothing_is_carried(make_task: MakeTask) -> None:
    task = make_task()
    assert task.state_dict() == {}
    task.load_state_dict({})
