"""What runs a layer, why, and what it costs. See `explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from elman.backends import dispatch, selection
from elman.backends.call import Call
from elman.backends.llvm import runtime
from elman.backends.llvm.expectation import backward_share, forward_share
from elman.backends.llvm.layout import Facts, facts
from elman.backends.segments import segments
from elman.compiler.plan import plan
from elman.compiler.work import (
    Sizes,
    backward_operations,
    backward_products,
    forward_operations,
    forward_products,
    gradient_products,
)
from elman.errors import OptionError, ShapeError, describe
from elman.layers.explanation import Code, Explanation, Pass, Phase, Run, amount, together
from elman.layers.projection import folds
from elman.layers.recurrent import Recurrent

__all__ = ["explain"]


def explain(layer: Recurrent, x: Tensor | Sequence[int]) -> Explanation:
    """Say what runs a layer on x, why, and what it costs; nothing is run or compiled.

    It holds for a call here and now: for the threads that torch has, inside or outside of `elman.backend` and
    `torch.no_grad`, and for the parameters that ask for gradients. `elman bench` measures what this foresees.

    Args:
        layer: a recurrent layer.
        x: what the layer would be called with, or its shape ``(batch, time, input_size)``: then x asks for no gradient
            and has the type and the device of the weights.

    Raises:
        ShapeError: the layer does not read such an x.
        OptionError: ``layer`` is no recurrent layer of elman.

    Example:
        >>> from elman import LSTM
        >>> explanation = explain(LSTM(128, 128), (32, 28, 128))
        >>> (run,) = explanation.runs
        >>> run.name, run.forward.flops, run.backward.flops
        ('layer_0/forward', 234881024, 352321536)
        >>> print(explanation)
        LSTM(LSTMCell, 128, 128) on x (32, 28, 128), float32, ...
    """
    if not isinstance(layer, Recurrent):
        got = type(layer).__name__
        raise OptionError(describe("explain: layer", expected="a recurrent layer of elman", got=got))
    parameters = [layer._parameters_of(cell) for _, cell in layer.named_cells()]
    x = x if isinstance(x, Tensor) else _of_shape(x, next(iter(parameters[0].values())))
    batch, time = layer._checked_sizes(x, parameters[0])
    runs: list[Run] = []
    inputs, x_asks, notes = _projected(layer, x, parameters)
    for k, (name, _) in enumerate(layer.named_cells()):
        direction = k % layer.directions
        if k and not direction:
            inputs = inputs.new_zeros(()).expand(batch, time, layer.directions * layer.hidden_size)
            x_asks = any(run.gradients for run in runs[-layer.directions :])
        call = Call(layer.graph, reverse=direction == 1, recompute=layer.recompute)
        runs.append(_run(name, call, parameters[k], inputs, layer.hidden_size, x_asks))
    if layer.recompute and any(run.backward for run in runs):
        notes.append("recompute: the way back runs every step forward once more, which counts as backward")
    if selection.wanted() == "llvm" and any(run.backend != "llvm" for run in runs):
        notes.append("elman.backend('llvm') allows compiled code alone: a call raises BackendError")
    shape = (batch, time, layer.input_size)
    name = f"{type(layer).__name__}({layer.extra_repr()})"
    return Explanation(name, shape, _name(x.dtype), torch.get_num_threads(), tuple(notes), tuple(runs))


def _of_shape(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a tensor of a shape that takes no memory."""
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        expected = "a tensor, or its shape (batch, time, input_size)"
        raise ShapeError(describe("explain: x", expected=expected, got=repr(shape)))
    return like.new_zeros(()).expand(*shape)


def _projected(layer: Recurrent, x: Tensor, parameters: list[Mapping[str, Tensor]]) -> tuple[Tensor, bool, list[str]]:
    """Return what the first layer reads, whether it asks for a gradient, and what is to be said about it.

    Where a projection folds, parameters of the first layer are exchanged for what stands for the folded ones.
    """
    projection, asked = layer.projection, torch.is_grad_enabled()
    if projection is None:
        return x, asked and x.requires_grad, []
    (rows, time), width = x.shape[:2], projection.out_features
    what = f"input projection {layer.input_size} → {width}"
    dropped = layer.training and layer.input_dropout > 0
    graph, first = layer.cell_at(0, 0).graph, parameters[: layer.directions]
    if not dropped and folds(graph, first[0], projection, rows * time):
        parameters[: layer.directions] = [_folded(held, projection) for held in first]
        flops = len(first) * 2 * first[0]["weight_x"].numel() * layer.input_size
        return x, asked and x.requires_grad, [f"{what}: folded into the weights, {amount(flops)}FLOP forward"]
    device = x.device.type
    casts = torch.is_autocast_enabled(device) and x.dtype != torch.float64
    kind = torch.get_autocast_dtype(device) if casts else x.dtype
    flops = 2 * rows * time * layer.input_size * width
    asked = asked and (x.requires_grad or any(p.requires_grad for p in projection.parameters()))
    between = x.new_zeros((), dtype=kind).expand(rows, time, width)
    return between, asked, [f"{what}: a product of its own, {amount(flops)}FLOP forward"]


def _folded(parameters: Mapping[str, Tensor], projection: nn.Linear) -> dict[str, Tensor]:
    """Return parameters of the shapes that `elman.layers.projection.folded` gives, which ask for a gradient as they."""
    weight, bias = parameters["weight_x"], parameters["bias"]
    asks = weight.requires_grad or projection.weight.requires_grad
    folded = weight.new_zeros(()).expand(len(weight), projection.in_features).requires_grad_(asks)
    asks = weight.requires_grad or bias.requires_grad or projection.bias.requires_grad
    shifted = bias.new_zeros(()).expand(len(bias)).requires_grad_(asks)
    return {**parameters, "weight_x": folded, "bias": shifted}


def _run(name: str, call: Call, parameters: Mapping[str, Tensor], x: Tensor, hidden: int, x_asks: bool) -> Run:
    """Explain one layer and direction."""
    batch, time, features = x.shape
    state = [x.new_zeros(()).expand(batch, hidden)] * len(call.graph.states)
    choice = dispatch.choose(call.graph, parameters, x, state)
    asked = {name for name, tensor in parameters.items() if tensor.requires_grad and torch.is_grad_enabled()}
    gradients = tuple(name for name in call.names if name in asked or (name == "x" and x_asks))
    sizes = Sizes(batch, time, features, hidden)
    weights = sum(p.numel() * p.element_size() for p in parameters.values())
    if choice.name == "llvm":
        return _compiled(name, choice, call, sizes, x, gradients, weights)
    forward, backward = _phases(call, sizes, gradients, chunk=1)
    flops = _flops(forward), _flops(backward)
    back = Pass((), flops[1] + call.recompute * flops[0], None) if gradients else None
    return Run(name, *choice, None, Pass((), flops[0], None), back, gradients, weights, None)


def _compiled(
    name: str, choice: dispatch.Choice, call: Call, sizes: Sizes, x: Tensor, gradients: tuple[str, ...], weights: int
) -> Run:
    """Explain a run of compiled code."""
    graph, size = call.graph, x.element_size()
    again = call.recompute and bool(gradients)
    parts = segments(call, x) if again else [slice(0, sizes.steps)]
    longest = max(part.stop - part.start for part in parts)
    wanted = gradients if gradients else None
    known = facts(graph, size, sizes.batch, longest, sizes.features, sizes.hidden, wanted)
    forward, backward = _phases(call, sizes, gradients, known.chunk)
    there = Pass(forward, _flops(forward), forward_share(plan(graph), sizes, known, size))
    back = None
    if gradients:
        back = Pass(backward, _flops(backward), backward_share(plan(graph), sizes, known, size, gradients))
        back = Pass(back.phases, *together([there, back])) if again else back
    borders = (len(parts) - 1) * len(graph.states) * sizes.batch * sizes.hidden
    work = max(known.forward_work, known.backward_work) + (known.kept if again else 0)
    kept = size * (borders if again else known.kept)
    return Run(name, *choice, _code(known, size, work), there, back, gradients, weights, kept)


def _code(known: Facts, size: int, work: int) -> Code:
    here, pool = runtime.host(), runtime.pool()
    assert isinstance(here, runtime.Host)
    return Code(
        instructions=here.instructions,
        lanes=runtime.shape(size).lanes,
        threads=known.threads,
        pool="elman" if pool is None else pool.name,
        shared="units" if known.row_parts < known.threads else "rows",
        packed=not known.direct,
        working_bytes=size * work,
    )


def _phases(
    call: Call, sizes: Sizes, gradients: tuple[str, ...], chunk: int
) -> tuple[tuple[Phase, ...], tuple[Phase, ...]]:
    """Return what is done forward and backward."""
    cell = plan(call.graph)
    forward = zip(forward_products(cell, sizes), forward_operations(cell), strict=True)
    backward = zip(backward_products(cell, sizes), backward_operations(cell), strict=True)
    sums = Phase(chunk, gradient_products(cell, sizes, gradients, chunk), 0)
    return (
        tuple(Phase(1, products, operations.total()) for products, operations in forward),
        (*(Phase(1, products, operations.total()) for products, operations in backward), sums),
    )


def _flops(phases: Sequence[Phase]) -> int:
    return sum(product.flops for phase in phases for product in phase.products)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
