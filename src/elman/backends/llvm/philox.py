"""The kernel that draws: Philox4x32-10 numbers, each compared with a threshold.

A counter and a key give four words of 32 bits by ten rounds of multiplications, whatever was drawn before, so that any
vector of any thread begins where it likes and the numbers do not depend on who draws them. With n numbers and
b = ⌈n / 4⌉, number w b + c is word w of counter c.

Source: J. K. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
"""

from __future__ import annotations

from typing import Final

from llvmlite import ir

from elman.backends.llvm.team import TeamKernel
from elman.backends.llvm.vectors import INT, Integer, Shape
from elman.backends.philox import KEY_STEPS, MULTIPLIERS, ROUNDS

__all__ = ["DRAW", "DRAW_FIELDS", "write_draw"]

DRAW: Final = "draw"
DRAW_FIELDS: Final = ("count", "counters", "key_0", "key_1", "threshold", "value", "to")


def write_draw(module: ir.Module, shape: Shape) -> None:
    """Write the kernel into a module."""
    _Draw(module, shape).write()


class _Draw(TeamKernel):
    def __init__(self, module: ir.Module, shape: Shape) -> None:
        super().__init__(module, shape, DRAW, DRAW_FIELDS)
        self._words_type = ir.VectorType(INT, shape.lanes)  # of 32 bits each, with room for a product

    def write(self) -> None:
        count, counters, lanes = self["count"], self["counters"], self.lanes
        value, threshold = self.pointer("value").broadcast(), self._spread(self["threshold"])
        with self.shared((counters + (lanes - 1)) // lanes) as vector:
            first = vector * lanes
            for w, word in enumerate(self._words(first)):
                place = counters * w + first
                below = self.builder.icmp_unsigned("<", word, threshold)
                mask = self.mask((counters - first).minimum(count - place))
                (self.pointer("to") + place).store(self.blend(below, value, 0.0), mask)
        self.finish()

    def _words(self, first: Integer) -> list[ir.Value]:
        """Return the four words of as many counters as a vector has lanes."""
        b = self.builder
        lane = ir.Constant(self._words_type, list(range(self.lanes)))
        low, half = self._same(0xFFFFFFFF), self._same(32)
        counter = b.add(self._spread(first), lane)
        words = [b.and_(counter, low), b.lshr(counter, half), self._same(0), self._same(0)]
        for turn in range(ROUNDS):
            keys = [self._spread((self[f"key_{k}"] + step * turn) & 0xFFFFFFFF) for k, step in enumerate(KEY_STEPS)]
            products = [b.mul(words[2 * k], self._same(factor)) for k, factor in enumerate(MULTIPLIERS)]
            high, rest = [b.lshr(p, half) for p in products], [b.and_(p, low) for p in products]
            words = [
                *(b.xor(b.xor(high[1], words[1]), keys[0]), rest[1]),
                *(b.xor(b.xor(high[0], words[3]), keys[1]), rest[0]),
            ]
        return words

    def _same(self, value: int) -> ir.Value:
        return ir.Constant(self._words_type, [value] * self.lanes)

    def _spread(self, value: Integer) -> ir.Value:
        """Put an integer into all lanes."""
        nothing = ir.Constant(self._words_type, ir.Undefined)
        single = self.builder.insert_element(nothing, value.value, INT(0))
        return self.builder.shuffle_vector(
            single, nothing, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        )
