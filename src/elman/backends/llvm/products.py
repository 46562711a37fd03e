"""Linear layers, also with cross-entropy, in compiled code on plain tensors. Nothing here knows of autograd."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import Tensor

from elman.backends.llvm import runtime
from elman.backends.llvm.memory import rows_together, whole
from elman.backends.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llvmlite import ir

    from elman.backends.llvm.vectors import Shape

__all__ = ["cross_entropy", "linear", "linear_backward"]

_SMALL = 2e5  #: floating-point operations below which a second thread is not worth its start


@functools.cache
def _kernels(size: int) -> Mapping[str, runtime.Entry]:
    from elman.backends.llvm import cross_entropy as entropy
    from elman.backends.llvm import linear as dense
    from elman.backends.llvm.gemm import tiles
    from elman.backends.llvm.team import TEAM_FIELDS

    def write(module: ir.Module, shape: Shape) -> None:
        dense.write_linear(module, shape)
        entropy.write_cross_entropy(module, shape)

    fields = {
        dense.LINEAR: dense.LINEAR_FIELDS,
        dense.LINEAR_BACKWARD: dense.LINEAR_BACKWARD_FIELDS,
        entropy.CROSS_ENTROPY: entropy.CROSS_ENTROPY_FIELDS,
    }
    exports = [*fields, *(f"{name}_shared" for name in fields)]
    library = runtime.load("dense", "", size, write, exports, tiles(size))
    return {name: runtime.Entry(library, name, (*TEAM_FIELDS, *own)) for name, own in fields.items()}


@untraced
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x Wᵀ + b of x ``(rows, features)`` and W ``(outputs, features)``."""
    rows, features = x.shape
    outputs = weight.shape[0]
    x, weight = rows_together(x), whole(weight)
    bias = None if bias is None else whole(bias)
    y = x.new_empty(rows, outputs)
    threads = _threads(2 * rows * features * outputs)
    shape = runtime.shape(x.element_size())
    packed = x.new_empty(threads * features * shape.columns * shape.lanes)
    _run(
        "linear",
        x,
        threads,
        {
            "rows": rows,
            "features": features,
            "outputs": outputs,
            "x": x.data_ptr(),
            "x_row": x.stride(0),
            "weight": weight.data_ptr(),
            "bias": 0 if bias is None else bias.data_ptr(),
            "y": y.data_ptr(),
            "packed": packed.data_ptr(),
        },
    )
    return y


@untraced
def linear_backward(x: Tensor, weight: Tensor, dy: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the wanted gradients of `linear` by name: ``x``, ``weight``, ``bias``."""
    rows, features = x.shape
    outputs = weight.shape[0]
    x, weight, dy = rows_together(x), whole(weight), rows_together(dy)
    shapes = {"x": (rows, features), "weight": (outputs, features), "bias": (outputs,)}
    gradients = {name: x.new_empty(shapes[name]) for name in wanted}
    _run(
        "linear_backward",
        x,
        _threads(4 * rows * features * outputs),
        {
            "rows": rows,
            "features": features,
            "outputs": outputs,
            "x": x.data_ptr(),
            "x_row": x.stride(0),
            "weight": weight.data_ptr(),
            "dy": dy.data_ptr(),
            "dy_row": dy.stride(0),
            **{f"d{name}": gradient.data_ptr() for name, gradient in gradients.items()},
        },
    )
    return gradients


@untraced
def cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: float, wanted: Collection[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return -log softmax(x Wᵀ + b) at the targets, row by row, and gradients of ``scale`` times their sum.

    Args:
        x: ``(rows, features)``.
        weight: ``(vocabulary, features)``.
        bias: ``(vocabulary,)`` or None.
        targets: int64 ``(rows,)``, from 0 to vocabulary - 1: not checked here.
        scale: factor of the gradients.
        wanted: names of gradients: ``x``, ``weight``, ``bias``.
    """
    from elman.backends.llvm.cross_entropy import CHUNK, GROUPS

    rows, features = x.shape
    vocabulary = weight.shape[0]
    x, weight, targets = rows_together(x), whole(weight), targets.contiguous()
    bias = None if bias is None else whole(bias)
    shapes = {"x": (rows, features), "weight": (vocabulary, features), "bias": (vocabulary,)}
    gradients = {name: x.new_empty(shapes[name]) for name in wanted}
    losses = x.new_empty(rows)
    shape = runtime.shape(x.element_size())
    block = GROUPS * shape.columns * shape.lanes
    chunks = -(-vocabulary // CHUNK)
    factor = x.new_full((1,), scale)
    parts = {
        "x_columns": features * block,
        "logits": vocabulary * block,
        "maxima": chunks * block,
        "sums": chunks * block,
        "chosen": block,
        "dx_block": block * -(-features // shape.lanes) * shape.lanes,
    }
    work = x.new_empty(sum(parts.values()))
    ends = itertools.accumulate(parts.values(), initial=0)
    addresses = {name: work.data_ptr() + end * work.element_size() for name, end in zip(parts, ends, strict=False)}
    _run(
        "cross_entropy",
        x,
        _threads(2 * rows * features * vocabulary),
        {
            "rows": rows,
            "features": features,
            "vocabulary": vocabulary,
            "x": x.data_ptr(),
            "x_row": x.stride(0),
            "weight": weight.data_ptr(),
            "bias": 0 if bias is None else bias.data_ptr(),
            "targets": targets.data_ptr(),
            "scale": factor.data_ptr(),
            "losses": losses.data_ptr(),
            "gradients": int(bool(gradients)),
            **{f"d{name}": gradient.data_ptr() for name, gradient in gradients.items()},
            **addresses,
        },
    )
    return losses, gradients


def _run(name: str, x: Tensor, threads: int, given: Mapping[str, int]) -> None:
    entry = _kernels(x.element_size())[name]
    entry(threads, entry.numbers(given))


def _threads(operations: int) -> int:
    return 1 if operations < _SMALL else runtime.team()
