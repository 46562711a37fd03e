"""The kernels of a linear layer, y = x Wᵀ + b, forward and backward."""

from __future__ import annotations

from typing import Final

from llvmlite import ir

from elman.backends.llvm.dense import DenseKernel
from elman.backends.llvm.gemm import DOTS_TILE, TRANSPOSE, call_tile, tile_height, tile_width
from elman.backends.llvm.vectors import Integer, Pointer, Shape, Vector

__all__ = ["LINEAR", "LINEAR_BACKWARD", "LINEAR_BACKWARD_FIELDS", "LINEAR_FIELDS", "write_linear"]

LINEAR: Final = "linear"
LINEAR_BACKWARD: Final = "linear_backward"

LINEAR_FIELDS: Final = ("rows", "features", "outputs", "x", "x_row", "weight", "bias", "y", "packed", "direct")
LINEAR_BACKWARD_FIELDS: Final = (
    *("rows", "features", "outputs", "x", "x_row", "weight", "dy", "dy_row"),
    *("dx", "dweight", "dbias"),
)


def write_linear(module: ir.Module, shape: Shape) -> None:
    """Write both kernels into a module."""
    _Linear(module, shape).write()
    _LinearBackward(module, shape).write()


class _Linear(DenseKernel):
    """y = x Wᵀ + b: a panel of outputs at a time, its weights transposed first; as they lie where rows are few."""

    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, LINEAR, LINEAR_FIELDS)

    def write(self) -> None:
        with self.builder.if_else(self["direct"].differs(0)) as (then, otherwise):
            with then:
                self._rows()
            with otherwise:
                self._panels()
        self.finish()

    def _rows(self) -> None:
        lanes, features, outputs = self.lanes, self["features"], self["outputs"]
        with self.shared(self.vectors(outputs)) as vector, self.loop(0, self["rows"]) as row:
            call_tile(
                self,
                DOTS_TILE,
                blocks=features // lanes,
                rest=features % lanes,
                a=self.pointer("x") + row.index * self["x_row"],
                a_block=lanes,
                b=self.pointer("weight") + vector * lanes * features,
                b_row=features,
                outputs=(outputs - vector * lanes).minimum(lanes),
                c=self._result,
            )
            self._put(row.index, vector, self._result.load())

    def _put(self, row: Integer, vector: Integer, values: Vector) -> None:
        """Write a vector of a row of y, with the bias."""
        mask = self.used(self["outputs"], vector)
        bias = (self.pointer("bias") + vector * self.lanes).load(self.only_if(self.given("bias"), mask))
        (self.pointer("y") + (row * self["outputs"] + vector * self.lanes)).store(values + bias, mask)

    def _panels(self) -> None:
        lanes, columns = self.lanes, self.shape.columns
        rows, features, outputs = self["rows"], self["features"], self["outputs"]
        panels = (self.vectors(outputs) + (columns - 1)) // columns
        # Few outputs and many rows: threads share the rows of a panel, each with a copy of its weights.
        parts = self.choose(panels < self.threads, self.threads, 1)
        packed = self.pointer("packed") + self.thread * (features * (columns * lanes))
        with self.shared(panels * parts) as item:
            column = item // parts * columns
            width = (self.vectors(outputs) - column).minimum(columns)
            self._transpose(column * lanes, width * lanes, packed)
            part = item % parts
            first, last = rows * part // parts, rows * (part + 1) // parts
            with self.loop(first, last, self.shape.rows) as tiles:
                height = (last - tiles.index).minimum(self.shape.rows)
                x = self.pointer("x") + tiles.index * self["x_row"]
                self.multiply(height, width, features, (x, self["x_row"]), (packed, width * lanes), lanes)
                with self.each_result(height, width) as (r, v, values):
                    self._put(tiles.index + r, column + v, values)

    def _transpose(self, first: Integer, count: Integer, to: Pointer) -> None:
        """Copy rows of the weights to columns; those beyond the last are zeros."""
        features, outputs, lanes = self["features"], self["outputs"], self.lanes
        with self.loop(0, count, lanes) as row, self.loop(0, features, lanes) as column:
            call_tile(
                self,
                TRANSPOSE,
                source=self.pointer("weight") + ((first + row.index) * features + column.index),
                row=features,
                rows=outputs - first - row.index,
                columns=features - column.index,
                to=to + (column.index * count + row.index),
                to_row=count,
            )


class _LinearBackward(DenseKernel):
    """dx = dy W, dW = dyᵀ x, db = Σ dy."""

    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, LINEAR_BACKWARD, LINEAR_BACKWARD_FIELDS)

    def write(self) -> None:
        with self.when(self.given("dx")):
            self._input()
        with self.when(self.given("dweight")):
            self._weight()
        with self.when(self.given("dbias")):
            self._bias()
        self.finish()

    def _input(self) -> None:
        lanes, columns, height = self.lanes, self.shape.columns, self.shape.rows
        rows, features, outputs = self["rows"], self["features"], self["outputs"]
        tiles = (rows + (height - 1)) // height
        with self.shared(tiles) as item, self.loop(0, self.vectors(features), columns) as panel:
            row, column = item * height, panel.index
            m, n = (rows - row).minimum(height), (self.vectors(features) - column).minimum(columns)
            dy = self.pointer("dy") + row * self["dy_row"]
            weight = self.pointer("weight") + column * lanes
            self.multiply(m, n, outputs, (dy, self["dy_row"]), (weight, features), self.tail(features, column, n))
            with self.each_result(m, n) as (r, v, values):
                place = (row + r) * features + (column + v) * lanes
                (self.pointer("dx") + place).store(values, self.used(features, column + v))

    def _weight(self) -> None:
        """The tile reads some columns of dy at once; the last ones are read again where they do not fill one."""
        lanes, height, across = self.lanes, tile_height(self.shape), tile_width(self.shape)
        features, outputs = self["features"], self["outputs"]
        whole = outputs // height
        with self.shared(whole) as item, self.loop(0, self.vectors(features), across) as panel:
            self._weight_tile(item * height, panel.index, self.pointer("dy") + item * height, self["dy_row"])
        rest = outputs - whole * height
        with self.when(rest > 0), self.shared(rest) as item, self.loop(0, self.vectors(features), 1) as panel:
            unit, column = whole * height + item, panel.index
            mask = self.used(features, column)
            with self.loop(0, self["rows"], carry=[self.constant(0.0)]) as rows:
                x = (self.pointer("x") + (rows.index * self["x_row"] + column * lanes)).load(mask)
                number = (self.pointer("dy") + (rows.index * self["dy_row"] + unit)).broadcast()
                rows.values = [number.fma(x, rows.values[0])]
            (self.pointer("dweight") + (unit * features + column * lanes)).store(rows.values[0], mask)

    def _weight_tile(self, unit: Integer, column: Integer, dy: Pointer, dy_row: Integer) -> None:
        lanes, height, across = self.lanes, tile_height(self.shape), tile_width(self.shape)
        features = self["features"]
        n = (self.vectors(features) - column).minimum(across)
        x = self.pointer("x") + column * lanes
        tail = self.tail(features, column, n)
        self.multiply_transposed(n, self["rows"], (dy, dy_row), (x, self["x_row"]), tail)
        with self.each_result(height, n) as (u, v, values):
            place = (unit + u) * features + (column + v) * lanes
            (self.pointer("dweight") + place).store(values, self.used(features, column + v))

    def _bias(self) -> None:
        outputs = self["outputs"]
        with self.shared(self.vectors(outputs)) as vector:
            mask = self.used(outputs, vector)
            with self.loop(0, self["rows"], carry=[self.constant(0.0)]) as rows:
                place = self.pointer("dy") + (rows.index * self["dy_row"] + vector * self.lanes)
                rows.values = [rows.values[0] + place.load(mask)]
            (self.pointer("dbias") + vector * self.lanes).store(rows.values[0], mask)
