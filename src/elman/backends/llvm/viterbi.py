"""The kernel that finds the best path of a linear-chain conditional random field (Viterbi).

Where a path came from is kept as a number beside its score, so that both go through the same registers. Of equal scores
the tag with the lower number is taken; what is not a number is taken before all, so that it is seen in the score.
"""

from __future__ import annotations

import math
from typing import Final

from llvmlite import ir

from elman.backends.llvm.chain import ChainKernel
from elman.backends.llvm.functions import POINTWISE
from elman.backends.llvm.vectors import INT, Integer, Pointer, Shape, Vector

__all__ = ["VITERBI", "VITERBI_FIELDS", "write_viterbi"]

VITERBI: Final = "viterbi"

VITERBI_FIELDS: Final = (
    *("batch", "time", "tags", "line", "transitions", "start", "end", "lengths"),
    *("emissions", "emissions_row", "emissions_step", "path", "scores", "best", "origins"),
)


def write_viterbi(module: ir.Module, shape: Shape) -> None:
    """Write the kernel into a module."""
    _Viterbi(module, shape, VITERBI, VITERBI_FIELDS).write()


class _Viterbi(ChainKernel):
    """Writes the tags of the best path of each row, up to its end, and its score."""

    def write(self) -> None:
        with self.shared(self["batch"]) as row:
            length = self.load_integer(self.pointer("lengths"), row)
            score = self.pointer("scores") + row
            score.store_number(ir.Constant(self.real, 0.0))
            with self.when(length > 0):
                self.first_step(row, self._best(0))
                with self.loop(1, length) as step:
                    self._step(row, step.index)
                self._back(row, length, self._last(self._best(length - 1), score))
        self.finish()

    def _best(self, step: Integer | int) -> Pointer:
        """Return the line of the best scores of a step: the last two are kept."""
        return self.own("best", 2) + step % 2 * self["line"]

    def _origins(self, step: Integer) -> Pointer:
        return self.own("origins", self["time"]) + step * self["line"]

    def _step(self, row: Integer, step: Integer) -> None:
        """Write the best scores of a step, and which tag each came from."""
        before, none = self._best(step - 1), self.constant(-math.inf)
        with self.loop(0, self.vectors(self["tags"])) as v:
            with self.loop(0, self["tags"], carry=[none, self.constant(0.0), self.constant(0.0)]) as i:
                best, origin, index = i.values
                score = (before + i.index).broadcast() + self.moves(i.index, v.index)
                better = self.builder.or_(score.compare(">", best), score.compare("!=", score))
                i.values = [self.blend(better, score, best), self.blend(better, index, origin), index + 1.0]
            best, origin, _ = i.values
            place = v.index * self.lanes
            (self._origins(step) + place).store(origin)
            emission = (self.emission(row, step) + place).load(self.used(self["tags"], v.index))
            (self._best(step) + place).store(best + emission)

    def _last(self, best: Pointer, score: Pointer) -> Integer:
        """Write the score of the best path and return its last tag."""
        with self.loop(0, self.vectors(self["tags"]), carry=[self.constant(-math.inf)]) as v:
            place = v.index * self.lanes
            total = (best + place).load() + self.padded(self.pointer("end") + place, v.index)
            (best + place).store(total)
            v.values = [POINTWISE["maximum"](self, [total, v.values[0]])]
        top = self.across(v.values[0], lambda a, b: POINTWISE["maximum"](self, [a, b]))
        score.store_number(top)
        lanes = Vector(self, ir.Constant(self.wide, [float(k) for k in range(self.lanes)]))
        none = self.splat(self.builder.sitofp(self["tags"].value, self.real))
        with self.loop(0, self["line"], self.lanes, carry=[none, lanes]) as k:
            found, index = k.values
            here = self.blend((best + k.index).load().compare("==", self.splat(top)), index, none)
            k.values = [POINTWISE["minimum"](self, [here, found]), index + float(self.lanes)]
        first = self.across(k.values[0], lambda a, b: POINTWISE["minimum"](self, [a, b]))
        return self._integer(first).minimum(self["tags"] - 1)  # where the score is no number, none has it

    def _integer(self, number: ir.Value) -> Integer:
        return Integer(self, self.builder.fptosi(number, INT))

    def _back(self, row: Integer, length: Integer, last: Integer) -> None:
        """Write the tags of the path, from its end."""
        path, first = self.pointer("path"), row * self["time"]
        self.store_integer(path, first + (length - 1), last)
        with self.loop(1, length) as back:
            step = length - back.index
            origin = self._origins(step) + self.load_integer(path, first + step)
            self.store_integer(path, first + (step - 1), self._integer(origin.load_number()))
