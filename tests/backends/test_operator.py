"""The operators that stand for a run in torch's graphs, by themselves."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jvp, vmap
from torch.library import opcheck

from elman.backends import selection
from elman.backends.call import PACKED
from elman.backends.dispatch import backend
from elman.backends.llvm import recurrence
from elman.backends.operator import decode, encode
from elman.cells import Cell, GRUCell, LSTMCell, PeepholeLSTMCell
from elman.errors import BackendError
from handwritten import HANDWRITTEN, AutonomousCell, DelayCell, EveryWordCell, IndependentCell, TwinCell
from runs import Case, close, loss, results

# torch's own, when forward mode is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

CELLS = [*Cell.registry.values(), *HANDWRITTEN]
FEW = [GRUCell, PeepholeLSTMCell, AutonomousCell, DelayCell, EveryWordCell, IndependentCell, TwinCell]


def arguments(case, tensors, *, recompute=False):
    graph, parameters, x, state = case.arguments(tensors)
    ordered = [parameters[name] for name in PACKED if name in parameters]
    masks = (case.masked.get(name) for name in ("valid", "reset", "noise"))
    return encode(graph), x, ordered, state, *masks, case.reverse, recompute


def by_operator(case, **options):
    """A run through the operator."""
    keep = options.pop("keep", True)

    def run(tensors):
        *found, _ = torch.ops.elman.unroll(*arguments(case, tensors, **options), keep)
        return tuple(found)

    return run


# Equations as text


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_equations_come_back_from_text(cell):
    graph = cell(2, 3).graph
    text = encode(graph)
    assert decode(text) == graph
    assert encode(cell(5, 7).graph) == text == encode(decode(text))
    assert json.loads(text)


def test_other_equations_are_other_text():
    assert len({encode(cell(2, 3).graph) for cell in CELLS}) == len({cell(2, 3).graph for cell in CELLS})


# Numbers


@pytest.mark.parametrize("options", [{}, {"keep": False}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("cell", FEW, ids=lambda cell: cell.__name__)
def test_every_output_and_gradient_equals_the_reference(cell, masks, options):
    case = Case(cell, batch=16, masks=masks, reverse=masks)
    close(results(case, by_operator(case, **options)), results(case, case.expected), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("names", [("x",), ("weight_h",), ("state:c",), ("bias", "state:h", "diagonal")])
def test_gradients_of_what_asks_alone(names):
    case = Case(PeepholeLSTMCell, masks=True)
    close(results(case, by_operator(case), *names), results(case, case.expected, *names), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_loss_of_one_result_alone(k):
    case = Case(LSTMCell)
    values = []
    for run in (by_operator(case), case.expected):
        leaves = case.leaves()
        values.append(torch.autograd.grad(run(leaves)[k].sum(), list(leaves.values())))
    close(*values, rtol=1e-9, atol=1e-11)


def test_gradcheck_and_gradgradcheck():
    case = Case(PeepholeLSTMCell, batch=2, time=3, inputs=2, hidden=2, masks=True)
    leaves = case.leaves()
    function = case.function(by_operator(case), *leaves)
    assert gradcheck(function, tuple(leaves.values()), fast_mode=True)
    assert gradgradcheck(function, tuple(leaves.values()), fast_mode=True)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda f, x: jvp(f, (x,), (x,)), BackendError, r"Forward-mode derivatives .* Take them of the layer itself"),
        (lambda f, x: hessian(f)(x), RuntimeError, "functorch transforms"),
        (lambda f, x: grad(f)(x), RuntimeError, "functorch transforms"),
        (lambda f, x: vmap(f)(x[None]), RuntimeError, "Batching rule not implemented for elman::unroll"),
        (lambda f, x: vmap(grad(f))(x[None]), RuntimeError, "functorch transforms"),
    ],
    ids=["jvp", "hessian", "grad", "vmap", "vmap_grad"],
)
def test_transformations_of_the_operator_raise(make, error, message):
    """Those of a layer are right; an exported program holds the operator."""
    case = Case(LSTMCell)
    function = case.function(lambda tensors: loss(by_operator(case)(tensors)), "x")
    with pytest.raises(error, match=message):
        make(function, case.tensors["x"])


# What torch asks of an operator


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masked"])
def test_opcheck(masks, keep, recompute):
    # Sizes without padding: what is kept holds nothing unwritten, which would be different numbers each time.
    case = Case(PeepholeLSTMCell, batch=3, hidden=16, masks=masks, reverse=masks)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    done = opcheck(
        torch.ops.elman.unroll.default, (*arguments(case, case.leaves(), recompute=recompute), keep), test_utils=tests
    )
    assert done == dict.fromkeys(tests, "SUCCESS")


@pytest.mark.parametrize("incoming", ["all", "final states"])
def test_opcheck_of_the_gradients(incoming):
    case = Case(PeepholeLSTMCell, batch=3, hidden=16, masks=True)
    outputs, *final, kept = torch.ops.elman.unroll(*arguments(case, case.tensors), True)
    first = torch.randn_like(outputs) if incoming == "all" else None
    done = opcheck(
        torch.ops.elman.unroll_backward.default,
        (
            *arguments(case, case.leaves()),
            *(outputs, kept, first, [torch.randn_like(s) for s in final]),
            ["x", "weight_h", "state:c"],
        ),
    )
    assert set(done.values()) == {"SUCCESS"}


@pytest.mark.parametrize("cell", FEW, ids=lambda cell: cell.__name__)
@pytest.mark.parametrize("name", ["llvm", "reference"])
def test_results_are_tensors_of_their_own(cell, name):
    """Not even where a new state is an old one, or another."""
    case = Case(cell, time=1)
    leaves = case.leaves()
    with backend(name):
        found = torch.ops.elman.unroll(*arguments(case, leaves), True)
    places = [tensor.untyped_storage().data_ptr() for tensor in (*found, *leaves.values()) if tensor.numel()]
    assert len(set(places)) == len(places)
    assert all(tensor.is_contiguous() for tensor in found)


# The backend, when the operator runs


def test_the_users_choice_counts_when_the_operator_runs(monkeypatch):
    calls, forward = [], recurrence.forward
    monkeypatch.setattr(recurrence, "forward", lambda *args, **kwargs: (calls.append(1), forward(*args, **kwargs))[1])
    case = Case(LSTMCell, masks=True)
    expected = results(case, case.expected)
    for options in ({}, {"keep": False}, {"recompute": True}):
        with backend("reference"):
            got = results(case, by_operator(case, **options))
        assert calls == []
        close(got, expected, rtol=1e-9, atol=1e-11)
    with backend("llvm"):
        by_operator(case)(case.tensors)
    assert calls == [1]


def test_the_backward_pass_goes_the_way_of_the_forward_pass(monkeypatch):
    case, calls, backward = Case(LSTMCell), [], recurrence.backward
    monkeypatch.setattr(recurrence, "backward", lambda *args, **kwargs: (calls.append(1), backward(*args, **kwargs))[1])
    expected = results(case, case.expected)
    for first, then, used in (("reference", "llvm", 0), ("auto", "reference", 1)):
        calls.clear()
        leaves = case.leaves()
        with backend(first):
            value = loss(by_operator(case)(leaves))
        with backend(then):
            got = torch.autograd.grad(value, list(leaves.values()))
        assert len(calls) == used
        close(dict(zip(leaves, got, strict=True)), {n: expected[n] for n in leaves}, rtol=1e-9, atol=1e-11)


def test_where_there_is_no_compiled_code_the_reference_runs(monkeypatch, caplog):
    """As in a program that was exported on another machine."""
    case = Case(LSTMCell, masks=True)
    expected = results(case, case.expected)
    monkeypatch.setattr(selection, "_said", set())
    monkeypatch.setattr(recurrence, "refusal", lambda *_: "this processor is too old")
    caplog.set_level(logging.INFO, logger="elman")
    for options in ({}, {"keep": False}, {"recompute": True}):
        close(results(case, by_operator(case, **options)), expected, rtol=1e-9, atol=1e-11)
    assert [record.getMessage() for record in caplog.records if record.name == "elman"] == [
        "the reference backend runs, not compiled code: this processor is too old"
    ]
    with backend("llvm"), pytest.raises(BackendError, match="cannot run this: this processor is too old"):
        by_operator(case)(case.tensors)
    with FakeTensorMode() as fake:
        tensors = {name: fake.from_tensor(tensor) for name, tensor in case.tensors.items()}
        case.masked = {name: fake.from_tensor(mask) for name, mask in case.masked.items()}
        found = torch.ops.elman.unroll(*arguments(case, tensors), True)
    assert [tuple(value.shape) for value in found] == [(3, 5, 3), (3, 3), (3, 3), (0,)]


def test_other_types():
    case = Case(LSTMCell, dtype=torch.bfloat16)
    close(by_operator(case)(case.tensors), case.expected(case.tensors), rtol=0, atol=0)
