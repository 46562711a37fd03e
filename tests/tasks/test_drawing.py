from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from elman.tasks.classification.task import Classification
from elman.training import graph_def

MakeTask = Callable[..., Classification]
CELLS = ["rnn", "rnn-relu", "lstm", "peephole", "coupled", "gru", "gru-reset-before"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "input_projection": 3}])
def test_graph_holds_together(make_task: MakeTask, cell: str, options: dict[str, Any]) -> None:
    nodes = make_task(cell=cell, **options).graph()
    graph_def(nodes)  # refuses double names and inputs that there are not
    reads = {node.name: set(node.inputs) for node in nodes}
    reached, ahead = set(), ["loss/cross_entropy"]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += reads[name]
    left = set(reads) - reached
    assert all(name.endswith("/c_after") for name in left), left  # the memory leads to the next step alone
    assert {"inputs/x", "inputs/y"} <= reached
    assert {name.partition("/")[0] for name in reads} == {"inputs", "recurrent", "readout", "loss"}


def test_the_step_of_the_cell_is_drawn_once(make_task: MakeTask) -> None:
    nodes = make_task().graph()
    operations = [node.op for node in nodes if node.name.startswith("recurrent/")]
    assert operations.count("Affine") == 4  # one a gate, and not one for each of the 5 steps
    assert operations.count("Sigmoid") == 3
    assert operations.count("Tanh") == 2
    assert operations.count("Mul") == 3
    assert operations.count("Add") == 1
    assert operations.count("Parameter") == 12


def test_an_lstm_s_memory(make_task: MakeTask) -> None:
    """c = f c + i g, read off the picture."""
    nodes = {node.name: node for node in make_task().graph()}
    step = "recurrent/layer_0/forward/step"

    def gate_of(name: str) -> str:
        (below,) = (one for one in nodes[name].inputs if one.endswith("/affine"))
        return below.removeprefix(f"{step}/").partition("/")[0]

    (total,) = (node for node in nodes.values() if node.op == "Add")
    assert nodes[f"{step}/c_after"].inputs == (total.name,)
    products = [set(nodes[name].inputs) for name in total.inputs]
    forget = next(product for product in products if f"{step}/c_before" in product)
    take = next(product for product in products if product is not forget)
    assert [gate_of(name) for name in forget - {f"{step}/c_before"}] == ["f"]
    assert sorted((gate_of(name), nodes[name].op) for name in take) == [("g", "Tanh"), ("i", "Sigmoid")]
    assert set(nodes[f"{step}/f/affine"].inputs) == {
        *(f"{step}/x", f"{step}/h_before"),
        *(f"{step}/f/weight_x", f"{step}/f/weight_h", f"{step}/f/bias"),
    }


def test_layers_stand_on_each_other(make_task: MakeTask) -> None:
    nodes = {node.name: node for node in make_task(num_layers=2, bidirectional=True, input_projection=3).graph()}
    assert nodes["recurrent/projection/output"].inputs[0] == "inputs/x"
    for direction in ("forward", "backward"):
        assert nodes[f"recurrent/layer_0/{direction}/step/x"].inputs == ("recurrent/projection/output",)
        above = nodes[f"recurrent/layer_1/{direction}/step/x"]
        assert above.inputs == ("recurrent/layer_0/forward/outputs", "recurrent/layer_0/backward/outputs")
    top = ("recurrent/layer_1/forward/outputs", "recurrent/layer_1/backward/outputs")
    assert tuple(nodes["readout/state"].inputs) == top
    assert nodes["readout/state"].op == "FinalState"
    assert nodes["readout/output"].inputs == ("readout/state", "readout/weight", "readout/bias")
    assert nodes["loss/cross_entropy"].inputs == ("readout/output", "inputs/y")


def test_shapes(make_task: MakeTask) -> None:
    shapes = {node.name: node.shape for node in make_task(readout="last").graph()}
    step = "recurrent/layer_0/forward/step"
    assert shapes["inputs/x"] == (-1, 5, 4)
    assert shapes[f"{step}/i/weight_x"] == (6, 4)
    assert shapes[f"{step}/i/weight_h"] == (6, 6)
    assert shapes[f"{step}/i/bias"] == (6,)
    assert shapes["readout/bias"] == (3,)
    assert next(node.op for node in make_task(readout="last").graph() if node.name == "readout/state") == "LastOutput"
