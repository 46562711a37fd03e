"""Programs for shapes: a stack of layers, and the whole step of a language model. See `stack_program`, `step_program`.

Each is written once for its shapes: kernels, where in the working memory they put what they pass on, and which operand
each of them reads and writes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from elman.backends.llvm import products
from elman.backends.llvm.layout import Layout, forward_layout
from elman.backends.llvm.program import Part, Place, Program
from elman.compiler.graph import Graph

__all__ = ["Sizes", "stack_program", "step_program"]

_MEMORY: Final = "memory"
_LINE: Final = 64  #: bytes; what threads write apart begins in a line of the cache of its own


class Sizes(NamedTuple):
    """Of a step; None, or False, where a part is not there.

    Attributes:
        embedding: whether inputs are words.
        features: of x, before the input projection.
        projection: outputs of the input projection.
        hidden: units of a layer.
        layers: how many.
        readout: words of the vocabulary.
    """

    embedding: bool
    features: int
    projection: int | None
    hidden: int
    layers: int
    readout: int | None


Strided = tuple[Place, Place, Place]  #: a ``(batch, time, features)``: its address, a row, and a step further


@functools.lru_cache(maxsize=1024)
def stack_program(
    graph: Graph,
    size: int,
    batch: int,
    time: int,
    features: int,
    hidden: int,
    layers: int,
    directions: int,
    parameters: tuple[str, ...],
    team: int,
) -> tuple[Program, int]:
    """Return the program of a stack of layers, and how many numbers its working memory has.

    Its operands: of x the address, from a row and from a step to the next, and the same backward from the last step;
    the outputs, the memory, the flags of both directions; old states, new states, and the parameters of each cell.
    """
    before = ("x", "x_row", "x_step", "x_last", "x_back", "outputs", _MEMORY, "flags_0", "flags_1")
    weights = [f"{name}_{k}" for k in range(layers * directions) for name in parameters]
    draft = _Draft(size, batch, team, [*before, *_states(graph), *weights])
    x: tuple[Strided, ...] = (
        (("x", 0), ("x_row", 0), ("x_step", 0)),
        (("x_last", 0), ("x_row", 0), ("x_back", 0)),
    )
    draft.layers(graph, time, features, hidden, layers, directions, x, ("outputs", 0))
    return draft.program()


@functools.lru_cache(maxsize=1024)
def step_program(
    graph: Graph, size: int, batch: int, sizes: Sizes, weights: tuple[str, ...], team: int
) -> tuple[Program, int]:
    """Return the program of a step, and how many numbers its working memory has.

    Its operands: inputs, outputs, memory; old states, new states; and the weights by name: ``embedding``,
    ``projection``, ``projection_bias``, ``weight_x_0`` and so on for each parameter and layer, ``readout``,
    ``readout_bias``; there may be no biases.
    """
    draft = _Draft(size, batch, team, ["inputs", "outputs", _MEMORY, *_states(graph), *weights])
    x: Place = ("inputs", 0)
    features = sizes.features
    if sizes.embedding:
        x = draft.rows(features, "embedding", x)
    if sizes.projection is not None:
        x = draft.linear(features, sizes.projection, x, "projection", draft.take(batch * sizes.projection))
        features = sizes.projection
    hidden = ("outputs", 0) if sizes.readout is None else draft.take(batch * sizes.hidden)
    strided: Strided = (x, (None, features), (None, features))
    draft.layers(graph, 1, features, sizes.hidden, sizes.layers, 1, (strided,), hidden)
    if sizes.readout is not None:
        draft.linear(sizes.hidden, sizes.readout, hidden, "readout", ("outputs", 0))
        draft.log_softmax(sizes.readout, ("outputs", 0))
    return draft.program()


def _states(graph: Graph) -> list[str]:
    return [f"{when}_{state}" for when in ("old", "new") for state in graph.states]


class _Draft:
    """A program that is being put together, of operands with these names."""

    def __init__(self, size: int, batch: int, team: int, operands: Sequence[str]) -> None:
        self._size = size
        self._batch = batch
        self._team = team
        self._operands = operands
        self._parts: list[Part] = []
        self._taken = 0

    def program(self) -> tuple[Program, int]:
        """Return the program, and its memory in numbers."""
        return Program(self._parts, self._operands), self._taken

    def given(self, names: Mapping[str, str]) -> dict[str, Place]:
        """Return the places of those numbers whose operands there are."""
        return {name: (operand, 0) for name, operand in names.items() if operand in self._operands}

    def take(self, numbers: int) -> Place:
        """Take some of the working memory."""
        place, line = (_MEMORY, self._taken * self._size), _LINE // self._size
        self._taken += -(-numbers // line) * line
        return place

    def rows(self, features: int, table: str, indices: Place) -> Place:
        """Put rows of a table side by side."""
        y = self.take(self._batch * features)
        given = {"rows": (None, self._batch), "features": (None, features), "table": (table, 0)}
        self._dense("rows", 1, {**given, "indices": indices, "y": y})
        return y

    def linear(self, features: int, outputs: int, x: Place, weight: str, y: Place) -> Place:
        """Multiply with weights, and add a bias."""
        layout = products.linear_layout(self._size, self._batch, features, outputs, self._team)
        given: dict[str, Place] = {name: (None, number) for name, number in layout.numbers.items()}
        given |= {"x": x, "x_row": (None, features), "y": y, **self.given({"weight": weight, "bias": f"{weight}_bias"})}
        self._dense("linear", layout.threads, {**given, "packed": self.take(layout.packed)})
        return y

    def log_softmax(self, outputs: int, y: Place) -> None:
        """Turn logits into log-probabilities."""
        chunks = products.log_softmax_chunks(self._batch, outputs)
        threads = products.threads(products.LOG_SOFTMAX_OPERATIONS * self._batch * outputs, self._team)
        given = {"rows": (None, self._batch), "outputs": (None, outputs), "y": y}
        self._dense("log_softmax", threads, {**given, "maxima": self.take(chunks), "sums": self.take(chunks)})

    def _dense(self, name: str, threads: int, given: Mapping[str, Place]) -> None:
        entry = products.kernels(self._size)[name]
        self._parts.append(Part(entry, threads, entry.numbers({}), given))

    def layers(
        self,
        graph: Graph,
        time: int,
        features: int,
        hidden: int,
        layers: int,
        directions: int,
        x: Sequence[Strided],
        y: Place,
    ) -> None:
        """Run layers on top of each other; ``x`` as each direction begins with it."""
        batch, size, width = self._batch, self._size, directions * hidden
        layouts = [forward_layout(graph, size, batch, time, f, hidden, False, self._team) for f in (features, width)]
        memory = self.take(max(layout.kept + layout.work for layout in layouts))
        between = [self.take(batch * time * width) for _ in range(min(layers - 1, 2))]
        for k in range(layers * directions):
            layer, direction = divmod(k, directions)
            layout = layouts[layer > 0]
            target = y if layer == layers - 1 else between[layer % 2]
            own = _strided(layout, _after(target, direction * hidden * size), width, direction)
            given = dict(zip(("x", "x_row", "x_step"), x[direction], strict=True))
            given |= dict(zip(("y", "y_row", "y_step"), own, strict=True))
            given |= {"history": memory, "work": _after(memory, layout.kept * size)}
            given |= self.given({name: f"{name}_{k}" for name in ("weight_x", "weight_h", "bias", "diagonal")})
            given |= self.given({"flags": f"flags_{direction}"})
            for state, (end, when) in itertools.product(graph.states, (("initial", "old"), ("final", "new"))):
                given[f"{end}_{state}"] = (f"{when}_{state}", k * hidden * size)
                given[f"row_{end}_{state}"] = (None, layers * width)
            self._parts.append(Part(layout.entry, layout.threads, layout.numbers, given))
            if direction == directions - 1:
                x = [_strided(layout, target, width, reverse) for reverse in range(directions)]


def _after(place: Place, bytes_further: int) -> Place:
    operand, number = place
    return operand, number + bytes_further


def _strided(layout: Layout, place: Place, width: int, reverse: int) -> Strided:
    """Return a ``(batch, time, width)`` in one piece, of which a layer of one direction takes or makes a part."""
    start, row, step = layout.strided(place[1], layout.steps * width, width, reverse)
    return (place[0], start), (None, row), (None, step)
