"""Run a cell over time, and back, in compiled code: one layer and direction on plain tensors.

Nothing here knows of autograd; `elman.backends.dispatch` decides who runs, and `elman.backends.operator` makes it a
citizen of PyTorch.
"""

from __future__ import annotations

import functools
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

_SIZES = {torch.float32: 4, torch.float64: 8}
_CHUNK_ROWS = 512  #: rows of a chunk of the backward pass: its δ and operands stay near the processor
_SMALL = 1e6  #: floating-point operations below which a second thread is not worth its start


class Run(NamedTuple):
    """What a run gives: outputs ``(batch, time, hidden)``, final states, and what the way back needs."""

    outputs: Tensor
    states: tuple[Tensor, ...]
    kept: Tensor | None


def refusal(graph: Graph, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> str | None:
    """Say why the compiled code cannot run this; None where it can."""
    tensors = [x, *state, *parameters.values()]
    if x.device.type != "cpu":
        return f"x is on {x.device}; the compiled code is for the CPU"
    if x.dtype not in _SIZES:
        return f"x is {x.dtype}; the compiled code is for float32 and float64"
    if any(tensor.dtype != x.dtype or tensor.device != x.device for tensor in tensors):
        return "x, states and weights differ in type or device"
    here = runtime.host()
    return here if isinstance(here, str) else None


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
    cell, width = plan(graph), runtime.shape(_SIZES[dtype]).lanes
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
    program = _program(graph, x.element_size())
    cell, width = program.plan, program.lanes
    batch, time, features = x.shape
    hidden = state[0].shape[1]
    vectors, rows = -(-hidden // width), batch | 1
    matrix = vectors * width * rows
    states = len(graph.states)
    outputs = x.new_empty(batch, time, hidden)
    final = tuple(x.new_empty(batch, hidden) for _ in graph.states)
    history = (time + 1 if keep else 2) * states * matrix
    kept = x.new_empty(history + (time if keep else 1) * len(cell.kept) * matrix)
    x, state = _rows_together(x), [_rows_together(s) for s in state]
    weights = {name: parameter.contiguous() for name, parameter in parameters.items()}
    flags = _flags(valid, reset, reverse)
    parts = {
        "biases": len(graph.biases) * vectors * width,
        "diagonals": len(graph.diagonals) * vectors * width,
        "operands": len(cell.computed_operands) * matrix,
        "crossing": sum(len(phase.crossing) for phase in cell.forward) * matrix,
    }
    for p, phase in enumerate(cell.forward):
        for k, product in enumerate(phase.products):
            inner = features if graph.nodes[product.operand].op == "input" else hidden
            parts[f"packed_{p}_{k}"] = inner * width * len(product.gates) * vectors
    work = x.new_empty(sum(parts.values()))
    threads, row_parts = _share(batch, time, hidden, vectors, work.numel())
    numbers: dict[str, int] = {
        **{"steps": time, "batch": batch, "input": features, "hidden": hidden, "vectors": vectors, "rows": rows},
        "row_parts": row_parts,
        **_strided("x", x, reverse),
        **_strided("y", outputs, reverse),
        **{"flags": _address(flags)},
        **{name: tensor.data_ptr() for name, tensor in weights.items()},
        **{f"initial_{name}": s.data_ptr() for name, s in zip(graph.states, state, strict=True)},
        **{f"initial_row_{name}": s.stride(0) for name, s in zip(graph.states, state, strict=True)},
        **{f"final_{name}": s.data_ptr() for name, s in zip(graph.states, final, strict=True)},
        **{"history": kept.data_ptr(), "history_mask": -1 if keep else 1},
        **{"kept": kept.data_ptr() + history * x.element_size(), "kept_step": len(cell.kept) * matrix if keep else 0},
        **runtime.places(work, parts),
    }
    program.forward(threads, numbers)
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
    program = _program(graph, x.element_size())
    cell, width = program.plan, program.lanes
    batch, time, features = x.shape
    hidden = state[0].shape[1]
    vectors, rows = -(-hidden // width), batch | 1
    matrix = vectors * width * rows
    states = len(graph.states)
    chunk = max(1, min(time, _CHUNK_ROWS // batch))
    chunk_rows = (chunk * batch) | 1
    input_vectors = -(-features // width)
    chunk_matrix = vectors * width * chunk_rows
    x = _rows_together(x)
    dy = x.new_zeros(hidden).expand(batch, time, hidden) if grad_outputs is None else _rows_together(grad_outputs)
    given = [None if g is None else _rows_together(g) for g in grad_states]
    weights = {name: parameter.contiguous() for name, parameter in parameters.items()}
    flags = _flags(valid, reset, reverse)
    gradients = {
        name: x.new_empty(batch, time, features)
        if name == "x"
        else x.new_empty(batch, hidden)
        if name.startswith("state:")
        else torch.empty_like(weights[name])
        for name in wanted
    }
    if "x" in gradients and not graph.input_blocks:
        gradients["x"].zero_()
    parts = {
        "diagonals": len(graph.diagonals) * vectors * width,
        "gradients": 2 * states * matrix,
        "delta": (len(graph.gates) + len(graph.diagonals)) * chunk_matrix,
        "x_lines": input_vectors * width * chunk_rows if "weight_x" in wanted else 0,
        "operands": sum(len(phase.operands) for phase in cell.backward) * chunk_matrix,
        "crossing": sum(len(phase.crossing) for phase in cell.backward) * matrix,
        "packed_x": len(graph.input_blocks) * vectors * width * input_vectors * width if "x" in wanted else 0,
    }
    for p, phase in enumerate(cell.backward):
        for k, product in enumerate(phase.products):
            parts[f"packed_{p}_{k}"] = len(product.gates) * vectors * width * width * vectors
    work = x.new_empty(sum(parts.values()))
    threads, row_parts = _share(batch, time, hidden, vectors, work.numel())
    history = (time + 1) * states * matrix
    dx = gradients.get("x")
    numbers: dict[str, int] = {
        **{"steps": time, "batch": batch, "input": features, "hidden": hidden, "vectors": vectors, "rows": rows},
        "row_parts": row_parts,
        **_strided("x", x, reverse),
        **_strided("dy", dy, reverse),
        **{"flags": _address(flags)},
        **{name: tensor.data_ptr() for name, tensor in weights.items()},
        **{f"wanted_{name}": 0 if g is None else g.data_ptr() for name, g in zip(graph.states, given, strict=True)},
        **{f"wanted_row_{name}": 0 if g is None else g.stride(0) for name, g in zip(graph.states, given, strict=True)},
        **{f"initial_{name}": _address(gradients.get(f"state:{name}")) for name in graph.states},
        **{"history": kept.data_ptr()},
        **{"kept": kept.data_ptr() + history * x.element_size(), "kept_step": len(cell.kept) * matrix},
        **({"dx": 0, "dx_row": 0, "dx_step": 0} if dx is None else _strided("dx", dx, reverse)),
        **{f"d{name}": _address(gradients.get(name)) for name in ("weight_x", "weight_h", "bias", "diagonal")},
        **{"chunk": chunk, "chunk_rows": chunk_rows, "input_vectors": input_vectors},
        **runtime.places(work, parts),
    }
    if not graph.input_blocks:
        numbers["dx"] = 0
    program.backward(threads, numbers)
    return gradients


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _rows_together(tensor: Tensor) -> Tensor:
    """Return a tensor whose last dimension lies number by number."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _strided(name: str, tensor: Tensor, reverse: bool) -> dict[str, int]:
    """Return the address of a ``(batch, time, features)`` and its strides; in reverse, time begins at its end."""
    step = tensor.stride(1)
    start = tensor.data_ptr()
    if reverse:
        start += (tensor.shape[1] - 1) * step * tensor.element_size()
        step = -step
    return {name: start, f"{name}_row": tensor.stride(0), f"{name}_step": step}


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


def _share(batch: int, time: int, hidden: int, vectors: int, weights: int) -> tuple[int, int]:
    """Return the number of threads, and into how many parts the rows are cut: the rest of them share the units."""
    threads = min(runtime.team(), batch * vectors)
    if 2 * batch * time * weights < _SMALL:
        threads = 1
    return threads, (threads if batch >= 16 * threads or vectors < threads else 1)
