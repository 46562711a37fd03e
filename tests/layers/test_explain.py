"""`elman.explain`: what it says is what happens, and nothing happens while it says it."""

from __future__ import annotations

import json
import re

import pytest
import torch

import elman
from elman.backends.llvm import layout, recurrence, runtime
from elman.backends.segments import segments
from elman.compiler.work import Product
from elman.errors import BackendError, OptionError, ShapeError
from elman.layers.explanation import Code, Explanation, Pass, Phase, Run

COMPILED = "compiled code runs on this processor and type"


class UnheardOfCell(elman.Cell):
    """A cell of which no compiled code is at hand."""

    states = ("h",)
    n = elman.Affine()

    def step(self, x, h):
        return elman.tanh(self.n(x, h)) * 0.271828


@pytest.fixture
def watched(monkeypatch):
    """What compiled code is asked for, and with which layouts it does it."""
    seen = []

    def watch(module, name):
        function = getattr(module, name)

        def call(*arguments, **options):
            result = function(*arguments, **options)
            seen.append((name, arguments, options, result))
            return result

        monkeypatch.setattr(module, name, call)

    for name in ("forward_layout", "backward_layout"):
        watch(recurrence, name)
    for name in ("forward", "backward"):
        watch(recurrence, name)
    return seen


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be compiled or run."""

    def fail(*arguments, **options):
        raise AssertionError("this is to be explained, not to be done")

    monkeypatch.setattr(runtime, "load", fail)
    for name in ("forward", "backward", "stack"):
        monkeypatch.setattr(recurrence, name, fail)


def named(seen, name):
    return [entry for entry in seen if entry[0] == name]


def products(way):
    return [(phase.every, p.what, p.rows, p.inner, p.columns) for phase in way.phases for p in phase.products]


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"recompute": True}])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_what_is_said_is_what_happens(watched, batch, options):
    torch.set_num_threads(2)
    layer, x = elman.PeepholeLSTM(20, 40, **options), torch.randn(batch, 30, 20)
    explanation = elman.explain(layer, x)
    assert not watched
    layer(x)[0].sum().backward()
    runs = explanation.runs
    assert [run.backend for run in runs] == ["llvm"] * layer.num_layers * layer.directions
    backward = named(watched, "backward")
    assert {frozenset(run.gradients) for run in runs} == {
        frozenset(done[2]["wanted"]) - {"state:h", "state:c"} for done in backward
    }
    ways = [entry[3] for entry in (*named(watched, "forward_layout"), *named(watched, "backward_layout"))]
    assert {run.code.threads for run in runs} == {way.threads for way in ways}
    if not layer.recompute:
        kept = [entry[3].kept.nbytes for entry in named(watched, "forward")]
        assert [run.kept_bytes for run in runs] == kept
        for k, run in enumerate(runs):
            there, back = named(watched, "forward_layout")[k][3], named(watched, "backward_layout")[-1 - k][3]
            assert run.code.working_bytes == 4 * max(there.work, back.work)
            numbers, at = there.numbers, there.at
            assert run.code.packed == (numbers[at["direct"]] == 0)
            assert run.code.shared == ("rows" if numbers[at["row_parts"]] == there.threads else "units")
            chunk = back.numbers[back.at["chunk"]]
            assert {phase.every for phase in run.backward.phases if phase.products} == {1, chunk}


def test_recompute_keeps_the_states_between_segments():
    layer, x = elman.LSTM(20, 40, recompute=True), torch.randn(40, 100, 20)
    (plain,), (run,) = elman.explain(elman.LSTM(20, 40), x).runs, elman.explain(layer, x).runs
    calls = segments(elman.backends.call.Call(elman.LSTMCell(2, 3).graph, recompute=True), x)
    assert len(calls) == 10
    assert run.kept_bytes == 9 * 2 * 40 * 40 * 4
    assert run.backward.flops == plain.backward.flops + plain.forward.flops
    assert run.forward == plain.forward
    segment = layout.facts(elman.LSTMCell(2, 3).graph, 4, 40, 10, 20, 40, run.gradients)
    assert run.code.working_bytes == 4 * (segment.kept + max(segment.forward_work, segment.backward_work))
    (note,) = elman.explain(layer, x).notes
    assert note.startswith("recompute: ")
    with torch.no_grad():
        assert elman.explain(layer, x).notes == ()


@pytest.mark.usefixtures("idle")
def test_nothing_is_run_or_compiled():
    layer = elman.Recurrent(UnheardOfCell, 20, 40, 2, input_projection=30)
    called = []
    layer.projection.register_forward_hook(lambda *_: called.append("projection"))
    assert {run.backend for run in elman.explain(layer, (3, 4, 20)).runs} == {"llvm"}
    assert {run.backend for run in elman.explain(layer, torch.ones(3, 4, 20)).runs} == {"llvm"}
    assert called == []


def test_a_shape_is_as_good_as_a_tensor():
    layer = elman.GRU(5, 7, 2, dtype=torch.float64)
    assert elman.explain(layer, (3, 4, 5)) == elman.explain(layer, torch.ones(3, 4, 5).double())
    assert elman.explain(layer, torch.Size([3, 4, 5])).dtype == "float64"
    assert elman.explain(layer, (2**20, 2**12, 5)).shape == (2**20, 2**12, 5)  # takes no memory


def test_sizes_of_products():
    layer = elman.LSTM(5, 7, 2)
    lower, upper = elman.explain(layer, (300, 4, 5)).runs
    assert [run.name for run in (lower, upper)] == ["layer_0/forward", "layer_1/forward"]
    assert products(lower.forward) == [(1, "W x", 300, 5, 28), (1, "U h", 300, 7, 28)]
    assert products(upper.forward)[0] == (1, "W x", 300, 7, 28)
    assert products(upper.backward) == [
        (1, "Uᵀ δ for h", 300, 28, 7),
        (1, "Wᵀ δ for x", 300, 28, 7),
        (1, "δ xᵀ", 28, 300, 7),
        (1, "δ hᵀ", 28, 300, 7),
    ]
    assert lower.forward.flops == 2 * 300 * 4 * 28 * (5 + 7)
    assert upper.backward.flops == 2 * 300 * 4 * 28 * (4 * 7)
    assert lower.weight_bytes == 4 * (28 * 5 + 28 * 7 + 28)
    both = elman.explain(elman.LSTM(5, 7, 2, bidirectional=True), (300, 4, 5)).runs
    assert [products(run.forward)[0][3] for run in both] == [5, 5, 14, 14]


# Gradients


def gradients(layer, x):
    return [set(run.gradients) for run in elman.explain(layer, x).runs]


def test_gradients_of_what_asks_for_them():
    layer, x, weights = elman.LSTM(5, 7, 2), torch.ones(3, 4, 5), {"weight_x", "weight_h", "bias"}
    assert gradients(layer, x) == [weights, {"x", *weights}]
    assert gradients(layer, x.clone().requires_grad_()) == [{"x", *weights}] * 2
    layer.cell_at(1, 0).weight_h.requires_grad_(False)
    assert gradients(layer, x) == [weights, {"x", "weight_x", "bias"}]
    layer.cell_at(0, 0).requires_grad_(False)
    assert gradients(layer, x) == [set(), {"weight_x", "bias"}]
    with torch.no_grad():
        assert gradients(layer, x) == [set()] * 2
        assert [run.backward for run in elman.explain(layer, x).runs] == [None] * 2
        assert [run.kept_bytes for run in elman.explain(layer, x).runs] == [0] * 2
    with torch.inference_mode():
        assert gradients(layer, x) == [set()] * 2


def test_a_projection_that_folds():
    layer, x = elman.GRU(3, 5, input_projection=7), torch.ones(8, 9, 3)
    weights = {"weight_x", "weight_h", "bias"}
    assert gradients(layer, x) == [weights]
    (run,) = elman.explain(layer, x).runs
    assert products(run.forward)[0] == (1, "W x", 8, 3, 15)
    assert elman.explain(layer, x).notes == ("input projection 3 → 7: folded into the weights, 630 FLOP forward",)
    layer.cell_at(0, 0).requires_grad_(False)
    assert gradients(layer, x) == [{"weight_x", "bias"}]
    layer.projection.weight.requires_grad_(False)
    assert gradients(layer, x) == [{"bias"}]
    layer.projection.bias.requires_grad_(False)
    assert gradients(layer, x) == [set()]
    assert gradients(layer, x.clone().requires_grad_()) == [{"x"}]


@pytest.mark.parametrize("options", [{"input_dropout": 0.5}, {}], ids=["dropout", "few rows"])
def test_a_projection_that_does_not_fold(options, watched):
    layer, x = elman.GRU(3, 5, input_projection=7, **options), torch.ones(8 if options else 1, 1, 3)
    explanation = elman.explain(layer, x)
    assert explanation.notes == (f"input projection 3 → 7: a product of its own, {42 * len(x)} FLOP forward",)
    (run,) = explanation.runs
    assert set(run.gradients) == {"x", "weight_x", "weight_h", "bias"}
    assert products(run.forward)[0] == (1, "W x", len(x), 7, 15)
    layer(x)[0].sum().backward()
    ((_, arguments, options, _),) = named(watched, "backward")
    assert arguments[2].shape == (len(x), 1, 7)
    assert set(options["wanted"]) == set(run.gradients)


# The backend


def backend_of(layer, x):
    (run,) = elman.explain(layer, x).runs
    assert (run.code is None) == (run.backend == "reference")
    return run.backend, run.reason


def test_the_backend_and_why():
    layer, x = elman.LSTM(5, 7), torch.ones(3, 4, 5)
    assert backend_of(layer, x) == ("llvm", COMPILED)
    assert backend_of(layer, x[:0]) == ("reference", "x has no rows")
    half = "x is torch.float16; the compiled code is for float32 and float64"
    assert backend_of(elman.LSTM(5, 7).half(), (3, 4, 5)) == ("reference", half)
    meta = "x is on meta; the compiled code is for the CPU"
    assert backend_of(elman.LSTM(5, 7, device="meta"), (3, 4, 5)) == ("reference", meta)
    with elman.backend("reference"):
        assert backend_of(layer, x) == ("reference", "elman.backend('reference') asks for it")
    with elman.backend("llvm"):
        assert elman.explain(layer, x).notes == ()


def test_a_host_without_compiled_code(monkeypatch):
    monkeypatch.setattr(runtime, "host", lambda: "llvmlite is not installed")
    assert backend_of(elman.LSTM(5, 7), (3, 4, 5)) == ("reference", "llvmlite is not installed")


def test_a_call_that_would_raise():
    layer, x = elman.LSTM(5, 7).half(), torch.ones(3, 4, 5).half()
    with elman.backend("llvm"):
        explanation = elman.explain(layer, x)
        with pytest.raises(BackendError):
            layer(x)
    assert explanation.notes == ("elman.backend('llvm') allows compiled code alone: a call raises BackendError",)
    assert explanation.runs[0].backend == "reference"


def test_autocast_reaches_behind_a_projection():
    layer = elman.LSTM(3, 5, input_projection=7, input_dropout=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert backend_of(layer, torch.ones(8, 9, 3))[1].startswith("x is torch.bfloat16")
    assert backend_of(layer, torch.ones(8, 9, 3)) == ("llvm", COMPILED)


def test_the_reference_has_the_same_work():
    layer, x = elman.ResetBeforeGRU(5, 7, 2), (3, 4, 5)
    compiled = elman.explain(layer, x)
    with elman.backend("reference"):
        torchs = elman.explain(layer, x)
    for one, other in zip(torchs.runs, compiled.runs, strict=True):
        assert one.forward == Pass((), other.forward.flops, None)
        assert one.backward == Pass((), other.backward.flops, None)
        assert (one.gradients, one.weight_bytes) == (other.gradients, other.weight_bytes)
        assert one.kept_bytes is None


# What it looks like


def test_as_text():
    w = Product("W x", ("f", "n"), 3, 5, 14, 1680)
    u = Product("Uᵀ δ for h", ("f", "n"), 3, 14, 7, 2_352_000)
    code = Code("AVX2", 8, 2, "libgomp.so.1", "units", True, 12_345_678)
    forward = Pass((Phase(1, (w, w), 4),), 1680, 0.5)
    backward = Pass((Phase(1, (), 1), Phase(25, (u,), 0)), 2_352_000, 0.8)
    run = Run("layer_0/forward", "llvm", "it can", code, forward, backward, ("x", "bias"), 999, 4_000_000)
    twin = Run("layer_0/backward", *list(vars(run).values())[1:])
    plain = Run("layer_1/forward", "reference", "it must", None, Pass((), 20, None), None, (), 8, None)
    explanation = Explanation("GRU(GRUCell, 5, 7)", (3, 4, 5), "float32", 2, ("a note",), (run, twin, plain))
    assert repr(explanation) == str(explanation)
    assert str(explanation).splitlines() == [
        "GRU(GRUCell, 5, 7) on x (3, 4, 5), float32, with 2 threads",
        "a note",
        "",
        "layer_0/forward, layer_0/backward: llvm, because it can",
        "  code      AVX2, 8 numbers a vector; weights packed first; "
        "2 threads of libgomp.so.1, which share the units and meet at every step",
        "  forward   every step      W x         3 x 5 x 14  f n",
        "                            W x         3 x 5 x 14  f n",
        "                            4 operations",
        "  backward  every step      1 operation",
        "            every 25 steps  Uᵀ δ for h  3 x 14 x 7  f n",
        "  work      1.68 kFLOP forward, 2.35 MFLOP backward, for the gradients of x, bias",
        "  memory    weights 999 B, kept for the way back 4 MB besides x and outputs, working memory 12.3 MB",
        "  expect    50 % of the peak forward, 80 % backward",
        "",
        "layer_1/forward: reference, because it must",
        "  work      20 FLOP forward; nothing asks for a gradient",
        "  memory    weights 8 B",
        "",
        "Products: rows x inner x columns, for the gates named. Operations: pointwise, for one unit of one row.",
        "All layers: 4.71 MFLOP.",
    ]
    (last,) = str(Explanation("", (3, 4, 5), "", 1, (), (run,))).splitlines()[-1:]
    assert last == "All layers: 2.35 MFLOP, 80 % of the peak. That is foreseen; elman bench measures."


def test_few_rows_are_bound_by_the_weights():
    explanation = elman.explain(elman.LSTM(200, 200), (1, 1, 200))
    (run,) = explanation.runs
    assert run.forward.share is run.backward.share is None
    assert "\n  expect    bound by reading the weights, 1.28 MB a step, for few rows\n" in str(explanation)
    assert "weights read as they lie; 1 thread\n" in str(explanation)
    assert str(explanation).endswith("\nAll layers: 1.6 MFLOP.")


def test_as_dictionaries():
    explanation = elman.explain(elman.LSTM(5, 7), (3, 4, 5))
    found = json.loads(json.dumps(explanation.as_dict()))
    assert found["shape"] == [3, 4, 5]
    (run,) = found["runs"]
    assert run["forward"]["phases"][0]["products"][0] == {
        "what": "W x",
        "gates": ["i", "f", "g", "o"],
        "rows": 3,
        "inner": 5,
        "columns": 28,
        "flops": 2 * 3 * 5 * 28 * 4,
    }
    assert run["code"]["threads"] == 1


# What is refused


def test_what_the_layer_does_not_read():
    layer = elman.LSTM(5, 7)
    with pytest.raises(ShapeError, match=re.escape("LSTM: x must be (batch, time, input_size=5), got (3, 4, 7).")):
        elman.explain(layer, (3, 4, 7))
    with pytest.raises(ShapeError, match=r"LSTM: x must be \(batch, time, input_size=5\), got \(4, 5\)"):
        elman.explain(layer, (4, 5))
    with pytest.raises(ShapeError, match=r"LSTM: x must be of the weights' type torch.float32, got torch.float64"):
        elman.explain(layer, torch.ones(3, 4, 5).double())
    for shape in ((3, -4, 5), (3, 4.0, 5), "abc"):
        with pytest.raises(ShapeError, match=r"explain: x must be a tensor, or its shape \(batch, time, input_size\)"):
            elman.explain(layer, shape)
    with pytest.raises(OptionError, match="explain: layer must be a recurrent layer of elman, got LSTM"):
        elman.explain(torch.nn.LSTM(5, 7), (3, 4, 5))
