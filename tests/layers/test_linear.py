"""The linear layer: torch's values and derivatives, and bits that do not depend on the number of threads."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import elman
from elman.errors import BackendError
from elman.layers import Linear, linear

SHAPES = [(1, 1, 1), (5, 7, 3), (33, 17, 40), (128, 128, 10), (64, 200, 130)]


def gradients(function, *tensors):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    y = function(*leaves)
    dy = torch.linspace(0.1, 1, y.numel(), dtype=torch.float64).sin().view(y.shape).to(y.dtype)
    return dict(zip(("y", "x", "weight", "bias"), (y.detach(), *torch.autograd.grad(y, leaves, dy)), strict=False))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_like_torch(shape, dtype):
    rows, features, outputs = shape
    x, weight, bias = torch.randn(rows, features), torch.randn(outputs, features), torch.randn(outputs)
    expected = gradients(F.linear, *(t.double() for t in (x, weight, bias)))
    found = gradients(linear, *(t.to(dtype) for t in (x, weight, bias)))
    tolerance = 3e-6 if dtype == torch.float32 else 1e-14
    for name, value in found.items():
        error = (value.double() - expected[name]).abs().max() / expected[name].abs().max()
        assert error < tolerance, (name, float(error))


@pytest.mark.parametrize("shape", SHAPES)
def test_same_bits_on_any_number_of_threads(shape):
    rows, features, outputs = shape
    tensors = torch.randn(rows, features), torch.randn(outputs, features), torch.randn(outputs)
    runs = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        runs.append(gradients(linear, *tensors))
    for name, value in runs[0].items():
        assert torch.equal(value, runs[1][name]), name
        assert torch.equal(value, runs[2][name]), name


def test_no_bias_and_more_dimensions():
    x, weight = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    assert_close(linear(x, weight), F.linear(x, weight))
    assert_close(linear(x[0, 0], weight), F.linear(x[0, 0], weight))
    assert linear(x[:0], weight).shape == (0, 3, 5)


def test_strided_operands():
    x = torch.randn(4, 6, dtype=torch.float64)
    weight = torch.randn(4, 5, dtype=torch.float64)
    expected = gradients(F.linear, x.T, weight.T)
    for name, value in gradients(linear, x.T, weight.T).items():
        assert_close(value, expected[name])
    y = linear(x[:1].expand(3, 6).requires_grad_(), torch.eye(6, dtype=torch.float64))
    y.sum().backward()  # an incoming gradient without strides


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by torch's own forward mode
def test_derivatives():
    x, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 4), (2, 4), (2,)))
    assert torch.autograd.gradcheck(linear, (x, weight, bias), check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(linear, (x, weight, bias))
    hessian = torch.func.hessian(lambda w: linear(x.detach(), w).pow(2).sum())(weight.detach())
    assert_close(hessian, torch.func.hessian(lambda w: F.linear(x.detach(), w).pow(2).sum())(weight.detach()))
    mapped = torch.func.vmap(linear, in_dims=(0, None))(x.detach(), weight.detach())
    assert_close(mapped, F.linear(x, weight).detach())


def test_only_what_is_asked_for():
    x, weight = torch.randn(3, 4), torch.randn(2, 4, requires_grad=True)
    linear(x, weight).sum().backward()
    assert x.grad is None
    assert_close(weight.grad, x.sum(0).expand(2, 4))


def test_module():
    layer = Linear(4, 3, dtype=torch.float64)
    other = torch.nn.Linear(4, 3, dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(5, 4, dtype=torch.float64)
    assert_close(copy.deepcopy(layer)(x), other(x))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer(x[:, :3])


def test_backends_are_kept_to(caplog):
    x, weight = torch.randn(3, 4), torch.randn(2, 4)
    with elman.backend("reference"):
        assert torch.equal(linear(x, weight), F.linear(x, weight))
    with elman.backend("llvm"):
        linear(x, weight)
    with caplog.at_level(logging.INFO, logger="elman"), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16


def test_a_host_without_compiled_code_is_named(monkeypatch):
    from elman.backends.llvm import runtime

    monkeypatch.setattr(runtime, "host", lambda: "the processor abacus has no vectors")
    x, weight = torch.randn(3, 4), torch.randn(2, 4)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    with elman.backend("llvm"), pytest.raises(BackendError, match="abacus has no vectors"):
        linear(x, weight)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
def test_a_traced_layer_reads_its_input():
    layer = Linear(4, 3)
    with torch.no_grad():
        traced = torch.jit.trace(layer, torch.randn(5, 4))
        x = torch.randn(5, 4)
        assert_close(traced(x), layer(x))
