"""Cells that ask more of compiled code than those people write: by hand, and at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from elman.cells import Affine, Cell, Diagonal
from elman.cells.words import log, maximum, sigmoid, tanh, where

__all__ = ["OWN_CELLS", "PositiveStateCell", "UnfoldedCell", "random_cell"]


class SharedSumCell(Cell):
    """A value goes into one sum twice, and a gate reads the sum: its gradient counts twice."""

    states = ("h",)
    a, b = Affine(), Affine()

    def step(self, x, h):
        y = tanh(self.a(x, h))
        return tanh(self.b((y + h) + (y - 0.5 * h)))


class InterleavedCell(Cell):
    """Two gates read h, and between them a value does that goes two phases deeper."""

    states = ("h",)
    z, y, m, n, r = Affine(), Affine(), Affine(), Affine(), Affine()

    def step(self, x, h):
        z = self.z(x, h)
        m = tanh(self.m(sigmoid(self.r(x)) * h))
        y = tanh(self.y(x, h))
        return tanh(self.n(m)) * sigmoid(z) + y


class EarlyAndLateCell(Cell):
    """A value's gradient is the sum of a product of one phase and one of the next."""

    states = ("h", "c")
    a, b, e, d = Affine(), Affine(), Affine(), Affine()

    def step(self, x, h, c):
        y = tanh(self.a(x, h))
        b = tanh(self.b(y + c))
        return b * tanh(self.d(tanh(self.e(y)))), 0.5 * c + 0.1 * b


class AlikeNamesCell(Cell):
    """States whose names begin like those of a kernel's own numbers."""

    states = ("h", "row_h", "row_x")
    a = Affine()

    def step(self, x, h, row_h, row_x):
        h = tanh(self.a(x, h, row_h))
        return h, 0.5 * row_h + row_x * h, tanh(h + row_x)


class PositiveStateCell(Cell):
    """A state that must not be zero, as it is where a vector has more lanes than there are units, or after a reset."""

    states = ("h", "c")
    a, b = Affine(), Affine()

    def step(self, x, h, c):
        return tanh(self.b(x, h)) / c + 0.1 * log(c), 0.5 * c + sigmoid(self.a(x, h))


class UnfoldedCell(Cell):
    """A step of many small steps, each of which reads the one before several times (an ODE solver)."""

    states = ("h",)
    small_steps = 30
    a, p = Affine(), Diagonal()

    def step(self, x, h):
        drive = tanh(self.a(x, h))
        for _ in range(self.small_steps):
            h = h + 0.1 * (drive - h) * sigmoid(2 * h)
        return h - 0.2 * self.p(h)


OWN_CELLS = [SharedSumCell, InterleavedCell, EarlyAndLateCell, AlikeNamesCell, UnfoldedCell]

_COMBINATIONS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a * 0.5 + b,
    lambda a, b: tanh(a) + b,
    lambda a, b: sigmoid(a) * b,
    lambda a, b: where(a < b, a, 0.3 * b),
    lambda a, b: maximum(a, b) * 0.9,
]


class _Step:
    """A step of so many gates and diagonals, that reads and combines what there is as chance will have it."""

    def __init__(self, seed: int, gates: list[str], diagonals: list[str]) -> None:
        self._seed = seed
        self._gates = gates
        self._diagonals = diagonals

    def __call__(self, cell: Cell, x: Any, *states: Any) -> Any:
        chance = random.Random(self._seed)
        values, late = list(states), []

        def pick() -> Any:
            return chance.choice(values[-4:] if chance.random() < 0.6 else values)

        def combine(a: Any, b: Any) -> Any:
            return chance.choice(_COMBINATIONS)(a, b)

        names = [*self._gates, *self._diagonals]
        for name in chance.sample(names, len(names)):
            values += [combine(pick(), pick()) for _ in range(chance.randint(0, 2))]
            if name in self._diagonals:
                value = getattr(cell, name)(pick())
            else:
                operands = list({v._index: v for v in (pick() for _ in range(chance.randint(0, 2)))}.values())
                operands = operands if operands and chance.random() < 0.4 else [x, *operands]
                value = getattr(cell, name)(*chance.sample(operands, len(operands)))
            values.append(tanh(value) if chance.random() < 0.6 else value * 0.3)
            late.append(values[-1])
        total = late[0]
        for value in late[1:]:
            total = combine(total, value) + 0.1 * value
        return (tanh(total), *(combine(tanh(pick()), pick()) * 0.5 for _ in states[1:]))


def random_cell(seed: int) -> type[Cell]:
    """Make a cell of one to three states and one to six gates; the same for the same seed."""
    chance = random.Random(seed)
    states = ("h", "c", "n")[: chance.choice([1, 1, 2, 3])]
    gates = {f"g{k}": Affine(bias=chance.choice([0.0, 0.0, None])) for k in range(chance.randint(1, 6))}
    diagonals = {f"d{k}": Diagonal() for k in range(chance.choice([0, 0, 1, 2]))}
    run = _Step(seed, list(gates), list(diagonals))
    step = {
        1: lambda self, x, h: run(self, x, h),
        2: lambda self, x, h, c: run(self, x, h, c),
        3: lambda self, x, h, c, n: run(self, x, h, c, n),
    }[len(states)]
    return type(f"Random{seed}Cell", (Cell,), {"states": states, **gates, **diagonals, "step": step})
