"""What threads do together: shares, barriers, and what they leave behind."""

from __future__ import annotations

import os

import pytest
import torch

from backends.llvm.applied import applied
from backends.llvm.compared import everything, make
from elman.backends.llvm import products, runtime
from elman.backends.llvm.functions import POINTWISE
from elman.backends.llvm.team import TEAM_FIELDS, TeamKernel
from elman.cells import LSTMCell

THREADS = [1, 2, 3, 5]


@pytest.fixture(params=["torch's pool", "own pool"])
def pool(request, monkeypatch):
    """On torch's threads, and on those that serve where torch has none that we find."""
    if request.param == "own pool":
        monkeypatch.setattr(runtime, "pool", lambda: None)
        monkeypatch.setattr(os, "cpu_count", lambda: 5)
        runtime._own_pool.cache_clear()
    elif runtime.pool() is None:
        pytest.skip("torch has loaded no OpenMP library")
    yield request.param
    if request.param == "own pool":
        runtime._own_pool().shutdown()
        runtime._own_pool.cache_clear()


def entry(name, fields, body):
    """Compile a kernel of a test."""

    def write(module, shape):
        code = TeamKernel(module, shape, name, fields)
        body(code)
        code.finish()

    library = runtime.load("team", name, 8, write, (name, f"{name}_shared"))
    return runtime.Entry(library, name, (*TEAM_FIELDS, *fields))


def integer_at(code, name, index):
    return code.builder.gep(code.pointer(name).value, [code.integer(index)], source_etype=index.value.type)


@pytest.mark.parametrize("threads", THREADS)
def test_every_round_is_done_once(threads, pool):
    def body(code):
        with code.shared(code["count"]) as item:
            place = integer_at(code, "done", item)
            code.builder.store(code.builder.add(code.builder.load(place, typ=item.value.type), item.value), place)

    kernel = entry("rounds", ("count", "done"), body)
    for count in (0, 1, 2, 4, 7, 100):
        done = torch.zeros(max(count, 1), dtype=torch.int64)
        kernel(threads, kernel.numbers({"count": count, "done": done.data_ptr()}))
        assert done[:count].equal(torch.arange(count))


@pytest.mark.parametrize("threads", THREADS)
def test_nobody_passes_a_barrier_before_all_are_there(threads, pool):
    """Each adds what all had written in the round before: one that runs ahead or lags adds too little or too much."""
    rounds = 300

    def body(code):
        integer = code.zero.value.type
        with code.loop(0, code["rounds"]) as loop:
            new, old = code["threads_given"] * (loop.index & 1), code["threads_given"] * ((loop.index + 1) & 1)
            sum_of_all = code._slot(integer)
            code.builder.store(integer(0), sum_of_all)
            with code.loop(0, code.threads) as other:
                value = code.builder.load(integer_at(code, "values", old + other.index), typ=integer)
                code.builder.store(code.builder.add(code.builder.load(sum_of_all, typ=integer), value), sum_of_all)
            total = code.builder.add(code.builder.load(sum_of_all, typ=integer), code.thread.value)
            code.builder.store(code.builder.and_(total, integer(0xFFFF)), integer_at(code, "values", new + code.thread))
            code.barrier()

    kernel = entry("barriers", ("rounds", "threads_given", "values"), body)
    values = torch.zeros(2 * threads, dtype=torch.int64)
    kernel(threads, kernel.numbers({"rounds": rounds, "threads_given": threads, "values": values.data_ptr()}))
    expected = [[0] * threads, [0] * threads]
    for k in range(rounds):
        expected[k & 1] = [(sum(expected[(k + 1) & 1]) + thread) & 0xFFFF for thread in range(threads)]
    assert values.view(2, threads).tolist() == expected


# numbers too small to be normal

TINY = {torch.float32: 1e-40, torch.float64: 1e-310}


@pytest.mark.parametrize("dtype", TINY, ids=["float32", "float64"])
def test_too_small_numbers_are_zeros(dtype):
    """On the way in and on the way out."""
    tiny = torch.full((40,), TINY[dtype], dtype=dtype)
    assert tiny.all()
    assert not applied("multiply", POINTWISE["multiply"], tiny, torch.full_like(tiny, 1e10)).any()
    small = torch.full((40,), torch.finfo(dtype).tiny, dtype=dtype)
    assert not applied("multiply", POINTWISE["multiply"], small, torch.full_like(small, 0.5)).any()
    assert applied("multiply", POINTWISE["multiply"], small, torch.full_like(small, 2.0)).all()


@pytest.mark.parametrize("dtype", TINY, ids=["float32", "float64"])
def test_a_cell_takes_them_for_zeros(dtype):
    case = make(LSTMCell, 3, 4, 5, 18)
    zeros = torch.zeros_like(case.x)
    case.x = zeros
    right = everything(case, dtype)
    case.x = zeros + TINY[dtype]
    got = everything(case, dtype)
    for name in ("y", "final:h", "final:c", "bias", "weight_h", "x"):
        assert got[name].equal(right[name]), name
    assert not got["weight_x"].any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_left_as_they_were(threads, pool):
    """Torch's arithmetic with too small numbers is right after a kernel, on every thread that ran it."""
    torch.set_num_threads(threads)
    case = make(LSTMCell, 40, 3, 20, 64)
    tiny = torch.full((3_000_000,), 1e-40)
    for run in (
        lambda: everything(case, torch.float32),
        lambda: products.linear(torch.ones(64, 64), torch.ones(128, 64), None),
        lambda: products.cross_entropy(torch.ones(64, 64), torch.ones(90, 64), None, torch.zeros(64).long(), 1.0, "x"),
    ):
        run()
        assert (tiny * 0.5).all()
        assert 1e-310 * 0.5 > 0


def test_who_flushes_already_goes_on_to():
    """A thread that took them for zeros before a kernel does so after it."""
    torch.set_flush_denormal(True)
    try:
        everything(make(LSTMCell, 3, 4, 5, 18), torch.float32)
        assert not (torch.full((8,), 1e-40) * 0.5).any()
    finally:
        torch.set_flush_denormal(False)
