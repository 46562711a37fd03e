"""The words of a step: on tensors, on numbers, and on symbols."""

from __future__ import annotations

import math

import pytest
import torch

from elman.cells import Affine, Cell, words
from elman.compiler.graph import ARITY

VALUES = torch.tensor([-2.0, -0.5, 0.0, 0.3, 4.0], dtype=torch.float64)
POSITIVE = VALUES.abs() + 0.1
UNARY = {
    "exp": (VALUES, math.exp),
    "log": (POSITIVE, math.log),
    "relu": (VALUES, lambda v: v if v > 0 else 0.0),
    "sigmoid": (VALUES, lambda v: 1 / (1 + math.exp(-v))),
    "softplus": (VALUES, lambda v: math.log(1 + math.exp(v))),
    "sqrt": (POSITIVE, math.sqrt),
    "tanh": (VALUES, math.tanh),
}


@pytest.mark.parametrize("word", UNARY)
def test_on_tensors_and_numbers(word):
    values, formula = UNARY[word]
    expected = torch.tensor([formula(v) for v in values.tolist()], dtype=torch.float64)
    torch.testing.assert_close(getattr(words, word)(values), expected, rtol=1e-14, atol=1e-15)
    assert getattr(words, word)(values[-1].item()) == pytest.approx(expected[-1].item(), rel=1e-14)


def test_maximum_and_minimum():
    a, b = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 7.0, 3.0])
    assert words.maximum(a, b).tolist() == [1.0, 7.0, 3.0]
    assert words.minimum(a, b).tolist() == [0.5, -2.0, 3.0]
    assert words.maximum(a, 0).tolist() == words.maximum(0.0, a).tolist() == [1.0, 0.0, 3.0]
    assert words.minimum(a, 2.5).tolist() == [1.0, -2.0, 2.5]
    assert words.maximum(1, 2.5) == 2.5
    assert words.maximum(a.half(), 0.1).dtype == torch.float16


def test_where():
    a = torch.tensor([1.0, -2.0])
    assert words.where(a > 0, a, 5).tolist() == [1.0, 5.0]
    assert words.where(a > 0, 5.0, -a).tolist() == [5.0, 2.0]


@pytest.mark.parametrize(("word", "at_tie"), [("maximum", 0.5), ("minimum", 0.5)])
def test_gradient_at_a_tie(word, at_tie):
    a = torch.tensor([1.0], requires_grad=True)
    getattr(words, word)(a, torch.tensor([1.0])).backward()
    assert a.grad.item() == at_tie


def test_gradient_of_relu_at_zero():
    a = torch.zeros(1, requires_grad=True)
    words.relu(a).backward()
    assert a.grad.item() == 0.0


def test_a_word_of_constants_is_a_constant():
    class Constant(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return words.tanh(self.a(x, h)) * words.exp(0.5) + words.maximum(1, 2)

    nodes = Constant(2, 3).graph.nodes
    assert [node.value for node in nodes if node.op == "constant"] == [math.exp(0.5), 2.0]


def test_every_operation_of_a_graph_has_its_tensor_function():
    assert set(words.TORCH) == set(ARITY)
    numbers = torch.tensor([0.5, 0.25]), torch.tensor([2.0, 0.5])
    expected = {
        "add": [2.5, 0.75],
        "subtract": [-1.5, -0.25],
        "multiply": [1.0, 0.125],
        "divide": [0.25, 0.5],
        "power": [0.25, 0.5],
        "less": [True, True],
        "less_equal": [True, True],
    }
    for op, result in expected.items():
        assert words.TORCH[op](*numbers).tolist() == result
    assert words.TORCH["less"](numbers[0], numbers[0]).tolist() == [False, False]
    assert words.TORCH["less_equal"](numbers[0], numbers[0]).tolist() == [True, True]
    assert words.TORCH["negate"](numbers[0]).tolist() == [-0.5, -0.25]
    assert words.TORCH["abs"](-numbers[0]).tolist() == [0.5, 0.25]


def test_every_word_is_documented_and_exported():
    assert set(words.__all__) - {"TORCH"} == set(ARITY) & set(words.__all__)
    assert all(getattr(words, name).__doc__ for name in words.__all__ if name != "TORCH")


def test_softplus_is_exact_where_torch_is_linear():
    value = torch.tensor([19.0, 21.0, 30.0, 700.0], dtype=torch.float64, requires_grad=True)
    result = words.softplus(value)
    assert result.tolist() == [v + math.log1p(math.exp(-v)) for v in value.tolist()]
    (slope,) = torch.autograd.grad(result.sum(), value)
    torch.testing.assert_close(slope, torch.sigmoid(value), rtol=1e-15, atol=0)
