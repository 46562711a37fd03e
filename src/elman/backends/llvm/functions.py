"""The pointwise operations of a graph on vectors.

exp, log and what is made of them are polynomials after a reduction of the argument, accurate to a few units in the
last place over the whole range, in both types. ``power`` with an exponent that is no small constant goes through the
system's mathematical library number by number: right, and slow.

Sources: the reduction of exp by ln 2 in two parts and the logarithm by s = f / (2 + f) as in W. J. Cody and W. Waite,
Software Manual for the Elementary Functions (1980); log(1 + u) corrected as in D. Goldberg, What Every Computer
Scientist Should Know About Floating-Point Arithmetic, ACM Computing Surveys 23 (1991), theorem 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir

from elman.backends.llvm.vectors import Code, Vector

__all__ = ["POINTWISE", "power"]

_LOG2E: Final = 1.0 / math.log(2.0)


class _Type:
    """What the polynomials need to know of a floating-point type."""

    def __init__(
        self, mantissa: int, bias: int, ln2: tuple[float, float], terms: int, largest: float, smallest: float
    ) -> None:
        self.mantissa = mantissa  # bits stored
        self.bias = bias  # of the exponent
        self.ln2 = ln2  # in two parts, the first short, so that its product with an exponent is exact
        self.exponential = [1.0 / math.factorial(k) for k in range(2, terms)]
        self.logarithm = [2.0 / (2 * k + 3) for k in range(terms - (2 if mantissa < 30 else 3))]
        self.largest = largest  # exp overflows above
        self.smallest = smallest  # exp of its negative is normal


_TYPES: Final = {
    4: _Type(23, 127, (0.693359375, -2.12194440054690583e-4), 8, 88.8, 87.0),
    8: _Type(52, 1023, (6.93147180369123816490e-01, 1.90821492927058770002e-10), 14, 710.0, 708.0),
}


def _power_of_two(code: Code, n: Vector) -> Vector:
    """Return 2^n of integral n in the range of normal numbers.

    Added to a number whose last bit counts 1, n lies in the low bits; shifted, it is an exponent.
    """
    kind = _TYPES[code.shape.size]
    bits = code.builder.bitcast((n + 1.5 * 2.0**kind.mantissa).value, code.bits)
    shifted = code.builder.shl(bits, ir.Constant(code.bits, [kind.mantissa] * code.lanes))
    biased = code.builder.add(shifted, ir.Constant(code.bits, [kind.bias << kind.mantissa] * code.lanes))
    return Vector(code, code.builder.bitcast(biased, code.wide))


def _reduced(code: Code, a: Vector) -> tuple[Vector, Vector]:
    """Return n and p with e^a = 2^n (1 + p), n integral and p = e^r - 1 for |r| at most half of ln 2."""
    kind = _TYPES[code.shape.size]
    n = code.call("rint", a * _LOG2E)
    r = n.fma(-kind.ln2[1], n.fma(-kind.ln2[0], a))
    p = code.constant(kind.exponential[-1])
    for coefficient in reversed(kind.exponential[:-1]):
        p = p.fma(r, coefficient)
    return n, p.fma(r * r, r)


def _clamped(code: Code, a: Vector, low: float, high: float) -> Vector:
    """Keep between two bounds; what is not a number stays so."""
    a = code.blend(a.compare("<", low), low, a)
    return code.blend(a.compare(">", high), high, a)


def exp(code: Code, a: Vector) -> Vector:
    """e^a; the scale is applied in two halves, so that results near the ends of the range are right."""
    largest = _TYPES[code.shape.size].largest
    n, p = _reduced(code, _clamped(code, a, -1.05 * largest - 20, 1.01 * largest))
    half = code.call("floor", n * 0.5)
    return (p + 1.0) * _power_of_two(code, half) * _power_of_two(code, n - half)


def exp_of_negative(code: Code, a: Vector) -> Vector:
    """e^a of a that is at most 0, in fewer operations; 0 where it is too small to be normal."""
    kind = _TYPES[code.shape.size]
    n, p = _reduced(code, a)
    scale = _power_of_two(code, n)
    return code.blend(a.compare("<", -kind.smallest), 0.0, scale.fma(p, scale))


def _exp_minus_one(code: Code, a: Vector) -> tuple[Vector, Vector]:
    """Return 2^n and e^a - 1 of a that is at most 0 and within the range."""
    n, p = _reduced(code, a)
    scale = _power_of_two(code, n)
    return scale, scale.fma(p, scale - 1.0)


def sigmoid(code: Code, a: Vector) -> Vector:
    """1 / (1 + e^-a)."""
    largest = 0.98 * _TYPES[code.shape.size].largest
    n, p = _reduced(code, _clamped(code, -a, -largest, largest))
    scale = _power_of_two(code, n)
    return 1.0 / (scale.fma(p, scale) + 1.0)


def tanh(code: Code, a: Vector) -> Vector:
    """By e^(-2|a|) - 1, which keeps small values exact."""
    b = code.call("fabs", a) * -2.0
    b = code.blend(b.compare("<", -40.0), -40.0, b)
    _, e = _exp_minus_one(code, b)
    return code.call("copysign", -e / (e + 2.0), a)


def log(code: Code, a: Vector) -> Vector:
    """Natural logarithm; -inf at 0, not a number below."""
    kind, b, lanes = _TYPES[code.shape.size], code.builder, code.lanes
    bits = b.bitcast(a.value, code.bits)

    def integer(value: int) -> ir.Constant:
        return ir.Constant(code.bits, [value] * lanes)

    # The exponent that leaves a fraction between √½ and √2.
    half = (kind.bias - 1) << kind.mantissa
    root = int(math.sqrt(0.5) * 2 * (1 << kind.mantissa)) - (1 << kind.mantissa)
    offset = half + root
    exponent = b.ashr(b.sub(bits, integer(offset)), integer(kind.mantissa))
    fraction = Vector(code, b.bitcast(b.sub(bits, b.shl(exponent, integer(kind.mantissa))), code.wide))
    n = Vector(code, b.sitofp(exponent, code.wide))
    f = fraction - 1.0
    s = f / (f + 2.0)
    z = s * s
    p = code.constant(kind.logarithm[-1])
    for coefficient in reversed(kind.logarithm[:-1]):
        p = p.fma(z, coefficient)
    # log(1 + f) = f - s (f - z p), and p z is the series after its first term 2 s
    tail = s.fma(z * p - f, n * kind.ln2[1])
    result = n.fma(kind.ln2[0], tail + f)
    result = code.blend(a.compare("<", 0.0), math.nan, result)
    result = code.blend(a.compare("==", 0.0), -math.inf, result)
    result = code.blend(a.compare("==", math.inf), math.inf, result)
    return code.blend(a.compare("!=", a), a, result)


def softplus(code: Code, a: Vector) -> Vector:
    """log(1 + e^a) = max(a, 0) + log(1 + e^-|a|)."""
    u = exp(code, -code.call("fabs", a))
    w = u + 1.0
    logarithm = code.blend(w.compare("==", 1.0), u, log(code, w) * (u / (w - 1.0)))
    return relu(code, a) + logarithm


def relu(code: Code, a: Vector) -> Vector:
    """The rectifier; what is not a number stays so."""
    return code.blend(a.compare("<", 0.0), 0.0, a)


def power(code: Code, a: Vector, b: Vector, exponent: float | None = None) -> Vector:
    """a^b; constant exponents that are small and integral, or a half, are products and roots."""
    if exponent == 0.5:
        return code.call("sqrt", a)
    if exponent is not None and exponent.is_integer() and 0 <= exponent <= 8:
        result = code.constant(1.0)
        for _ in range(int(exponent)):
            result = result * a
        return result
    if exponent == -1.0:
        return 1.0 / a
    return code.call("pow", a, b)


def _either(code: Code, a: Vector, b: Vector, operator: str) -> Vector:
    """The larger or smaller of two; not a number where either is none."""
    chosen = code.blend(a.compare(operator, b), a, b)
    return code.blend(a.compare("!=", a), a, chosen)


#: Every operation of a graph but ``power``: (code, operands) → result. A comparison's is a mask of lanes.
POINTWISE: Final[dict[str, Callable[[Code, Sequence[Any]], Any]]] = {
    "add": lambda _, v: v[0] + v[1],
    "subtract": lambda _, v: v[0] - v[1],
    "multiply": lambda _, v: v[0] * v[1],
    "divide": lambda _, v: v[0] / v[1],
    "negate": lambda _, v: -v[0],
    "abs": lambda code, v: code.call("fabs", v[0]),
    "exp": lambda code, v: exp(code, v[0]),
    "log": lambda code, v: log(code, v[0]),
    "maximum": lambda code, v: _either(code, v[0], v[1], ">"),
    "minimum": lambda code, v: _either(code, v[0], v[1], "<"),
    "relu": lambda code, v: relu(code, v[0]),
    "sigmoid": lambda code, v: sigmoid(code, v[0]),
    "softplus": lambda code, v: softplus(code, v[0]),
    "sqrt": lambda code, v: code.call("sqrt", v[0]),
    "tanh": lambda code, v: tanh(code, v[0]),
    "less": lambda _, v: v[0].compare("<", v[1]),
    "less_equal": lambda _, v: v[0].compare("<=", v[1]),
    "where": lambda code, v: code.blend(v[0], v[1], v[2]),
}
