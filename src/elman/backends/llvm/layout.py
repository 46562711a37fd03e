"""What the shapes of a call decide: the numbers of a kernel and the memory it needs, made once for each shape."""

from __future__ import annotations

import functools
import itertools
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from elman.backends.llvm import runtime
from elman.compiler.graph import Graph
from elman.compiler.plan import Plan, plan

if TYPE_CHECKING:
    from llvmlite import ir

    from elman.backends.llvm.vectors import Shape

__all__ = ["Facts", "Layout", "backward_layout", "facts", "forward_layout"]

_CHUNK_ROWS = 512  #: rows of a chunk of the backward pass: its δ and operands stay near the processor
_DIRECT_ROWS = 8  #: rows of all steps up to which weights are not worth being packed
_NEAR = 2**20  #: bytes of weights that stay in a core's own cache
_ROWS_NEAR, _ROWS_FAR = 8, 24  #: rows a thread from which rows are shared instead of units, by where the weights are
_SMALL = 4e5  #: floating-point operations below which a second thread is not worth its start


@dataclass(frozen=True)
class Layout:
    """What the shapes of a call decide: most of the numbers of a kernel, and the memory it needs.

    Attributes:
        entry: the kernel.
        at: positions of its numbers.
        threads: how many it runs on.
        steps: of the run.
        size: bytes of a number.
        numbers: its numbers, where they are known.
        work: numbers of the working memory.
        kept: numbers that are kept for the way back: the states, and behind them the values of the steps.
    """

    entry: runtime.Entry
    at: Mapping[str, int]
    threads: int
    steps: int
    size: int
    numbers: array[int]
    work: int
    kept: int

    def run(self, values: Sequence[int]) -> None:
        """Run with the values of the numbers that begin with the address of x, in their order."""
        numbers, first = array("q", self.numbers), self.at["x"]
        numbers[first : first + len(values)] = array("q", values)
        self.entry(self.threads, numbers)

    def run_named(self, values: Mapping[str, int]) -> None:
        """Run with the values of some numbers, by name."""
        numbers = array("q", self.numbers)
        for name, value in values.items():
            numbers[self.at[name]] = value
        self.entry(self.threads, numbers)

    def strided(self, start: int, row: int, step: int, reverse: int) -> tuple[int, int, int]:
        """Return the address of a ``(batch, time, features)`` and its strides; in reverse, time begins at its end."""
        return (start + (self.steps - 1) * step * self.size, row, -step) if reverse else (start, row, step)


@functools.lru_cache(maxsize=1024)
def forward_layout(
    graph: Graph, size: int, batch: int, time: int, features: int, hidden: int, keep: bool, team: int
) -> Layout:
    """Return the layout of a forward run, which keeps what the way back needs, or nothing."""
    s = _Sizes(graph, size, batch, time, features, hidden)
    return s.layout(_forward_kernel(graph, size), team, _forward_needs(s, keep))


def _forward_needs(s: _Sizes, keep: bool) -> _Needs:
    graph, cell = s.graph, plan(s.graph)
    direct = s.batch == 1 or s.batch * s.time <= _DIRECT_ROWS
    parts = {
        "biases": len(graph.biases) * s.units,
        "diagonals": len(graph.diagonals) * s.units,
        "operands": len(cell.computed_operands) * s.matrix,
        "crossing": sum(len(phase.crossing) for phase in cell.forward) * s.matrix,
    }
    for p, phase in enumerate(cell.forward):
        for k, product in enumerate(phase.products):
            inner = s.features if graph.nodes[product.operand].op == "input" else s.hidden
            parts[f"packed_{p}_{k}"] = 0 if direct else inner * len(product.gates) * s.units
    history = (s.time + 1 if keep else 2) * len(graph.states) * s.matrix
    values = len(cell.kept) * s.matrix
    given = {"direct": int(direct), "history_mask": -1 if keep else 1, "kept_step": values if keep else 0}
    return _Needs(given, parts, history + (s.time if keep else 1) * values, history)


@functools.lru_cache(maxsize=1024)
def backward_layout(
    graph: Graph, size: int, batch: int, time: int, features: int, hidden: int, wanted: frozenset[str], team: int
) -> Layout:
    """Return the layout of a backward run that wants some gradients, by name."""
    s = _Sizes(graph, size, batch, time, features, hidden)
    return s.layout(_backward_kernel(graph, size), team, _backward_needs(s, wanted))


def _backward_needs(s: _Sizes, wanted: Collection[str]) -> _Needs:
    graph, cell = s.graph, plan(s.graph)
    chunk = max(1, min(s.time, _CHUNK_ROWS // s.batch))
    chunk_rows = (chunk * s.batch) | 1
    parts = {
        "diagonals": len(graph.diagonals) * s.units,
        "gradients": 2 * len(graph.states) * s.matrix,
        "delta": (len(graph.gates) + len(graph.diagonals)) * s.units * chunk_rows,
        "x_lines": s.input_vectors * s.lanes * chunk_rows if "weight_x" in wanted else 0,
        "operands": sum(len(phase.operands) for phase in cell.backward) * s.units * chunk_rows,
        "crossing": sum(len(phase.crossing) for phase in cell.backward) * s.matrix,
        "packed_x": len(graph.input_blocks) * s.units * s.input_vectors * s.lanes if "x" in wanted else 0,
    }
    for p, phase in enumerate(cell.backward):
        for k, product in enumerate(phase.products):
            parts[f"packed_{p}_{k}"] = len(product.gates) * s.units * s.units
    values = len(cell.kept) * s.matrix
    given = {"chunk": chunk, "chunk_rows": chunk_rows, "input_vectors": s.input_vectors, "kept_step": values}
    history = (s.time + 1) * len(graph.states) * s.matrix
    return _Needs(given, parts, history + s.time * values, history)


class Facts(NamedTuple):
    """How a run would be laid out.

    Attributes:
        threads: how many it runs on.
        row_parts: into how many parts rows are cut; the threads of a part share the units, and wait at every step.
        direct: weights are read as they lie instead of being packed first.
        chunk: steps whose weight gradients are one product.
        kept: numbers that are kept for the way back.
        forward_work: numbers of the working memory.
        backward_work: the same, on the way back.
    """

    threads: int
    row_parts: int
    direct: bool
    chunk: int
    kept: int
    forward_work: int
    backward_work: int


def facts(
    graph: Graph, size: int, batch: int, time: int, features: int, hidden: int, wanted: Collection[str] | None
) -> Facts:
    """Tell how a run would be laid out, without compiling it; ``wanted`` gradients by name, None for no way back."""
    s = _Sizes(graph, size, batch, time, features, hidden)
    forward, backward = _forward_needs(s, wanted is not None), _backward_needs(s, wanted or ())
    kept = 0 if wanted is None else forward.kept
    forward_work = sum(forward.parts.values()) + forward.kept - kept
    backward_work = 0 if wanted is None else sum(backward.parts.values())
    threads, row_parts = s.share(runtime.team())
    direct, chunk = bool(forward.given["direct"]), backward.given["chunk"]
    return Facts(threads, row_parts, direct, chunk, kept, forward_work, backward_work)


class _Needs(NamedTuple):
    """What a kernel needs besides the sizes: numbers, parts of the working memory, and what `Layout` says of memory."""

    given: Mapping[str, int]
    parts: Mapping[str, int]
    kept: int
    history: int


class _Sizes:
    """The sizes of a layer as its kernels see them."""

    def __init__(self, graph: Graph, size: int, batch: int, time: int, features: int, hidden: int) -> None:
        self.graph = graph
        self.size = size
        self.batch = batch
        self.time = time
        self.features = features
        self.hidden = hidden
        self.lanes = runtime.shape(size).lanes
        self.vectors = -(-hidden // self.lanes)
        self.input_vectors = -(-features // self.lanes)
        self.rows = batch | 1
        self.units = self.vectors * self.lanes
        self.matrix = self.units * self.rows

    def layout(self, entry: runtime.Entry, team: int, needs: _Needs) -> Layout:
        """Put the numbers together, and lay the parts of the working memory one after the other."""
        given, parts, kept, history = needs
        threads, row_parts = self.share(team)
        numbers = {
            "steps": self.time,
            "batch": self.batch,
            "input": self.features,
            "hidden": self.hidden,
            "vectors": self.vectors,
            "rows": self.rows,
            "row_parts": row_parts,
            **given,
        }
        ends = list(itertools.accumulate(parts.values(), initial=0))
        numbers.update({name: end * self.size for name, end in zip(parts, ends[:-1], strict=True)})
        numbers["kept"] = history * self.size
        return Layout(entry, entry.at, threads, self.time, self.size, entry.numbers(numbers), ends[-1], kept)

    def share(self, team: int) -> tuple[int, int]:
        """Return the number of threads, and into how many parts rows are cut: in each, threads share the units."""
        blocks = len(self.graph.input_blocks) * self.features + len(self.graph.hidden_blocks) * self.hidden
        if 2 * self.batch * self.time * self.hidden * blocks < _SMALL:
            return 1, 1
        threads = min(team, self.batch * self.vectors)
        # Threads that own all units of some rows never wait, and read all weights; those that share the units of all
        # rows read a part of the weights, and wait for each other at every step.
        near = self.hidden * blocks * self.size <= _NEAR
        rows = self.batch >= (_ROWS_NEAR if near else _ROWS_FAR) * threads or self.vectors < threads
        return threads, threads if rows else 1


@functools.lru_cache(maxsize=256)
def _forward_kernel(graph: Graph, size: int) -> runtime.Entry:
    from elman.backends.llvm.forward import FORWARD, forward_fields, write_forward

    return _kernel(FORWARD, graph, size, write_forward, forward_fields(plan(graph)))


@functools.lru_cache(maxsize=256)
def _backward_kernel(graph: Graph, size: int) -> runtime.Entry:
    from elman.backends.llvm.backward import BACKWARD, backward_fields, write_backward

    return _kernel(BACKWARD, graph, size, write_backward, backward_fields(plan(graph)))


def _kernel(
    name: str, graph: Graph, size: int, write: Callable[[ir.Module, Shape, Plan], None], fields: Sequence[str]
) -> runtime.Entry:
    """Load a kernel of a cell; each is compiled when it is first needed."""
    from elman.backends.llvm.gemm import tiles
    from elman.backends.llvm.team import TEAM_FIELDS

    def write_module(module: ir.Module, shape: Shape) -> None:
        write(module, shape, plan(graph))

    exports = (name, f"{name}_shared")
    library = runtime.load(name, repr(graph), size, write_module, exports, tiles(size))
    return runtime.Entry(library, name, (*TEAM_FIELDS, *fields))
