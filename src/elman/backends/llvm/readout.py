"""The kernels before and behind the layers of a language model: rows of an embedding, and log-softmax."""

from __future__ import annotations

import operator
from typing import Final

from llvmlite import ir

from elman.backends.llvm.dense import DenseKernel
from elman.backends.llvm.functions import exp_of_negative, log
from elman.backends.llvm.vectors import Integer, Pointer, Shape, Vector

__all__ = ["CHUNK", "LOG_SOFTMAX", "LOG_SOFTMAX_FIELDS", "ROWS", "ROWS_FIELDS", "write_readout"]

ROWS: Final = "rows"
LOG_SOFTMAX: Final = "log_softmax"

CHUNK: Final = 1024  #: words of the vocabulary whose maximum and sum are taken together; whole vectors

ROWS_FIELDS: Final = ("rows", "features", "table", "indices", "y")
LOG_SOFTMAX_FIELDS: Final = ("rows", "outputs", "y", "maxima", "sums")


def write_readout(module: ir.Module, shape: Shape) -> None:
    """Write both kernels into a module."""
    _Rows(module, shape).write()
    _LogSoftmax(module, shape).write()


class _Rows(DenseKernel):
    """y_r = T_k, where k is the r-th of the indices, which are not checked here."""

    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, ROWS, ROWS_FIELDS)

    def write(self) -> None:
        features = self["features"]
        with self.shared(self["rows"]) as row, self.loop(0, self.vectors(features)) as loop:
            index, column = self.load_integer(self.pointer("indices"), row), loop.index * self.lanes
            mask = self.used(features, loop.index)
            values = (self.pointer("table") + (index * features + column)).load(mask)
            (self.pointer("y") + (row * features + column)).store(values, mask)
        self.finish()


class _LogSoftmax(DenseKernel):
    """y_v ← y_v - log Σ e^y, in place: maximum and sum chunk by chunk, and those of the chunks in their order."""

    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, LOG_SOFTMAX, LOG_SOFTMAX_FIELDS)
        self._chunks = (self["outputs"] + (CHUNK - 1)) // CHUNK

    def write(self) -> None:
        with self.shared(self["rows"] * self._chunks) as item:
            self._reduce(item)
        self.barrier()
        first, last = self.share(self["rows"] * self._chunks)
        with self.loop(first // self._chunks, (last + (self._chunks - 1)) // self._chunks) as row:
            maximum, total = self._sum(row.index)
            start, end = row.index * self._chunks, (row.index + 1) * self._chunks
            with self.loop(self.choose(start < first, first, start), end.minimum(last)) as item:
                self._subtract(item.index, maximum, total)
        self.finish()

    def _line(self, item: Integer) -> tuple[Pointer, Integer]:
        """Return where a chunk of a row begins, and how many numbers it has."""
        first = item % self._chunks * CHUNK
        place = self.pointer("y") + (item // self._chunks * self["outputs"] + first)
        return place, (self["outputs"] - first).minimum(CHUNK)

    def _reduce(self, item: Integer) -> None:
        line, count = self._line(item)
        with self.loop(0, self.vectors(count), carry=[self.lowest]) as loop:
            mask = self.used(count, loop.index)
            value = self.blend(mask, (line + loop.index * self.lanes).load(mask), self.lowest)
            loop.values = [self.larger(value, loop.values[0])]
        number = self.across(loop.values[0], self.larger)
        (self.pointer("maxima") + item).store_number(number)
        maximum = self.splat(number)
        with self.loop(0, self.vectors(count), carry=[self.constant(0.0)]) as loop:
            mask = self.used(count, loop.index)
            value = exp_of_negative(self, (line + loop.index * self.lanes).load(mask) - maximum)
            loop.values = [loop.values[0] + self.blend(mask, value, 0.0)]
        (self.pointer("sums") + item).store_number(self.across(loop.values[0], operator.add))

    def _sum(self, row: Integer) -> tuple[Vector, Vector]:
        """Return the maximum of a row, and the logarithm of the sum of e^(y - maximum)."""
        first, last = row * self._chunks, (row + 1) * self._chunks
        with self.loop(first, last, carry=[self.lowest]) as loop:
            loop.values = [self.larger((self.pointer("maxima") + loop.index).broadcast(), loop.values[0])]
        maximum = loop.values[0]
        with self.loop(first, last, carry=[self.constant(0.0)]) as loop:
            part = exp_of_negative(self, (self.pointer("maxima") + loop.index).broadcast() - maximum)
            loop.values = [(self.pointer("sums") + loop.index).broadcast().fma(part, loop.values[0])]
        return maximum, log(self, loop.values[0])

    def _subtract(self, item: Integer, maximum: Vector, total: Vector) -> None:
        line, count = self._line(item)
        with self.loop(0, self.vectors(count)) as loop:
            mask = self.used(count, loop.index)
            place = line + loop.index * self.lanes
            place.store(place.load(mask) - maximum - total, mask)
