"""The share of the peak to expect: what makes it smaller, and where nothing is said."""

from __future__ import annotations

import pytest
import torch

from elman.backends.llvm import runtime
from elman.backends.llvm.expectation import backward_share, forward_share
from elman.backends.llvm.layout import facts
from elman.backends.llvm.vectors import Shape
from elman.cells import LSTMCell, RNNCell
from elman.compiler.plan import plan
from elman.compiler.work import Sizes, backward_operations, forward_operations
from handwritten import EveryWordCell

WEIGHTS = ("weight_x", "weight_h", "bias")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A processor with vectors of 512 bits."""
    monkeypatch.setattr(runtime, "shape", lambda size: Shape.of(512, 32, size))


def shares(batch=128, steps=28, features=128, hidden=128, cell=LSTMCell, size=4, wanted=WEIGHTS):
    graph, sizes = cell(2, 3).graph, Sizes(batch, steps, features, hidden)
    known = facts(graph, size, batch, steps, features, hidden, wanted)
    planned = plan(graph)
    return forward_share(planned, sizes, known, size), backward_share(planned, sizes, known, size, wanted)


def test_large_products_come_near_the_peak():
    for found in (shares(), shares(hidden=256, features=256), shares(batch=20, steps=35, features=640, hidden=640)):
        assert all(0.8 < share < 0.9 for share in found)


def test_by_hand():
    """Of one unit and row: products 4 · 2 · 256 / 0.9, 5 · 20 + 4 operations, packed weights 1.2 · 16 · 1024 / 3584."""
    forward, backward = shares()
    assert forward == pytest.approx(2048 / (2048 / 0.9 + 2 * 104 + 2 * 1.2 * 16 * 1024 / 3584))
    # backward 4 · 2 · 384 / 0.9, one tanh and 25 others, and the packing of 512 · 128 weights as they lie
    assert backward == pytest.approx(3072 / (3072 / 0.9 + 2 * 45 + 2 * 0.2 * 16 * 512 / 3584))


def test_lanes_that_are_no_units():
    full, part = shares(hidden=128), shares(hidden=113)
    assert part[0] == pytest.approx(full[0] * 113 / 128, rel=0.02)
    assert part[1] < full[1] * (113 / 128) ** 1.2
    inputs = shares(features=16, wanted=("x", *WEIGHTS)), shares(features=17, wanted=("x", *WEIGHTS))
    assert inputs[1][0] == pytest.approx(inputs[0][0], rel=0.01)  # forward, features fill no vectors
    assert inputs[1][1] < 0.97 * inputs[0][1]


def test_threads_that_wait():
    torch.set_num_threads(4)
    even, odd = shares(batch=128), shares(batch=129)
    assert odd[0] == pytest.approx(even[0] * 129 / 132, rel=0.01)  # one thread has 33 rows
    torch.set_num_threads(1)
    assert shares(batch=129)[0] == pytest.approx(shares(batch=128)[0], rel=0.01)
    alone = shares(batch=12, steps=100, hidden=80, features=80)
    torch.set_num_threads(2)
    known = facts(LSTMCell(2, 3).graph, 4, 12, 100, 80, 80, WEIGHTS)
    assert (known.threads, known.row_parts) == (2, 1)
    assert shares(batch=12, steps=100, hidden=80, features=80)[0] == pytest.approx(alone[0] * 5 / 6, rel=0.01)


def test_a_run_on_fewer_threads_than_there_are():
    alone = shares(batch=6, steps=2, features=16, hidden=16)
    torch.set_num_threads(4)
    known = facts(LSTMCell(2, 3).graph, 4, 6, 2, 16, 16, WEIGHTS)
    assert known.threads == 1
    assert shares(batch=6, steps=2, features=16, hidden=16) == tuple(pytest.approx(share / 4) for share in alone)


def test_operations_between_the_products():
    assert shares(hidden=16, features=16)[0] < 0.7 * shares()[0]
    assert shares(cell=EveryWordCell)[0] < shares(cell=RNNCell)[0]
    assert shares(size=8)[0] < shares()[0]  # exponentials take longer in float64
    assert sum(c.total() for c in forward_operations(plan(EveryWordCell(2, 3).graph))) > 20
    assert sum(c.total() for c in backward_operations(plan(RNNCell(2, 3).graph))) == 3


def test_weights_that_are_packed_for_few_steps():
    assert shares(batch=16, steps=2)[0] < 0.7 * shares(batch=16, steps=200)[0]
    assert shares(batch=16, steps=2)[1] < 0.98 * shares(batch=16, steps=200)[1]


def test_few_rows():
    assert shares(batch=1) == shares(batch=5) == (None, None)
    assert None not in shares(batch=6)
    torch.set_num_threads(64)
    assert shares(batch=128) == (None, None)  # two rows a thread
