"""The gradient check against central differences: what it finds, by how much, and that it leaves nothing moved."""

from __future__ import annotations

import math

import pytest
import torch

from elman.backends import reference
from elman.backends.llvm import recurrence
from elman.cells import Affine, Cell, GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from elman.cells.words import tanh
from elman.errors import BackendError
from elman.testing import check_gradients
from elman.testing.differences import compare_differences
from elman.testing.subject import Subject, gate_parameters
from handwritten import ThreeStatesCell


@pytest.mark.parametrize("backend", ["llvm", "reference"])
@pytest.mark.parametrize("cell", [*Cell.registry.values(), ThreeStatesCell], ids=lambda cell: cell.__name__)
def test_every_gradient_is_checked(cell, backend):
    found = check_gradients(cell, backend=backend)
    assert [str(check) for check in found if not check.good] == []
    parameters = {name: value.numel() for name, value, _ in cell(2, 3).named_gate_parameters()}
    sizes = {"x": 12} | {f"initial state {state}": 6 for state in cell.states} | parameters
    assert {check.name: check.entries for check in found} == sizes
    assert {(check.cell, check.backend, check.device) for check in found} == {(cell.__name__, backend, "cpu")}
    assert all(0.01 < check.norm < 100 for check in found)
    assert all(0 <= check.error < 0.1 * check.limit for check in found)  # ten times better than it must be


@pytest.mark.parametrize("size", [1e-5, 1e-3])
def test_names_the_wrong_gradient_and_its_error(monkeypatch, size):
    """Of one number among others, of a gate in the middle."""
    backward = recurrence.backward

    def spoiled(*arguments, **options):
        found = backward(*arguments, **options)
        if "weight_h" in found:  # input, forget, candidate and output gate, three rows each
            found["weight_h"][4, 1] *= 1 + size
        return found

    monkeypatch.setattr(recurrence, "backward", spoiled)
    (wrong,) = [check for check in check_gradients(LSTMCell, backend="llvm") if not check.good]
    assert wrong.name == "f/weight_h"
    assert wrong.error == pytest.approx(size, rel=0.02)
    assert str(wrong).startswith(
        "LSTMCell: gradient of f/weight_h (llvm, cpu) against central differences is off by 0.001"
    ) == (size == 1e-3)


def test_what_is_no_number_is_infinitely_wrong(monkeypatch):
    right = reference.unroll

    def poisoned(*arguments, **options):
        outputs, final = right(*arguments, **options)
        if outputs.requires_grad:
            outputs.register_hook(lambda gradient: gradient * math.nan)
        return outputs, final

    monkeypatch.setattr(reference, "unroll", poisoned)
    found = check_gradients(RNNCell, backend="reference")
    assert {check.error for check in found} == {math.inf}
    assert not any(check.good for check in found)


def test_numbers_that_rounding_hides_are_measured_by_the_loss():
    """A loss of about a million has differences that are off by 1e-5, and so may gradients be."""

    class LoudCell(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return 1e6 + 1e-3 * tanh(self.a(x, h))

    assert all(check.good for check in check_gradients(LoudCell))


def test_weights_and_inputs_are_put_back():
    subject, layers = Subject(GRUCell, "", None, torch.device("cpu")), []
    make = subject.layer
    subject.layer = lambda: layers.append(make()) or layers[0]
    compare_differences(subject)
    expected = Subject(GRUCell, "", None, torch.device("cpu")).layer()
    for (name, value, _), (_, other, _) in zip(gate_parameters(layers[0]), gate_parameters(expected), strict=True):
        assert torch.equal(value, other), name


def test_an_unread_state_has_no_gradient():
    class UnreadCell(Cell):
        states = ("h", "state_2")
        a = Affine()

        def step(self, x, h, state_2):
            h = tanh(self.a(x, h))
            return h, h * h

    by_name = {check.name: check for check in check_gradients(UnreadCell)}
    assert (by_name["initial state state_2"].norm, by_name["initial state state_2"].error) == (0, 0)


def test_a_backend_that_cannot_is_an_error(monkeypatch):
    monkeypatch.setattr(recurrence, "refusal", lambda *_: "the host is a toaster")
    assert check_gradients(PeepholeLSTMCell)[0].good
    with pytest.raises(BackendError, match="the host is a toaster"):
        check_gradients(PeepholeLSTMCell, backend="llvm")
