"""Where a step of a model finds its weights: in the modules, looked up and checked anew at every step.

Nothing is copied, so that no copy can be out of date; and a module may get other parameters, other parts, another type
or another place between two steps.

What was found of the words and the state of a step need not be looked up again for others of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as common

from elman.backends.alike import Alike
from elman.backends.autograd import intercepted
from elman.backends.llvm import runtime
from elman.backends.llvm.draft import Sizes
from elman.backends.llvm.recurrence import Step
from elman.backends.selection import wanted
from elman.compiler.graph import Graph
from elman.layers.linear import Linear
from elman.layers.losses import LinearCrossEntropy
from elman.layers.recurrent import Recurrent

__all__ = ["Plan", "Ready"]

_PARTS: Final = ("embedding", "recurrent", "readout")

Link = tuple[Mapping[str, Any], str, Any]  #: a module's parts or parameters, a name, and what is there


class Slot(NamedTuple):
    """A weight that there may be: its name in a step, the module, its name in it, its shape."""

    name: str
    module: nn.Module
    parameter: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a step of some modules is done.

    Attributes:
        graph: of the cells.
        sizes: of all parts.
        words: how many there are in the embedding; None without one.
        dtype: of all weights.
        names: of the weights.
        links: what was found in the modules: parts, options and weights, None for those that are not there.
        hooks: of the modules.
        weights: tensors.
        alike: the kinds of the weights.
        addresses: of each weight.
    """

    graph: Graph
    sizes: Sizes
    words: int | None
    dtype: torch.dtype
    names: tuple[str, ...]
    links: Sequence[Link]
    hooks: Sequence[Mapping[int, Any]]
    weights: Sequence[Tensor]
    alike: Alike
    addresses: Sequence[int]

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> Plan | str:
        """Plan the steps of three modules, or say why they cannot be done as one call.

        Args:
            parts: holds ``embedding``, ``recurrent`` and ``readout``, and may hold others later.
        """
        embedding, recurrent, readout = modules = [parts[name] for name in _PARTS]
        if (reason := _objection(embedding, recurrent, readout)) is not None:
            return reason
        sizes, slots = _slots(embedding, recurrent, readout)
        found = [(slot, slot.module._parameters.get(slot.parameter)) for slot in slots]
        there = [(slot, weight) for slot, weight in found if weight is not None]
        if (reason := _unreadable(there)) is not None:
            return reason
        weights = [weight for _, weight in there]
        hooks = [common._global_forward_hooks, common._global_forward_pre_hooks]
        for module in filter(None, (*modules, recurrent.projection)):
            hooks += [module._forward_hooks, module._forward_pre_hooks]
        return cls(
            graph=recurrent.graph,
            sizes=sizes,
            words=None if embedding is None else len(embedding.weight),
            dtype=weights[0].dtype,
            names=tuple(slot.name for slot, _ in there),
            links=[
                *((parts, name, module) for name, module in zip(_PARTS, modules, strict=True)),
                *_links(embedding, recurrent),
                *((slot.module._parameters, slot.parameter, weight) for slot, weight in found),
            ],
            hooks=hooks,
            weights=weights,
            alike=Alike(*weights),
            addresses=[weight.data_ptr() for weight in weights],
        )

    def holds(self) -> bool:
        """Tell whether everything is as it was: the modules, their weights, and where and how these lie."""
        if any(self.hooks):
            return False
        for there, name, part in self.links:
            if there.get(name) is not part:
                return False
        return list(map(Tensor.data_ptr, self.weights)) == self.addresses and self.alike(*self.weights)


class Ready:
    """Steps by a plan, for inputs and states of one kind.

    Args:
        plan: how steps are done.
        inputs: of a step that was found to be right, in one piece.
        state: the same.
    """

    __slots__ = ("_alike", "_states", "_team", "plan", "step")

    def __init__(self, plan: Plan, inputs: Tensor, state: Sequence[Tensor]) -> None:
        self.plan = plan
        self._team = runtime.team()
        self.step = Step(plan.graph, plan.sizes, plan.names, plan.addresses, inputs, state, self._team)
        self._states = len(state)
        self._alike = Alike(inputs, *state)

    def serves(self, inputs: Tensor, state: Sequence[Tensor] | None) -> bool:
        """Tell whether these are of the same kind, and everything else is as it was."""
        return (
            state is not None
            and len(state) == self._states
            and self._alike(inputs, *state)
            and intercepted() is None
            and wanted() != "reference"
            and runtime.team() == self._team
            and self.plan.holds()
        )


def _objection(embedding: nn.Module | None, recurrent: Recurrent, readout: nn.Module | None) -> str | None:
    """Say why modules must be called one by one."""
    if recurrent.training:
        return "the recurrent layer is in training mode: call its eval()"
    if type(recurrent).forward is not Recurrent.forward:
        return f"{type(recurrent).__name__} has a forward of its own"
    if any(tuple(cell._parameters) != recurrent._packed for _, cell in recurrent.named_cells()):
        return "parameters of a cell are computed"
    known: list[tuple[nn.Module | None, tuple[type[nn.Module], ...]]] = [
        (embedding, (nn.Embedding,)),
        (recurrent.projection, (nn.Linear,)),
        (readout, (nn.Linear, Linear, LinearCrossEntropy)),
    ]
    for module, kinds in known:
        if module is not None and (type(module) not in kinds or module._parameters.get("weight") is None):
            return f"{type(module).__name__} is a module of another kind"
    if getattr(embedding, "max_norm", None) is not None:
        return "the embedding has max_norm"
    modules = [recurrent, *(module for module, _ in known if module is not None)]
    if any(module._forward_hooks or module._forward_pre_hooks for module in modules):
        return "a module has hooks"
    return (
        "there are hooks on all modules" if common._global_forward_hooks or common._global_forward_pre_hooks else None
    )


def _unreadable(there: Sequence[tuple[Slot, Tensor]]) -> str | None:
    """Say why compiled code cannot read weights where they are."""
    for slot, weight in there:
        if type(weight) is not nn.Parameter and type(weight) is not Tensor:
            return f"a {type(weight).__name__} is among the weights"
        if weight.shape != slot.shape:
            return f"{slot.parameter} of a {type(slot.module).__name__} has another shape than the module says"
        if not weight.is_contiguous() or weight.is_neg():
            return f"{slot.parameter} of a {type(slot.module).__name__} does not lie in one piece"
    return runtime.refusal(*(weight for _, weight in there))


def _slots(embedding: nn.Module | None, recurrent: Recurrent, readout: nn.Module | None) -> tuple[Sizes, list[Slot]]:
    """Return the sizes of a step's parts, and the weights that it may read."""
    graph, hidden, projection = recurrent.cell_at(0, 0).graph, recurrent.hidden_size, recurrent.projection
    words, between, outputs = (
        None if module is None else len(cast(Tensor, module.weight)) for module in (embedding, projection, readout)
    )
    features = recurrent.input_size
    slots = []
    if embedding is not None and words is not None:
        slots.append(Slot("embedding", embedding, "weight", (words, features)))
    for name, module, rows, columns in (
        ("projection", projection, between, features),
        ("readout", readout, outputs, hidden),
    ):
        if module is not None and rows is not None:
            slots += [Slot(name, module, "weight", (rows, columns)), Slot(f"{name}_bias", module, "bias", (rows,))]
    for layer in range(recurrent.num_layers):
        below = hidden if layer else (between or features)
        shapes: dict[str, tuple[int, ...]] = {
            "weight_x": (len(graph.input_blocks) * hidden, below),
            "weight_h": (len(graph.hidden_blocks) * hidden, hidden),
            "bias": (len(graph.biases) * hidden,),
            "diagonal": (len(graph.diagonals), hidden),
        }
        cell = recurrent.cell_at(layer, 0)
        slots += [Slot(f"{name}_{layer}", cell, name, shape) for name, shape in shapes.items()]
    return Sizes(words is not None, features, between, hidden, recurrent.num_layers, outputs), slots


def _links(embedding: nn.Module | None, recurrent: Recurrent) -> Iterator[Link]:
    """Yield which module is which part of the layers, and that no option is on that a step does not know."""
    if embedding is not None:
        yield vars(embedding), "max_norm", None
    yield vars(recurrent), "training", False
    rows = recurrent.cells
    yield recurrent._modules, "cells", rows
    yield recurrent._modules, "projection", recurrent.projection
    for layer, row in enumerate(rows):
        yield rows._modules, str(layer), row
        yield row._modules, "0", recurrent.cell_at(layer, 0)
