"""Tiles of a matrix product, of every size; and that nothing is touched beyond what an array holds."""

from __future__ import annotations

import signal

import pytest
import torch

from backends.llvm import fresh, tiles
from elman.backends.llvm import gemm, runtime
from elman.backends.llvm.vectors import Shape

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def in_place(value):
    return value


@types
@pytest.mark.parametrize("check", tiles.CASES, ids=lambda check: check.__name__)
def test_every_tile(check, dtype):
    for case in tiles.CASES[check](dtype.itemsize):
        check(dtype, *case, in_place)


@types
def test_an_element_has_the_same_bits_in_every_tile(dtype):
    """Sums run over the inner dimension in order, whatever tile an element falls into."""
    shape = runtime.shape(dtype.itemsize)
    lanes, inner = shape.lanes, 2 * shape.lanes + 3
    width = shape.columns * lanes
    a, b = tiles.random(dtype, shape.rows, inner), tiles.random(dtype, inner, width)

    def product(m, n, left, block, row):
        c = torch.full((m, n * lanes), torch.nan, dtype=dtype)
        sizes = {"blocks": inner // lanes, "rest": inner % lanes}
        places = {"a": left, "a_row": row, "a_block": block, "b": b, "b_row": width, "tail": lanes}
        tiles.call(gemm.ROWS_TILE, dtype.itemsize, m=m, n=n, **sizes, **places, c=c, c_row=n * lanes, accumulate=0)
        return c

    whole = product(shape.rows, shape.columns, a, lanes, inner)
    lines, block = tiles.in_lines(a, lanes, shape.rows)
    for m in range(1, shape.rows + 1):
        for n in range(1, shape.columns + 1):
            assert product(m, n, a, lanes, inner).equal(whole[:m, : n * lanes])
            assert product(m, n, lines, block, lanes).equal(whole[:m, : n * lanes])


def test_shapes():
    """Three quarters of the registers hold sums."""
    assert Shape.of(512, 32, 4) == Shape(4, 16, 6, 4)
    assert Shape.of(512, 32, 8) == Shape(8, 8, 6, 4)
    assert Shape.of(256, 16, 4) == Shape(4, 8, 6, 2)
    assert Shape.of(256, 16, 8) == Shape(8, 4, 6, 2)
    assert Shape.of(128, 32, 4) == Shape(4, 4, 6, 4)
    assert Shape.of(128, 32, 8) == Shape(8, 2, 6, 4)
    for shape in (Shape.of(512, 32, 4), Shape.of(256, 16, 8), Shape.of(128, 32, 8)):
        assert gemm.tile_height(shape) * gemm.tile_width(shape) <= shape.rows * shape.columns
        assert shape.lanes % gemm.tile_height(shape) == 0


@pytest.mark.parametrize("side", ["end", "start"])
def test_nothing_is_touched_beyond_an_array(side):
    """All kernels on memory between pages that cannot be read or written."""
    done = fresh.run("guarded", side)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "all inside\n"


@pytest.mark.parametrize("side", ["end", "start"])
def test_the_guard_sees_what_is_beyond(side):
    done = fresh.run("guarded", side, "beyond")
    assert done.returncode == -signal.SIGSEGV
    assert done.stdout == ""
