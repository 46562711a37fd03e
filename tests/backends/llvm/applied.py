"""Apply what is written on vectors to arrays: a kernel for a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from llvmlite import ir
from torch import Tensor

from elman.backends.llvm import runtime
from elman.backends.llvm.team import TEAM_FIELDS, TeamKernel
from elman.backends.llvm.vectors import Code, Shape, Vector

_FIELDS = ("vectors", "y", "x0", "x1", "x2")


def applied(name: str, function: Callable[[Code, Sequence[Any]], Any], *arrays: Tensor) -> Tensor:
    """Return a function of vectors, vector by vector; the outcome of a comparison as 1 or 0."""
    given = torch.stack(torch.broadcast_tensors(*arrays))
    size, count = given.element_size(), given.shape[1]
    lanes = runtime.shape(size).lanes
    vectors = -(-count // lanes)
    padded = torch.ones(len(arrays), vectors * lanes, dtype=given.dtype)
    padded[:, :count] = given

    def write(module: ir.Module, shape: Shape) -> None:
        code = TeamKernel(module, shape, "applied", _FIELDS)
        with code.loop(0, code["vectors"]) as loop:
            place = loop.index * shape.lanes
            result = function(code, [(code.pointer(f"x{k}") + place).load() for k in range(len(arrays))])
            value = result if isinstance(result, Vector) else code.blend(result, 1.0, 0.0)
            (code.pointer("y") + place).store(value)
        code.finish()

    library = runtime.load("applied", name, size, write, ("applied", "applied_shared"))
    entry = runtime.Entry(library, "applied", (*TEAM_FIELDS, *_FIELDS))
    y = torch.empty_like(padded[0])
    addresses = {f"x{k}": row.data_ptr() for k, row in enumerate(padded)}
    entry(1, entry.numbers({"vectors": vectors, "y": y.data_ptr(), **addresses}))
    return y[:count]
