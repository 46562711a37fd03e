"""Equations read back from the printed text, and the cells that they are printed for."""

from __future__ import annotations

import re

import numpy as np

from differentiated import EveryOperationCell, TieCell
from elman.cells import Affine, Cell, Diagonal
from elman.cells.words import sigmoid, softplus, tanh
from handwritten import HANDWRITTEN

FUNCTIONS = {
    "σ": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "softplus": lambda a: np.logaddexp(a, 0.0),
    "max": np.maximum,
    "min": np.minimum,
    "√": np.sqrt,
    "diag": np.diag,
}
COMPARE = {"<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal, "=": np.equal}
LETTER = "(?:[^\\Wᵀ²³]|′)"
TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+(?:\.\d+)?)"
    rf"|(?P<loss>∂ℓ)ₜ/∂\w+"
    rf"|(?!\d)(?P<name>{LETTER}+?(?:,\d)?)(?P<time>ₜ₋₁|ₜ₊₁|ₜ|[₀-₉])?(?!{LETTER}|[₊₋])"
    rf"|(?P<sign>\S))"
)


class Reader:
    """Evaluates an expression of the text while it reads it: it knows the notation and nothing of elman's trees."""

    def __init__(self, text, look_up):
        self.look_up = look_up
        self.tokens = [self.token(match) for match in TOKEN.finditer(text)]

    @staticmethod
    def token(match):
        if match["loss"]:
            return "name", ("∂ℓ", "ₜ")
        return ("name", (match["name"], match["time"] or "")) if match["name"] else (match.lastgroup, match[0].strip())

    def all(self):
        value = self.sum()
        assert not self.tokens, self.tokens
        return value

    def sees(self, *signs):
        return next((sign for sign in signs if self.tokens[:1] == [("sign", sign)]), None)

    def take(self, *signs):
        sign = self.sees(*signs)
        if sign:
            self.tokens.pop(0)
        return sign

    def expect(self, *signs):
        sign = self.take(*signs)
        assert sign, f"expected {signs}, got {self.tokens}"
        return sign

    def sum(self):
        total = -self.product() if self.take("−") else self.product()
        while sign := self.take("+", "−"):
            total = total + self.product() if sign == "+" else total - self.product()
        return total

    def product(self):
        value = self.adjacent()
        while sign := self.take("⊙", "/"):
            value = value * self.adjacent() if sign == "⊙" else value / self.adjacent()
        return value

    def adjacent(self):
        """A number scales what follows, a matrix multiplies it, and a vector beside a row makes a matrix."""
        value = self.raised()
        while self.operand_follows():
            other = self.raised()
            if np.ndim(value) == 0:
                value = value * other
            else:
                value = np.outer(value, other) if np.shape(other)[:1] == (1,) else value @ other
        return value

    def operand_follows(self):
        kind, value = self.tokens[0] if self.tokens else ("end", "")
        words = {("if", ""), ("else", "")}
        return (kind in {"number", "name"} and value not in words) or self.sees("(", "[", "√") is not None

    def raised(self):
        value = self.atom()
        while sign := self.take("²", "³", "ᵀ", "^"):
            if sign == "ᵀ":
                value = value.T if value.ndim == 2 else value[None]
            else:
                value = value ** (self.atom() if sign == "^" else {"²": 2, "³": 3}[sign])
        return value

    def condition(self):
        left = self.sum()
        sign = self.expect(*COMPARE)
        return COMPARE[sign](left, self.sum())

    def atom(self):
        kind, value = self.tokens.pop(0)
        if kind == "number":
            return np.float64(value)
        if kind == "name":
            name, time = value
            return self.function(name) if name in FUNCTIONS and not time else self.look_up(name, time)
        if value == "√":
            return self.function("√")
        if value == "|":
            inner = np.abs(self.sum())
            self.expect("|")
            return inner
        if value == "[":
            inner = self.condition().astype(float)
            self.expect("]")
            return inner
        assert value == "(", value
        inner = self.sum()
        if self.tokens[0] == ("name", ("if", "")):
            self.tokens.pop(0)
            held = self.condition()
            assert self.tokens.pop(0) == ("name", ("else", ""))
            inner = np.where(held, inner, self.sum())
        self.expect(")")
        return inner

    def function(self, name):
        squared = self.take("²")
        self.expect("(")
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        self.expect(")")
        value = FUNCTIONS[name](*arguments)
        return value**2 if squared else value


def sections(text):
    """The groups of equations of a text, each a list of (target, expression)."""
    groups = []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            groups.append([])
        elif re.match(r" +[+−] ", line):
            groups[-1][-1][1] += " " + line.strip()
        elif line:
            groups[-1].append(line.strip().split(" = ", 1))
    return [group for group in groups if group]


def symbols_of(cell):
    """The parameters of a cell by their printed names, and the part of each packed parameter."""
    for part in cell.gate_parameters:
        alike = [p for p in cell.gate_parameters if (p.gate, p.packed) == (part.gate, part.packed)]
        below = [part.gate] * (len(cell.gates) > 1) + [str(alike.index(part) + 1)] * (len(alike) > 1)
        letter = {"weight_x": "W", "weight_h": "U", "bias": "b"}.get(part.packed)
        if letter in {name.partition("_")[0] for name in cell.diagonals}:
            letter += "′"
        yield (part.gate if letter is None else "_".join([letter, ",".join(below)]).rstrip("_")), part


class CollidingNamesCell(Cell):
    """Names that the notation would like for itself, and a gate read before and behind its non-linearity."""

    states = ("h", "α", "n")
    n_x, n_h, a_s, s = Affine(), Affine(), Affine(), Affine()
    b_s, U = Diagonal(), Diagonal()

    def step(self, x, h, α, n):
        s = softplus(self.s(x, h) + self.b_s(α))
        m = tanh(self.n_x(x) + s * self.n_h(h))
        return m * sigmoid(self.a_s(x, α * m)) + self.U(n), m * m - α * 0.25, -n * s


class IntegratorCell(Cell):
    """States that pass their gradients on unchanged, one of them never read, and a gate that is a state."""

    states = ("h", "c", "unread")
    a, d = Affine(), Affine(bias=None)

    def step(self, x, h, c, unread):
        new = h + tanh(self.a(x, h))
        return new, c + new, self.d(new)


WRITTEN_HERE = [EveryOperationCell, TieCell, CollidingNamesCell, IntegratorCell]
CELLS = [*Cell.registry.values(), *HANDWRITTEN, *WRITTEN_HERE]
