"""A cell run by compiled code, and what autograd over the reference backend says in float64."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.backends import reference
from elman.backends.llvm import draft, gemm, layout, paths, products, program, recurrence
from elman.cells import Cell
from elman.compiler.graph import Graph

#: How far a result may be off, as max|difference| / max|reference|: of values, of gradients.
TOLERANCE = {torch.float32: (2e-6, 5e-6), torch.float64: (5e-15, 1e-14)}

_LEAST = 0.2  #: what is smaller throughout is the difference of larger numbers


@dataclass
class Case:
    """A run and what must come of it; every number is one of float32, so that both types begin with the same."""

    graph: Graph
    parameters: dict[str, Tensor]
    x: Tensor
    state: list[Tensor]
    masks: dict[str, Tensor | None]
    reverse: bool
    grad_outputs: Tensor | None
    grad_states: list[Tensor | None]
    expected: dict[str, Tensor]
    noise: Tensor | None = None

    @property
    def gradients(self) -> list[str]:
        """The names of all gradients."""
        return ["x", *self.parameters, *(f"state:{name}" for name in self.graph.states)]


def numbers(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    return torch.empty(shape, dtype=torch.float32).uniform_(low, high).double()


def masks_of(kind: str, batch: int, time: int) -> dict[str, Tensor | None]:
    """Lengths from 0 to all, resets anywhere in them, or steps left out anywhere."""
    valid = reset = None
    if "lengths" in kind:
        lengths = torch.randint(0, time + 1, (batch,))
        lengths[0], lengths[-1] = time, 0 if batch > 1 else time
        valid = torch.arange(time) < lengths[:, None]
    if "holes" in kind:
        valid = torch.rand(batch, time) < 0.6
    if "resets" in kind:
        reset = torch.rand(batch, time) < 0.4
        reset = reset if valid is None else reset & valid
    return {"valid": valid, "reset": reset}


def make(
    kind: type[Cell],
    batch: int,
    time: int,
    features: int,
    hidden: int,
    *,
    masks: str = "",
    reverse: bool = False,
    without: Collection[str] = (),
    noisy: Callable[[Graph], Graph] | None = None,
) -> Case:
    """A random run; ``without`` names results on which the loss does not depend: ``y``, ``final:h``."""
    cell = kind(features, hidden, dtype=torch.float64)
    graph = cell.graph if noisy is None else noisy(cell.graph)
    places = sum(node.op == "noise" for node in graph.nodes)
    reach = min(0.8, 3 / (features + hidden) ** 0.5)
    parameters = {name: numbers(*p.shape, low=-reach, high=reach) for name, p in cell.named_parameters()}
    state = [numbers(batch, hidden, low=0.05, high=0.95) for _ in graph.states]
    case = Case(
        graph,
        parameters,
        numbers(batch, time, features, low=-1.5, high=1.5),
        state,
        masks_of(masks, batch, time),
        reverse,
        None if "y" in without else numbers(batch, time, hidden),
        [None if f"final:{name}" in without else numbers(batch, hidden) for name in graph.states],
        {},
        numbers(batch, time, places * hidden, high=1.5) if places else None,
    )
    expect(case)
    return case


def expect(case: Case) -> None:
    """Fill in what the reference gives."""
    initial = {f"state:{name}": s for name, s in zip(case.graph.states, case.state, strict=True)}
    leaves = {
        name: value.clone().requires_grad_() for name, value in {"x": case.x, **case.parameters, **initial}.items()
    }
    outputs, final = reference.unroll(
        case.graph,
        {name: leaves[name] for name in case.parameters},
        leaves["x"],
        [leaves[name] for name in initial],
        **case.masks,
        noise=case.noise,
        reverse=case.reverse,
    )
    case.expected = {"y": outputs.detach()}
    case.expected.update({f"final:{n}": s.detach() for n, s in zip(case.graph.states, final, strict=True)})
    pairs = [(value, g) for value, g in zip((outputs, *final), (case.grad_outputs, *case.grad_states), strict=True)]
    loss = sum(((value * g).sum() for value, g in pairs if g is not None), torch.zeros((), dtype=torch.float64))
    found = (
        torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        if loss.requires_grad
        else [torch.zeros_like(leaf) for leaf in leaves.values()]
    )
    case.expected.update(zip(leaves, found, strict=True))


def of_type(dtype: torch.dtype, value: Tensor | None) -> Tensor | None:
    return None if value is None else value.to(dtype)


def forward(case: Case, dtype: torch.dtype, *, keep: bool = True) -> recurrence.Run:
    return recurrence.forward(
        case.graph,
        {name: p.to(dtype) for name, p in case.parameters.items()},
        case.x.to(dtype),
        [s.to(dtype) for s in case.state],
        **case.masks,
        noise=of_type(dtype, case.noise),
        reverse=case.reverse,
        keep=keep,
    )


def backward(
    case: Case, dtype: torch.dtype, done: recurrence.Run, wanted: Collection[str] | None = None
) -> dict[str, Tensor]:
    assert done.kept is not None
    return recurrence.backward(
        case.graph,
        {name: p.to(dtype) for name, p in case.parameters.items()},
        case.x.to(dtype),
        [s.to(dtype) for s in case.state],
        done.outputs,
        done.kept,
        **case.masks,
        noise=of_type(dtype, case.noise),
        reverse=case.reverse,
        grad_outputs=of_type(dtype, case.grad_outputs),
        grad_states=[of_type(dtype, g) for g in case.grad_states],
        wanted=case.gradients if wanted is None else wanted,
    )


def values(case: Case, done: recurrence.Run) -> dict[str, Tensor]:
    """Outputs and final states by name."""
    return {"y": done.outputs, **{f"final:{n}": s for n, s in zip(case.graph.states, done.states, strict=True)}}


def everything(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """Outputs, final states and all gradients by name."""
    done = forward(case, dtype)
    return {**values(case, done), **backward(case, dtype, done)}


def assert_right(case: Case, got: dict[str, Tensor], *, looser: float = 1.0) -> None:
    """Every result has the type and shape of the reference's and is near enough to it."""
    for name, value in got.items():
        expected = case.expected[name]
        assert value.shape == expected.shape, name
        is_value = name == "y" or name.startswith("final:")
        allowed = looser * TOLERANCE[value.dtype][0 if is_value else 1]
        scale = max(_LEAST, float(expected.abs().max()))
        difference = float((value.double() - expected).abs().max())
        assert difference <= allowed * scale, f"{name}: {difference:.3g}, of {scale:.3g}"


def forget() -> None:
    """Let code be loaded, and shapes be laid out, anew."""
    for module in (layout, products, paths, gemm, draft, program):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def assert_same_bits(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, value in got.items():
        assert value.equal(expected[name]), name
