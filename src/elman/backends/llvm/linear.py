"""The kernels of a linear layer, y = x Wᵀ + b, forward and backward."""

from __future__ import annotations

from typing import Final

from llvmlite import ir

from elman.backends.llvm.dense import DenseKernel
from elman.backends.llvm.gemm import COLUMNS_TILE, ROWS_TILE, TRANSPOSE, call_tile, tile_height, tile_width
from elman.backends.llvm.vectors import Integer, Pointer, Shape

__all__ = ["LINEAR", "LINEAR_BACKWARD", "LINEAR_BACKWARD_FIELDS", "LINEAR_FIELDS", "write_linear"]

LINEAR: Final = "linear"
LINEAR_BACKWARD: Final = "linear_backward"

LINEAR_FIELDS: Final = ("rows", "features", "outputs", "x", "x_row", "weight", "bias", "y", "packed")
LINEAR_BACKWARD_FIELDS: Final = (
    *("rows", "features", "outputs", "x", "x_row", "weight", "dy", "dy_row"),
    *("dx", "dweight", "dbias"),
)


def write_linear(module: ir.Module, shape: Shape) -> None:
    """Write both kernels into a module."""
    _Linear(module, shape).write()
    _LinearBackward(module, shape).write()


class _Linear(DenseKernel):
    """y = x Wᵀ + b: a panel of outputs at a time, its weights transposed first."""

    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, LINEAR, LINEAR_FIELDS)
        self._result = self.stack(shape.rows * shape.columns * shape.lanes)

    def write(self) -> None:
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
                call_tile(
                    self,
                    ROWS_TILE,
                    m=height,
                    n=width,
                    blocks=features // lanes,
                    rest=features % lanes,
                    a=self.pointer("x") + tiles.index * self["x_row"],
                    a_row=self["x_row"],
                    a_block=lanes,
                    b=packed,
                    b_row=width * lanes,
                    tail=lanes,
                    c=self._result,
                    c_row=width * lanes,
                    accumulate=0,
                )
                with self.loop(0, height) as r, self.loop(0, width) as v:
                    mask = self.used(outputs, column + v.index)
                    values = (self._result + (r.index * width + v.index) * lanes).load()
                    biased = self.only_if(self.given("bias"), mask)
                    place = (tiles.index + r.index) * outputs + (column + v.index) * lanes
                    bias = (self.pointer("bias") + (column + v.index) * lanes).load(biased)
                    (self.pointer("y") + place).store(values + bias, mask)
        self.finish()

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
        self._result = self.stack(max(shape.rows * shape.columns, tile_height(shape) * tile_width(shape)) * shape.lanes)

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
            call_tile(
                self,
                ROWS_TILE,
                m=m,
                n=n,
                blocks=outputs // lanes,
                rest=outputs % lanes,
                a=self.pointer("dy") + row * self["dy_row"],
                a_row=self["dy_row"],
                a_block=lanes,
                b=self.pointer("weight") + column * lanes,
                b_row=features,
                tail=(features - (column + n - 1) * lanes).minimum(lanes),
                c=self._result,
                c_row=n * lanes,
                accumulate=0,
            )
            with self.loop(0, m) as r, self.loop(0, n) as v:
                place = (row + r.index) * features + (column + v.index) * lanes
                values = (self._result + (r.index * n + v.index) * lanes).load()
                (self.pointer("dx") + place).store(values, self.used(features, column + v.index))

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
        call_tile(
            self,
            COLUMNS_TILE,
            n=n,
            steps=1,
            rows=self["rows"],
            a=dy,
            a_row=dy_row,
            a_step=0,
            b=self.pointer("x") + column * lanes,
            b_row=self["x_row"],
            b_vector=lanes,
            b_step=0,
            tail=(features - (column + n - 1) * lanes).minimum(lanes),
            c=self._result,
            c_row=n * lanes,
            accumulate=0,
        )
        with self.loop(0, height) as u, self.loop(0, n) as v:
            place = (unit + u.index) * features + (column + v.index) * lanes
            values = (self._result + (u.index * n + v.index) * lanes).load()
            (self.pointer("dweight") + place).store(values, self.used(features, column + v.index))

    def _bias(self) -> None:
        outputs = self["outputs"]
        with self.shared(self.vectors(outputs)) as vector:
            mask = self.used(outputs, vector)
            with self.loop(0, self["rows"], carry=[self.constant(0.0)]) as rows:
                place = self.pointer("dy") + (rows.index * self["dy_row"] + vector * self.lanes)
                rows.values = [rows.values[0] + place.load(mask)]
            (self.pointer("dbias") + vector * self.lanes).store(rows.values[0], mask)
