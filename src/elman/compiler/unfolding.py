"""The loss of a few steps, unfolded over time: which part of the gradient flows along which path.

Back-propagation through time is the chain rule on the unfolded graph. The gradient of a state is a sum over the losses
of its own and of later steps. Each term is again a sum, over the paths from that loss back to the state, of the product
of the Jacobians along the path; where paths are many, it is written by those of what reads the state.

Source: R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML (2013), eq. 3
to 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final

from elman.compiler.drawing import Drawing
from elman.compiler.equations import Derivation, Equation, derive
from elman.compiler.expression import Expression, add, operation, symbol
from elman.compiler.graph import Graph
from elman.compiler.jacobians import jacobians
from elman.compiler.values import Values, free_letters
from elman.errors import OptionError, describe

__all__ = ["STEPS", "Unfolding", "unfold"]

STEPS: Final = range(2, 10)
_LISTED: Final = 5  # more paths than these nobody reads one by one

#: A state at a step of the sequence.
_Node = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Unfolding:
    """The gradients of a short sequence as sums over losses and paths, each group in an order of evaluation.

    In all of them ∂ is a derivative of one equation, where the other states stand still, and d a derivative through
    everything between. Derivatives by a state are rows, and Jacobians have a row for each unit of what is derived.

    Attributes:
        drawing: of the unfolded graph.
        loss: the loss of all steps.
        forward: one step.
        jacobians: between the states of one step.
        recursion: the gradient of each state, from those of what reads it.
        steps: for each step, from the last to the first: the gradient of each state as a sum over the losses, and every
            term of that, with its path as a remark on each of its terms.
        gates: δ of states and gates, at every step.
        parameters: gradients of the weights as sums over the steps.
        identity: the name of the identity among the Jacobians.
    """

    drawing: Drawing
    loss: tuple[Equation, ...]
    forward: tuple[Equation, ...]
    jacobians: tuple[Equation, ...]
    recursion: tuple[Equation, ...]
    steps: tuple[tuple[Equation, ...], ...]
    gates: tuple[Equation, ...]
    parameters: tuple[Equation, ...]
    identity: Expression

    def sections(self) -> Iterator[tuple[str, Drawing | tuple[Equation, ...]]]:
        """The groups with their headings."""
        last = len(self.steps)
        yield f"Unfolded over {last} steps", self.drawing
        yield "The loss of all steps", self.loss
        yield f"Forward, t from 1 to {last}", self.forward
        yield "Jacobians between the states of a step", self.jacobians
        yield f"The chain rule, t from {last} to 1", self.recursion
        for time, equations in zip(range(last, 0, -1), self.steps, strict=True):
            yield f"Step {time}, by losses and paths", equations
        yield f"States and gates, t from {last} to 1", self.gates
        yield "Gradients of the weights", self.parameters

    def notes(self) -> Iterator[tuple[str | Expression, ...]]:
        """What the reader has to know, sentence by sentence; expressions stand among the words."""
        a, b, v, delta = symbol("a"), symbol("b"), symbol("v"), symbol("δ")
        yield (
            operation("partial", a, b),
            " is the derivative of one equation, where the other states stand still; ",
            operation("derivative", a, b),
            " goes through everything between.",
        )
        yield "A derivative by a state is a row, so that a product is read along its path; ", delta, " is a column."
        yield Expression("diag", (v,)), " is a matrix with ", v, " on its diagonal."
        parts = {part for e in self._equations() for tree in (e.expression, *e.remarks) for part in tree.parts()}
        if self.identity in parts:
            yield self.identity, " is the identity."
        last = len(self.steps)
        yield (f"At t = {last} every derivative of step {last + 1} is 0.",)
        yield delta, " of a gate is the gradient of its pre-activation, before the non-linearity."
        operations = {part.op for part in parts}
        if "words" in operations:
            yield ("A number of paths on a path stands for all that lead from the loss to the next state.",)
        if "indicator" in operations:
            yield Expression("indicator", (symbol("condition"),)), " is 1 where the condition holds, and 0 elsewhere."

    def _equations(self) -> Iterator[Equation]:
        for _, content in self.sections():
            if not isinstance(content, Drawing):
                yield from content


def unfold(graph: Graph, steps: int = 3) -> Unfolding:
    """Unfold the loss over some steps.

    Raises:
        OptionError: the steps are not 2 to 9.

    Example:
        >>> from elman.cells import RNNCell
        >>> from elman.compiler.notation import TEXT
        >>> unfolding = unfold(RNNCell(2, 3).graph)
        >>> for equation in (*unfolding.jacobians, *unfolding.recursion, *unfolding.steps[-1]):
        ...     print(TEXT.expression(equation.target), "=", TEXT.expression(equation.expression))
        ∂hₜ/∂hₜ₋₁ = diag(1 − hₜ²) U
        dL/dhₜ = ∂ℓₜ/∂hₜ + dL/dhₜ₊₁ · ∂hₜ₊₁/∂hₜ
        dL/dh₁ = dℓ₁/dh₁ + dℓ₂/dh₁ + dℓ₃/dh₁
        dℓ₁/dh₁ = ∂ℓ₁/∂h₁
        dℓ₂/dh₁ = ∂ℓ₂/∂h₂ · ∂h₂/∂h₁
        dℓ₃/dh₁ = ∂ℓ₃/∂h₃ · ∂h₃/∂h₂ · ∂h₂/∂h₁
    """
    if steps not in STEPS:
        raise OptionError(
            describe("the number of steps to unfold", expected=f"{STEPS[0]} to {STEPS[-1]}", got=str(steps))
        )
    values = Values(graph, free_letters({"x", *graph.states, *graph.gates, *graph.diagonals}))
    between = jacobians(values)
    reads = tuple((state, read.name, int(read.time != "t")) for state, read in between)
    unfolded = _Unfolded(graph.states, reads, steps)
    derived = derive(graph)
    return Unfolding(
        drawing=Drawing(graph.states, steps, reads),
        loss=(Equation(symbol("L"), add(*(symbol("ℓ", str(t)) for t in range(1, steps + 1)))),),
        forward=derived.forward,
        jacobians=tuple(Equation(operation("partial", symbol(s, "t"), r), e) for (s, r), e in between.items()),
        recursion=tuple(unfolded.recursion()),
        steps=tuple(tuple(unfolded.at_step(t)) for t in range(steps, 0, -1)),
        gates=tuple(_gates(graph, derived)),
        parameters=tuple(_over_time(equation, steps) for equation in derived.parameters),
        identity=values.identity,
    )


class _Unfolded:
    """The graph of the states over time."""

    def __init__(self, states: tuple[str, ...], reads: tuple[tuple[str, str, int], ...], steps: int) -> None:
        self._output = states[0]
        self._reads = reads
        self._steps = steps
        self._states = [*dict.fromkeys(s for state in states for s in self._readers_first(state))]
        self._paths = cache(self._count)

    def _readers_first(self, state: str) -> Iterator[str]:
        """A state behind those that read it in the same step."""
        for reader, read, ago in self._reads:
            if read == state and not ago:
                yield from self._readers_first(reader)
        yield state

    def _readers(self, state: str, time: int) -> Iterator[_Node]:
        """What reads a state, in its own step and in the one after."""
        for later in (0, 1):
            for reader, read, ago in self._reads:
                if (read, ago) == (state, later):
                    yield reader, time + later

    def _count(self, state: str, time: int, loss: int) -> int:
        """How many paths lead from the loss of a step back to a state."""
        if time > loss:
            return 0
        here = (state, time) == (self._output, loss)
        return here + sum(self._paths(*reader, loss) for reader in self._readers(state, time))

    def _all_paths(self, state: str, time: int, loss: int) -> Iterator[tuple[_Node, ...]]:
        """The paths themselves, from the output of the step of the loss to the state."""
        if (state, time) == (self._output, loss):
            yield ((state, time),)
        for reader in self._readers(state, time):
            if self._paths(*reader, loss):
                yield from ((*path, (state, time)) for path in self._all_paths(*reader, loss))

    def recursion(self) -> Iterator[Equation]:
        """The chain rule, from what reads a state."""
        times = ("t", "t+1")
        for state in self._states:
            own = symbol(state, "t")
            terms = [operation("partial", symbol("ℓ", "t"), own)] if state == self._output else []
            for reader, later in self._readers(state, 0):
                read_by = symbol(reader, times[later])
                terms.append(_chain(operation("derivative", symbol("L"), read_by), operation("partial", read_by, own)))
            yield Equation(operation("derivative", symbol("L"), own), add(*terms))

    def at_step(self, time: int) -> Iterator[Equation]:
        """The gradients of the states of a step: sums over the losses, and each of their terms."""
        for state in self._states:
            own = symbol(state, str(time))
            losses = [loss for loss in range(time, self._steps + 1) if self._paths(state, time, loss)]
            terms = [operation("derivative", symbol("ℓ", str(loss)), own) for loss in losses]
            yield Equation(operation("derivative", symbol("L"), own), add(*terms))
            for loss, term in zip(losses, terms, strict=True):
                listed = self._paths(state, time, loss) <= _LISTED
                found = [*(self._listed if listed else self._by_readers)(state, time, loss)]
                products, paths = zip(*found, strict=True)
                yield Equation(term, add(*products), paths)

    def _listed(self, state: str, time: int, loss: int) -> Iterator[tuple[Expression, Expression]]:
        """The product of derivatives along each path, and the path."""
        for path in self._all_paths(state, time, loss):
            nodes = [symbol("ℓ", str(loss)), *(symbol(name, str(when)) for name, when in path)]
            steps = (operation("partial", a, b) for a, b in pairwise(nodes))
            yield _chain(*steps), Expression("path", tuple(nodes))

    def _by_readers(self, state: str, time: int, loss: int) -> Iterator[tuple[Expression, Expression]]:
        """The paths by their last part, each with the number of paths before."""
        own, lost = symbol(state, str(time)), symbol("ℓ", str(loss))
        for name, when in self._readers(state, time):
            if paths := self._paths(name, when, loss):
                reader = symbol(name, str(when))
                product = _chain(operation("derivative", lost, reader), operation("partial", reader, own))
                before = Expression("words", name="1 path" if paths == 1 else f"{paths} paths")
                yield product, Expression("path", (lost, before, reader, own))


def _chain(*factors: Expression) -> Expression:
    """A product of derivatives."""
    return factors[0] if len(factors) == 1 else Expression("chain", factors)


def _gates(graph: Graph, derived: Derivation) -> Iterator[Equation]:
    """δ of the states are their gradients as columns; those of the gates follow in the same step."""
    states = {symbol(f"δ{state}", "t"): symbol(state, "t") for state in graph.states}
    for target, state in states.items():
        yield Equation(target, operation("transpose", operation("derivative", symbol("L"), state)))
    yield from (equation for equation in derived.backward if equation.target not in states)


def _over_time(equation: Equation, steps: int) -> Equation:
    """A sum over the steps, written out."""
    (term,) = equation.expression.operands
    terms = (term.at({"t": str(t), "t−1": str(t - 1)}) for t in range(1, steps + 1))
    return Equation(equation.target, add(*terms))
