"""A cell under test: its weights, its inputs, what comes out and every gradient by name; and its steps done by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell
from elman.layers import Recurrent

__all__ = ["Oracle", "Results", "Run", "Subject", "by_hand", "gate_parameters", "weighted_sum"]

Oracle = Callable[..., Any]
Results = dict[str, Tensor]
Run = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]


@dataclass
class Subject:
    """A cell under test and its random weights and inputs, the same in every run."""

    cell: type[Cell]
    property: str
    oracle: Oracle | None
    device: torch.device
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(1990))

    def random(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        """Draw numbers."""
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * values).to(self.device)

    def layer(self, input_size: int = 2, hidden_size: int = 3, **options: Any) -> Recurrent:
        """Make a layer of random weights."""
        layer = Recurrent(self.cell, input_size, hidden_size, **options, device=self.device, dtype=torch.float64)
        with torch.no_grad():
            for parameter in layer.parameters():
                # rounded, so that a way through float32 changes nothing
                parameter.copy_(self.random(*parameter.shape).float())
        return layer

    def inputs(self, layer: Recurrent, batch: int = 3, time: int = 4) -> tuple[Tensor, list[Tensor]]:
        """Return x and an initial state."""
        shape = (batch, layer.num_layers, layer.directions, layer.hidden_size)
        # between 0 and 1 a logarithm, a square root and a normaliser are at home too
        state = [self.random(*shape, low=0.1, high=0.9) for _ in self.cell.states]
        return self.random(batch, time, layer.input_size), state

    def results(self, run: Run, layer: Recurrent, x: Tensor, state: Sequence[Tensor]) -> Results:
        """Return outputs, final states and all gradients of a weighted sum of them, by name."""
        inputs = {"x": x, **{f"state {name}": s for name, s in zip(self.cell.states, state, strict=True)}}
        inputs = {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
        layer.zero_grad()
        values = self.named(*run(inputs["x"], [value for name, value in inputs.items() if name != "x"]))
        torch.autograd.backward(weighted_sum(values))
        results = dict(values)
        for name, value in inputs.items():
            results[f"the gradient of {name}"] = torch.zeros_like(value) if value.grad is None else value.grad
        for name, value, gradient in gate_parameters(layer):
            results[f"the gradient of {name}"] = torch.zeros_like(value) if gradient is None else gradient.clone()
        return results

    def named(self, outputs: Tensor, state: Sequence[Tensor]) -> Results:
        """Return outputs and final states by name."""
        return {"outputs": outputs, **{f"state {n}": s for n, s in zip(self.cell.states, state, strict=True)}}

    def compare(
        self, got: Mapping[str, Tensor], expected: Mapping[str, Tensor], case: str, *, tolerance: float = 1e-10
    ) -> None:
        """Fail where one of the expected results is another."""
        for name in expected:
            value, other = expected[name].detach(), got[name].detach()
            self.check(other.shape == value.shape, f"{case}: {name} is {tuple(other.shape)}, not {tuple(value.shape)}")
            if value.numel():
                difference, size = float((other - value).abs().max()), float(value.abs().max())
                good = difference <= tolerance * (1 + size)  # never so for NaN
                self.check(good, f"{case}: {name} differs by {difference:.3g}, at most {size:.3g} large")

    def check(self, good: bool, message: str) -> None:
        """Fail with a message that names the cell and the property."""
        if not good:
            raise AssertionError(f"{self.cell.__name__}: {self.property}: {message}.")


def gate_parameters(layer: Recurrent) -> list[tuple[str, Tensor, Tensor | None]]:
    """Return name, value and gradient of every gate's parameters in all cells of a layer."""
    return [
        (f"{place} {name}", value, gradient)
        for place, cell in layer.named_cells()
        for name, value, gradient in cell.named_gate_parameters()
    ]


def weighted_sum(values: Mapping[str, Tensor]) -> Tensor:
    """Weight every number differently, so that no error cancels."""
    total = torch.zeros((), dtype=torch.float64, device=values["outputs"].device)
    for k, value in enumerate(values.values()):
        weights = torch.cos(1.0 + k + torch.arange(value.numel(), dtype=torch.float64, device=value.device))
        total = total + (value * weights.reshape(value.shape)).sum()
    return total


def by_hand(
    layer: Recurrent,
    x: Tensor,
    state: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Do what a layer does by calling the steps of its cells, a row after the other, without its padding."""
    batch, time, _ = x.shape
    outputs, final = [], []
    for row in range(batch):
        length = time if lengths is None else int(lengths[row])
        cuts = set() if reset is None else {t for t in range(length) if reset[row, t]}
        below, ends = x[row : row + 1, :length], []
        for level in range(layer.num_layers):
            runs = []
            for direction in range(layer.directions):
                cell = layer.cell_at(level, direction)
                states = [s[row : row + 1, level, direction] for s in state]
                done: dict[int, Tensor] = {}
                for t in reversed(range(length)) if direction else range(length):
                    if t + direction in cuts:
                        states = [torch.zeros_like(s) for s in states]
                    states = list(cell(below[:, t], states))
                    done[t] = states[0]
                empty = below.new_zeros(1, 0, layer.hidden_size)
                runs.append(torch.stack([done[t] for t in range(length)], dim=1) if length else empty)
                ends.append(states)
            below = torch.cat(runs, dim=2)
        outputs.append(torch.cat([below, below.new_zeros(1, time - length, below.shape[2])], dim=1))
        final.append(ends)
    shape = (batch, layer.num_layers, layer.directions, layer.hidden_size)
    by_state = [torch.cat([torch.cat([e[k] for e in ends]) for ends in final]) for k in range(len(state))]
    return torch.cat(outputs), [s.reshape(shape) for s in by_state]
