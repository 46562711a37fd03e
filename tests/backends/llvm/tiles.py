"""The register tiles of a matrix product, each called by itself and compared with the product in float64."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from elman.backends.llvm import gemm, runtime

__all__ = ["CASES", "check_columns", "check_dots", "check_rows", "check_transpose"]

Place = Callable[[Tensor], Tensor]  # puts an array where a test wants it


def call(which: str, size: int, **arguments: int | Tensor) -> None:
    names = gemm._ARGUMENTS[which]
    assert arguments.keys() == names.keys()
    values = [v.data_ptr() if isinstance(v := arguments[name], Tensor) else v for name in names]
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))(gemm.tiles(size).addresses[which])(*values)


def inner_sizes(lanes: int) -> list[int]:
    return [1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2]


def random(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def in_lines(matrix: Tensor, lanes: int, height: int) -> tuple[Tensor, int]:
    """Lay a matrix in lines of so many rows; return it and the numbers from a line to the next."""
    rows, columns = matrix.shape
    lines = torch.full((-(-columns // lanes), height, lanes), torch.nan, dtype=matrix.dtype)
    for column in range(columns):
        lines[column // lanes, :rows, column % lanes] = matrix[:, column]
    return lines, height * lanes


def result(dtype: torch.dtype, rows: int, width: int, gap: int, place: Place, *, accumulate: bool) -> Tensor:
    """Return where a product goes: not a number, or numbers to add to; the last row ends with the memory."""
    memory = torch.full(((rows - 1) * (width + gap) + width,), torch.nan, dtype=dtype)
    if accumulate:
        memory = torch.randn_like(memory)
    return place(memory)


def assert_product(memory: Tensor, before: Tensor, right: Tensor, sizes: Tensor, width: int, gap: int) -> None:
    """The rows hold the product (added to what was there), and what lies between them is untouched."""
    rows, used = right.shape
    index = torch.arange(rows)[:, None] * (width + gap) + torch.arange(width)
    old = before[index].double().nan_to_num(0.0)
    expected = old.clone()
    expected[:, :used] += right
    allowed = 2 * torch.finfo(memory.dtype).eps * (sizes + old[:, :used].abs()) * 4
    got = memory[index].double()
    assert ((got[:, :used] - expected[:, :used]).abs() <= allowed).all()
    assert got[:, used:].equal(expected[:, used:])  # lanes beyond the tail add nothing
    between = torch.ones(len(memory), dtype=torch.bool)
    between[index.flatten()] = False
    torch.testing.assert_close(memory[between], before[between], rtol=0, atol=0, equal_nan=True)


def check_rows(
    dtype: torch.dtype, m: int, n: int, inner: int, tail: int, lines: bool, accumulate: bool, place: Place
) -> Tensor:
    lanes, gap = runtime.shape(dtype.itemsize).lanes, 5
    width = (n - 1) * lanes + tail
    a, b = random(dtype, m, inner), random(dtype, inner, width)
    left, block = in_lines(a, lanes, m + 2) if lines else (a, lanes)
    c = result(dtype, m, n * lanes, gap, place, accumulate=accumulate)
    before = c.clone()
    call(
        gemm.ROWS_TILE,
        dtype.itemsize,
        m=m,
        n=n,
        blocks=inner // lanes,
        rest=inner % lanes,
        a=place(left),
        a_row=lanes if lines else inner,
        a_block=block,
        b=place(b),
        b_row=width,
        tail=tail,
        c=c,
        c_row=n * lanes + gap,
        accumulate=int(accumulate),
    )
    a, b = a.double(), b.double()
    assert_product(c, before, a @ b, a.abs() @ b.abs(), n * lanes, gap)
    return c


def check_columns(
    dtype: torch.dtype, n: int, steps: int, rows: int, tail: int, lines: bool, accumulate: bool, place: Place
) -> Tensor:
    shape = runtime.shape(dtype.itemsize)
    lanes, height, gap = shape.lanes, gemm.tile_height(shape), 5
    width = (n - 1) * lanes + tail
    a, b = random(dtype, steps * rows, height), random(dtype, steps * rows, width)
    right, b_vector = in_lines(b, lanes, steps * rows) if lines else (b, lanes)
    b_row = lanes if lines else width
    c = result(dtype, height, n * lanes, gap, place, accumulate=accumulate)
    before = c.clone()
    call(
        gemm.COLUMNS_TILE,
        dtype.itemsize,
        n=n,
        steps=steps,
        rows=rows,
        a=place(a),
        a_row=height,
        a_step=rows * height,
        b=place(right),
        b_row=b_row,
        b_vector=b_vector,
        b_step=rows * b_row,
        tail=tail,
        c=c,
        c_row=n * lanes + gap,
        accumulate=int(accumulate),
    )
    a, b = a.double(), b.double()
    assert_product(c, before, a.t() @ b, a.t().abs() @ b.abs(), n * lanes, gap)
    return c


def check_dots(dtype: torch.dtype, inner: int, outputs: int, lines: bool, place: Place) -> Tensor:
    lanes = runtime.shape(dtype.itemsize).lanes
    a, b = random(dtype, 1, inner), random(dtype, outputs, inner)
    left, block = in_lines(a, lanes, 3) if lines else (a, lanes)
    c = place(torch.full((lanes,), torch.nan, dtype=dtype))
    call(
        gemm.DOTS_TILE,
        dtype.itemsize,
        blocks=inner // lanes,
        rest=inner % lanes,
        a=place(left),
        a_block=block,
        b=place(b),
        b_row=inner,
        outputs=outputs,
        c=c,
    )
    a, b = a.double(), b.double()
    allowed = 8 * torch.finfo(dtype).eps * (a.abs() @ b.abs().t())[0]
    assert ((c[:outputs].double() - (a @ b.t())[0]).abs() <= allowed).all()
    return c


def check_transpose(dtype: torch.dtype, rows: int, columns: int, place: Place) -> Tensor:
    lanes, gap = runtime.shape(dtype.itemsize).lanes, 3
    there, across = min(rows, lanes), min(columns, lanes)
    a = random(dtype, there, columns + gap)
    given = a.flatten()[: (there - 1) * (columns + gap) + columns]
    to = place(torch.full(((across - 1) * (lanes + gap) + lanes,), torch.nan, dtype=dtype))
    call(
        gemm.TRANSPOSE,
        dtype.itemsize,
        source=place(given),
        row=columns + gap,
        rows=rows,
        columns=columns,
        to=to,
        to_row=lanes + gap,
    )
    expected = torch.full((across, lanes + gap), torch.nan, dtype=dtype)
    expected[:, :lanes] = 0
    expected[:, :there] = a[:, :across].t()
    torch.testing.assert_close(to, expected.flatten()[: len(to)], rtol=0, atol=0, equal_nan=True)
    return to


def _rows_cases(size: int) -> Iterator[tuple[int, int, int, int, bool, bool]]:
    shape = runtime.shape(size)
    tails = (1, shape.lanes - 1, shape.lanes)
    tiles = itertools.product(range(1, shape.rows + 1), range(1, shape.columns + 1))
    for k, ((m, n), inner) in enumerate(itertools.product(tiles, inner_sizes(shape.lanes))):
        yield m, n, inner, tails[k % 3], k % 2 == 0, k % 4 < 2


def _columns_cases(size: int) -> Iterator[tuple[int, int, int, int, bool, bool]]:
    shape = runtime.shape(size)
    tails = (1, shape.lanes - 1, shape.lanes)
    counts = itertools.product(range(1, gemm.tile_width(shape) + 1), (1, 2, 3), (1, 5, 33))
    for k, (n, steps, rows) in enumerate(counts):
        for lines in (False, True):
            yield n, steps, rows, tails[k % 3], lines, k % 2 == 0


def _dots_cases(size: int) -> Iterator[tuple[int, int, bool]]:
    lanes = runtime.shape(size).lanes
    yield from itertools.product(inner_sizes(lanes), range(1, lanes + 1), (False, True))


def _transpose_cases(size: int) -> Iterator[tuple[int, int]]:
    lanes = runtime.shape(size).lanes
    yield from itertools.product((1, lanes - 1, lanes, 3 * lanes), repeat=2)


#: Every tile and inner sizes around those of a vector, by the function that checks it and the size of a number.
CASES = {
    check_rows: _rows_cases,
    check_columns: _columns_cases,
    check_dots: _dots_cases,
    check_transpose: _transpose_cases,
}
