"""Run a cell over time, and back, in compiled code: one layer and direction on plain tensors.

Nothing here knows of autograd; `elman.backends.dispatch` decides who runs, and `elman.backends.operator` makes it a
citizen of PyTorch.
"""

from __future__ import annotations

import functools
import itertools
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from elman.backends.llvm import runtime
from elman.compiler.graph import Graph
from elman.compiler.plan import Plan, plan

if TYPE_CHECKING:
    from llvmlite import ir

    from elman.backends.llvm.vectors import Shape

__all__ = ["Run", "backward", "forward", "kept_size", "refusal"]

_CHUNK_ROWS = 512  #: rows of a chunk of the backward pass: its δ and operands stay near the processor
_DIRECT_ROWS = 8  #: rows of all steps up to which weights are not worth being packed
_NEAR = 2**20  #: bytes of weights that stay in a core's own cache
_ROWS_NEAR, _ROWS_FAR = 8, 24  #: rows a thread from which rows are shared instead of units, by where the weights are
_SMALL = 1e6  #: floating-point operations below which a second thread is not worth its start


class Run(NamedTuple):
    """What a run gives: outputs ``(batch, time, hidden)``, final states, and what the way back needs."""

    outputs: Tensor
    states: tuple[Tensor, ...]
    kept: Tensor | None


def refusal(graph: Graph, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> str | None:
    """Say why the compiled code cannot run this; None where it can."""
    if not x.shape[0]:
        return "x has no rows"
    return runtime.refusal(x, *state, *parameters.values())


@dataclass(frozen=True)
class _Program:
    """The kernels of a graph for one type, and how many numbers they read in a vector."""

    plan: Plan
    lanes: int
    forward: runtime.Entry
    backward: runtime.Entry


@functools.lru_cache(maxsize=256)
def _program(graph: Graph, size: int) -> _Program:
    from elman.backends.llvm.backward import BACKWARD, backward_fields, write_backward
    from elman.backends.llvm.forward import FORWARD, forward_fields, write_forward
    from elman.backends.llvm.gemm import tiles
    from elman.backends.llvm.team import TEAM_FIELDS

    cell = plan(graph)

    def write(module: ir.Module, shape: Shape) -> None:
        write_forward(module, shape, cell)
        write_backward(module, shape, cell)

    exports = (FORWARD, BACKWARD, f"{FORWARD}_shared", f"{BACKWARD}_shared")
    library = runtime.load("cell", repr(graph), size, write, exports, tiles(size).addresses)
    return _Program(
        cell,
        runtime.shape(size).lanes,
        runtime.Entry(library, FORWARD, (*TEAM_FIELDS, *forward_fields(cell))),
        runtime.Entry(library, BACKWARD, (*TEAM_FIELDS, *backward_fields(cell))),
    )


def kept_size(graph: Graph, batch: int, time: int, hidden: int, dtype: torch.dtype) -> int:
    """Return how many numbers a run keeps for the way back: the states before each step, and values of the steps."""
    cell, width = plan(graph), runtime.shape(dtype.itemsize).lanes
    matrix = -(-hidden // width) * width * (batch | 1)
    return matrix * ((time + 1) * len(graph.states) + time * len(cell.kept))


def forward(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    *,
    valid: Tensor | None = None,
    reset: Tensor | None = None,
    reverse: bool = False,
    keep: bool = False,
) -> Run:
    """Run a cell over all steps; see `elman.backends.reference.unroll`. ``keep`` what `backward` needs, or nothing."""
    batch, time, features = x.shape
    hidden = state[0].shape[1]
    layout = _forward_layout(graph, x.element_size(), batch, time, features, hidden, keep, runtime.team())
    outputs = x.new_empty(batch, time, hidden)
    final = tuple([x.new_empty(batch, hidden) for _ in graph.states])
    kept, work = x.new_empty(layout.kept), x.new_empty(layout.work)
    x, state = _rows_together(x), [_rows_together(s) for s in state]
    weights = [(name, parameter.contiguous()) for name, parameter in parameters.items()]
    flags = _flags(valid, reset, reverse)
    numbers, at = layout.begin(work, kept), layout.entry.at
    _put_strided(numbers, at, "x", x, reverse)
    _put_strided(numbers, at, "y", outputs, reverse)
    for name, tensor in weights:
        numbers[at[name]] = tensor.data_ptr()
    for name, old, new in zip(graph.states, state, final, strict=True):
        numbers[at[f"initial_{name}"]] = old.data_ptr()
        numbers[at[f"initial_row_{name}"]] = old.stride(0)
        numbers[at[f"final_{name}"]] = new.data_ptr()
    if flags is not None:
        numbers[at["flags"]] = flags.data_ptr()
    layout.entry(layout.threads, numbers)
    return Run(outputs, final, kept if keep else None)


def backward(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    state: Sequence[Tensor],
    outputs: Tensor,
    kept: Tensor,
    *,
    valid: Tensor | None,
    reset: Tensor | None,
    reverse: bool,
    grad_outputs: Tensor | None,
    grad_states: Sequence[Tensor | None],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """Run back through all steps.

    Args:
        graph: the equations of a step.
        parameters: as in `forward`.
        x: as in `forward`.
        state: as in `forward`.
        outputs: what `forward` gave.
        kept: what `forward` kept.
        valid: as in `forward`.
        reset: as in `forward`.
        reverse: as in `forward`.
        grad_outputs: gradient of the outputs; None for zeros.
        grad_states: gradients of the final states; None for zeros.
        wanted: names of gradients: ``x``, those of parameters, and ``state:h`` for the initial state h.

    Returns:
        The wanted gradients by name.
    """
    batch, time, features = x.shape
    hidden = state[0].shape[1]
    needs = frozenset(wanted)
    layout = _backward_layout(graph, x.element_size(), batch, time, features, hidden, needs, runtime.team())
    x = _rows_together(x)
    dy = x.new_zeros(hidden).expand(batch, time, hidden) if grad_outputs is None else _rows_together(grad_outputs)
    weights = [(name, parameter.contiguous()) for name, parameter in parameters.items()]
    flags = _flags(valid, reset, reverse)
    work = x.new_empty(layout.work)
    numbers, at = layout.begin(work, kept), layout.entry.at
    _put_strided(numbers, at, "x", x, reverse)
    _put_strided(numbers, at, "dy", dy, reverse)
    gradients: dict[str, Tensor] = {}
    for name, tensor in weights:
        if name != "bias":  # its value plays no part
            numbers[at[name]] = tensor.data_ptr()
        if name in needs:
            gradients[name] = torch.empty_like(tensor)
            numbers[at[f"d{name}"]] = gradients[name].data_ptr()
    if "x" in needs:
        # x that no gate reads has no influence
        gradients["x"] = x.new_empty(x.shape) if graph.input_blocks else x.new_zeros(x.shape)
        _put_strided(numbers, at, "dx", gradients["x"], reverse)
    late = [None if g is None else _rows_together(g) for g in grad_states]
    for name, g in zip(graph.states, late, strict=True):
        if g is not None:
            numbers[at[f"wanted_{name}"]] = g.data_ptr()
            numbers[at[f"wanted_row_{name}"]] = g.stride(0)
        if (key := f"state:{name}") in needs:
            gradients[key] = x.new_empty(batch, hidden)
            numbers[at[f"initial_{name}"]] = gradients[key].data_ptr()
    if flags is not None:
        numbers[at["flags"]] = flags.data_ptr()
    layout.entry(layout.threads, numbers)
    return gradients


@dataclass(frozen=True)
class _Layout:
    """What the shapes of a call decide: most of the numbers of a kernel, and the memory it needs.

    Attributes:
        entry: the kernel.
        threads: how many it runs on.
        numbers: its numbers, where they are known; addresses in the working memory as offsets in bytes.
        places: positions of those.
        work: numbers of the working memory.
        kept: numbers that are kept for the way back; ``values`` of the steps begin behind ``history``, the states.
        values: position of the address of the values that are kept.
        history: see ``kept``, in bytes.
    """

    entry: runtime.Entry
    threads: int
    numbers: array[int]
    places: tuple[int, ...]
    work: int
    kept: int
    history: int

    def begin(self, work: Tensor, kept: Tensor) -> array[int]:
        """Return the numbers of a call, but for the addresses of tensors."""
        numbers, at = array("q", self.numbers), self.entry.at
        base = work.data_ptr()
        for place in self.places:
            numbers[place] += base
        numbers[at["history"]] = kept.data_ptr()
        numbers[at["kept"]] = kept.data_ptr() + self.history
        return numbers


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

    def layout(
        self,
        entry: runtime.Entry,
        team: int,
        given: Mapping[str, int],
        parts: Mapping[str, int],
        kept: int,
        history: int,
    ) -> _Layout:
        """Put the numbers together, and lay the parts of the working memory one after the other."""
        threads, row_parts = self._share(team)
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
        places = tuple(entry.at[name] for name in parts)
        return _Layout(entry, threads, entry.numbers(numbers), places, ends[-1], kept, history * self.size)

    def _share(self, team: int) -> tuple[int, int]:
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


@functools.lru_cache(maxsize=1024)
def _forward_layout(
    graph: Graph, size: int, batch: int, time: int, features: int, hidden: int, keep: bool, team: int
) -> _Layout:
    program = _program(graph, size)
    cell, s = program.plan, _Sizes(graph, size, batch, time, features, hidden)
    direct = batch == 1 or batch * time <= _DIRECT_ROWS
    parts = {
        "biases": len(graph.biases) * s.units,
        "diagonals": len(graph.diagonals) * s.units,
        "operands": len(cell.computed_operands) * s.matrix,
        "crossing": sum(len(phase.crossing) for phase in cell.forward) * s.matrix,
    }
    for p, phase in enumerate(cell.forward):
        for k, product in enumerate(phase.products):
            inner = features if graph.nodes[product.operand].op == "input" else hidden
            parts[f"packed_{p}_{k}"] = 0 if direct else inner * len(product.gates) * s.units
    history = (time + 1 if keep else 2) * len(graph.states) * s.matrix
    values = len(cell.kept) * s.matrix
    given = {"direct": int(direct), "history_mask": -1 if keep else 1, "kept_step": values if keep else 0}
    kept = history + (time if keep else 1) * values
    return s.layout(program.forward, team, given, parts, kept, history)


@functools.lru_cache(maxsize=1024)
def _backward_layout(
    graph: Graph, size: int, batch: int, time: int, features: int, hidden: int, wanted: frozenset[str], team: int
) -> _Layout:
    program = _program(graph, size)
    cell, s = program.plan, _Sizes(graph, size, batch, time, features, hidden)
    chunk = max(1, min(time, _CHUNK_ROWS // batch))
    chunk_rows = (chunk * batch) | 1
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
    history = (time + 1) * len(graph.states) * s.matrix
    return s.layout(program.backward, team, given, parts, history + time * values, history)


def _rows_together(tensor: Tensor) -> Tensor:
    """Return a tensor whose last dimension lies number by number."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _put_strided(numbers: array[int], at: Mapping[str, int], name: str, tensor: Tensor, reverse: bool) -> None:
    """Put the address of a ``(batch, time, features)`` and its strides; in reverse, time begins at its end."""
    row, step, _ = tensor.stride()
    start = tensor.data_ptr()
    if reverse:
        start += (tensor.shape[1] - 1) * step * tensor.element_size()
        step = -step
    numbers[at[name]] = start
    numbers[at[f"{name}_row"]] = row
    numbers[at[f"{name}_step"]] = step


def _flags(valid: Tensor | None, reset: Tensor | None, reverse: bool) -> Tensor | None:
    """Return ``(time, batch)`` in the order of the run: 1 where a row is over, 2 where it begins anew before a step."""
    if valid is None and reset is None:
        return None
    flags = torch.zeros(1, dtype=torch.int64)
    if valid is not None:
        flags = flags + (~valid).long()
    if reset is not None:
        if reverse:  # a reset lies between two steps: who comes from the right meets it one step earlier
            reset = torch.cat([reset[:, 1:], torch.zeros_like(reset[:, :1])], dim=1)
        flags = flags + 2 * reset.long()
    return (flags.flip(1) if reverse else flags).t().contiguous()
