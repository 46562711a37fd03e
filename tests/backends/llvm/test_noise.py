"""Equations with noise in compiled code: every result against autograd over the reference, by name."""

from __future__ import annotations

import itertools

import pytest
import torch

from backends.llvm.compared import assert_right, assert_same_bits, everything, forward, make, values
from backends.llvm.own_cells import random_cell
from differentiated import EveryOperationCell
from elman.cells import Cell, LSTMCell
from elman.compiler.noise import expected_zoneout, recurrent_dropout, zoneout
from handwritten import HANDWRITTEN


def both(graph):
    return recurrent_dropout(zoneout(graph, graph.states))


NOISE = {
    "recurrent dropout": recurrent_dropout,
    "zoneout": lambda graph: zoneout(graph, graph.states[-1:]),
    "both": both,
    "mean": lambda graph: expected_zoneout(graph, tuple((s, 0.2 + k / 3) for k, s in enumerate(graph.states))),
}

#: batch, time, features, hidden; masks; reverse
RUNS = [((1, 1, 1, 1), "", False), ((5, 6, 20, 16), "lengths resets", True), ((33, 3, 5, 19), "holes resets", False)]


MORE_CELLS = [*HANDWRITTEN, EveryOperationCell, random_cell(3)]  # with all noise at once: to compile takes time
PAIRS = [*itertools.product(Cell.registry.values(), NOISE), *itertools.product(MORE_CELLS, ["both"])]


@pytest.mark.parametrize(("kind", "noise"), PAIRS, ids=lambda one: getattr(one, "__name__", one))
def test_every_result(kind, noise):
    for sizes, masks, reverse in RUNS:
        case = make(kind, *sizes, masks=masks, reverse=reverse, noisy=NOISE[noise])
        assert_right(case, everything(case, torch.float64), looser=3)


@pytest.mark.parametrize("kind", Cell.registry.values(), ids=lambda cell: cell.__name__)
def test_float32_and_several_chunks(kind):
    for batch, time, reverse in ((33, 70, False), (1, 70, True)):
        case = make(kind, batch, time, 3, 9, masks="lengths resets", reverse=reverse, noisy=both)
        assert_right(case, everything(case, torch.float32), looser=3)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_noise_may_lie_anyhow(reverse):
    """The same for all steps, as a view; rows and columns apart in memory."""
    case = make(LSTMCell, 5, 7, 3, 17, reverse=reverse, noisy=both)
    noise = case.noise[:, :1].expand(5, 7, 51)
    for view in (noise, noise.transpose(0, 2).contiguous().transpose(0, 2)):
        case.noise = noise.contiguous()
        expected = everything(case, torch.float64)
        case.noise = view
        assert not view.is_contiguous()
        assert_same_bits(everything(case, torch.float64), expected)


def test_a_run_that_keeps_nothing_is_the_same():
    case = make(LSTMCell, 5, 7, 3, 17, masks="lengths resets", noisy=both)
    with_kept, without = forward(case, torch.float32), forward(case, torch.float32, keep=False)
    assert_same_bits(values(case, without), values(case, with_kept))
