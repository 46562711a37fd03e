"""Kernels as one call: in their order, each on its own number of threads, with operands where they look for them."""

from __future__ import annotations

import pytest
import torch

from elman.backends.llvm import runtime
from elman.backends.llvm.program import Part, Program
from elman.backends.llvm.team import TEAM_FIELDS, TeamKernel

FIELDS = ("count", "source", "to", "rounds")


@pytest.fixture(scope="module")
def reverse():
    """A kernel that turns numbers around and adds one, some times over: each reads what other threads wrote."""

    def write(module, shape):
        code = TeamKernel(module, shape, "turn", FIELDS)
        with code.loop(0, code["rounds"]), code.shared(code["count"]) as k:
            value = (code.pointer("source") + (code["count"] - 1 - k)).load_number()
            (code.pointer("to") + k).store_number(code.builder.fadd(value, code.real(1.0)))
        code.barrier()
        code.finish()

    library = runtime.load("turn", "", 8, write, ("turn", "turn_shared"))
    return runtime.Entry(library, "turn", (*TEAM_FIELDS, *FIELDS))


@pytest.mark.parametrize("threads", [(1, 1, 1), (3, 1, 2), (1, 5, 2), (2, 2, 2)], ids=str)
def test_each_begins_when_the_one_before_is_done(reverse, threads):
    count, numbers = 20_000, reverse.numbers({"rounds": 1})
    places = [("x", 0), ("work", 0), ("work", 8 * count), ("y", 8)]
    parts = [
        Part(reverse, running, numbers, {"count": (None, count), "source": source, "to": to})
        for running, source, to in zip(threads, places, places[1:], strict=False)
    ]
    program = Program(parts, ["y", "x", "work"])
    assert program.threads == max(threads)
    for _ in range(50):  # as often as one likes
        x, work, y = torch.rand(count).double(), torch.zeros(2 * count).double(), torch.zeros(count + 2).double()
        program([y.data_ptr(), x.data_ptr(), work.data_ptr()])
        assert work[:count].equal(x.flip(0) + 1)
        assert work[count:].equal(x + 1 + 1)
        assert y[1:-1].equal(x.flip(0) + 1 + 1 + 1)
        assert y[0] == y[-1] == 0


def test_numbers_that_nobody_gives_stay(reverse):
    """As they are in the kernel's own block: here no round is made."""
    x, y = torch.rand(5).double(), torch.zeros(5).double()
    program = Program(
        [Part(reverse, 1, reverse.numbers({"count": 5}), {"source": ("x", 0), "to": ("y", 0)})], ["x", "y"]
    )
    program([x.data_ptr(), y.data_ptr()])
    assert not y.any()


def test_an_operand_that_there_is_not(reverse):
    with pytest.raises(KeyError, match="z"):
        Program([Part(reverse, 1, reverse.numbers({}), {"source": ("z", 0)})], ["x"])
