"""Run compiled code on memory between pages that nobody may touch: what reads or writes beyond it crashes.

``python -m backends.llvm.guarded end`` puts every array right before such a page, ``start`` right behind one;
``beyond``, as a second word, crashes to show that it does.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from backends.llvm import tiles
from backends.llvm.compared import everything, forward, make
from elman.backends.llvm import paths, products
from elman.cells import LSTMCell, PeepholeLSTMCell, ResetBeforeGRUCell
from handwritten import ComputedOperandsCell

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_empty = torch.empty
_regions: list[tuple[int, int]] = []
_at_end = True


def guarded(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return memory that is not a number, between two pages that cannot be read."""
    count = torch.Size(shape).numel()
    if not count:
        return _empty(shape, dtype=dtype)
    page, size = mmap.PAGESIZE, count * dtype.itemsize
    inside = -(-size // page) * page
    address = _libc.mmap(None, inside + 2 * page, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    assert address not in (None, ctypes.c_void_p(-1).value), ctypes.get_errno()
    assert _libc.mprotect(address + page, inside, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    _regions.append((address, inside + 2 * page))
    start = address + page + (inside - size if _at_end else 0)
    value = torch.frombuffer((ctypes.c_char * size).from_address(start), dtype=dtype)
    return value.fill_(torch.nan).view(shape) if dtype.is_floating_point else value.view(shape)


def moved(value: Tensor) -> Tensor:
    """Return a copy in guarded memory."""
    return guarded(*value.shape, dtype=value.dtype).copy_(value)


def release() -> None:
    while _regions:
        _libc.munmap(*_regions.pop())


def _new_empty(self: Tensor, *shape: Any) -> Tensor:
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    return guarded(*sizes, dtype=self.dtype)


def _new_zeros(self: Tensor, *shape: Any) -> Tensor:
    return _new_empty(self, *shape).zero_()


def _full(shape: tuple[int, ...], value: float, dtype: torch.dtype) -> Tensor:
    return guarded(*shape, dtype=dtype).fill_(value)


def _empty_like(like: Tensor) -> Tensor:
    return guarded(*like.shape, dtype=like.dtype)


def _to(self: Tensor, dtype: torch.dtype) -> Tensor:
    return guarded(*self.shape, dtype=dtype).copy_(self)


@contextmanager
def everything_guarded() -> Iterator[None]:
    """Put all that is allocated for a run between such pages."""
    with (
        mock.patch.object(Tensor, "new_empty", _new_empty),
        mock.patch.object(Tensor, "to", _to),
        mock.patch.object(Tensor, "new_zeros", _new_zeros),
        mock.patch.object(torch, "empty_like", _empty_like),
        mock.patch.object(torch, "full", _full),
    ):
        yield
    release()


def run_cells() -> None:
    sizes = [(1, 1, 1, 1), (1, 3, 5, 17), (2, 3, 7, 16), (7, 5, 20, 17), (33, 2, 17, 33), (3, 2, 49, 70)]
    cells = (LSTMCell, PeepholeLSTMCell, ResetBeforeGRUCell, ComputedOperandsCell)
    for kind, shape, dtype in itertools.product(cells, sizes, (torch.float32, torch.float64)):
        case = make(kind, *shape, masks="lengths resets")
        with everything_guarded():
            everything(case, dtype)
            forward(case, dtype, keep=False)


def run_products() -> None:
    names = ("x", "weight", "bias")
    sizes = [(1, 1, 1), (7, 5, 3), (6, 16, 64), (13, 17, 65), (130, 33, 500), (129, 9, 481)]
    for (rows, features, words), dtype in itertools.product(sizes, (torch.float32, torch.float64)):
        shapes = ((rows, features), (words, features), (words,), (rows, words))
        with everything_guarded():
            x, weight, bias, dy = (torch.randn(shape).to(dtype) for shape in shapes)
            targets = moved(torch.randint(0, words, (rows,)))
            products.linear(x, weight, bias)
            products.linear_backward(x, weight, dy, names)
            products.cross_entropy(x, weight, bias, targets, 1.0, names)


def run_paths() -> None:
    sizes = [(1, 1, 1), (3, 4, 5), (2, 3, 16), (7, 5, 17), (33, 2, 45), (2, 3, 130)]
    for (batch, time, tags), dtype, scale in itertools.product(sizes, (torch.float32, torch.float64), (1.0, 1e4)):
        with everything_guarded():
            shapes = ((batch, time, tags), (tags, tags), (tags,), (tags,))
            scores = [(torch.randn(shape) * scale).to(dtype) for shape in shapes]
            lengths, path = torch.randint(0, time + 1, (batch,)), torch.randint(0, tags, (batch, time))
            lengths, path = moved(lengths), moved(path)
            losses, kept = paths.forward(*scores, lengths, path)
            paths.backward(scores[1], scores[3], lengths, path, kept, losses, wanted=True)
            paths.viterbi(*scores, lengths, -1)


def run_tiles() -> None:
    for size, dtype in ((4, torch.float32), (8, torch.float64)):
        for check, cases in tiles.CASES.items():
            for case in cases(size):
                check(dtype, *case, moved)
                release()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _at_end = sys.argv[1] != "start"
    if "beyond" in sys.argv:
        array = guarded(16)
        print(ctypes.c_float.from_address(array.data_ptr() + (64 if _at_end else -4)).value)
    run_tiles()
    run_cells()
    run_products()
    run_paths()
    print("all inside")
