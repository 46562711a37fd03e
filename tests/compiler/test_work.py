"""The products and operations of a plan: as many as torch does, and as the kernels are written with."""

from __future__ import annotations

from collections import Counter

import pytest
from torch.utils.flop_counter import FlopCounterMode

from elman.cells import Cell, GRUCell, LSTMCell, PeepholeLSTMCell, ResetBeforeGRUCell
from elman.compiler.plan import plan
from elman.compiler.work import (
    Sizes,
    backward_operations,
    backward_products,
    forward_operations,
    forward_products,
    gradient_products,
)
from handwritten import HANDWRITTEN, AutonomousCell, EveryWordCell
from runs import Case, loss

CELLS = [*Cell.registry.values(), *HANDWRITTEN]
SIZES = Sizes(batch=3, steps=4, features=5, hidden=7)


def shapes(products):
    return [(p.what, "".join(p.gates), p.rows, p.inner, p.columns) for p in products]


def by_torch(case):
    """The operations of the products that torch does for the reference backend, forward and backward."""
    leaves = case.leaves()
    with FlopCounterMode(display=False) as forward:
        value = loss(case.expected(leaves))
    with FlopCounterMode(display=False) as backward:
        value.backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_as_many_products_as_torch_does(cell):
    case = Case(cell, batch=3, time=4, inputs=5, hidden=7)
    planned = plan(case.graph)
    forward = [p for phase in forward_products(planned, SIZES) for p in phase]
    backward = [p for phase in backward_products(planned, SIZES) for p in phase]
    gradients = gradient_products(planned, SIZES, case.tensors, chunk=2)
    assert (sum(p.flops for p in forward), sum(p.flops for p in (*backward, *gradients))) == by_torch(case)
    assert all(p.flops == 2 * p.rows * p.inner * p.columns * 4 for p in (*forward, *backward))
    assert all(p.flops == 2 * p.rows * p.inner * p.columns * 2 for p in gradients)  # two chunks


def test_a_cell_of_one_phase():
    planned = plan(LSTMCell(5, 7).graph)
    (forward,) = forward_products(planned, SIZES)
    assert shapes(forward) == [("W x", "ifgo", 3, 5, 28), ("U h", "ifgo", 3, 7, 28)]
    first, second = backward_products(planned, SIZES)
    assert (first, shapes(second)) == ((), [("Uᵀ δ for h", "ifgo", 3, 28, 7)])
    every = gradient_products(planned, SIZES, {"x", "weight_x", "weight_h", "bias"}, chunk=2)
    assert shapes(every) == [
        ("Wᵀ δ for x", "ifgo", 6, 28, 5),
        ("δ xᵀ", "ifgo", 28, 6, 5),
        ("δ hᵀ", "ifgo", 28, 6, 7),
    ]
    for name, product in zip(("x", "weight_x", "weight_h"), every, strict=True):
        assert gradient_products(planned, SIZES, {name}, chunk=2) == (product,)
    assert gradient_products(planned, SIZES, {"bias", "state:h"}, chunk=2) == ()


def test_a_cell_of_two_phases():
    planned = plan(ResetBeforeGRUCell(5, 7).graph)
    gates, candidate = forward_products(planned, SIZES)
    assert shapes(gates) == [("W x", "rz", 3, 5, 14), ("U h", "rz", 3, 7, 14)]
    assert shapes(candidate) == [("W x", "n", 3, 5, 7), ("U v", "n", 3, 7, 7)]
    assert [shapes(phase) for phase in backward_products(planned, SIZES)] == [
        [],
        [("Uᵀ δ for v", "n", 3, 7, 7)],
        [("Uᵀ δ for h", "rz", 3, 14, 7)],
    ]
    assert shapes(gradient_products(planned, SIZES, {"weight_h"}, chunk=4)) == [
        ("δ hᵀ", "rz", 14, 12, 7),
        ("δ vᵀ", "n", 7, 12, 7),
    ]


def test_x_that_no_gate_reads_has_no_product():
    planned = plan(AutonomousCell(5, 7).graph)
    assert gradient_products(planned, SIZES, {"x", "weight_h"}, chunk=2) == gradient_products(
        planned, SIZES, {"weight_h"}, chunk=2
    )


@pytest.fixture
def written(monkeypatch):
    """Counts the operations that kernels are written with; a sum with the share that a product has done is none."""
    pytest.importorskip("llvmlite")
    from elman.backends.llvm import kernel

    seen = Counter()

    def counting(op, function):
        def call(code, operands):
            nothing = str(code.constant(-0.0).value)
            seen[op] += not (op == "add" and any(str(v.value) == nothing for v in operands))
            return function(code, operands)

        return call

    counted = {op: counting(op, function) for op, function in kernel.POINTWISE.items()}
    power, weights = kernel.power, kernel.Kernel.weights
    counted_power = counting("power", lambda code, operands: power(code, *operands))
    monkeypatch.setattr(kernel, "POINTWISE", counted)
    monkeypatch.setattr(kernel, "power", lambda *a: counted_power(a[0], a[1:]))
    monkeypatch.setattr(kernel.Kernel, "weights", lambda *a: seen.update(["diagonal"]) or weights(*a))
    return seen


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_as_many_operations_as_kernels_are_written_with(cell, written):
    from llvmlite import ir

    from elman.backends.llvm.backward import write_backward
    from elman.backends.llvm.forward import write_forward
    from elman.backends.llvm.vectors import Shape

    planned = plan(cell(5, 7).graph)
    for write, operations in ((write_forward, forward_operations), (write_backward, backward_operations)):
        written.clear()
        module = ir.Module()
        module.triple = "x86_64-unknown-linux-gnu"
        write(module, Shape.of(512, 32, 4), planned)
        expected = sum(operations(planned), Counter())
        if write is write_backward:
            del written["diagonal"], expected["diagonal"]  # weights are read there otherwise than to be multiplied
        # Rows are written two at a time, and once more for the last one.
        assert written == Counter({op: 3 * count for op, count in expected.items()})


def test_operations_by_hand():
    (lstm,) = forward_operations(plan(PeepholeLSTMCell(5, 7).graph))
    assert lstm == {"sigmoid": 3, "tanh": 2, "multiply": 3, "diagonal": 3, "add": 4}
    (gru,) = forward_operations(plan(GRUCell(5, 7).graph))
    assert gru == {"sigmoid": 2, "tanh": 1, "multiply": 3, "subtract": 1, "add": 2}
    # (δ tanh'(c) o + δc), its four δ and the gradient of c; the shares Uᵀ δ are added by the product
    own, product = backward_operations(plan(LSTMCell(5, 7).graph))
    assert own.total() == 26
    assert product.total() == 0
    assert sum(forward_operations(plan(EveryWordCell(5, 7).graph)), Counter())["power"] == 2
