"""Every derivative that torch can take: first, second, forward mode, batched, per sample; whatever backend runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jvp, vjp, vmap
from torch.nn.utils import parametrize

from elman import GRU, LSTM, Recurrent, backend
from elman.cells import Cell, GRUCell
from handwritten import EveryWordCell, ThreeStatesCell

# torch's own, when forward mode is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

close = torch.testing.assert_close
CELLS = [*Cell.registry.values(), EveryWordCell, ThreeStatesCell]


@pytest.fixture(autouse=True, params=["auto", "reference"])
def any_backend(request):
    with backend(request.param):
        yield


def small(cell, **options):
    layer = Recurrent(cell, 2, 2, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1)
    return layer


def as_function(layer, batch=2, time=2):
    """The layer as a function of x, its states and all its parameters, and a point."""
    names = [name for name, _ in layer.named_parameters()]
    count = len(layer.cell.states)

    def function(x, *others):
        parameters = dict(zip(names, others[count:], strict=True))
        outputs, state = functional_call(layer, parameters, (x, others[:count]))
        return outputs, *state

    states = [torch.rand(batch, layer.num_layers, layer.directions, 2, dtype=torch.float64) for _ in range(count)]
    point = [
        torch.randn(batch, time, 2, dtype=torch.float64),
        *states,
        *(p.detach().clone() for p in layer.parameters()),
    ]
    return function, tuple(value.requires_grad_() for value in point)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_gradcheck(cell):
    function, point = as_function(small(cell, bidirectional=True), batch=1)
    assert gradcheck(function, point)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_forward_mode_and_batched_gradients(cell):
    function, point = as_function(small(cell), batch=1)
    assert gradcheck(function, point, check_forward_ad=True, check_batched_grad=True, fast_mode=True)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_gradgradcheck(cell):
    function, point = as_function(small(cell), batch=1)
    assert gradgradcheck(function, point, fast_mode=True)


def test_jvp_is_the_jacobian_times_the_vector():
    function, point = as_function(small(GRUCell))
    point = tuple(value.detach() for value in point)
    tangents = tuple(torch.randn_like(value) for value in point)
    values, derivative = jvp(function, point, tangents)
    close(values, function(*point))
    step = 1e-6
    ahead = function(*(value + step * tangent for value, tangent in zip(point, tangents, strict=True)))
    behind = function(*(value - step * tangent for value, tangent in zip(point, tangents, strict=True)))
    for got, a, b in zip(derivative, ahead, behind, strict=True):
        close(got, (a - b) / (2 * step), rtol=1e-6, atol=1e-8)
        assert got.any()


def test_grad_and_vjp_are_what_backward_gives():
    function, point = as_function(small(GRUCell))

    def loss(*values):
        return sum((k + 1) * value.square().sum() for k, value in enumerate(function(*values)))

    expected = torch.autograd.grad(loss(*point), point)
    close(grad(loss, argnums=tuple(range(len(point))))(*point), expected)
    _, back = vjp(loss, *point)
    close(back(torch.ones((), dtype=torch.float64)), expected)


def test_vmap_over_models_and_over_samples():
    layers = [small(GRUCell) for _ in range(3)]
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    weights = {
        n: torch.stack([dict(layer.named_parameters())[n] for layer in layers]) for n, _ in layers[0].named_parameters()
    }
    together = vmap(lambda p: functional_call(layers[0], p, (x,))[0])(weights)
    close(together, torch.stack([layer(x)[0] for layer in layers]))

    parameters = dict(layers[0].named_parameters())
    per_sample = vmap(grad(lambda p, row: functional_call(layers[0], p, (row[None],))[0].square().sum()), (None, 0))
    for name, gradients in per_sample(parameters, x).items():
        for row in range(4):
            (alone,) = torch.autograd.grad(layers[0](x[row : row + 1])[0].square().sum(), parameters[name])
            close(gradients[row], alone)


def test_hessian():
    layer = small(GRUCell)
    x = torch.randn(1, 2, 2, dtype=torch.float64)

    def loss(values):
        return layer(values)[0].square().sum()

    matrix = hessian(loss)(x).reshape(4, 4)
    close(matrix, matrix.T)
    step = 1e-5
    for k in range(4):
        moved = torch.zeros(4, dtype=torch.float64)
        moved[k] = step
        ahead, behind = grad(loss)(x + moved.reshape(x.shape)), grad(loss)(x - moved.reshape(x.shape))
        close(matrix[k], ((ahead - behind) / (2 * step)).flatten(), rtol=1e-6, atol=1e-8)


def test_frozen_weights_get_no_gradient():
    layer = LSTM(3, 4, 2)
    layer.cell_at(0, 0).weight_h.requires_grad_(False)
    layer(torch.randn(2, 5, 3))[0].sum().backward()
    assert layer.cell_at(0, 0).weight_h.grad is None
    assert layer.cell_at(0, 0).weight_x.grad.any()
    assert layer.cell_at(1, 0).weight_h.grad.any()


@pytest.mark.parametrize("masked", [False, True])
def test_recomputing_changes_no_derivative(masked):
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    layer, again = LSTM(3, 4, **options), LSTM(3, 4, recompute=True, **options)
    again.load_state_dict(layer.state_dict())
    x = torch.randn(16, 7, 3, dtype=torch.float64, requires_grad=True)
    given = {"lengths": torch.randint(0, 8, (16,)), "reset": torch.rand(16, 7) < 0.3} if masked else {}
    values = []
    for one in (layer, again):
        outputs, state = one(x, **given)
        gradients = torch.autograd.grad(outputs.square().sum() + state.c.sum(), [x, *one.parameters()])
        values.append((outputs, *state, *gradients))
    close(*values, rtol=1e-10, atol=1e-12)
    assert "recompute=True" in repr(again)
    assert "recompute" not in repr(layer)


def test_weights_that_are_made_of_others():
    """A parametrisation: the cell's weight is a property, and its own parameter another."""
    layer, plain = GRU(3, 4, 2, dtype=torch.float64), GRU(3, 4, 2, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    parametrize.register_parametrization(layer.cell_at(1, 0), "weight_h", Doubled())
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    original = layer.cell_at(1, 0).parametrizations.weight_h.original
    weight = original.detach().mul(2).requires_grad_()
    expected = functional_call(plain, {"cells.1.0.weight_h": weight}, (x,))[0]
    got = layer(x)[0]
    close(got, expected)
    (first,), (second,) = (torch.autograd.grad(o.square().sum(), v) for o, v in ((got, original), (expected, weight)))
    close(first, 2 * second)
    close(copy.deepcopy(layer)(x), layer(x), rtol=0, atol=0)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight
