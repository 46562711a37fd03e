"""Runs of one layer and direction, by any backend, to be compared by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elman.backends import dispatch, reference

__all__ = ["Case", "close", "loss", "results"]

close = torch.testing.assert_close


@dataclass
class Case:
    """A cell with random weights and everything that it is run on, in float64."""

    cell: Any
    batch: int = 3
    time: int = 5
    inputs: int = 2
    hidden: int = 3
    masks: bool = False
    reverse: bool = False
    dtype: torch.dtype = torch.float64
    tensors: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.made = self.cell(self.inputs, self.hidden, dtype=self.dtype)
        shape = (self.batch, self.time)
        parameters = {name: torch.rand_like(p) * 1.4 - 0.7 for name, p in self.made.named_parameters()}
        states = {f"state:{s}": torch.rand(self.batch, self.hidden, dtype=self.dtype) for s in self.cell.states}
        self.tensors = {"x": torch.randn(*shape, self.inputs, dtype=self.dtype), **parameters, **states}
        self.parameter_names = tuple(parameters)
        self.masked = {}
        if self.masks:
            lengths = torch.randint(0, self.time + 1, (self.batch, 1))
            lengths[0] = self.time
            valid = torch.arange(self.time) < lengths
            self.masked = {"valid": valid, "reset": (torch.rand(shape) < 0.4) & valid}

    @property
    def graph(self) -> Any:
        return self.made.graph

    def leaves(self, *names: str) -> dict[str, Tensor]:
        """Copies of all tensors, of which those named (or all) want a gradient."""
        return {n: t.detach().clone().requires_grad_(n in names or not names) for n, t in self.tensors.items()}

    def arguments(self, tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        parameters = {name: tensors[name] for name in self.parameter_names}
        return self.graph, parameters, tensors["x"], [tensors[f"state:{s}"] for s in self.cell.states]

    def run(self, tensors: dict[str, Tensor], **options: Any) -> tuple[Tensor, ...]:
        """Outputs and final states by the backend that dispatch chooses."""
        outputs, final = dispatch.unroll(*self.arguments(tensors), **self.masked, reverse=self.reverse, **options)
        return outputs, *final

    def expected(self, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
        outputs, final = reference.unroll(*self.arguments(tensors), **self.masked, reverse=self.reverse)
        return outputs, *final

    def function(self, run: Any, *names: str) -> Any:
        """The run as a function of some of its tensors."""
        return lambda *values: run({**self.tensors, **dict(zip(names, values, strict=True))})


def loss(outputs: tuple[Tensor, ...]) -> Tensor:
    """A number that weighs everything differently."""
    weighed = (torch.linspace(-1, 2, o.numel(), dtype=o.dtype).reshape(o.shape) * o for o in outputs)
    return sum((w.sum() + (o**2).sum() / (k + 2)) for k, (w, o) in enumerate(zip(weighed, outputs, strict=True)))


def results(case: Case, run: Any, *names: str, **options: Any) -> dict[str, Tensor]:
    """Outputs, final states and the gradients of the tensors named, or of all."""
    leaves = case.leaves(*names)
    outputs = run(leaves, **options)
    wanted = [name for name, leaf in leaves.items() if leaf.requires_grad]
    gradients = torch.autograd.grad(loss(outputs), [leaves[n] for n in wanted], materialize_grads=True)
    named = {f"out:{k}": o.detach() for k, o in enumerate(outputs)}
    return {**named, **dict(zip(wanted, gradients, strict=True))}
