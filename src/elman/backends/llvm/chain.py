"""What the kernels of a linear-chain conditional random field have in common.

The tags of a step lie side by side in vectors, padded to whole ones: a *line*. Rows of the batch are independent.
"""

from __future__ import annotations

import math
import operator

from llvmlite import ir

from elman.backends.llvm.dense import DenseKernel
from elman.backends.llvm.functions import exp_of_negative
from elman.backends.llvm.vectors import Integer, Pointer, Vector

__all__ = ["ChainKernel"]


class ChainKernel(DenseKernel):
    """What both have in common: transitions as exponentials, and lines."""

    def exponentiate(self) -> None:
        """Write E, and the largest number of each column of A; of a column without any, E is 1."""
        with self.shared(self.vectors(self["tags"])) as v:
            with self.loop(0, self["tags"], carry=[self.constant(-math.inf)]) as i:
                i.values = [self.larger(self.moves(i.index, v), i.values[0])]
            (self.pointer("largest") + v * self.lanes).store(i.values[0])
            base = self.finite(i.values[0])
            with self.loop(0, self["tags"]) as i:
                value = exp_of_negative(self, self.finite(self.moves(i.index, v)) - base)
                (self.pointer("exponentials") + (i.index * self["line"] + v * self.lanes)).store(value)
        self.barrier()

    def moves(self, origin: Integer, v: Integer) -> Vector:
        """Return a vector of A(i, ·); there is no way to what is beyond the last tag."""
        return self.padded(self.pointer("transitions") + (origin * self["tags"] + v * self.lanes), v)

    def padded(self, place: Pointer, v: Integer) -> Vector:
        """Read a vector of the user's numbers; -inf beyond the last tag."""
        used = self.used(self["tags"], v)
        return self.blend(used, place.load(used), -math.inf)

    def finite(self, value: Vector) -> Vector:
        """Return numbers of which none is -inf; what is no number stays so."""
        return self.blend(value.compare("<", self.lowest), self.lowest, value)

    def place(self, field: str, row: Integer, step: Integer | int) -> Pointer:
        """Return the line of a step of a row."""
        return self.pointer(field) + (row * self["time"] + step) * self["line"]

    def own(self, field: str, lines: Integer | int) -> Pointer:
        """Return where the lines of this thread begin."""
        return self.pointer(field) + self.thread * (self["line"] * lines)

    def ending(self, alpha: Pointer, to: Pointer) -> tuple[Vector, Vector]:
        """Write e^(α + f - m) to a line; return m, the largest of α + f, and the sum, in all lanes."""
        with self.loop(0, self.vectors(self["tags"]), carry=[self.lowest]) as v:
            place = v.index * self.lanes
            last = (alpha + place).load() + self.padded(self.pointer("end") + place, v.index)
            (to + place).store(last)
            v.values = [self.larger(last, v.values[0])]
        top = self.splat(self.across(v.values[0], self.larger))
        with self.loop(0, self["line"], self.lanes, carry=[self.constant(0.0)]) as k:
            value = exp_of_negative(self, (to + k.index).load() - top)
            (to + k.index).store(value)
            k.values = [k.values[0] + value]
        return top, self.splat(self.across(k.values[0], operator.add))

    def product(self, row: Pointer, matrix: str, to: Pointer) -> None:
        """Write a line times a matrix of lines."""
        columns, line = self.shape.columns, self["line"]
        with self.loop(0, self.vectors(self["tags"]), columns) as panel:
            width = (self.vectors(self["tags"]) - panel.index).minimum(columns)
            first = panel.index * self.lanes
            b, c = (self.pointer(matrix) + first, line), (to + first, line)
            self.multiply(1, width, self["tags"], (row, 0), b, self.lanes, c)

    def some(self, lanes: ir.Value) -> ir.Value:
        """Tell whether a mask has a lane."""
        bits = ir.IntType(self.lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(lanes, bits), bits(0))

    def tag(self, row: Integer, step: Integer | int) -> Integer:
        """Read a tag of the given path."""
        return self.load_integer(self.pointer("path"), row * self["time"] + step)

    def add_to(self, place: Pointer, number: ir.Value) -> None:
        """Add to one number."""
        place.store_number(self.builder.fadd(place.load_number(), number))

    def emission(self, row: Integer, step: Integer | int) -> Pointer:
        """Return the emissions of a step of a row."""
        return self.pointer("emissions") + (row * self["emissions_row"] + step * self["emissions_step"])

    def first_step(self, row: Integer, to: Pointer) -> None:
        """Write the scores of the first tags."""
        with self.loop(0, self.vectors(self["tags"])) as v:
            place = v.index * self.lanes
            emission = (self.emission(row, 0) + place).load(self.used(self["tags"], v.index))
            (to + place).store(emission + self.padded(self.pointer("start") + place, v.index))
