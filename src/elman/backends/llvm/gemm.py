"""Matrix products in register tiles: one program for a type and a host, which all kernels call.

Internal matrices lie in *lines*: a vector of neighbouring columns for each row, then the same columns of the next row:
``(columns / lanes, rows, lanes)``. A tile of the product walks along one factor number by number (each broadcast to all
lanes) and along the other vector by vector, with all its sums in registers; every sum runs over the inner dimension in
order, whatever tile it falls into, so that its bits depend on neither the number of rows nor that of threads.

Three kinds of tiles:

- ``rows``: C = A B, a tile of ``rows × columns`` vectors; A row-major or in lines, B row-major or packed by panels.
- ``columns``: C = Aᵀ B summed over rows, as for weight gradients; A and B row-major or in lines.
- ``dots``: one row times the transpose of weights as they lie, ``lanes`` outputs at once, summed along the rows of the
  weights. For a few rows this is cheaper than to pack weights that are used once.
"""

from __future__ import annotations

import functools
from typing import Final

from llvmlite import ir

from elman.backends.llvm import runtime
from elman.backends.llvm.vectors import INT, POINTER, Code, Integer, Pointer, Shape, Vector

__all__ = [
    "COLUMNS_TILE",
    "DOTS_TILE",
    "PIECE",
    "ROWS_TILE",
    "TRANSPOSE",
    "call_tile",
    "tile_height",
    "tile_width",
    "tiles",
    "write_tiles",
]

PIECE: Final = (
    256  #: numbers of the longest sum that is made in one go: short sums, added up, lose less than a long one
)

_STREAMS: Final = 4  #: rows of weights that a ``dots`` tile reads at once: memory is read faster from a few places
_AHEAD: Final = 48  #: rows by which a sum over rows asks for them before it needs them

#: Names of the functions, and below what they are called with.
ROWS_TILE: Final = "rows_tile"
COLUMNS_TILE: Final = "columns_tile"
DOTS_TILE: Final = "dots_tile"
TRANSPOSE: Final = "transpose"

#: m × n vectors; the inner dimension is ``blocks`` times as many as a vector has lanes, and ``rest``. Offsets count
#: numbers: from a row of A to the next, from a block of A to the next, from a row of B, of C to the next. Of the last
#: vector in a row of B only ``tail`` lanes are read.
_ROWS_ARGUMENTS: Final = {
    "m": "int",
    "n": "int",
    "blocks": "int",
    "rest": "int",
    "a": "pointer",
    "a_row": "int",
    "a_block": "int",
    "b": "pointer",
    "b_row": "int",
    "tail": "int",
    "c": "pointer",
    "c_row": "int",
    "accumulate": "int",
}

#: Some columns of A (`tile_height`) times n vectors of B, over ``steps`` steps of ``rows`` rows each; offsets as above.
_COLUMNS_ARGUMENTS: Final = {
    "n": "int",
    "steps": "int",
    "rows": "int",
    "a": "pointer",
    "a_row": "int",
    "a_step": "int",
    "b": "pointer",
    "b_row": "int",
    "b_vector": "int",
    "b_step": "int",
    "tail": "int",
    "c": "pointer",
    "c_row": "int",
    "accumulate": "int",
}

#: One row of A, in blocks; ``b`` are the weights of the first output, of which there are ``outputs``, ``b_row`` apart.
_DOTS_ARGUMENTS: Final = {
    "blocks": "int",
    "rest": "int",
    "a": "pointer",
    "a_block": "int",
    "b": "pointer",
    "b_row": "int",
    "outputs": "int",
    "c": "pointer",
}

#: A square of numbers, its rows ``row`` apart, to one with rows ``to_row`` apart. Of the square only some rows and
#: columns are there: missing rows count as zeros, missing columns are not written.
_TRANSPOSE_ARGUMENTS: Final = {
    "source": "pointer",
    "row": "int",
    "rows": "int",
    "columns": "int",
    "to": "pointer",
    "to_row": "int",
}

_ARGUMENTS: Final = {
    ROWS_TILE: _ROWS_ARGUMENTS,
    COLUMNS_TILE: _COLUMNS_ARGUMENTS,
    DOTS_TILE: _DOTS_ARGUMENTS,
    TRANSPOSE: _TRANSPOSE_ARGUMENTS,
}


def tile_height(shape: Shape) -> int:
    """Return the rows of a ``columns`` tile: units of a gate whose weights' gradients one tile sums."""
    return min(8, shape.lanes)


def tile_width(shape: Shape) -> int:
    """Return the vectors in a row of a ``columns`` tile."""
    return shape.rows * shape.columns // tile_height(shape)


def write_tiles(module: ir.Module, shape: Shape) -> None:
    """Write the functions into a module."""
    _dots_tile(module, shape)
    _transpose(module, shape)
    rows = {
        (m, n): _rows_tile(module, shape, m, n) for m in range(1, shape.rows + 1) for n in range(1, shape.columns + 1)
    }
    code = Code(module, shape, ROWS_TILE, _ROWS_ARGUMENTS, public=True)
    a = code.arguments
    passed = [code.integer(v) if isinstance(v, Integer) else v.value for k, v in a.items() if k not in {"m", "n"}]
    _switch(code, a["m"] * shape.columns + a["n"], {m * shape.columns + n: f for (m, n), f in rows.items()}, passed)
    columns = {n: _columns_tile(module, shape, n) for n in range(1, tile_width(shape) + 1)}
    code = Code(module, shape, COLUMNS_TILE, _COLUMNS_ARGUMENTS, public=True)
    a = code.arguments
    passed = [code.integer(v) if isinstance(v, Integer) else v.value for k, v in a.items() if k != "n"]
    _switch(code, a["n"], columns, passed)


def call_tile(code: Code, which: str, **arguments: Integer | Pointer | int) -> None:
    """Call one of the functions."""
    names = _ARGUMENTS[which]
    values = [v.value if isinstance(v := arguments[name], Pointer) else code.integer(v) for name in names]
    function = code.module.globals.get(which)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [INT if k == "int" else POINTER for k in names.values()])
        function = ir.Function(code.module, kind, which)
    code.builder.call(function, values)


def _switch(code: Code, selector: Integer, cases: dict[int, ir.Function], arguments: list[ir.Value]) -> None:
    """Call the function of a case."""
    b = code.builder
    end = b.append_basic_block("end")
    switch = b.switch(selector.value, end)
    for value, function in cases.items():
        block = b.append_basic_block(f"case{value}")
        switch.add_case(INT(value), block)
        b.position_at_end(block)
        b.call(function, arguments)
        b.branch(end)
    b.position_at_end(end)
    code.finish()


def _rows_tile(module: ir.Module, shape: Shape, m: int, n: int) -> ir.Function:
    """Write the tile of m rows and n vectors."""
    arguments = {name: kind for name, kind in _ROWS_ARGUMENTS.items() if name not in {"m", "n"}}
    code = Code(module, shape, f"rows_{m}_{n}", arguments)
    a: Pointer = code.arguments["a"]
    b: Pointer = code.arguments["b"]
    c: Pointer = code.arguments["c"]
    a_row, a_block, b_row, c_row = (code.arguments[name] for name in ("a_row", "a_block", "b_row", "c_row"))
    blocks, rest, lanes = code.arguments["blocks"], code.arguments["rest"], shape.lanes
    tail = code.mask(code.arguments["tail"])
    places = [c + i * c_row + j * lanes for i in range(m) for j in range(n)]
    _expect(places)
    with code.loop(0, blocks + 1, carry=[code.constant(0.0)] * (m * n)) as outer:
        block = outer.index
        rows = [a + (block * a_block + i * a_row) for i in range(m)]
        panel = b + block * lanes * b_row
        for row in rows:
            (row + m * a_row).prefetch()  # of the tile below, which is likely to be the next
        count = code.choose(block < blocks, lanes, rest)
        with code.loop(0, count, carry=outer.values) as inner:
            k = inner.index
            line = [(panel + (k * b_row + j * lanes)).load(tail if j == n - 1 else None) for j in range(n)]
            after = list(inner.values)
            for i in range(m):
                number = (rows[i] + k).broadcast()
                for j in range(n):
                    after[i * n + j] = number.fma(line[j], after[i * n + j])
            inner.values = after
        outer.values = inner.values
    _store(code, code.arguments["accumulate"].differs(0), places, outer.values)
    return code.finish()


def _store(code: Code, accumulate: ir.Value, places: list[Pointer], sums: list[Vector]) -> None:
    """Write sums, or add them to what is there; short sums added to each other lose less than one long sum."""
    with code.builder.if_else(accumulate) as (then, otherwise):
        with then:
            for place, total in zip(places, sums, strict=True):
                place.store(place.load() + total)
        with otherwise:
            for place, total in zip(places, sums, strict=True):
                place.store(total)


def _expect(places: list[Pointer]) -> None:
    """Have the places of sums brought near while the sums are made."""
    for place in places:
        place.prefetch(write=True)


def _columns_tile(module: ir.Module, shape: Shape, n: int) -> ir.Function:
    """Write the tile that sums over rows: some columns of A times n vectors of B."""
    arguments = {name: kind for name, kind in _COLUMNS_ARGUMENTS.items() if name != "n"}
    code = Code(module, shape, f"columns_{n}", arguments)
    height, lanes = tile_height(shape), shape.lanes
    a, b, c = (code.arguments[name] for name in "abc")
    a_row, b_row, b_vector, c_row = (code.arguments[name] for name in ("a_row", "b_row", "b_vector", "c_row"))
    tail = code.mask(code.arguments["tail"])
    places = [c + i * c_row + j * lanes for i in range(height) for j in range(n)]
    _expect(places)
    with code.loop(0, code.arguments["steps"], carry=[code.constant(0.0)] * (height * n)) as outer:
        left = a + outer.index * code.arguments["a_step"]
        right = b + outer.index * code.arguments["b_step"]
        with code.loop(0, code.arguments["rows"], carry=outer.values) as inner:
            k = inner.index
            ahead = k + _AHEAD
            (left + ahead * a_row).prefetch()
            for j in range(n):
                (right + (j * b_vector + ahead * b_row)).prefetch()
            line = [(right + (j * b_vector + k * b_row)).load(tail if j == n - 1 else None) for j in range(n)]
            after = list(inner.values)
            for i in range(height):
                number = (left + (k * a_row + i)).broadcast()
                for j in range(n):
                    after[i * n + j] = number.fma(line[j], after[i * n + j])
            inner.values = after
        outer.values = inner.values
    _store(code, code.arguments["accumulate"].differs(0), places, outer.values)
    return code.finish()


def _dots_tile(module: ir.Module, shape: Shape) -> ir.Function:
    """Write the products of one row with the weights of some outputs, at most as many as a vector has lanes."""
    code = Code(module, shape, DOTS_TILE, _DOTS_ARGUMENTS, public=True)
    arguments, lanes = code.arguments, shape.lanes
    last = arguments["outputs"] - 1
    mask = code.mask(arguments["rest"])
    place = arguments["blocks"] * lanes
    sums: list[Vector] = []
    for first in range(0, lanes, _STREAMS):
        # lanes beyond the last output repeat it: nobody reads them
        numbers = range(first, min(first + _STREAMS, lanes))
        rows = [arguments["b"] + last.minimum(k) * arguments["b_row"] for k in numbers]
        with code.loop(0, arguments["blocks"], carry=[code.constant(0.0)] * len(rows)) as loop:
            values = (arguments["a"] + loop.index * arguments["a_block"]).load()
            loop.values = [
                (row + loop.index * lanes).load().fma(values, total)
                for row, total in zip(rows, loop.values, strict=True)
            ]
        values = (arguments["a"] + arguments["blocks"] * arguments["a_block"]).load(mask)
        sums += [(row + place).load(mask).fma(values, total) for row, total in zip(rows, loop.values, strict=True)]
    arguments["c"].store(_sums_of_lanes(code, sums))
    return code.finish()


def _transpose(module: ir.Module, shape: Shape) -> ir.Function:
    """Write the transposition of a square, exchanging halves of vectors, quarters, and so on."""
    code = Code(module, shape, TRANSPOSE, _TRANSPOSE_ARGUMENTS, public=True)
    arguments, lanes = code.arguments, shape.lanes
    mask = code.mask(arguments["columns"])
    vectors = [
        (arguments["source"] + arguments["row"] * k).load(code.only_if(arguments["rows"] > k, mask))
        for k in range(lanes)
    ]
    width = 1
    while width < lanes:
        for k in range(lanes):
            if not k & width:
                a, b = vectors[k], vectors[k + width]
                lower = [lanes + j - width if j & width else j for j in range(lanes)]
                upper = [lanes + j if j & width else j + width for j in range(lanes)]
                vectors[k], vectors[k + width] = _picked(code, a, b, lower), _picked(code, a, b, upper)
        width *= 2
    for k, vector in enumerate(vectors):
        with code.when(arguments["columns"] > k):
            (arguments["to"] + arguments["to_row"] * k).store(vector)
    return code.finish()


def _picked(code: Code, a: Vector, b: Vector, lanes: list[int]) -> Vector:
    """Return lanes of two vectors; those of the second are counted behind those of the first."""
    places = ir.Constant(ir.VectorType(ir.IntType(32), code.lanes), lanes)
    return Vector(code, code.builder.shuffle_vector(a.value, b.value, places))


def _sums_of_lanes(code: Code, vectors: list[Vector]) -> Vector:
    """Add up the lanes of as many vectors as there are lanes: those of vector k go to lane k."""
    width = code.lanes
    while len(vectors) > 1:
        width //= 2
        vectors = [_halves(code, a, b, width) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _halves(code: Code, a: Vector, b: Vector, width: int) -> Vector:
    """Add the upper to the lower half of each group of lanes, of two vectors into one."""
    lanes = range(2 * code.lanes)
    lower = [k for k in lanes if k // width % 2 == 0]
    upper = [k for k in lanes if k // width % 2 == 1]
    return _picked(code, a, b, lower) + _picked(code, a, b, upper)


@functools.cache
def tiles(size: int) -> runtime.Library:
    """Return the compiled tiles for numbers of a size."""
    return runtime.load("tiles", "", size, write_tiles, tuple(_ARGUMENTS))
