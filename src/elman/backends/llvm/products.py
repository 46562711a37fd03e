"""Linear layers, also with cross-entropy, in compiled code on plain tensors. Nothing here knows of autograd."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from torch import Tensor

from elman.backends.llvm import runtime
from elman.backends.llvm.memory import rows_together, whole
from elman.backends.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llvmlite import ir

    from elman.backends.llvm.vectors import Shape

__all__ = [
    "LOG_SOFTMAX_OPERATIONS",
    "LinearLayout",
    "cross_entropy",
    "kernels",
    "linear",
    "linear_backward",
    "linear_layout",
    "log_softmax_chunks",
    "threads",
]

LOG_SOFTMAX_OPERATIONS: Final = 30  #: about, for each number

_SMALL: Final = 2e5  #: floating-point operations below which a second thread is not worth its start
_DIRECT_ROWS: Final = 8  #: rows up to which weights are not worth being transposed

#: Bytes of the logits of a block: what it costs in memory, against how often the weights and their gradient are read.
_LOGITS = 2**24
_BLOCK = 26  #: vectors of rows of the largest block: with a chunk of weights, its x and logits stay in a core's cache


@functools.cache
def kernels(size: int) -> Mapping[str, runtime.Entry]:
    """Return the compiled kernels by name."""
    from elman.backends.llvm import cross_entropy as entropy
    from elman.backends.llvm import linear as dense
    from elman.backends.llvm import readout
    from elman.backends.llvm.gemm import tiles
    from elman.backends.llvm.team import TEAM_FIELDS

    def write(module: ir.Module, shape: Shape) -> None:
        dense.write_linear(module, shape)
        entropy.write_cross_entropy(module, shape)
        readout.write_readout(module, shape)

    fields = {
        dense.LINEAR: dense.LINEAR_FIELDS,
        dense.LINEAR_BACKWARD: dense.LINEAR_BACKWARD_FIELDS,
        entropy.CROSS_ENTROPY: entropy.CROSS_ENTROPY_FIELDS,
        readout.ROWS: readout.ROWS_FIELDS,
        readout.LOG_SOFTMAX: readout.LOG_SOFTMAX_FIELDS,
    }
    exports = [*fields, *(f"{name}_shared" for name in fields)]
    library = runtime.load("dense", "", size, write, exports, tiles(size))
    return {name: runtime.Entry(library, name, (*TEAM_FIELDS, *own)) for name, own in fields.items()}


class LinearLayout(NamedTuple):
    """What the shapes of `linear` decide: threads, numbers of the kernel, and those of transposed weights."""

    threads: int
    numbers: Mapping[str, int]
    packed: int


def linear_layout(size: int, rows: int, features: int, outputs: int, team: int) -> LinearLayout:
    """Return how a product is done; few rows read the weights as they lie."""
    shape, direct = runtime.shape(size), rows <= _DIRECT_ROWS
    running = threads(2 * rows * features * outputs, team)
    numbers = {"rows": rows, "features": features, "outputs": outputs, "direct": int(direct)}
    return LinearLayout(running, numbers, 0 if direct else running * features * shape.columns * shape.lanes)


def log_softmax_chunks(rows: int, outputs: int) -> int:
    """Return how many maxima and sums the log-softmax of some rows keeps."""
    from elman.backends.llvm.readout import CHUNK

    return rows * -(-outputs // CHUNK)


@untraced
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x Wᵀ + b of x ``(rows, features)`` and W ``(outputs, features)``."""
    rows, features = x.shape
    outputs = weight.shape[0]
    x, weight = rows_together(x), whole(weight)
    bias = None if bias is None else whole(bias)
    y = x.new_empty(rows, outputs)
    layout = linear_layout(x.element_size(), rows, features, outputs, runtime.team())
    packed = x.new_empty(layout.packed)
    _run(
        "linear",
        x,
        layout.threads,
        {
            **layout.numbers,
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
        threads(4 * rows * features * outputs, runtime.team()),
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
    from elman.backends.llvm.cross_entropy import CHUNK

    rows, features = x.shape
    vocabulary = weight.shape[0]
    x, weight, targets = rows_together(x), whole(weight), targets.contiguous()
    bias = None if bias is None else whole(bias)
    shapes = {"x": (rows, features), "weight": (vocabulary, features), "bias": (vocabulary,)}
    gradients = {name: x.new_empty(shapes[name]) for name in wanted}
    losses = x.new_empty(rows)
    shape = runtime.shape(x.element_size())
    block = _block_rows(rows, vocabulary, shape)
    line = (block // shape.lanes | 1) * shape.lanes
    chunks = -(-vocabulary // CHUNK)
    factor = x.new_full((1,), scale)
    parts = {
        "x_columns": features * block,
        "logits": vocabulary * line,
        "maxima": chunks * block,
        "sums": chunks * block,
        "totals": 2 * block,
        "chosen": block,
        "dx_block": block * -(-features // shape.lanes) * shape.lanes,
    }
    work = x.new_empty(sum(parts.values()))
    ends = itertools.accumulate(parts.values(), initial=0)
    addresses = {name: work.data_ptr() + end * work.element_size() for name, end in zip(parts, ends, strict=False)}
    _run(
        "cross_entropy",
        x,
        threads(2 * rows * features * vocabulary, runtime.team()),
        {
            "rows": rows,
            "features": features,
            "vocabulary": vocabulary,
            "block": block,
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


def _block_rows(rows: int, vocabulary: int, shape: Shape) -> int:
    """Return the rows of a block, in whole vectors: as few blocks as memory and caches allow, of about equal size."""
    most = max(1, min(_BLOCK, _LOGITS // (vocabulary * shape.size * shape.lanes)))
    vectors = -(-rows // shape.lanes)
    return -(-vectors // -(-vectors // most)) * shape.lanes


def threads(operations: int, team: int) -> int:
    """Return how many threads so many operations are worth."""
    return 1 if operations < _SMALL else team


def _run(name: str, x: Tensor, running: int, given: Mapping[str, int]) -> None:
    entry = kernels(x.element_size())[name]
    entry(running, entry.numbers(given))
