"""The comparison of backends: every cell passes it, and it must be able to fail."""

from __future__ import annotations

import math

import pytest
import torch

from elman.backends import reference
from elman.backends.llvm import recurrence
from elman.cells import Affine, Cell, LSTMCell, RNNCell
from elman.cells.words import where
from elman.errors import BackendError, OptionError
from elman.testing import CASES, TOLERANCES, Case, Place, compare_backends, comparison, places
from elman.testing.cases import Numbers
from handwritten import ThreeStatesCell

SMALL = (Case(2, 1, 3, 17), Case(3, 5, 3, 17), Case(3, 5, 3, 17, lengths=True, reset=True, reverse=True))
FLOAT32, FLOAT64 = (Place("llvm", "cpu", dtype) for dtype in (torch.float32, torch.float64))


def wrong(found):
    return [c for c in found if not c.good]


@pytest.fixture
def broken(monkeypatch):
    """Compiled code whose results a test spoils."""
    forward, backward = recurrence.forward, recurrence.backward

    def spoil(*, outputs=None, gradients=None):
        def spoiled_forward(graph, parameters, x, *arguments, **options):
            run = forward(graph, parameters, x, *arguments, **options)
            return run if outputs is None else run._replace(outputs=outputs(run.outputs, **options))

        def spoiled_backward(*arguments, **options):
            found = backward(*arguments, **options)
            return found if gradients is None else gradients(found)

        monkeypatch.setattr(recurrence, "forward", spoiled_forward)
        monkeypatch.setattr(recurrence, "backward", spoiled_backward)

    return spoil


@pytest.mark.parametrize("name", Cell.registry)
def test_every_cell_passes(name):
    found = compare_backends(Cell.registry[name], devices=["cpu"])
    assert [str(c) for c in wrong(found)] == []
    compared = {c.what for c in found}
    cell = Cell.registry[name](2, 3)
    assert compared == {
        *("outputs", "gradient of x"),
        *(f"{what} {state}" for state in cell.states for what in ("final state", "gradient of initial state")),
        *(f"gradient of {gate}" for gate, _, _ in cell.named_gate_parameters()),
    }
    able = [place for place, reason in places(Cell.registry[name], devices=["cpu"]).items() if reason is None]
    assert len(found) == len(able) * len(compared)


def test_cases_are_of_every_size_and_option():
    assert {case.batch for case in CASES} == {1, 2, 3, 7, 17, 20}
    assert {case.steps for case in CASES} == {1, 2, 5, 33}
    hidden = {1, 2, 3, 15, 16, 17, 31, 33, 48, 65, 130}
    assert {case.hidden_size for case in CASES if case.steps == 1} == hidden
    assert {case.hidden_size for case in CASES if case.steps > 1} == hidden
    assert {case.input_size for case in CASES} >= {1, 2, 3, 16, 17, 31, 33, 50}
    for option in ("lengths", "reset", "reverse", "zero_state", "strided", "recompute"):
        assert sum(getattr(case, option) for case in CASES) >= 3, option
    for wanted in ("x", "states", "weight_x", "weight_h", "bias"):
        assert any(wanted in case.wanted and len(case.wanted) < 3 for case in CASES), wanted
    assert {case.loss for case in CASES} == {"all", "outputs", "final"}


def test_numbers_fit_in_float32_and_a_row_is_empty():
    numbers = Numbers(LSTMCell, Case(5, 4, 3, 2, lengths=True, reset=True, strided=True))
    for value in (numbers.x, *numbers.state, *numbers.parameters.values()):
        assert torch.equal(value, value.float().double())
        assert len(value.unique()) == value.numel() > 1
    assert (~numbers.valid).all(dim=1).any()
    assert not (numbers.reset & ~numbers.valid).any()
    laid_out = numbers.laid_out(numbers.x, torch.float32, torch.device("cpu"))
    assert not laid_out.is_contiguous()
    assert torch.equal(laid_out.double(), numbers.x)
    other = Numbers(LSTMCell, numbers.case, draw=1)
    assert not torch.equal(numbers.x, other.x)


def test_a_case_reads_as_it_is():
    assert str(Case(1, 2, 3, 4)) == "batch 1, 2 steps, input 3, hidden 4"
    case = Case(1, 2, 3, 4, lengths=True, zero_state=True, wanted=("x", "bias"), loss="final")
    sizes = "batch 1, 2 steps, input 3, hidden 4"
    assert str(case) == f"{sizes}, lengths, zero state, gradients of x and bias, a loss of the final alone"


@pytest.mark.parametrize("size", [2e-6, 1e-4])
def test_finds_one_wrong_gradient(broken, size):
    """Of a gate's bias by little more than the tolerance, and nothing else."""

    def bend(found):
        if "bias" in found:  # input, forget, candidate and output gate: the second of four blocks
            hidden = len(found["bias"]) // 4
            found["bias"][hidden : 2 * hidden] += size * found["bias"][hidden : 2 * hidden].abs().max()
        return found

    broken(gradients=bend)
    bad = wrong(compare_backends(LSTMCell, backends=["llvm"], cases=SMALL))
    assert {c.what for c in bad} == {"gradient of f/bias"}
    expected = {FLOAT64, FLOAT32} if size > TOLERANCES[torch.float32].gradients else {FLOAT64}
    assert {c.place for c in bad} == expected
    assert all(0.9 * size < c.error < 1.2 * size for c in bad if c.place == FLOAT64)


def test_finds_an_error_of_float32_alone(broken):
    broken(outputs=lambda y, **_: y * (1 + 4e-6) if y.dtype == torch.float32 else y)
    bad = wrong(compare_backends(LSTMCell, backends=["llvm"], cases=SMALL))
    assert {(c.what, c.place) for c in bad} == {("outputs", FLOAT32)}
    assert "(llvm, cpu, float32) is off by 4" in str(bad[0])
    assert f"allowed are {TOLERANCES[torch.float32].values:.2g}: batch" in str(bad[0])


@pytest.mark.parametrize("shape", [False, True], ids=["memory that nobody wrote", "a wrong shape"])
def test_what_is_no_number_is_infinitely_wrong(broken, shape):
    def spoil(y, **_):
        if shape:
            return y[:, :, :-1]
        y[-1, -1, -1] = torch.empty(())  # poison, in these tests
        return y

    broken(outputs=spoil)
    bad = wrong(compare_backends(RNNCell, backends=["llvm"], cases=SMALL[:1], dtypes=[torch.float64]))
    assert bad[0].what == "outputs"
    assert math.isinf(bad[0].error)


def test_finds_what_is_wrong_only_where_nothing_is_kept(broken):
    broken(outputs=lambda y, keep=False, **_: y if keep else y + 1e-3)
    (bad,) = wrong(compare_backends(RNNCell, backends=["llvm"], cases=SMALL, dtypes=[torch.float32]))
    assert bad.what == "outputs"
    assert bad.case.endswith("no gradients recorded")


def test_names_the_case_that_is_wrong(broken):
    broken(outputs=lambda y, reverse=False, **_: y + 1e-3 if reverse else y)
    bad = wrong(compare_backends(RNNCell, backends=["llvm"], cases=SMALL, dtypes=[torch.float64]))
    assert [c.case.partition(", no ")[0] for c in bad] == [str(SMALL[2])]


def test_a_gradient_left_by_cancelling_numbers_is_measured_by_the_others():
    """A normaliser and its memory that start at zero scale with the input gate: its bias has no gradient."""
    cases = [Case(3, 33, 28, 48, zero_state=True, wanted=("bias",), loss="outputs")]
    numbers = Numbers(ThreeStatesCell, cases[0])
    expected = comparison._Expected(numbers)
    assert (
        expected._values["gradient of i/bias"].abs().max() < 1e-12 < expected._values["gradient of f/bias"].abs().max()
    )
    assert [str(c) for c in wrong(compare_backends(ThreeStatesCell, cases=cases, devices=["cpu"]))] == []


def test_errors_may_grow_over_steps_as_those_of_the_reference_do():
    """A map that doubles every difference at each step."""

    class DoublingCell(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return where(h < 0.5, 2 * h, 2 - 2 * h) * 0.999 + 1e-6 * self.a(x, h)

    found = compare_backends(DoublingCell, cases=[Case(3, 9, 2, 5)], devices=["cpu"])
    assert [str(c) for c in wrong(found)] == []
    assert max(c.limit for c in found if c.place == FLOAT32) > 1.5 * TOLERANCES[torch.float32].values
    assert max(c.limit for c in compare_backends(DoublingCell, cases=[Case(3, 40, 2, 5)])) <= 1e-3


def test_a_corner_that_rounding_moves_is_tried_with_other_numbers(monkeypatch):
    class LinearCell(Cell):
        states = ("h",)
        a = Affine()

        def step(self, x, h):
            return self.a(x, h)

    case = Case(7, 1, 3, 33)
    numbers = Numbers(LinearCell, case)
    rounded, exact = (
        reference.unroll(
            numbers.cell.graph,
            {name: value.to(dtype) for name, value in numbers.parameters.items()},
            numbers.x.to(dtype),
            [numbers.state[0].to(dtype)],
        )[0].double()
        for dtype in (torch.float32, torch.float64)
    )
    up = (rounded - exact).flatten().argmax()

    class CorneredCell(LinearCell):
        edge = float(rounded.flatten()[up])  # not under it in float32, under it in float64

        def step(self, x, h):
            a = self.a(x, h)
            return where(a < self.edge, a, a + 1)

    options = {"backends": ["reference"], "devices": ["cpu"], "dtypes": [torch.float32], "cases": [case]}
    assert wrong(compare_backends(CorneredCell, **options)) == []
    monkeypatch.setattr(comparison, "_DRAWS", 1)
    assert "outputs" in {c.what for c in wrong(compare_backends(CorneredCell, **options))}


def test_places_say_why_not(monkeypatch):
    assert places(LSTMCell, backends=["reference"], devices=["cpu"]) == {
        Place("reference", "cpu", torch.float64): None,
        Place("reference", "cpu", torch.float32): None,
    }
    assert list(places(LSTMCell))[:2] == [FLOAT64, FLOAT32]
    monkeypatch.setattr(recurrence, "refusal", lambda *_: "the host is a toaster")
    assert places(LSTMCell, devices=["cpu"])[FLOAT32] == "the host is a toaster"
    found = compare_backends(RNNCell, cases=SMALL[:1], devices=["cpu"])
    assert {c.place.backend for c in found} == {"reference"}
    with pytest.raises(BackendError, match=r"RNNCell: llvm, cpu, float64: the host is a toaster; llvm, cpu, float32"):
        compare_backends(RNNCell, backends=["llvm"], cases=SMALL[:1], devices=["cpu"])


def test_refusals():
    with pytest.raises(OptionError, match=r"backend must be llvm or reference, got auto\."):
        places(LSTMCell, backends=["auto"])
    for device in ("cuda:99", "toaster"):
        with pytest.raises(OptionError, match=rf"device must be cpu.* on this machine, got {device}\."):
            compare_backends(LSTMCell, devices=[device])


def test_a_device_without_an_operation_is_a_finding():
    found = compare_backends(RNNCell, devices=["meta"], cases=SMALL[:1], dtypes=[torch.float32])
    assert [(c.place.backend, c.error) for c in found] == [("reference", math.inf)]
    assert "meta" in found[0].case
    assert not found[0].good
