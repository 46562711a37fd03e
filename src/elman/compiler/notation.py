"""Expressions on paper: the same trees as Unicode text, LaTeX and MathML.

One table says how strongly an operation binds, which is where parentheses stand; a notation adds its forms.
"""

from __future__ import annotations

import html
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Final

from elman.compiler.expression import Expression

__all__ = ["LATEX", "MATHML", "TEXT", "Notation"]

_SUM, _PRODUCT, _MATRIX, _POWER, _ATOM = range(1, 6)

#: How strongly an operation binds, and how strongly its operands must to stand without parentheses.
_STRENGTH: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    "negate": (_SUM, (_PRODUCT,)),
    "divide": (_PRODUCT, (_PRODUCT, _MATRIX)),
    "matrix": (_MATRIX, (_MATRIX, _POWER)),
    "transpose": (_ATOM, (_ATOM,)),
    "partial": (_ATOM, (_ATOM, _ATOM)),
    "derivative": (_POWER, (_ATOM, _ATOM)),
    "total": (_PRODUCT, (_PRODUCT,)),
    "indicator": (_ATOM, (0,)),
    "where": (_ATOM, (0, _SUM, _SUM)),
    "abs": (_ATOM, (0,)),
    "sqrt": (_ATOM, (0,)),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal", "equal"), (0, (_SUM, _SUM))),
}
_FUNCTIONS: Final = {
    "sigmoid": "σ",
    "tanh": "tanh",
    "exp": "exp",
    "log": "log",
    "softplus": "softplus",
    "diag": "diag",
    "maximum": "max",
    "minimum": "min",
}

_GREEK: Final = {
    "LAMDA": "lambda",
    "FINAL SIGMA": "varsigma",
    "OMICRON": "mathrm{o}",
}  #: letters that LaTeX spells otherwise than Unicode


class Notation(ABC):
    """One way to write expressions."""

    forms: ClassVar[dict[str, str]]  #: of operations; @0, @1 and @2 are the operands
    plus: ClassVar[str] = " + "
    minus: ClassVar[str] = " − "
    times: ClassVar[str]
    space: ClassVar[str] = " "  #: behind a number
    fraction: ClassVar[int] = _ATOM  #: how strongly a written fraction binds
    exponent: ClassVar[int] = 0  #: how strongly an exponent must bind
    joints: ClassVar[dict[str, str]]  #: of what has any number of operands: what stands between them

    @abstractmethod
    def symbol(self, name: str, time: str) -> str:
        """Write a name, whose subscript stands behind the first underscore, and its time."""

    @abstractmethod
    def words(self, words: str) -> str:
        """Write words among mathematics."""

    @abstractmethod
    def number(self, digits: str, exponent: str) -> str:
        """Write a number, times a power of ten where there is an exponent."""

    @abstractmethod
    def power(self, base: str, exponent: str) -> str:
        """Write a power."""

    @abstractmethod
    def function(self, name: str, square: str, arguments: Sequence[str]) -> str:
        """Write a function, or with ``square`` its square: tanh²(c)."""

    @abstractmethod
    def parentheses(self, inner: str) -> str:
        """Put parentheses around what does not bind enough."""

    def group(self, inner: str) -> str:
        """Hold together what is one operand."""
        return inner

    def expression(self, a: Expression, least: int = 0) -> str:
        """Write an expression, in parentheses where it binds less than ``least``."""
        strength, written = self._written(a)
        return self.parentheses(written) if strength < least else self.group(written)

    def terms(self, a: Expression) -> Iterator[str]:
        """Write the terms of a sum with their signs, or all of what is no sum."""
        for k, term in enumerate(a.operands if a.op == "add" else (a,)):
            minus = k > 0 and term.op == "negate"
            written = self.expression(term.operands[0], _PRODUCT) if minus else self.expression(term, _SUM)
            yield (self.minus if minus else self.plus if k else "") + written

    def _written(self, a: Expression) -> tuple[int, str]:
        """Write an expression, and say how strongly that binds."""
        if a.op == "symbol":
            return _ATOM, self.symbol(a.name, a.time)
        if a.op == "words":
            return _ATOM, self.words(a.name)
        if a.op == "constant":
            digits, _, ten = f"{a.value:.12g}".partition("e")
            return _PRODUCT if ten else _ATOM, self.number(digits, str(int(ten)) if ten else "")
        if a.op == "add":
            return _SUM, "".join(self.terms(a))
        if a.op == "multiply":
            return _PRODUCT, self._product(a.operands)
        if a.op in _FUNCTIONS:
            return _ATOM, self._function(a, "")
        if a.op == "power":
            base, exponent = a.operands
            if base.op in _FUNCTIONS and exponent == Expression("constant", value=2.0):
                return _ATOM, self._function(base, self.expression(exponent))
            return _POWER, self.power(self.expression(base, _ATOM), self.expression(exponent, self.exponent))
        if a.op in self.joints:
            return _MATRIX, self.joints[a.op].join(self.expression(b, _POWER) for b in a.operands)
        strength, needs = _STRENGTH[a.op]
        if a.op == "divide":
            strength = self.fraction
            needs = (0, 0) if strength == _ATOM else needs  # the bar of a fraction does what parentheses would
        written = self.forms[a.op]
        for k, (operand, least) in enumerate(zip(a.operands, needs, strict=True)):
            written = written.replace(f"@{k}", self.expression(operand, least))
        return strength, written

    def _product(self, factors: Sequence[Expression]) -> str:
        """Write a product: numbers stand in front, without a sign of multiplication behind them."""
        written = self.expression(factors[0], _MATRIX)
        for before, factor in pairwise(factors):
            written += (self.space if before.op == "constant" else self.times) + self.expression(factor, _MATRIX)
        return written

    def _function(self, a: Expression, square: str) -> str:
        return self.function(_FUNCTIONS[a.op], square, [self.expression(b) for b in a.operands])


class _Text(Notation):
    """Unicode text, for a terminal."""

    times = " ⊙ "
    fraction = _PRODUCT
    exponent = _ATOM
    joints: ClassVar[dict[str, str]] = {"chain": " · ", "path": " → "}
    forms: ClassVar[dict[str, str]] = {
        "negate": "−@0",
        "divide": "@0 / @1",
        "matrix": "@0 @1",
        "transpose": "@0ᵀ",
        "partial": "∂@0/∂@1",
        "derivative": "d@0/d@1",
        "total": "Σₜ @0",
        "indicator": "[@0]",
        "where": "(@1 if @0 else @2)",
        "abs": "|@0|",
        "sqrt": "√(@0)",
        "less": "@0 < @1",
        "less_equal": "@0 ≤ @1",
        "greater": "@0 > @1",
        "greater_equal": "@0 ≥ @1",
        "equal": "@0 = @1",
    }

    def symbol(self, name: str, time: str) -> str:
        return name + time.translate(str.maketrans("t0123456789+−", "ₜ₀₁₂₃₄₅₆₇₈₉₊₋"))

    def words(self, words: str) -> str:
        return words

    def number(self, digits: str, exponent: str) -> str:
        return f"{digits} × {self.power('10', exponent)}" if exponent else digits

    def power(self, base: str, exponent: str) -> str:
        if exponent.lstrip("-").isdecimal():
            return base + exponent.translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
        return f"{base}^{exponent}"

    def function(self, name: str, square: str, arguments: Sequence[str]) -> str:
        return f"{name}{'²' if square else ''}({', '.join(arguments)})"

    def parentheses(self, inner: str) -> str:
        return f"({inner})"


class _LaTeX(Notation):
    """LaTeX, for its mathematics mode; needs amsmath."""

    minus = " - "
    times = r" \odot "
    space = r" \, "
    joints: ClassVar[dict[str, str]] = {"chain": r" \, ", "path": r" \to "}
    forms: ClassVar[dict[str, str]] = {
        "negate": "-@0",
        "divide": r"\frac{@0}{@1}",
        "matrix": r"@0 \, @1",
        "transpose": r"@0^{\top}",
        "partial": r"\frac{\partial @0}{\partial @1}",
        "derivative": r"\frac{d @0}{d @1}",
        "total": r"\sum_t @0",
        "indicator": r"\left[@0\right]",
        "where": r"\begin{cases} @1 & \text{if } @0 \\ @2 & \text{otherwise} \end{cases}",
        "abs": r"\left|@0\right|",
        "sqrt": r"\sqrt{@0}",
        "less": "@0 < @1",
        "less_equal": r"@0 \le @1",
        "greater": "@0 > @1",
        "greater_equal": r"@0 \ge @1",
        "equal": "@0 = @1",
    }
    _names: ClassVar[dict[str, str]] = {
        "σ": r"\sigma",
        "ℓ": r"\ell",
        "softplus": r"\operatorname{softplus}",
        "diag": r"\operatorname{diag}",
    }

    def symbol(self, name: str, time: str) -> str:
        bare = name.removeprefix("δ") or name
        base, _, subscript = bare.partition("_")
        parts = [self.symbol(part, "") for part in subscript.split(",") if part]
        below = ",".join([*parts, time.replace("−", "-")] if time else parts)
        delta = r"\delta " if bare != name else ""
        return delta + self._name(base) + (f"_{{{below}}}" if below else "")

    def words(self, words: str) -> str:
        return rf"\text{{{words}}}"

    @staticmethod
    def _name(name: str) -> str:
        if name in _LaTeX._names:
            return _LaTeX._names[name]
        base = name.rstrip("′")
        _, _, greek = (unicodedata.name(base, "") if len(base) == 1 else "").partition("GREEK SMALL LETTER ")
        written = f"\\{_GREEK.get(greek, greek.lower())}" if greek else base if len(base) < 2 else rf"\mathrm{{{base}}}"
        return f"{{{written}{chr(39) * (len(name) - len(base))}}}" if base != name else written

    def number(self, digits: str, exponent: str) -> str:
        return rf"{digits} \times 10^{{{exponent}}}" if exponent else digits

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{{{exponent}}}"

    def function(self, name: str, square: str, arguments: Sequence[str]) -> str:
        raised = f"^{{{square}}}" if square else ""
        return self._names.get(name, f"\\{name}") + raised + self.parentheses(", ".join(arguments))

    def parentheses(self, inner: str) -> str:
        tall = r"\frac" in inner or r"\begin" in inner
        return rf"\left({inner}\right)" if tall else f"({inner})"


class _MathML(Notation):
    """MathML, which browsers show without a script."""

    plus = "<mo form='infix'>+</mo>"
    minus = "<mo form='infix'>−</mo>"
    times = "<mo>⊙</mo>"
    space = "<mspace width='0.17em'/>"
    joints: ClassVar[dict[str, str]] = {"chain": "<mspace width='0.17em'/>", "path": "<mo>→</mo>"}
    forms: ClassVar[dict[str, str]] = {
        "negate": "<mo>−</mo>@0",
        "divide": "<mfrac>@0@1</mfrac>",
        "matrix": "@0<mspace width='0.17em'/>@1",
        "transpose": "<msup>@0<mo>⊤</mo></msup>",
        "partial": "<mfrac><mrow><mo>∂</mo>@0</mrow><mrow><mo>∂</mo>@1</mrow></mfrac>",
        "derivative": "<mfrac><mrow><mi>d</mi>@0</mrow><mrow><mi>d</mi>@1</mrow></mfrac>",
        "total": "<munder><mo>∑</mo><mi>t</mi></munder>@0",
        "indicator": "<mo>[</mo>@0<mo>]</mo>",
        "where": "<mo>{</mo><mtable><mtr><mtd>@1</mtd><mtd><mtext>if&#xa0;</mtext>@0</mtd></mtr>"
        "<mtr><mtd>@2</mtd><mtd><mtext>otherwise</mtext></mtd></mtr></mtable>",
        "abs": "<mo>|</mo>@0<mo>|</mo>",
        "sqrt": "<msqrt>@0</msqrt>",
        "less": "@0<mo>&lt;</mo>@1",
        "less_equal": "@0<mo>≤</mo>@1",
        "greater": "@0<mo>&gt;</mo>@1",
        "greater_equal": "@0<mo>≥</mo>@1",
        "equal": "@0<mo>=</mo>@1",
    }

    def symbol(self, name: str, time: str) -> str:
        bare = name.removeprefix("δ") or name
        base, _, subscript = bare.partition("_")
        below = [self.symbol(part, "") for part in subscript.split(",") if part]
        if time:
            sign = next((sign for sign in "+−" if sign in time), "")
            parts = [time] if not sign else [time[0], sign, time[2:]]
            tags = ("mi" if time[0] == "t" else "mn", "mo", "mn")
            below += ["".join(f"<{tag}>{part}</{tag}>" for tag, part in zip(tags, parts, strict=False))]
        written = f"<mi>{html.escape(base)}</mi>"
        if below:
            written = f"<msub>{written}<mrow>{'<mo>,</mo>'.join(below)}</mrow></msub>"
        return "<mi>δ</mi>" + written if bare != name else written

    def words(self, words: str) -> str:
        return f"<mtext>{html.escape(words)}</mtext>"

    def number(self, digits: str, exponent: str) -> str:
        written = f"<mn>{digits}</mn>"
        return f"{written}<mo>×</mo>{self.power('<mn>10</mn>', f'<mn>{exponent}</mn>')}" if exponent else written

    def power(self, base: str, exponent: str) -> str:
        return f"<msup>{base}{exponent}</msup>"

    def function(self, name: str, square: str, arguments: Sequence[str]) -> str:
        written = f"<mi>{name}</mi>"
        inner = self.parentheses("<mo>,</mo>".join(arguments))
        return (self.power(written, square) if square else written) + "<mo>&#x2061;</mo>" + inner

    def parentheses(self, inner: str) -> str:
        tall = "<mfrac" in inner or "<mtable" in inner
        stretched = "" if tall else " stretchy='false'"
        return f"<mrow><mo{stretched}>(</mo>{inner}<mo{stretched}>)</mo></mrow>"

    def group(self, inner: str) -> str:
        return f"<mrow>{inner}</mrow>"


TEXT: Final = _Text()
LATEX: Final = _LaTeX()
MATHML: Final = _MathML()
