"""Every property of the conformance kit for every cell, and the kit itself: it must be able to fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elman.backends import selection
from elman.cells import Affine, Cell, LSTMCell
from elman.cells.words import log, relu, tanh
from elman.errors import BackendError, ShapeError
from elman.testing import assert_cell_conforms, places, properties
from handwritten import HANDWRITTEN, LeakyCell, TwoStatesCell
from oracles import oracle_of

BACKENDS = [name for name in selection.BACKENDS if name != "auto"]
HERE = {place.backend: why for place, why in places(LSTMCell, devices=["cpu"], dtypes=[torch.float64]).items()}
CHECKS = {
    f"{cell.__name__}-{backend}-{name}": (check, HERE[backend])
    for cell, oracle in [*((c, oracle_of(n)) for n, c in Cell.registry.items()), *HANDWRITTEN.items()]
    for backend in BACKENDS
    for name, check in properties(cell, oracle=oracle, backend=backend).items()
}


@pytest.mark.parametrize("name", CHECKS)
def test_conforms(name):
    check, refusal = CHECKS[name]
    if refusal:
        pytest.skip(refusal)
    check()


def test_backends_are_all_there():
    assert BACKENDS == list(HERE) == ["llvm", "reference"]
    assert HERE["reference"] is None


def test_a_property_is_checked_on_the_backend_that_is_named(monkeypatch):
    monkeypatch.setattr("elman.backends.llvm.recurrence.refusal", lambda *_: "the host is a toaster")
    properties(LSTMCell, backend="reference")["split"]()
    properties(LSTMCell)["split"]()
    with pytest.raises(BackendError, match="the host is a toaster"):
        properties(LSTMCell, backend="llvm")["split"]()
    assert selection.wanted() == "auto"


def test_properties_are_all_there():
    names = "oracle,steps by hand,sizes,zero state,central differences,derivation,all gradients,split,padding,resets"
    assert list(properties(LSTMCell, oracle=print)) == [
        *names.split(","),
        "permutation",
        "strides",
        "no gradients",
        "weights",
        "bad inputs",
    ]
    assert "oracle" not in properties(LSTMCell)


def test_kit_finds_swapped_gates():
    def swapped(p, x, h, c):
        return oracle_of("lstm")({**p, "i/bias": p["o/bias"], "o/bias": p["i/bias"]}, x, h, c)

    with pytest.raises(
        AssertionError, match=r"LSTMCell: oracle: .*: outputs differs by [\d.e-]+, at most [\d.]+ large"
    ):
        assert_cell_conforms(LSTMCell, oracle=swapped)


def test_kit_finds_a_wrong_second_state():
    def wrong(p, x, h, c):
        h, c = HANDWRITTEN[TwoStatesCell](p, x, h, c)
        return h, c + 1e-6

    with pytest.raises(AssertionError, match=r"TwoStatesCell: oracle: .* (outputs|state c) differs by"):
        assert_cell_conforms(TwoStatesCell, oracle=wrong)


def test_kit_wants_a_tuple_from_the_oracle():
    with pytest.raises(AssertionError, match=r"LeakyCell: oracle: the oracle must return a tuple of 1 new states"):
        assert_cell_conforms(LeakyCell, oracle=lambda p, x, h: h)


def test_kit_finds_a_step_that_is_not_what_was_traced():
    class Unsteady(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            self.calls = getattr(self, "calls", 0) + 1
            return tanh(self.a(x, h)) * (1.0 if self.calls == 1 else 1.001)

    with pytest.raises(
        AssertionError, match=r"Unsteady: steps by hand: a layer with no options: outputs differs by 0.00"
    ):
        assert_cell_conforms(Unsteady)


def test_kit_finds_a_gate_without_gradient():
    class Dead(Cell):
        states = ("h",)
        a, b = Affine(), Affine()

        def step(self, x, h):
            return tanh(self.a(x, h)) + relu(tanh(self.b(x, h)) - 2)

    with pytest.raises(AssertionError, match=r"Dead: all gradients: .* of layer_0/forward b/weight_x is zero"):
        assert_cell_conforms(Dead)


def test_kit_finds_a_step_that_zero_states_break():
    class Logarithm(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return tanh(self.a(x, h)) ** 2 + log(h)

    with pytest.raises(AssertionError, match=r"Logarithm: zero state: zero states must give finite ones"):
        properties(Logarithm)["zero state"]()


def _scale_gradient(values, factor):
    """The values as they are, with a gradient that is not theirs."""
    return values.detach() + (values - values.detach()) * factor


def test_kit_finds_a_wrong_gradient(monkeypatch):
    from elman.backends import reference

    right = reference.unroll

    def wrong(graph, parameters, *args, **kwargs):
        parameters = {n: _scale_gradient(p, 1.01 if n == "bias" else 1.0) for n, p in parameters.items()}
        return right(graph, parameters, *args, **kwargs)

    monkeypatch.setattr(reference, "unroll", wrong)
    with pytest.raises(AssertionError, match=r"central differences: the gradient of n/bias is off by 0.0099, allowed"):
        properties(Cell.registry["rnn"], backend="reference")["central differences"]()
    with pytest.raises(AssertionError, match=r"steps by hand: .* the gradient of layer_0/forward n/bias differs"):
        properties(Cell.registry["rnn"], backend="reference")["steps by hand"]()


def test_kit_wants_shape_errors(monkeypatch):
    monkeypatch.setattr("elman.layers.recurrent.Recurrent._checked_reset", lambda layer, reset, *_: reset.bool())
    with pytest.raises(AssertionError, match=r"LSTMCell: bad inputs: resets that are numbers raises no ShapeError"):
        properties(LSTMCell)["bad inputs"]()


def test_kit_wants_the_message(monkeypatch):
    def checked(layer, reset, *_):
        if reset.dtype != torch.bool:
            raise ShapeError("no")

    monkeypatch.setattr("elman.layers.recurrent.Recurrent._checked_reset", checked)
    with pytest.raises(AssertionError, match=r"LSTMCell: bad inputs: resets that are numbers: no does not match reset"):
        properties(LSTMCell)["bad inputs"]()


def test_every_parameter_of_the_oracle_is_read():
    """An oracle that ignores a weight would not see it wrong."""
    for name, cell in Cell.registry.items():
        read = set()

        class Watched(dict):
            def __getitem__(self, key, read=read):
                read.add(key)
                return super().__getitem__(key)

        one = cell(2, 3, dtype=torch.float64)
        parameters = {n: p.detach().numpy() for n, p, _ in one.named_gate_parameters()}
        oracle_of(name)(Watched(parameters), np.ones((1, 2)), *(np.ones((1, 3)) for _ in cell.states))
        assert read == set(parameters), name
