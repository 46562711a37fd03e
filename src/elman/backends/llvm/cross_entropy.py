"""The kernel of a linear layer with softmax and cross-entropy, as one operation.

It takes a block of rows at a time: logits, loss, and the gradients of x, weights and bias are made together, three
products, while the logits of the block are near. The rows of a block lie side by side in vectors, so that the maximum
and the sum over the vocabulary need no sums across a vector, and the weights are read as they lie. The vocabulary is
cut into chunks of a fixed size; the sums of the chunks are added up in their order.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from llvmlite import ir

from elman.backends.llvm.dense import DenseKernel
from elman.backends.llvm.functions import exp_of_negative, log
from elman.backends.llvm.gemm import COLUMNS_TILE, TRANSPOSE, call_tile, tile_height, tile_width
from elman.backends.llvm.vectors import INT, Integer, Pointer, Shape, Vector

__all__ = ["CHUNK", "CROSS_ENTROPY", "CROSS_ENTROPY_FIELDS", "write_cross_entropy"]

CROSS_ENTROPY: Final = "cross_entropy"

CHUNK: Final = 240  #: words of the vocabulary in a chunk; a multiple of the rows of a tile

CROSS_ENTROPY_FIELDS: Final = (
    *("rows", "features", "vocabulary", "block", "x", "x_row", "weight", "bias", "targets", "scale"),
    *("losses", "gradients", "dx", "dweight", "dbias"),
    *("x_columns", "logits", "maxima", "sums", "totals", "chosen", "dx_block"),
)


def write_cross_entropy(module: ir.Module, shape: Shape) -> None:
    """Write the kernel into a module."""
    _CrossEntropy(module, shape).write()


class _CrossEntropy(DenseKernel):
    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, CROSS_ENTROPY, CROSS_ENTROPY_FIELDS)
        self._block = self["block"]
        self._groups = self._block // shape.lanes  # vectors of rows in a block
        # from a word to the next: an odd number of vectors, so that a column of words meets all sets of a cache
        self._line = Integer(self, self.builder.or_(self._groups.value, INT(1))) * shape.lanes
        self._none = self.stack(1)
        self._none.store_number(ir.Constant(self.real, 0.0))

    def write(self) -> None:
        rows, vocabulary = self["rows"], self["vocabulary"]
        chunks = (vocabulary + (CHUNK - 1)) // CHUNK
        with self.loop(0, rows, self._block) as loop:
            first = loop.index
            count = (rows - first).minimum(self._block)
            self._lay_x(first, count)
            self.barrier()
            with self.shared(chunks) as chunk:
                self._logits(chunk, first, count)
            self.barrier()
            self._losses(chunks, first, count)
            with self.when(self.given("gradients")):
                self.barrier()
                with self.shared(chunks) as chunk:
                    self._deltas(chunk, first, count)
                    with self.when(self.given("dweight")):
                        self._weights(chunk, first, count)
                    with self.when(self.given("dbias")):
                        self._biases(chunk, first, count)
                with self.when(self.given("dx")):
                    self.barrier()
                    self._inputs(chunks, first, count)
            self.barrier()
        self.finish()

    @contextmanager
    def _panels(self, vectors: Integer, most: int) -> Iterator[tuple[Integer, Integer]]:
        """Write a loop over panels of vectors: the first of each, and how many."""
        with self.loop(0, vectors, most) as loop:
            yield loop.index, (vectors - loop.index).minimum(most)

    def _lay_x(self, first: Integer, count: Integer) -> None:
        """Lay the rows of a block side by side, panel by panel; rows beyond the last are zeros."""
        lanes, features = self.lanes, self["features"]
        with self._panels(self.vectors(count), self.shape.columns) as (column, width):
            to = self.pointer("x_columns") + column * lanes * features
            with self.shared(width * self.vectors(features)) as item:
                inside, k = item % width * lanes, item // width * lanes
                row = column * lanes + inside
                call_tile(
                    self,
                    TRANSPOSE,
                    source=self.pointer("x") + ((first + row) * self["x_row"] + k),
                    row=self["x_row"],
                    rows=count - row,
                    columns=features - k,
                    to=to + (k * (width * lanes) + inside),
                    to_row=width * lanes,
                )

    def _words(self, chunk: Integer) -> tuple[Integer, Integer]:
        first = chunk * CHUNK
        return first, (first + CHUNK).minimum(self["vocabulary"])

    def _stored(self, what: str, chunk: Integer, group: Integer) -> Pointer:
        return self.pointer(what) + (chunk * self._groups + group) * self.lanes

    def _logits(self, chunk: Integer, first: Integer, count: Integer) -> None:
        """Write e^(logit - maximum) of a chunk, the maximum and the sum; logits of targets are put aside."""
        low, high = self._words(chunk)
        lanes, features = self.lanes, self["features"]
        with (
            self._panels(self.vectors(count), self.shape.columns) as (column, width),
            self.loop(low, high, self.shape.rows) as words,
        ):
            m = (high - words.index).minimum(self.shape.rows)
            weight = self.pointer("weight") + words.index * features
            x = self.pointer("x_columns") + column * lanes * features
            logits = self.pointer("logits") + (words.index * self._line + column * lanes)
            self.multiply(m, width, features, (weight, features), (x, width * lanes), lanes, (logits, self._line))
        with self.loop(0, self.vectors(count)) as group:
            with self.loop(low, high, carry=[self.lowest]) as words:
                place = self._logit(words.index, group.index)
                value = place.load() + self._bias(words.index)
                place.store(value)
                words.values = [self.larger(value, words.values[0])]
            self._stored("maxima", chunk, group.index).store(words.values[0])
        self._put_aside(low, high, first, count)
        with self.loop(0, self.vectors(count)) as group:
            maximum = self._stored("maxima", chunk, group.index).load()
            with self.loop(low, high, carry=[self.constant(0.0)]) as words:
                place = self._logit(words.index, group.index)
                value = exp_of_negative(self, place.load() - maximum)
                place.store(value)
                words.values = [words.values[0] + value]
            self._stored("sums", chunk, group.index).store(words.values[0])

    def _logit(self, word: Integer, group: Integer) -> Pointer:
        """Return where a word's logits of a vector of rows are."""
        return self.pointer("logits") + (word * self._line + group * self.lanes)

    def _bias(self, word: Integer) -> Vector:
        """Return a word's bias, or 0, in all lanes."""
        place = self.builder.select(self.given("bias"), (self.pointer("bias") + word).value, self._none.value)
        return Pointer(self, place).broadcast()

    def _put_aside(self, low: Integer, high: Integer, first: Integer, count: Integer) -> None:
        """Remember the logits of those targets that are in a chunk."""
        with self.loop(0, count) as row:
            target = self.load_integer(self.pointer("targets"), first + row.index)
            inside = self.builder.and_(self.builder.not_(target < low), target < high)
            with self.when(inside):
                logit = (self.pointer("logits") + (target * self._line + row.index)).load_number()
                (self.pointer("chosen") + row.index).store_number(logit)

    def _losses(self, chunks: Integer, first: Integer, count: Integer) -> None:
        """Write the losses of a block, and of each row the maximum and what its numbers are multiplied by."""
        scale = self.pointer("scale").broadcast()
        with self.shared(self.vectors(count)) as group:
            maximum, total = self._maximum_and_sum(chunks, group)
            chosen = (self.pointer("chosen") + group * self.lanes).load(self.mask(count - group * self.lanes))
            loss = log(self, total) + (maximum - chosen)
            place = self.pointer("losses") + (first + group * self.lanes)
            place.store(loss, self.mask(count - group * self.lanes))
            totals = self.pointer("totals") + group * (2 * self.lanes)
            totals.store(maximum)
            (totals + self.lanes).store(scale / total)

    def _maximum_and_sum(self, chunks: Integer, group: Integer) -> tuple[Vector, Vector]:
        """Return maximum and sum over the vocabulary; those of the chunks in their order."""
        with self.loop(0, chunks, carry=[self.lowest]) as chunk:
            chunk.values = [self.larger(self._stored("maxima", chunk.index, group).load(), chunk.values[0])]
        maximum = chunk.values[0]
        with self.loop(0, chunks, carry=[self.constant(0.0)]) as chunk:
            part = exp_of_negative(self, self._stored("maxima", chunk.index, group).load() - maximum)
            chunk.values = [self._stored("sums", chunk.index, group).load().fma(part, chunk.values[0])]
        return maximum, chunk.values[0]

    def _deltas(self, chunk: Integer, first: Integer, count: Integer) -> None:
        """Turn a chunk into scaled gradients of the logits: softmax, less one at the target."""
        low, high = self._words(chunk)
        groups = self.vectors(count)
        with self.loop(0, groups) as group:
            totals = self.pointer("totals") + group.index * (2 * self.lanes)
            maximum = self._stored("maxima", chunk, group.index)
            own = exp_of_negative(self, maximum.load() - totals.load())
            maximum.store(own * (totals + self.lanes).load())
        with self.loop(low, high) as words, self.loop(0, groups) as group:
            place = self._logit(words.index, group.index)
            used = self.mask(count - group.index * self.lanes)
            factor = self._stored("maxima", chunk, group.index).load()
            place.store(self.blend(used, place.load() * factor, 0.0))
        with self.loop(0, count) as row:
            target = self.load_integer(self.pointer("targets"), first + row.index)
            inside = self.builder.and_(self.builder.not_(target < low), target < high)
            with self.when(inside):
                place = self.pointer("logits") + (target * self._line + row.index)
                place.store_number(self.builder.fsub(place.load_number(), self.pointer("scale").load_number()))

    def _weights(self, chunk: Integer, first: Integer, count: Integer) -> None:
        """Add a block's gradients of a chunk's weights."""
        low, high = self._words(chunk)
        lanes, features = self.lanes, self["features"]
        with (
            self._panels(self.vectors(features), self.shape.columns) as (column, width),
            self.loop(low, high, self.shape.rows) as words,
        ):
            word = words.index
            m = (high - word).minimum(self.shape.rows)
            delta = self.pointer("logits") + word * self._line
            x = self.pointer("x") + (first * self["x_row"] + column * lanes)
            to = self.pointer("dweight") + (word * features + column * lanes)
            operands = (m, width, count, (delta, self._line), (x, self["x_row"]))
            whole = self.builder.not_((column + width) * lanes > features)
            with self.builder.if_else(whole) as (then, otherwise):
                with then:
                    self.multiply(*operands, lanes, (to, features), add_to=first)
                with otherwise:
                    self.multiply(*operands, self.tail(features, column, width))
                    with self.each_result(m, width) as (u, v, values):
                        place = to + (u * features + v * lanes)
                        self._accumulate(place, values, self.used(features, column + v), first)

    def _biases(self, chunk: Integer, first: Integer, count: Integer) -> None:
        """Add a block's gradients of a chunk's biases."""
        low, high = self._words(chunk)
        with self.loop(low, high) as words:
            line = self.pointer("logits") + words.index * self._line
            with self.loop(0, self.vectors(count), carry=[self.constant(0.0)]) as group:
                group.values = [group.values[0] + (line + group.index * self.lanes).load()]
            place = self.pointer("dbias") + words.index
            before = self.builder.select(first > 0, place.load_number(), ir.Constant(self.real, 0.0))
            place.store_number(self.builder.fadd(before, self.across(group.values[0], operator.add)))

    def _accumulate(self, place: Pointer, values: Vector, mask: ir.Value, first: Integer) -> None:
        before = place.load(self.only_if(first > 0, mask))
        place.store(before + values, mask)

    def _inputs(self, chunks: Integer, first: Integer, count: Integer) -> None:
        """Write a block's gradients of x: chunk by chunk, so that its weights are read from near."""
        lanes, height, across = self.lanes, tile_height(self.shape), tile_width(self.shape)
        features = self["features"]
        padded = self.vectors(features) * lanes
        tiles = (count + (height - 1)) // height
        begin, end = tiles * self.thread // self.threads, tiles * (self.thread + 1) // self.threads
        with self.loop(0, chunks) as chunk:
            low, high = self._words(chunk.index)
            with self._panels(self.vectors(features), across) as (column, width), self.loop(begin, end) as tile:
                row = tile.index * height
                call_tile(
                    self,
                    COLUMNS_TILE,
                    n=width,
                    steps=1,
                    rows=high - low,
                    a=self.pointer("logits") + (low * self._line + row),
                    a_row=self._line,
                    a_step=0,
                    b=self.pointer("weight") + (low * features + column * lanes),
                    b_row=features,
                    b_vector=lanes,
                    b_step=0,
                    tail=self.tail(features, column, width),
                    c=self.pointer("dx_block") + (row * padded + column * lanes),
                    c_row=padded,
                    accumulate=chunk.index,
                )
        with (
            self.loop(begin * height, (end * height).minimum(count)) as done,
            self.loop(0, self.vectors(features)) as v,
        ):
            values = (self.pointer("dx_block") + (done.index * padded + v.index * lanes)).load()
            place = (first + done.index) * features + v.index * lanes
            (self.pointer("dx") + place).store(values, self.used(features, v.index))
