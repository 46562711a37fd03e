"""`torch.compile` and `torch.export` take a whole layer as one graph, whatever the length."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend, EagerAndRecordGraphs
from torch.func import grad, hessian, jvp, vmap

import elman
from elman import GRU, LSTM, PeepholeLSTM
from elman.backends.llvm import recurrence
from elman.errors import BackendError

# torch's own: when forward mode or inductor is first used, when it goes on after a graph break, when it exports
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script.*` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]

close = torch.testing.assert_close
SIZES = [(2, 3), (5, 7), (4, 9), (3, 64), (2, 2)]
INDUCTOR = pytest.param(
    "inductor",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(
            not any(shutil.which(c) for c in ("g++", "clang++")), reason="inductor needs a C++ compiler"
        ),
    ],
)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


@pytest.fixture
def compiled_runs(monkeypatch):
    """How often compiled code ran forward."""
    calls, forward = [], recurrence.forward
    monkeypatch.setattr(recurrence, "forward", lambda *args, **kwargs: (calls.append(1), forward(*args, **kwargs))[1])
    return calls


def deep(**options):
    return LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64, **options)


def gradients(layer, outputs, state, *others):
    value = outputs.square().sum() + sum((k + 2) * s.sin().sum() for k, s in enumerate(state))
    return torch.autograd.grad(value, [*others, *layer.parameters()])


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("arguments", ["x", "state", "lengths and reset"])
@pytest.mark.parametrize("compiler", ["eager", "aot_eager", INDUCTOR])
def test_one_graph_with_the_same_numbers(compiler, arguments, recompute):
    layer = deep(recompute=recompute)
    compiled = torch.compile(layer, backend=compiler, fullgraph=True)
    for batch, time in SIZES[:3]:
        x = torch.randn(batch, time, 3, dtype=torch.float64, requires_grad=True)
        state = [torch.rand(batch, 2, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        options, others = {}, [x]
        if arguments == "state":
            options, others = {"state": state}, [x, *state]
        elif arguments != "x":
            options = {"lengths": torch.randint(0, time + 1, (batch,)), "reset": torch.rand(batch, time) < 0.3}
        got, expected = compiled(x, **options), layer(x, **options)
        close(got[0], expected[0])
        close(tuple(got[1]), tuple(expected[1]))
        close(gradients(layer, *got, *others), gradients(layer, *expected, *others))


@pytest.mark.parametrize("masked", [False, True])
def test_at_most_two_graphs_for_all_sizes(masked):
    layer, counter = deep(), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    counts = []
    for batch, time in SIZES:
        x = torch.randn(batch, time, 3, dtype=torch.float64)
        options = {"lengths": torch.randint(0, time + 1, (batch,))} if masked else {}
        close(compiled(x, **options)[0], layer(x, **options)[0])
        counts.append((counter.frame_count, counter.op_count))
    assert counts[-1][0] <= 2
    assert counts[1:] == [counts[1]] * (len(SIZES) - 1)


def test_a_graph_has_one_node_for_each_layer_and_direction():
    nodes = []
    for time in (3, 300):
        torch.compiler.reset()
        recorder = EagerAndRecordGraphs()
        torch.compile(deep(), backend=recorder, fullgraph=True)(torch.randn(2, time, 3, dtype=torch.float64))
        (graph,) = recorder.graphs
        nodes.append(len(graph.graph.nodes))
        assert sum("elman" in str(node.target) for node in graph.graph.nodes) == 4
    assert nodes[0] == nodes[1]


def test_without_gradients(compiled_runs):
    layer, x = deep(), torch.randn(2, 5, 3, dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    expected = layer(x)[0].detach()
    compiled_runs.clear()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            close(compiled(x)[0], expected)
    assert len(compiled_runs) == 8


def test_frozen_weights_get_no_gradient():
    layer = LSTM(3, 4, 2, dtype=torch.float64)
    layer.cell_at(0, 0).weight_h.requires_grad_(False)
    torch.compile(layer, backend="aot_eager", fullgraph=True)(torch.randn(2, 5, 3).double())[0].sum().backward()
    assert layer.cell_at(0, 0).weight_h.grad is None
    assert layer.cell_at(0, 0).weight_x.grad.any()
    assert layer.cell_at(1, 0).weight_h.grad.any()


def test_the_backend_counts_when_the_layer_runs(compiled_runs):
    layer, x = deep(), torch.randn(2, 5, 3, dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with elman.backend("reference"):
        expected = compiled(x)[0]
        assert not compiled_runs
    with elman.backend("llvm"):
        close(compiled(x)[0], expected)
    assert len(compiled_runs) == 4


def test_types_that_compiled_code_does_not_have():
    layer, x = LSTM(3, 4).to(torch.bfloat16), torch.randn(2, 5, 3).to(torch.bfloat16)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with (
        elman.backend("llvm"),
        pytest.raises(RuntimeError, match=r"The backend llvm cannot run this: x is torch\.bfloat16"),
    ):
        compiled(x)
    close(compiled(x)[0], layer(x)[0], rtol=0, atol=0)


# Derivatives


def test_second_derivatives_of_a_compiled_layer_raise():
    compiled = torch.compile(deep(), backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(compiled(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        first.square().sum().backward()


TRANSFORMATIONS = {
    "grad": lambda f: grad(lambda x: f(x).square().sum()),
    "jvp": lambda f: lambda x: jvp(f, (x,), (torch.ones_like(x),)),
    "vmap": lambda f: lambda x: vmap(lambda row: f(row[None]))(x),
    "vmap_grad": lambda f: vmap(grad(lambda row: f(row[None]).square().sum())),
    "hessian": lambda f: hessian(lambda x: f(x).square().sum()),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_inside_of_what_is_compiled(name):
    layer, x = GRU(3, 4, dtype=torch.float64), torch.randn(2, 3, 3, dtype=torch.float64)
    transformed = TRANSFORMATIONS[name](lambda x: layer(x)[0])
    close(torch.compile(transformed, backend="aot_eager", fullgraph=True)(x), transformed(x))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_of_what_is_compiled_raise(name):
    layer, x = GRU(3, 4, dtype=torch.float64), torch.randn(2, 3, 3, dtype=torch.float64)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError, match=r"torch\.func\.\w+\(compiled_fn\)"):
        TRANSFORMATIONS[name](lambda x: compiled(x)[0])(x)


# Around graphs


def test_a_layer_after_a_graph_break():
    """What torch.compile does not take as one graph runs all the same, with its gradients."""
    layer = deep()

    def step(x):
        y = x * 2
        torch._dynamo.graph_break()
        outputs, state = layer(y)
        torch._dynamo.graph_break()
        return outputs.square().sum() + state.c.sum()

    for batch, time in SIZES:
        x = torch.randn(batch, time, 3, dtype=torch.float64)
        got, expected = torch.compile(step, backend="aot_eager")(x), step(x)
        close(got, expected)
        parameters = list(layer.parameters())
        close(torch.autograd.grad(got, parameters), torch.autograd.grad(expected, parameters))


@torch._dynamo.config.patch(recompile_limit=1)
def test_beyond_the_limit_of_graphs():
    """torch.compile gives up on a function and goes on with those that it calls."""
    layer = deep()
    compiled = torch.compile(layer, backend="aot_eager", dynamic=False)
    for batch, time in SIZES:
        x = torch.randn(batch, time, 3, dtype=torch.float64)
        got, expected = compiled(x), layer(x)
        close(got[0], expected[0])
        close(gradients(layer, *got), gradients(layer, *expected))


# Export


class Outputs(nn.Module):
    """A layer without its states, with everything that can be passed to it."""

    def __init__(self):
        super().__init__()
        self.layer = PeepholeLSTM(3, 4, 2, bidirectional=True, dtype=torch.float64)

    def forward(self, x, h, c, lengths, reset):
        return self.layer(x, (h, c), lengths=lengths, reset=reset)[0]


def exported_arguments(batch, time):
    states = (torch.rand(batch, 2, 2, 4, dtype=torch.float64) for _ in range(2))
    lengths, reset = torch.randint(1, time + 1, (batch,)), torch.rand(batch, time) < 0.3
    return torch.randn(batch, time, 3, dtype=torch.float64), *states, lengths, reset


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    model, given = Outputs(), exported_arguments(2, 5)
    batch, time = torch.export.Dim("batch", min=2), torch.export.Dim("time", min=2)
    dynamic = ({0: batch, 1: time}, {0: batch}, {0: batch}, {0: batch}, {0: batch, 1: time})
    program = torch.export.export(model, given, dynamic_shapes=dynamic, strict=strict)
    runs = [node for node in program.graph.nodes if "elman" in str(node.target)]
    assert [node.args[-1] for node in runs] == [False] * 4  # nothing is kept for gradients
    for decomposed in (program, program.run_decompositions()):
        for size in SIZES:
            given = exported_arguments(*size)
            close(decomposed.module()(*given), model(*given))


def test_an_exported_layer_can_be_trained():
    layer, x = GRU(3, 4, dtype=torch.float64), torch.randn(2, 3, 3, dtype=torch.float64)
    module = torch.export.export(layer, (x,)).module()
    value, expected = module(x)[0].square().sum(), layer(x)[0].square().sum()
    got = torch.autograd.grad(value, list(module.parameters()))
    names, others = ([name for name, _ in m.named_parameters()] for m in (module, layer))
    right = torch.autograd.grad(expected, list(layer.parameters()))
    close(dict(zip(names, got, strict=True)), dict(zip(others, right, strict=True)))
    with pytest.raises(BackendError, match=r"Forward-mode derivatives .* Take them of the layer itself"):
        jvp(lambda x: module(x)[0], (x,), (x,))


def test_another_process_runs_an_exported_layer(tmp_path):
    model, given = Outputs(), exported_arguments(2, 5)
    torch.export.save(torch.export.export(model, given), tmp_path / "program.pt2")
    torch.save((given, model(*given).detach()), tmp_path / "numbers.pt")
    code = f"""
import torch, elman.layers
program = torch.export.load({str(tmp_path / "program.pt2")!r})
given, expected = torch.load({str(tmp_path / "numbers.pt")!r})
torch.testing.assert_close(program.module()(*given), expected)
print("the same")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "the same\n", done.stderr
