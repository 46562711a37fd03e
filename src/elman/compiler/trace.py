"""Run a step on symbols and write down what it does.

The step of a cell is ordinary Python; called with symbols instead of tensors, every operation on them becomes a node of
a graph. What cannot be written down (a branch on a value, a function of another library) is an error that names the
line of the step and says what to write instead.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from elman.compiler.graph import ARITY, Graph, Node, Nodes
from elman.errors import TraceError, did_you_mean

__all__ = ["Symbol", "trace"]

_ELMAN = Path(__file__).parents[1]
_MACHINERY = (str(_ELMAN / "compiler"), str(_ELMAN / "cells" / "cell.py"), str(_ELMAN / "cells" / "words.py"))
_OPERATORS = {"add", "subtract", "multiply", "divide", "power", "negate", "less", "less_equal"}
_WORDS = sorted({*ARITY} - _OPERATORS)


class Symbol:
    """A value of a step while it is traced: stands for a tensor ``(batch, hidden)``, or ``(batch, input)`` for x."""

    __slots__ = ("_index", "_tracer")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tracer: _Tracer, index: int) -> None:
        self._tracer = tracer
        self._index = index

    @staticmethod
    def apply(op: str, *operands: Any) -> Symbol:
        """Record a pointwise operation of which at least one operand is a symbol."""
        tracer = next(operand for operand in operands if isinstance(operand, Symbol))._tracer
        return tracer.pointwise(op, operands)

    def affine(self, gate: str, operands: Sequence[Any]) -> Symbol:
        """Record the call of a gate on operands of which this is one."""
        return self._tracer.affine(gate, operands)

    def diagonal(self, name: str) -> Symbol:
        """Record a product with one weight a unit."""
        return self._tracer.diagonal(name, self)

    def __add__(self, other: Any) -> Symbol:
        return Symbol.apply("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return Symbol.apply("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return Symbol.apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return Symbol.apply("subtract", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return Symbol.apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return Symbol.apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return Symbol.apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return Symbol.apply("divide", other, self)

    def __pow__(self, other: Any) -> Symbol:
        return Symbol.apply("power", self, other)

    def __rpow__(self, other: Any) -> Symbol:
        return Symbol.apply("power", other, self)

    def __neg__(self) -> Symbol:
        return Symbol.apply("negate", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return Symbol.apply("abs", self)

    def __lt__(self, other: Any) -> Symbol:
        return Symbol.apply("less", self, other)

    def __le__(self, other: Any) -> Symbol:
        return Symbol.apply("less_equal", self, other)

    def __gt__(self, other: Any) -> Symbol:
        return Symbol.apply("less", other, self)

    def __ge__(self, other: Any) -> Symbol:
        return Symbol.apply("less_equal", other, self)

    def __eq__(self, other: object) -> NoReturn:
        _refuse("compares values for equality", "Compare with < or >=, inside where(condition, a, b).")

    def __ne__(self, other: object) -> NoReturn:
        _refuse("compares values for equality", "Compare with < or >=, inside where(condition, a, b).")

    def __bool__(self) -> NoReturn:
        _refuse(
            "branches on a value", "Write where(condition, a, b): both sides are equations, one is chosen per unit."
        )

    def __float__(self) -> NoReturn:
        _refuse("turns a value into a Python number", "Use the words of elman: " + ", ".join(_WORDS) + ".")

    __int__ = __index__ = __complex__ = __float__

    def __iter__(self) -> NoReturn:
        _refuse("takes a value apart", "Every operation of a step acts on all units alike; declare one gate a part.")

    def __len__(self) -> NoReturn:
        self.__iter__()

    def __getitem__(self, _: Any) -> NoReturn:
        self.__iter__()

    def __matmul__(self, _: Any) -> NoReturn:
        _refuse("multiplies matrices by hand", "Declare a gate, g = Affine(), and call self.g(x, h): W x + U h + b.")

    __rmatmul__ = __matmul__

    def __and__(self, _: Any) -> NoReturn:
        _refuse("combines comparisons with &, | or ~", "Nest them: where(a, where(b, yes, no), no).")

    __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __and__

    def __invert__(self) -> NoReturn:
        self.__and__(self)

    def __floordiv__(self, _: Any) -> NoReturn:
        _refuse("rounds a value", "A step is differentiated, and a rounded value has no derivative.")

    __rfloordiv__ = __mod__ = __rmod__ = __floordiv__

    def __round__(self, _: Any = None) -> NoReturn:
        self.__floordiv__(self)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self.__float__()

    def __array_ufunc__(self, function: Any, _: str, *operands: Any, **__: Any) -> Symbol:
        name = function.__name__
        if name not in _OPERATORS:  # those are a NumPy number on the left of a Python operator
            hint = f"Use elman.{name}." if name in _WORDS else did_you_mean(name, _WORDS)
            _refuse(f"calls the NumPy function {name}", hint)
        return Symbol.apply(name, *operands)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # a protocol that Python or a library asks for, not a word of the step
            raise AttributeError(name)
        hint = f"Write {name}(value), imported from elman." if name in _WORDS else f"{did_you_mean(name, _WORDS)}"
        _refuse(f"uses the tensor attribute .{name}", hint)

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any, **__: Any) -> NoReturn:
        name = getattr(function, "__name__", str(function))
        hint = f"Use elman.{name}." if name in _WORDS else f"{did_you_mean(name, _WORDS)} Constants are Python numbers."
        _refuse(f"calls the torch function {name}", hint)

    def __repr__(self) -> str:
        node = self._tracer.nodes[self._index]
        return f"<{node.name or node.op} of a traced step>"


class _Tracer:
    """Collects the nodes of one step; equal values get one node."""

    def __init__(self, states: Sequence[str]) -> None:
        self.nodes = Nodes()
        self.lines: list[str] = []
        self.x = self.record(Node("input", name="x"))
        self.states = [self.record(Node("state", name=name)) for name in states]

    def record(self, node: Node) -> Symbol:
        position = self.nodes.position(node)
        if position == len(self.lines):  # a new one
            self.lines.append(_line_of_step())
        return Symbol(self, position)

    def pointwise(self, op: str, operands: Sequence[Any]) -> Symbol:
        indices = tuple(self._operand(operand) for operand in operands)
        for position, index in enumerate(indices):
            node = self.nodes[index]
            wants_truth = op == "where" and position == 0
            if node.op == "input":
                _refuse("uses x outside a gate", "x has its own size: read it through a gate, a = Affine(); self.a(x).")
            if (node.op in {"less", "less_equal"}) != wants_truth:
                what = "chooses by a value that is no comparison" if wants_truth else "computes with a comparison"
                _refuse(what, "A comparison is the first operand of where(condition, a, b), and only that.")
        if op == "where" and all(self.nodes[k].op == "constant" for k in indices[1:]):
            _refuse("chooses between two constants", "One side must be a value of the step.")
        return self.record(Node(op, indices))

    def affine(self, gate: str, operands: Sequence[Any]) -> Symbol:
        for operand in operands:
            if not isinstance(operand, Symbol):
                _refuse(f"calls the gate {gate} with {type(operand).__name__}", "A gate reads x, states and values.")
        indices = tuple(self._operand(operand) for operand in operands)
        if len(set(indices)) < len(indices):
            _refuse(f"calls the gate {gate} with the same operand twice", "One weight matrix an operand is enough.")
        return self._parameter(Node("affine", indices, name=gate), "gate", "declare a second gate")

    def diagonal(self, name: str, operand: Any) -> Symbol:
        index = self._operand(operand)
        if self.nodes[index].op == "input":
            _refuse(f"calls the diagonal {name} with x", "x has its own size: read it through a gate, a = Affine().")
        return self._parameter(Node("diagonal", (index,), name=name), "diagonal", "declare a second diagonal")

    def _parameter(self, node: Node, kind: str, remedy: str) -> Symbol:
        for other in self.nodes:
            if other.op == node.op and other.name == node.name and other != node:
                _refuse(f"calls the {kind} {node.name} twice with different operands", f"If that is meant, {remedy}.")
        if any(self.nodes[k].op in {"less", "less_equal", "constant"} for k in node.operands):
            _refuse(f"calls the {kind} {node.name} with a comparison or a constant", "It reads states and values.")
        return self.record(node)

    def _operand(self, value: Any) -> int:
        if isinstance(value, Symbol):
            if value._tracer is not self:
                _refuse("uses a value of another trace", "Keep nothing on self between steps: declare a state.")
            return value._index
        if isinstance(value, bool) or not isinstance(value, int | float):
            _refuse(f"computes with a {type(value).__name__}", "Constants are Python numbers.")
        return self.record(Node("constant", value=float(value)))._index


def trace(
    step: Callable[..., Any],
    *,
    cell: str,
    states: Sequence[str],
    gates: Sequence[str],
    biases: Sequence[str],
    diagonals: Sequence[str],
) -> Graph:
    """Write the equations of a step down.

    Args:
        step: ``step(x, *states)``, which returns the new states in the order of ``states`` (one alone may come bare).
        cell: name of the cell, for messages.
        states: names of the states.
        gates: names of the declared gates, in order of declaration.
        biases: names of those that have a bias.
        diagonals: names of the declared diagonals, in order of declaration.

    Raises:
        TraceError: the step does what cannot be written as equations; the message names its line.
    """
    tracer = _Tracer(states)
    try:
        result = step(tracer.x, *tracer.states)
    except TraceError as error:
        raise TraceError(f"{cell}: {error}") from None
    values = result if isinstance(result, tuple | list) else (result,)
    expected = f"the new {'states' if len(states) > 1 else 'state'} {', '.join(states)}"
    if len(values) != len(states) or not all(isinstance(value, Symbol) for value in values):
        got = ", ".join(type(value).__name__ if not isinstance(value, Symbol) else "a value" for value in values)
        raise TraceError(f"{cell}: step must return {expected}, got ({got}).")
    outputs = tuple(value._index for value in values)
    for state, index in zip(states, outputs, strict=True):
        if tracer.nodes[index].op in {"input", "constant", "less", "less_equal"}:
            what = {"input": "x", "constant": "a constant"}.get(tracer.nodes[index].op, "a comparison")
            raise TraceError(f"{cell}: step returns {what} as state {state}; it must be a value computed in the step.")
    _check_use(tracer, outputs, cell, gates, diagonals)
    nodes, outputs = _without_dead_nodes(tracer, outputs)
    return Graph(nodes, tuple(states), outputs, tuple(gates), tuple(biases), tuple(diagonals))


def _check_use(
    tracer: _Tracer, outputs: Sequence[int], cell: str, gates: Sequence[str], diagonals: Sequence[str]
) -> None:
    """Every declared weight must be called, and what it gives must reach a state."""
    alive = _alive(tracer.nodes, outputs)
    for op, names in (("affine", gates), ("diagonal", diagonals)):
        for name in names:
            found = [k for k, node in enumerate(tracer.nodes) if node.op == op and node.name == name]
            kind = "gate" if op == "affine" else "diagonal"
            if not found:
                raise TraceError(
                    f"{cell}: the {kind} {name} is declared and never used. Call it in step, or delete it."
                )
            if found[0] not in alive:
                raise TraceError(
                    f"{cell}: the {kind} {name} is called and its value goes nowhere ({tracer.lines[found[0]]}). "
                    f"Let it reach a state, or delete it."
                )


def _alive(nodes: Sequence[Node], outputs: Sequence[int]) -> set[int]:
    alive: set[int] = set()
    waiting = list(outputs)
    while waiting:
        index = waiting.pop()
        if index not in alive:
            alive.add(index)
            waiting.extend(nodes[index].operands)
    return alive


def _without_dead_nodes(tracer: _Tracer, outputs: tuple[int, ...]) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    alive = _alive(tracer.nodes, outputs)
    kept = [k for k, node in enumerate(tracer.nodes) if k in alive or node.op in {"input", "state"}]
    place = {old: new for new, old in enumerate(kept)}
    nodes = (tracer.nodes[k] for k in kept)
    renumbered = tuple(Node(n.op, tuple(place[k] for k in n.operands), n.name, n.value) for n in nodes)
    return renumbered, tuple(place[k] for k in outputs)


def _line_of_step() -> str:
    """Return the innermost line that is neither elman's own machinery nor torch's: the line of the step."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(_MACHINERY)
        or frame.f_globals.get("__name__", "").partition(".")[0] == "torch"
    ):
        frame = frame.f_back
    path, number = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(path, number).strip()
    return f"{Path(path).name}:{number}{': ' + source if source else ''}"


def _refuse(what: str, instead: str) -> NoReturn:
    raise TraceError(f"step {what} ({_line_of_step()}). {instead}")
