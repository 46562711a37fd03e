"""`trace`: what a step becomes, and what it says to a step that cannot be written as equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from elman.cells import Affine, Cell, Diagonal, words
from elman.cells.words import maximum, tanh, where
from elman.compiler.graph import ARITY, Node
from elman.compiler.trace import trace
from elman.errors import TraceError


def traced(step, *, states=("h",), gates=(), biases=(), diagonals=()):
    """Trace a bare step that needs no weights."""
    return trace(step, cell="Mine", states=states, gates=gates, biases=biases, diagonals=diagonals)


def value(graph, **values):
    """Evaluate a graph without weights on Python numbers: independent of the reference backend."""
    results = []
    for node in graph.nodes:
        if node.op in {"input", "state"}:
            results.append(values[node.name])
        elif node.op == "constant":
            results.append(node.value)
        else:
            operands = [torch.as_tensor(results[k], dtype=torch.float64) for k in node.operands]
            if node.op == "where":
                operands[0] = operands[0].bool()
            results.append(words.TORCH[node.op](*operands).item())
    return tuple(results[k] for k in graph.outputs)


def test_an_equation_becomes_these_nodes():
    graph = traced(lambda x, h: 2 * h + tanh(h))
    assert graph.nodes == (
        Node("input", name="x"),
        Node("state", name="h"),
        Node("constant", value=2.0),
        Node("multiply", (2, 1)),
        Node("tanh", (1,)),
        Node("add", (3, 4)),
    )
    assert graph.outputs == (5,)
    assert graph.states == ("h",)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda x, h, c: h - c, 0.7 - 1.5),
        (lambda x, h, c: 1 - c, -0.5),
        (lambda x, h, c: h / c, 0.7 / 1.5),
        (lambda x, h, c: 3 / c, 2.0),
        (lambda x, h, c: h**c, 0.7**1.5),
        (lambda x, h, c: 2**c, 2**1.5),
        (lambda x, h, c: c**2, 2.25),
        (lambda x, h, c: -h, -0.7),
        (lambda x, h, c: +h + 0 * c, 0.7),
        (lambda x, h, c: abs(-h), 0.7),
        (lambda x, h, c: sum([h, c]), 2.2),
        (lambda x, h, c: where(h < c, h, c), 0.7),
        (lambda x, h, c: where(h > c, h, c), 1.5),
        (lambda x, h, c: where(h <= 0.7, 1, c), 1.0),
        (lambda x, h, c: where(h >= 0.8, h, 2.0), 2.0),
        (lambda x, h, c: where(h < 1, h, c), 0.7),
        (lambda x, h, c: np.float64(2) * h, 1.4),
        (lambda x, h, c: np.float64(2) - h, 1.3),
        (lambda x, h, c: np.float64(2) / h, 2 / 0.7),
        (lambda x, h, c: np.float64(2) ** h, 2**0.7),
        (lambda x, h, c: maximum(h, c), 1.5),
        (lambda x, h, c: maximum(2, c), 2.0),
    ],
)
def test_arithmetic(step, expected):
    graph = traced(lambda x, h, c: (step(x, h, c), h), states=("h", "c"))
    assert value(graph, x=None, h=0.7, c=1.5)[0] == pytest.approx(expected, rel=1e-15)


def test_equal_values_are_one_node():
    graph = traced(lambda x, h: tanh(h) * tanh(h) + 2.0 * h + 2 * h)
    assert [node.op for node in graph.nodes].count("tanh") == 1
    assert [node.op for node in graph.nodes].count("constant") == 1


def test_zero_and_minus_zero_are_two_constants():
    graph = traced(lambda x, h: h / 0.0 + h / -0.0)
    assert [str(node.value) for node in graph.nodes if node.op == "constant"] == ["0.0", "-0.0"]


def test_order_of_operands_matters():
    graph = traced(lambda x, h, c: ((h - c) * (c - h), h), states=("h", "c"))
    assert [node.op for node in graph.nodes].count("subtract") == 2


def test_values_that_serve_nothing_are_dropped():
    def step(x, h):
        tanh(h * 3.0)
        return tanh(h)

    assert [node.op for node in traced(step).nodes] == ["input", "state", "tanh"]


def test_states_stay_where_nothing_reads_them():
    graph = traced(lambda x, h, c: (tanh(h), h), states=("h", "c"))
    assert [node.name for node in graph.nodes] == ["x", "h", "c", ""]
    assert graph.outputs == (3, 1)


def test_a_step_may_return_a_list():
    assert traced(lambda x, h: [tanh(h)]) == traced(lambda x, h: (tanh(h),)) == traced(lambda x, h: tanh(h))


def test_gates_keep_their_operands_in_order():
    class Mine(Cell):
        states = ("h", "c")
        a, b = Affine(), Affine(bias=None)
        d = Diagonal()

        def step(self, x, h, c):
            return tanh(self.a(c, x, h) + self.d(tanh(c))), tanh(self.b(x))

    graph = Mine(2, 3).graph
    assert [graph.nodes[k].name for k in graph.operands("a")] == ["c", "x", "h"]
    assert [graph.nodes[k].name for k in graph.hidden_operands("a")] == ["c", "h"]
    assert (graph.reads_input("a"), graph.hidden_operands("b")) == (True, ())
    assert (graph.gates, graph.biases, graph.diagonals) == (("a", "b"), ("a",), ("d",))


def test_a_gate_may_be_called_twice_alike():
    class Mine(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return tanh(self.a(x, h)) * self.a(x, h)

    assert [node.op for node in Mine(2, 3).graph.nodes].count("affine") == 1


def test_every_operation_knows_its_operands():
    x = torch.tensor([0.3, 0.4])
    for op, arity in ARITY.items():
        operands = [x > 0 if op == "where" else x, x, x][:arity]
        assert words.TORCH[op](*operands).shape == (2,)


LINE = r" \(test_trace\.py:\d+: .+\)\. .*"
WORDS = "abs, exp, log, maximum, minimum, relu, sigmoid, softplus, sqrt, tanh, where"


def branch(self, x, h):
    a = self.a(x, h)
    return a if a > 0 else h


def loop(self, x, h):
    return sum(unit for unit in self.a(x, h))


def keep(self, x, h):
    h = self.a(x, h) + getattr(type(self), "kept", 0.0)
    type(self).kept = h
    return h


#: A step of gate a (and b, d where they are declared) and what it is told.
REFUSED = {
    "branch": (branch, r"step branches on a value" + LINE + r"Write where\(condition, a, b\)"),
    "and": (lambda self, x, h: self.a(x, h) and h, "branches on a value" + LINE),
    "not": (lambda self, x, h: not self.a(x, h), "branches on a value" + LINE),
    "min": (lambda self, x, h: min(self.a(x, h), 1), "branches on a value" + LINE),
    "equality": (lambda self, x, h: where(self.a(x, h) == 0, h, 1), "for equality" + LINE + "Compare with < or >="),
    "inequality": (lambda self, x, h: where(self.a(x, h) != 0, h, 1), "for equality" + LINE),
    "torch.tanh": (
        lambda self, x, h: torch.tanh(self.a(x, h)),
        "the torch function tanh" + LINE + r"Use elman\.tanh\.",
    ),
    "F.relu": (lambda self, x, h: F.relu(self.a(x, h)), "the torch function relu" + LINE + r"Use elman\.relu\."),
    "nn.Tanh": (
        lambda self, x, h: torch.nn.Tanh()(self.a(x, h)),
        "the torch function tanh" + LINE + r"Use elman\.tanh",
    ),
    "F.gelu": (lambda self, x, h: F.gelu(self.a(x, h)), "the torch function gelu" + LINE + "Did you mean 'relu'"),
    "torch.fmax": (lambda self, x, h: torch.fmax(self.a(x, h), h), "function fmax" + LINE + f"Known: {WORDS}"),
    "torch.cat": (lambda self, x, h: self.a(torch.cat([x, h])), "the torch function cat" + LINE),
    "h.tanh()": (
        lambda self, x, h: self.a(x, h).tanh(),
        r"the tensor attribute \.tanh" + LINE + r"Write tanh\(value\), imported from elman",
    ),
    "h.sigmoid_()": (
        lambda self, x, h: self.a(x, h).sigmoid_(),
        r"the tensor attribute \.sigmoid_" + LINE + r"Did you mean 'sigmoid'\?",
    ),
    "h.shape": (lambda self, x, h: self.a(x, h) * h.shape[0], r"the tensor attribute \.shape" + LINE),
    "np.tanh": (lambda self, x, h: np.tanh(self.a(x, h)), "the NumPy function tanh" + LINE + r"Use elman\.tanh"),
    "np.sin": (lambda self, x, h: np.sin(self.a(x, h)), "the NumPy function sin" + LINE + "Did you mean|Known"),
    "np.maximum": (lambda self, x, h: np.maximum(self.a(x, h), 0), "the NumPy function maximum" + LINE),
    "np.asarray": (lambda self, x, h: np.asarray(self.a(x, h)), "into a Python number" + LINE),
    "math.exp": (
        lambda self, x, h: math.exp(self.a(x, h)),
        "a Python number" + LINE + f"words of elman: {WORDS}",
    ),
    "int": (lambda self, x, h: int(self.a(x, h)), "into a Python number" + LINE),
    "round": (lambda self, x, h: round(self.a(x, h)), "rounds a value" + LINE + "no derivative"),
    "floor": (lambda self, x, h: self.a(x, h) // 2, "rounds a value" + LINE),
    "modulo": (lambda self, x, h: self.a(x, h) % 2, "rounds a value" + LINE),
    "both": (
        lambda self, x, h: where((h > 0) & (h < 1), self.a(x, h), h),
        "combines comparisons with .*" + LINE + "Nest them",
    ),
    "invert": (lambda self, x, h: where(~(h > 0), self.a(x, h), h), "combines comparisons with .*" + LINE),
    "index": (lambda self, x, h: self.a(x, h)[0], "takes a value apart" + LINE + "declare one gate a part"),
    "loop": (loop, "takes a value apart" + LINE),
    "len": (lambda self, x, h: self.a(x, h) * len(h), "takes a value apart" + LINE),
    "matmul": (
        lambda self, x, h: self.a(x, h) @ h,
        "matrices by hand" + LINE + r"Declare a gate, g = Affine\(\)",
    ),
    "rmatmul": (lambda self, x, h: np.ones(3) @ self.a(x, h), "by hand|NumPy function matmul"),
    "x outside": (
        lambda self, x, h: self.a(x, h) * x,
        "uses x outside a gate" + LINE + r"a = Affine\(\); self\.a",
    ),
    "x in where": (lambda self, x, h: where(self.a(x, h) > 0, x, h), "uses x outside a gate" + LINE),
    "tensor left": (
        lambda self, x, h: torch.ones(3) * self.a(x, h),
        "computes with a Tensor" + LINE + "Constants are Python",
    ),
    "tensor right": (lambda self, x, h: self.a(x, h) * torch.ones(3), "computes with a Tensor" + LINE),
    "array": (lambda self, x, h: np.ones(3) * self.a(x, h), "computes with a ndarray" + LINE),
    "bool": (lambda self, x, h: self.a(x, h) * True, "computes with a bool" + LINE),
    "string": (lambda self, x, h: self.a(x, h) + "1", "computes with a str" + LINE),
    "None": (lambda self, x, h: self.a(x, h) + None, "computes with a NoneType" + LINE),
    "comparison": (
        lambda self, x, h: self.a(x, h) * (h > 0),
        "with a comparison" + LINE + r"of where\(condition",
    ),
    "condition": (lambda self, x, h: where(self.a(x, h), h, 1), "chooses by a value that is no comparison" + LINE),
    "constants": (lambda self, x, h: where(self.a(x, h) > 0, 1, 0), "chooses between two constants" + LINE),
    "gate of a number": (
        lambda self, x, h: self.a(h, 1.0),
        "the gate a with float" + LINE + "A gate reads x, states",
    ),
    "gate of numbers": (lambda self, x, h: self.a(1.0), "the gate a must be called with x, states or values"),
    "gate of nothing": (lambda self, x, h: self.a(), "the gate a must be called with x, states or values"),
    "gate of a tensor": (lambda self, x, h: self.a(h, torch.ones(3)), "calls the gate a with Tensor" + LINE),
    "gate of a comparison": (
        lambda self, x, h: self.a(x, h > 0),
        "gate a with a comparison or a constant" + LINE,
    ),
    "operand twice": (lambda self, x, h: self.a(h, h), "calls the gate a with the same operand twice" + LINE),
    "called twice": (
        lambda self, x, h: self.a(x, h) + self.a(x, tanh(h)),
        "calls the gate a twice with different operands" + LINE + "If that is meant, declare a second gate",
    ),
    "state kept": (keep, "uses a value of another trace" + LINE + "declare a state"),
    "returns x": (lambda self, x, h: (self.a(x, h), x)[1], "step returns x as state h; it must be a value"),
    "returns nothing": (lambda self, x, h: None, r"step must return the new state h, got \(NoneType\)"),
    "returns a number": (lambda self, x, h: 0.0, r"step must return the new state h, got \(float\)"),
    "returns two": (lambda self, x, h: (self.a(x, h), h), r"return the new state h, got \(a value, a value\)"),
    "returns a comparison": (lambda self, x, h: self.a(x, h) > 0, "step returns a comparison as state h"),
    "gate unused": (
        lambda self, x, h: tanh(h),
        r"the gate a is declared and never used\. Call it in step",
    ),
    "gate dead": (
        lambda self, x, h: (self.a(x, h), tanh(h))[1],
        r"the gate a is called and its value goes nowhere \(test_trace\.py:\d+: .*\)\. Let it reach a state",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    step, message = REFUSED[name]
    cell = type("Mine", (Cell,), {"states": ("h",), "a": Affine(), "step": step})
    if step is keep:
        cell(2, 3)  # the first trace, whose value the second one finds
    with pytest.raises(TraceError, match=message) as raised:
        cell(2, 3)
    assert str(raised.value).startswith("Mine: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda self, x, h: self.a(x, h) + self.d(x), "calls the diagonal d with x" + LINE),
        (lambda self, x, h: self.a(x, h) + self.d(h > 0), "calls the diagonal d with a comparison or a constant"),
        (lambda self, x, h: self.d(h) + self.d(self.a(x, h)), "diagonal d twice .* declare a second diagonal"),
        (lambda self, x, h: self.a(x, h), "the diagonal d is declared and never used"),
        (lambda self, x, h: (self.a(x, h), self.d(h))[0], "the diagonal d is called and its value goes nowhere"),
    ],
)
def test_refuses_of_a_diagonal(step, message):
    cell = type("Mine", (Cell,), {"states": ("h",), "a": Affine(), "d": Diagonal(), "step": step})
    with pytest.raises(TraceError, match=message):
        cell(2, 3)


def test_names_the_line_of_the_step():
    class Mine(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            a = self.a(x, h)
            return torch.tanh(a)  # this line

    with pytest.raises(TraceError) as raised:
        Mine(2, 3)
    number = Mine.step.__code__.co_firstlineno + 2
    assert f"(test_trace.py:{number}: return torch.tanh(a)  # this line)" in str(raised.value)


def test_names_the_line_of_a_function_that_the_step_calls():
    def helper(a):
        return a.exp()

    cell = type("Mine", (Cell,), {"states": ("h",), "a": Affine(), "step": lambda self, x, h: helper(self.a(x, h))})
    with pytest.raises(TraceError, match=rf"test_trace.py:{helper.__code__.co_firstlineno + 1}: return a.exp\(\)"):
        cell(2, 3)


def test_errors_of_python_pass_as_they_are():
    cell = type("Mine", (Cell,), {"states": ("h",), "a": Affine(), "step": lambda self, x, h: self.a(x, h) / (1 - 1.0)})
    assert [node.value for node in cell(2, 3).graph.nodes if node.op == "constant"] == [0.0]
    cell = type("Mine", (Cell,), {"states": ("h",), "a": Affine(), "step": lambda self, x, h: undefined_name(h)})  # noqa: F821
    with pytest.raises(NameError, match="undefined_name"):
        cell(2, 3)


def test_a_symbol_says_what_it_is():
    seen = []

    def step(x, h):
        seen.extend([repr(x), repr(h), repr(tanh(h))])
        return tanh(h)

    traced(step)
    assert seen == ["<x of a traced step>", "<h of a traced step>", "<tanh of a traced step>"]
