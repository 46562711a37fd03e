"""The same bits on any number of threads, however they share the work."""

from __future__ import annotations

import os

import pytest
import torch

from backends.llvm import fresh, threads
from elman.backends.llvm import runtime

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
COUNTS = (2, 3, 5)


@pytest.fixture(autouse=True)
def nothing_too_small():
    with threads.nothing_too_small():
        yield


@pytest.fixture
def teams(monkeypatch):
    """Collect how many threads were asked, and into how many parts they cut the rows."""
    seen = set()
    call = runtime.Entry.__call__

    def watched(self, count, numbers):
        seen.add((count, numbers[self.at["row_parts"]] if "row_parts" in self.at else None))
        call(self, count, numbers)

    monkeypatch.setattr(runtime.Entry, "__call__", watched)
    return seen


def on(count, results):
    torch.set_num_threads(count)
    return dict(results())


def assert_same_on_all(results):
    alone = on(1, results)
    for count in COUNTS:
        for name, value in on(count, results).items():
            assert value.equal(alone[name]), f"{name} on {count} threads"


@types
@pytest.mark.parametrize("kind", threads.CELLS, ids=lambda cell: cell.__name__)
def test_cells(kind, dtype, teams):
    assert_same_on_all(lambda: threads.of_cell(kind, dtype))
    for count in COUNTS:
        assert {(count, 1), (count, count)} <= teams  # units were shared, and rows


@types
def test_products(dtype, teams):
    assert_same_on_all(lambda: threads.of_products(dtype))
    assert {(count, None) for count in COUNTS} <= teams


@types
def test_steps(dtype, teams):
    assert_same_on_all(lambda: threads.of_steps(dtype))
    assert {(count, None) for count in COUNTS} <= teams


@types
def test_paths(dtype, teams):
    assert_same_on_all(lambda: threads.of_paths(dtype))
    assert {(count, None) for count in COUNTS} <= teams


def test_on_threads_of_our_own(monkeypatch, teams):
    """Where torch has no pool that we can enter."""
    alone = on(1, lambda: threads.of_cell(threads.CELLS[0], torch.float32))
    dense = on(1, lambda: threads.of_products(torch.float32))
    steps = on(1, lambda: threads.of_steps(torch.float32))
    paths = on(1, lambda: threads.of_paths(torch.float32))
    monkeypatch.setattr(runtime, "pool", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    runtime._own_pool.cache_clear()
    teams.clear()
    try:
        for count in COUNTS:
            for name, value in on(count, lambda: threads.of_cell(threads.CELLS[0], torch.float32)).items():
                assert value.equal(alone[name]), f"{name} on {count} threads"
            for name, value in on(count, lambda: threads.of_products(torch.float32)).items():
                assert value.equal(dense[name]), f"{name} on {count} threads"
            for name, value in on(count, lambda: threads.of_steps(torch.float32)).items():
                assert value.equal(steps[name]), f"{name} on {count} threads"
            for name, value in on(count, lambda: threads.of_paths(torch.float32)).items():
                assert value.equal(paths[name]), f"{name} on {count} threads"
    finally:
        runtime._own_pool().shutdown()
        runtime._own_pool.cache_clear()
    assert {count for count, _ in teams} >= set(COUNTS)


@pytest.mark.parametrize("limit", ["1", "2"])
def test_a_team_smaller_than_asked_for(limit):
    """OpenMP gives five threads to whom asks for them, unless it must not."""
    torch.set_num_threads(1)
    done = fresh.run("threads", "5", OMP_THREAD_LIMIT=limit)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [threads.digest()]
