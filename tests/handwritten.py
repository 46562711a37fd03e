"""Cells as users write them, each with its step once more in NumPy: what our own cells do not reach of the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from elman import (
    Affine,
    Cell,
    Diagonal,
    LSTMCell,
    exp,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    where,
)

__all__ = ["HANDWRITTEN"]

HANDWRITTEN: dict[type[Cell], Callable[..., Any]] = {}


def with_oracle(oracle):
    def keep(cell):
        HANDWRITTEN[cell] = oracle
        return cell

    return keep


def sigma(a):
    return 1 / (1 + np.exp(-a))


def net(p, gate, x, *operands):
    """W x + U1 s1 + U2 s2 + ... + b, with those terms that the gate has."""
    total = np.zeros(()) if x is None else x @ p[f"{gate}/weight_x"].T
    for k, operand in enumerate(operands, start=1):
        name = f"{gate}/weight_h" if len(operands) == 1 else f"{gate}/weight_h_{k}"
        total = total + operand @ p[name].T
    return total + p.get(f"{gate}/bias", 0.0)


def two_states(p, x, h, c):
    g = np.tanh(net(p, "g", x, h, c))
    m = sigma(net(p, "m", x, c, h))
    return m * h + g, np.tanh(c * m - g)


@with_oracle(two_states)
class TwoStatesCell(Cell):
    """Both states are fed to both gates, in different orders."""

    states = ("h", "c")
    g, m = Affine(), Affine(bias=0.5)

    def step(self, x, h, c):
        g = tanh(self.g(x, h, c))
        m = sigmoid(self.m(c, x, h))
        return m * h + g, tanh(c * m - g)


def computed(p, x, h):
    r = sigma(net(p, "r", x, h))
    q = np.tanh(net(p, "q", None, r * h))
    return (np.tanh(net(p, "n", x, q, h)) * (1 - r),)


@with_oracle(computed)
class ComputedOperandsCell(Cell):
    """Three matrix phases: each gate reads a value of the one before."""

    states = ("h",)
    n, q, r = Affine(), Affine(), Affine()

    def step(self, x, h):
        r = sigmoid(self.r(x, h))
        q = tanh(self.q(r * h))
        return tanh(self.n(x, q, h)) * (1 - r)


def words(p, x, h):
    a, b = net(p, "a", x, h), net(p, "b", x)
    a_part = np.where(a >= 0.1, np.log1p(np.exp(a)), np.minimum(a, -0.5) / 3)
    b_part = np.maximum(0.25, np.exp(-np.abs(b))) - np.sqrt(b**2 + 1) * np.log(2 + np.maximum(b, 0))
    return (np.tanh(a_part + b_part + np.where(h < b, h, 0.5) - 2.0**-a),)


@with_oracle(words)
class EveryWordCell(Cell):
    """Every word of a step, with constants on either side."""

    states = ("h",)
    a, b = Affine(), Affine()

    def step(self, x, h):
        a, b = self.a(x, h), self.b(x)
        a_part = where(a >= 0.1, softplus(a), minimum(a, -0.5) / 3)
        b_part = maximum(0.25, exp(-abs(b))) - sqrt(b**2 + 1) * log(2 + relu(b))
        return tanh(a_part + b_part + where(b > h, h, 0.5) - 2**-a)


def three_states(p, x, h, c, n):
    i = np.exp(net(p, "i", x, h))
    f = sigma(net(p, "f", x, h))
    n = f * n + i
    c = f * c + i * np.tanh(net(p, "z", x, h))
    return sigma(net(p, "o", x, h)) * c / n, c, n


@with_oracle(three_states)
class ThreeStatesCell(Cell):
    """An exponential input gate and a normaliser, as in the sLSTM."""

    states = ("h", "c", "n")
    i, f, z, o = Affine(), Affine(), Affine(), Affine()

    def step(self, x, h, c, n):
        i = exp(self.i(x, h))
        f = sigmoid(self.f(x, h))
        n = f * n + i
        c = f * c + i * tanh(self.z(x, h))
        return sigmoid(self.o(x, h)) * c / n, c, n


@with_oracle(lambda p, x, h: (np.tanh(net(p, "a", x, h)) * sigma(net(p, "b", x, h)),))
class StateFirstCell(Cell):
    """Gates with their operands in the order (h, x)."""

    states = ("h",)
    a, b = Affine(), Affine()

    def step(self, x, h):
        return tanh(self.a(h, x)) * sigmoid(self.b(x, h))


def scattered(p, x, h, c):
    a, b = sigma(net(p, "a", x, h)), np.tanh(net(p, "b", x, c))
    d, e = sigma(net(p, "d", x, h)), np.tanh(net(p, "e", x))
    k, m = np.tanh(net(p, "k", None, h)), sigma(net(p, "m", x, c))
    return a * b + d * e, m * k + (1 - m) * c


@with_oracle(scattered)
class ScatteredBlocksCell(Cell):
    """Blocks of gates that read the same do not stand together."""

    states = ("h", "c")
    a, b, d, e, k, m = Affine(), Affine(), Affine(), Affine(), Affine(), Affine()

    def step(self, x, h, c):
        a, b = sigmoid(self.a(x, h)), tanh(self.b(x, c))
        d, e = sigmoid(self.d(x, h)), tanh(self.e(x))
        k, m = tanh(self.k(h)), sigmoid(self.m(x, c))
        return a * b + d * e, m * k + (1 - m) * c


@with_oracle(lambda p, x, h: (sigma(net(p, "a", x, h)) * np.tanh(net(p, "b", x, h)) + net(p, "d", None, h),))
class SomeBiasesCell(Cell):
    """One gate of a group has a bias and one has none; the third is a bare product."""

    states = ("h",)
    a, b, d = Affine(bias=None), Affine(bias=0.2), Affine(bias=None)

    def step(self, x, h):
        return sigmoid(self.a(x, h)) * tanh(self.b(x, h)) + self.d(h)


@with_oracle(lambda p, x, h: (np.tanh(net(p, "a", x, h)),))
class NoBiasCell(Cell):
    """No bias at all: the parameter is not there."""

    states = ("h",)
    a = Affine(bias=None)

    def step(self, x, h):
        return tanh(self.a(x, h))


@with_oracle(lambda p, x, h: (np.tanh(net(p, "a", None, h)),))
class AutonomousCell(Cell):
    """No gate reads x."""

    states = ("h",)
    a = Affine(bias=0.3)

    def step(self, x, h):
        return tanh(self.a(h))


@with_oracle(lambda p, x, h: (np.maximum(net(p, "a", x) + p["u"] * h, 0.0),))
class IndependentCell(Cell):
    """No matrix on h: one weight a unit (the IndRNN)."""

    states = ("h",)
    a, u = Affine(), Diagonal()

    def step(self, x, h):
        return relu(self.a(x) + self.u(h))


@with_oracle(lambda p, x, h: (0.7 * h + 0.3 * np.tanh(net(p, "a", x, h)),))
class LeakyCell(Cell):
    """A constant of the class."""

    states = ("h",)
    rate = 0.3
    a = Affine()

    def step(self, x, h):
        return (1 - self.rate) * h + self.rate * tanh(self.a(x, h))


@with_oracle(lambda p, x, h: (0.1 * h + 0.9 * np.tanh(net(p, "a", x, h)),))
class LessLeakyCell(LeakyCell):
    """A subclass that changes the constant alone."""

    rate = 0.9


@with_oracle(lambda p, x, h, before: (np.tanh(net(p, "a", x, before)), h))
class DelayCell(Cell):
    """A state that is the old value of another."""

    states = ("h", "before")
    a = Affine()

    def step(self, x, h, before):
        return tanh(self.a(x, before)), h


def twin(p, x, h, c):
    h = np.tanh(net(p, "a", x, h) + p["d"] * np.tanh(c))
    return h, h


@with_oracle(twin)
class TwinCell(Cell):
    """Two states get one value; a diagonal reads a computed one."""

    states = ("h", "c")
    a, d = Affine(), Diagonal()

    def step(self, x, h, c):
        h = tanh(self.a(x, h) + self.d(tanh(c)))
        return h, h


def projected(p, x, h, c):
    i, f, g, o = sigma(net(p, "i", x, h)), sigma(net(p, "f", x)), net(p, "g", x, h), sigma(net(p, "o", x, h))
    c = f * c + i * np.tanh(g)
    return o * np.tanh(net(p, "r", None, c)), c


@with_oracle(projected)
class ExtendedLSTMCell(LSTMCell):
    """A subclass that adds a gate, gives one another initial bias, and reads less with it."""

    f = Affine(bias=-2.0)
    r = Affine()

    def step(self, x, h, c):
        c = sigmoid(self.f(x)) * c + sigmoid(self.i(x, h)) * tanh(self.g(x, h))
        return sigmoid(self.o(x, h)) * tanh(self.r(c)), c
