"""Expressions as people write them: trees that simplify as they are built.

Sums and products have any number of operands, signs stand outside, numbers stand in front, and a square is a power.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

__all__ = [
    "ZERO",
    "Expression",
    "add",
    "constant",
    "factored",
    "multiply",
    "negate",
    "operation",
    "opposite",
    "symbol",
]


@dataclass(frozen=True, slots=True)
class Expression:
    """A node of a tree.

    Attributes:
        op: ``symbol``, ``constant``, an operation of `elman.compiler.graph.ARITY`, a comparison (``less``,
            ``less_equal``, ``greater``, ``greater_equal``, ``equal``), ``indicator`` (1 where a comparison holds,
            else 0), ``matrix`` (a matrix product), ``transpose``, ``diag`` (a vector as a diagonal matrix),
            ``partial`` (∂a/∂b), ``derivative`` (da/db), ``chain`` (a product of derivatives), ``total`` (a sum over
            t), ``path`` (symbols that lead to each other) or ``words``.
        operands: of the operation.
        name: of a symbol, behind whose first underscore stands a subscript; the words.
        time: of a symbol: ``t``, ``t−1``, ``t+1``, a number, or empty where it has none.
        value: of a constant, at least 0; minus is ``negate``.
    """

    op: str
    operands: tuple[Expression, ...] = ()
    name: str = ""
    time: str = ""
    value: float = 0.0

    def at(self, times: Mapping[str, str]) -> Expression:
        """Move every symbol to another time."""
        moved = tuple(operand.at(times) for operand in self.operands)
        return replace(self, operands=moved, time=times.get(self.time, self.time))

    def parts(self) -> Iterator[Expression]:
        """Every node of the tree."""
        yield self
        for operand in self.operands:
            yield from operand.parts()


def symbol(name: str, time: str = "") -> Expression:
    """A named value."""
    return Expression("symbol", name=name, time=time)


def constant(value: float) -> Expression:
    """A number."""
    if math.copysign(1.0, value) < 0 and value:
        return Expression("negate", (Expression("constant", value=-value),))
    return Expression("constant", value=abs(value))


ZERO: Final = constant(0.0)
_OPPOSITE: Final = {"less": "greater_equal", "greater_equal": "less", "greater": "less_equal", "less_equal": "greater"}


def operation(op: str, *operands: Expression) -> Expression:
    """An operation of a graph on expressions."""
    a, b = (*operands, ZERO, ZERO)[:2]
    match op:
        case "add":
            return add(a, b)
        case "subtract":
            return add(a, negate(b))
        case "negate":
            return negate(a)
        case "multiply":
            return multiply(a, b)
        case "relu":
            return Expression("maximum", (a, ZERO))
        case "divide":
            minus = b.op == "negate"
            quotient = multiply(Expression("divide", (a, b.operands[0] if minus else b)))
            return negate(quotient) if minus else quotient
        case "power" if b == constant(1.0):
            return a
        case "less" if a == ZERO and b.op == "maximum" and b.operands[1] == ZERO:
            return Expression("greater", (b.operands[0], ZERO))  # a rectifier is positive where its operand is
        case "less" | "less_equal" if _number(a) is not None:
            return Expression({"less": "greater", "less_equal": "greater_equal"}[op], (b, a))
    return Expression(op, operands)


def negate(a: Expression) -> Expression:
    """−a."""
    if a == ZERO:
        return a
    return a.operands[0] if a.op == "negate" else Expression("negate", (a,))


def add(*terms: Expression) -> Expression:
    """A sum without zeros and parentheses, equal terms counted; of numbers alone, a number."""
    flat = [part for term in terms for part in _terms(term) if part != ZERO]
    flat = [
        part if (n := flat.count(part)) == 1 else multiply(constant(float(n)), part) for part in dict.fromkeys(flat)
    ]
    numbers = [number for part in flat if (number := _number(part)) is not None]
    if len(numbers) == len(flat):
        return constant(math.fsum(numbers))
    return flat[0] if len(flat) == 1 else Expression("add", tuple(flat))


def multiply(*factors: Expression) -> Expression:
    """A product: its sign outside, its number in front, equal factors as a power, one fraction."""
    number, over, counted, below = 1.0, 1.0, dict[Expression, int](), list[Expression]()
    waiting = list(factors)
    while waiting:
        factor = waiting.pop(0)
        if factor.op == "multiply":
            waiting[:0] = factor.operands
        elif factor.op == "negate":
            number = -number
            waiting.insert(0, factor.operands[0])
        elif factor.op == "divide":
            waiting.insert(0, factor.operands[0])
            numbers = [f.value for f in _factors(factor.operands[1]) if f.op == "constant"]
            over *= math.prod(numbers)
            below += [f for f in _factors(factor.operands[1]) if f.op != "constant"]
        elif factor.op == "constant":
            number *= factor.value
        else:
            base, times = factor, 1
            if factor.op == "power" and factor.operands[1] == constant(2.0):
                base, times = factor.operands[0], 2
            counted[base] = counted.get(base, 0) + times
    if number == 0:
        return ZERO
    if over and number % over == 0:
        number, over = number / over, 1.0
    parts = [a if n == 1 else Expression("power", (a, constant(float(n)))) for a, n in counted.items()]
    above = _product(abs(number), parts)
    if below or over != 1:
        above = Expression("divide", (above, multiply(constant(over), *below)))
    return negate(above) if number < 0 else above


def _product(number: float, parts: Sequence[Expression]) -> Expression:
    """A number, unless it is 1, and other factors."""
    if number == 0 or not parts:
        return constant(number)
    factors = (*([constant(number)] if number != 1 else []), *parts)
    return factors[0] if len(factors) == 1 else Expression("multiply", factors)


def factored(a: Expression) -> Expression:
    """A sum with what all its terms share taken out, −u ⊙ v + u ⊙ w as u ⊙ (w − v); minus does not come first."""
    if a.op != "add":
        return a
    a = replace(a, operands=tuple(sorted(a.operands, key=lambda term: term.op == "negate")))
    terms = [_factors(term) for term in a.operands]
    shared = [factor for factor in terms[0] if factor.op != "constant" and all(factor in term for term in terms)]
    if not shared:
        return a
    rests = []
    for term, factors in zip(a.operands, terms, strict=True):
        rest = multiply(*(factor for factor in factors if factor not in shared))
        rests.append(negate(rest) if term.op == "negate" else rest)
    return multiply(*shared, add(*rests))


def opposite(comparison: Expression) -> Expression:
    """The comparison that holds where another does not."""
    return replace(comparison, op=_OPPOSITE[comparison.op])


def _terms(a: Expression) -> tuple[Expression, ...]:
    """The terms of a sum, also of one behind a minus."""
    if a.op == "negate" and a.operands[0].op == "add":
        return tuple(map(negate, a.operands[0].operands))
    return a.operands if a.op == "add" else (a,)


def _factors(term: Expression) -> tuple[Expression, ...]:
    """The factors of a term, without its sign."""
    unsigned = term.operands[0] if term.op == "negate" else term
    return unsigned.operands if unsigned.op == "multiply" else (unsigned,)


def _number(a: Expression) -> float | None:
    """The number that an expression is, if it is one."""
    if a.op == "negate" and a.operands[0].op == "constant":
        return -a.operands[0].value
    return a.value if a.op == "constant" else None
