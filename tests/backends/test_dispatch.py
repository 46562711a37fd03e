"""Which backend runs, what is said about it, and what it is asked to do."""

from __future__ import annotations

import copy
import logging
import os
import re
import threading
import warnings

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

import elman
from elman.backends import selection
from elman.backends.dispatch import BACKENDS, Choice, backend, choose, unroll
from elman.backends.llvm import recurrence
from elman.cells import Cell, GRUCell, LSTMCell, PeepholeLSTMCell
from elman.errors import BackendError, OptionError
from handwritten import HANDWRITTEN
from runs import Case, close, loss, results


@pytest.fixture
def calls(monkeypatch):
    """What compiled code is asked for: ``("forward", keep)`` and ``("backward", wanted)``."""
    seen = []
    forward, backward = recurrence.forward, recurrence.backward

    def watched_forward(*args, keep=False, **kwargs):
        seen.append(("forward", keep))
        return forward(*args, keep=keep, **kwargs)

    def watched_backward(*args, wanted, **kwargs):
        seen.append(("backward", set(wanted)))
        return backward(*args, wanted=wanted, **kwargs)

    monkeypatch.setattr(recurrence, "forward", watched_forward)
    monkeypatch.setattr(recurrence, "backward", watched_backward)
    return seen


@pytest.fixture
def said(monkeypatch, caplog):
    """The lines that were logged, from a start at which nothing was."""
    monkeypatch.setattr(selection, "_said", set())
    caplog.set_level(logging.INFO, logger="elman")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "elman"]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("cell", [*Cell.registry.values(), *HANDWRITTEN], ids=lambda cell: cell.__name__)
def test_every_output_and_gradient_equals_the_reference(cell, masks, reverse, calls):
    case = Case(cell, masks=masks, reverse=reverse)
    expected = results(case, case.expected)
    got = results(case, case.run)
    assert [kind for kind, _ in calls] == ["forward", "backward"]
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        close(got[name], value, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_nothing_is_kept_for_no_gradient(calls):
    case = Case(LSTMCell)
    expected = case.expected(case.tensors)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            close(case.run(case.leaves()), expected)
    outputs = case.run(case.tensors)
    close(outputs, expected)
    assert not any(value.requires_grad for value in outputs)
    assert calls == [("forward", False)] * 3


@pytest.mark.parametrize("names", [("x",), ("weight_h",), ("state:c",), ("bias", "state:h", "diagonal")])
def test_gradients_of_what_asks_alone(names, calls):
    case = Case(PeepholeLSTMCell)
    got, expected = results(case, case.run, *names), results(case, case.expected, *names)
    assert calls == [("forward", True), ("backward", set(names))]
    close(got, expected, rtol=1e-9, atol=1e-11)


def test_a_loss_of_one_result_alone():
    case = Case(LSTMCell)
    for k in range(3):
        leaves, others = case.leaves(), case.leaves()
        got = torch.autograd.grad(case.run(leaves)[k].sum(), list(leaves.values()))
        close(got, torch.autograd.grad(case.expected(others)[k].sum(), list(others.values())), rtol=1e-9, atol=1e-11)


def test_a_second_backward_pass_gives_the_same_bits():
    case = Case(GRUCell, masks=True)
    leaves = case.leaves()
    value = loss(case.run(leaves))
    first = torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
    second = torch.autograd.grad(value, list(leaves.values()))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(value, list(leaves.values()))


@pytest.mark.parametrize("what", ["outputs", "x", "weight_h", "state:h"])
def test_a_change_in_place_before_the_backward_pass_is_an_error(what):
    case = Case(LSTMCell)
    leaves = case.leaves()
    outputs, *final = case.run(leaves)
    value = loss((outputs * 1, *final))
    with torch.no_grad():
        (outputs if what == "outputs" else leaves[what]).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_final_states_may_be_changed_in_place():
    case = Case(LSTMCell)
    leaves, others = case.leaves(), case.leaves()
    outputs, _, c = case.run(leaves)
    c.mul_(2)
    (outputs.sum() + c.sum()).backward()
    outputs, _, c = case.expected(others)
    (outputs.sum() + 2 * c.sum()).backward()
    for name, leaf in leaves.items():
        close(leaf.grad, others[name].grad, rtol=1e-9, atol=1e-11)


def test_tensors_with_strides():
    case = Case(PeepholeLSTMCell, batch=4, masks=True, reverse=True)
    expected = results(case, case.expected)
    leaves = case.leaves()
    strided = {
        "x": leaves["x"].transpose(0, 1).contiguous().transpose(0, 1),
        "weight_h": leaves["weight_h"].t().contiguous().t(),
        "state:c": torch.stack([leaves["state:c"]] * 2, dim=1)[:, 1],
        "bias": torch.stack([leaves["bias"]] * 2, dim=1)[:, 0],
    }
    assert not any(value.is_contiguous() for value in strided.values())
    outputs = case.run({**leaves, **strided})
    got = torch.autograd.grad(loss(outputs), list(leaves.values()))
    for (name, _), gradient in zip(leaves.items(), got, strict=True):
        close(gradient, expected[name], rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
    expanded = torch.autograd.grad(case.run(leaves)[0].sum(), leaves["x"])
    others = case.leaves()
    close(expanded, torch.autograd.grad(case.expected(others)[0].sum(), others["x"]), rtol=1e-9, atol=1e-11)


# The choice


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class OtherTensor(torch.Tensor):
    """A tensor of a user's own type."""


REFUSED = [
    ("x", lambda x: x.half(), r"x is torch\.float16; the compiled code is for float32 and float64"),
    ("x", lambda x: x.to("meta"), r"x is on meta; the compiled code is for the CPU"),
    ("weight_h", lambda w: w.float(), r"x, states and weights differ in type or device"),
    ("state:h", lambda h: h.to("meta"), r"x, states and weights differ in type or device"),
    ("x", lambda x: x.as_subclass(OtherTensor), r"a OtherTensor is among the tensors"),
    ("weight_x", lambda w: w.as_subclass(OtherTensor), r"a OtherTensor is among the tensors"),
]


@pytest.mark.parametrize(("name", "change", "reason"), REFUSED)
def test_tensors_that_compiled_code_cannot_take(name, change, reason):
    case = Case(LSTMCell)
    arguments = case.arguments({**case.tensors, name: change(case.tensors[name])})
    choice = choose(*arguments)
    assert choice.name == "reference"
    assert re.fullmatch(reason, choice.reason)
    with backend("llvm"), pytest.raises(BackendError, match=f"^The backend llvm cannot run this: {reason}\\. Allow"):
        unroll(*arguments)


def test_modes_that_see_torch_operations(calls):
    case = Case(GRUCell)
    expected = case.expected(case.tensors)
    for mode, reason in (
        (Watching(), "a TorchDispatchMode is on"),
        (forward_ad.dual_level(), "derivatives are taken in forward mode"),
    ):
        with mode:
            assert choose(*case.arguments(case.tensors)) == Choice("reference", reason)
            close(case.run(case.tensors), expected, rtol=0, atol=0)
    assert calls == []


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_a_traced_layer_is_no_constant(context):
    case, other = Case(LSTMCell), Case(LSTMCell)
    function = case.function(lambda tensors: case.run(tensors)[0], "x")
    with warnings.catch_warnings(), context():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated
        traced = torch.jit.trace(function, case.tensors["x"], check_trace=False)
    close(traced(other.tensors["x"]), case.expected({**case.tensors, "x": other.tensors["x"]})[0])


def test_the_choice_is_the_users(calls):
    case = Case(LSTMCell)
    arguments = case.arguments(case.tensors)
    assert choose(*arguments).name == "llvm"
    with backend("reference"):
        assert choose(*arguments) == Choice("reference", "elman.backend('reference') asks for it")
        close(case.run(case.tensors), case.expected(case.tensors), rtol=0, atol=0)
        with backend("llvm"):
            assert choose(*arguments).name == "llvm"
        assert choose(*arguments).name == "reference"
        assert calls == []
    with pytest.raises(ZeroDivisionError), backend("reference"):
        1 / 0  # noqa: B018
    assert choose(*arguments).name == "llvm"
    with backend("llvm"):
        case.run(case.tensors)
        with backend("auto"):
            case.run(case.tensors)
    assert len(calls) == 2


def test_the_backward_pass_goes_the_way_of_the_forward_pass(calls):
    case = Case(LSTMCell)
    expected = results(case, case.expected)
    for forward, others, used in (("auto", "reference", 2), ("reference", "llvm", 0)):
        calls.clear()
        leaves = case.leaves()
        with backend(forward):
            value = loss(case.run(leaves))
        with backend(others):
            got = torch.autograd.grad(value, list(leaves.values()))
        assert len(calls) == used
        close(dict(zip(leaves, got, strict=True)), {n: expected[n] for n in leaves}, rtol=1e-9, atol=1e-11)


def test_unknown_backends():
    assert BACKENDS == ("auto", "llvm", "reference")
    with pytest.raises(OptionError, match=r"There is no backend 'lvm'\. Did you mean 'llvm'\?"), backend("lvm"):
        pass


def test_a_thread_makes_its_own_choice():
    case, seen = Case(LSTMCell), []
    with backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(choose(*case.arguments(case.tensors)).name))
        thread.start()
        thread.join()
    assert seen == ["llvm"]


# What is said


def test_the_reference_is_said_once_for_each_reason(said):
    layer, x = elman.LSTM(2, 3), torch.randn(2, 4, 2)
    layer(x)
    assert said() == []
    for _ in range(2):
        copy.deepcopy(layer).half()(x.half())
    half = "the reference backend runs, not compiled code: x is torch.float16; the compiled code is for float32 and"
    assert said() == [f"{half} float64"]
    with Watching():
        layer(x)
    assert said()[1:] == ["the reference backend runs, not compiled code: a TorchDispatchMode is on"]


def test_nothing_is_said_where_there_is_no_choice(said):
    layer, x = elman.LSTM(2, 3), torch.randn(2, 4, 2)
    with backend("reference"):
        layer(x)
    copy.deepcopy(layer).to("meta")(x.to("meta"))
    assert said() == []


# Processes and threads


def test_threads_run_layers_at_once():
    layer, x = elman.LSTM(5, 7, 2, bidirectional=True, dtype=torch.float64), torch.randn(8, 3, 20, 5).double()
    expected = [gradients_of(layer, rows) for rows in x]
    got = [None] * 8

    def work(first):
        for k in range(first, 8, 2):
            got[k] = gradients_of(layer, x[k])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(got, expected, strict=True):
        assert all(a.equal(b) for a, b in zip(one, other, strict=True))


def gradients_of(layer, x):
    outputs, state = layer(x)
    return outputs, *torch.autograd.grad(outputs.square().sum() + state[-1].sum(), list(layer.parameters()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_runs():
    layer, x = elman.GRU(5, 7, dtype=torch.float64), torch.randn(3, 4, 5).double()
    expected = gradients_of(layer, x)
    child = os.fork()
    if not child:
        same = all(a.equal(b) for a, b in zip(gradients_of(layer, x), expected, strict=True))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
