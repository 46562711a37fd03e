"""A hash of all results on a number of threads: ``python -m backends.llvm.threads 5``."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch import Tensor, nn

from backends.llvm.compared import everything, forget, forward, make, values
from elman.backends.llvm import draws, layout, paths, products
from elman.backends.llvm.readout import CHUNK
from elman.cells import Cell, LSTMCell, PeepholeLSTMCell, ResetBeforeGRUCell
from elman.layers import LinearCrossEntropy, Recurrent, Stream
from handwritten import ComputedOperandsCell

CELLS = (LSTMCell, ResetBeforeGRUCell, PeepholeLSTMCell, ComputedOperandsCell)

#: batch, time, features, hidden; masks; reverse. Rows are shared; units are; one row; more threads than vectors.
RUNS = [
    ((45, 3, 7, 35), "lengths resets", True),
    ((7, 3, 20, 90), "", False),
    ((7, 3, 20, 90), "lengths resets", True),
    ((1, 3, 33, 90), "", False),
    ((20, 2, 5, 17), "", True),
]
PRODUCTS = [(130, 21, 70), (70, 33, 10), (13, 20, 981), (200, 7, 17)]


@contextmanager
def nothing_too_small() -> Iterator[None]:
    """Share also what is too small for a second thread to be worth its start."""
    with ExitStack() as stack:
        for module in (layout, products, draws):
            stack.enter_context(mock.patch.object(module, "_SMALL", 0))
        forget()
        yield
    forget()


def of_cell(kind: type[Cell], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """All results of a cell, by name."""
    for sizes, masks, reverse in RUNS:
        torch.manual_seed(1)
        case = make(kind, *sizes, masks=masks, reverse=reverse)
        for name, value in everything(case, dtype).items():
            yield f"{sizes} {masks} {name}", value
        for name, value in values(case, forward(case, dtype, keep=False)).items():
            yield f"{sizes} {masks} {name}, nothing kept", value


def of_products(dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """All results of linear layers, by name."""
    for rows, features, outputs in PRODUCTS:
        torch.manual_seed(1)
        shapes = ((rows, features), (outputs, features), (outputs,), (rows, outputs))
        x, weight, bias, dy = (torch.randn(shape, dtype=dtype) for shape in shapes)
        targets = torch.randint(0, outputs, (rows,))
        sizes = f"{rows} {features} {outputs}"
        yield f"{sizes} y", products.linear(x, weight, bias)
        for name, value in products.linear_backward(x, weight, dy, ("x", "weight", "bias")).items():
            yield f"{sizes} linear {name}", value
        losses, gradients = products.cross_entropy(x, weight, bias, targets, 0.3, ("x", "weight", "bias"))
        yield f"{sizes} losses", losses
        for name, value in gradients.items():
            yield f"{sizes} cross-entropy {name}", value


def of_steps(dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """All results of the steps of a model, by name."""
    for batch in (1, 3, 11):
        torch.manual_seed(1)
        recurrent = Recurrent(ComputedOperandsCell, 20, 35, 3, input_projection=9, dtype=dtype).eval()
        parts = (nn.Embedding(50, 20, dtype=dtype), recurrent, LinearCrossEntropy(35, 2 * CHUNK + 40, dtype=dtype))
        outputs, state = Stream(*parts)(torch.randint(0, 50, (batch,)))
        for name, value in {"outputs": outputs, **state._asdict()}.items():
            yield f"{batch} {name}", value


def of_paths(dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """All results of linear-chain conditional random fields, by name; of some sums are made in logarithms."""
    for batch, time, tags, scale in ((33, 7, 21, 1.0), (3, 5, 45, 1.0), (7, 9, 5, 1e4)):
        torch.manual_seed(1)
        scores = [torch.randn(shape, dtype=dtype) * scale for shape in ((batch, time, tags), (tags, tags), (tags,))]
        operands = (*scores, scores[2].flip(0), torch.randint(0, time + 1, (batch,)))
        path, grad = torch.randint(0, tags, (batch, time)), torch.randn(batch, dtype=dtype)
        losses, kept = paths.forward(*operands, path)
        found = paths.backward(scores[1], operands[3], operands[4], path, kept, grad, wanted=True)
        names = ("losses", "emissions", "transitions", "start", "end", "best", "scores")
        for name, value in zip(names, (losses, *found, *paths.viterbi(*operands, -1)), strict=True):
            yield f"{batch} {tags} {name}", value


def digest() -> str:
    """Return a hash of some of them."""
    hashed = hashlib.sha256()
    for kind in (LSTMCell, ComputedOperandsCell):
        for _, value in of_cell(kind, torch.float32):
            hashed.update(value.numpy().tobytes())
    for _, value in (*of_products(torch.float32), *of_steps(torch.float32), *of_paths(torch.float32)):
        hashed.update(value.numpy().tobytes())
    return hashed.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    with nothing_too_small():
        print(digest())
