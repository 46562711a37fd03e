"""What is run, and on which numbers: one layer and direction over all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from elman.compiler.graph import Graph

__all__ = ["PACKED", "Call", "Operands", "Request", "requires_grad"]

#: The packed parameters of a cell.
PACKED: Final = ("weight_x", "weight_h", "bias", "diagonal")


@dataclass(frozen=True, slots=True)
class Call:
    """What a run is apart from its numbers."""

    graph: Graph
    reverse: bool = False
    recompute: bool = False

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the initial states among `Operands.by_name`."""
        return tuple(f"state:{name}" for name in self.graph.states)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of `Operands.flat`; masks and noise, which have no gradient, have no name."""
        return ("x", *PACKED, "", "", "", *self.state_names)


@dataclass(frozen=True, slots=True)
class Request:
    """Which gradients of a run are wanted, by name."""

    call: Call
    wanted: tuple[str, ...]

    @property
    def incoming(self) -> int:
        """How many gradients come in: of the outputs and of each final state."""
        return 1 + len(self.call.graph.states)


@dataclass(frozen=True, slots=True)
class Operands:
    """The numbers of a run, as `elman.backends.reference.unroll` takes them."""

    parameters: Mapping[str, Tensor]
    x: Tensor
    state: Sequence[Tensor]
    valid: Tensor | None = None
    reset: Tensor | None = None
    noise: Tensor | None = None

    @property
    def masks(self) -> dict[str, Tensor | None]:
        """Masks and noise, by the names that every backend's run has for them."""
        return {"valid": self.valid, "reset": self.reset, "noise": self.noise}

    @property
    def flat(self) -> tuple[Tensor | None, ...]:
        """All side by side: x, the packed parameters, None for those that the cell has not, masks, noise, states."""
        packed = (self.parameters.get(name) for name in PACKED)
        return self.x, *packed, self.valid, self.reset, self.noise, *self.state

    @classmethod
    def of(cls, x: Tensor, *others: Tensor | None) -> Operands:
        """Undo `flat`."""
        count = len(PACKED)
        parameters = {name: value for name, value in zip(PACKED, others[:count], strict=True) if value is not None}
        valid, reset, noise, *state = others[count:]
        return cls(parameters, x, [s for s in state if s is not None], valid, reset, noise)

    def by_name(self, call: Call) -> dict[str, Tensor]:
        """Return those that have gradients, by the names of these."""
        return {"x": self.x, **self.parameters, **dict(zip(call.state_names, self.state, strict=True))}

    def exchanged(self, call: Call, new: Mapping[str, Tensor]) -> Operands:
        """Put others in the places of some, by name."""
        every = {**self.by_name(call), **new}
        parameters = {name: every[name] for name in self.parameters}
        return replace(self, x=every["x"], parameters=parameters, state=[every[name] for name in call.state_names])


def requires_grad(parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor]) -> bool:
    """Tell whether torch asks for a gradient of a run."""
    if not torch.is_grad_enabled():
        return False
    return x.requires_grad or any(p.requires_grad for p in parameters.values()) or any(s.requires_grad for s in state)
