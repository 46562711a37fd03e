"""What backends are compared on: odd sizes, lengths, resets, both directions, gradients of some inputs. See `Case`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from elman.cells import Cell

__all__ = ["CASES", "Case", "Numbers"]

_WEIGHTS: Final = ("weight_x", "weight_h", "bias", "diagonal")


@dataclass(frozen=True)
class Case:
    """One run of a cell over time.

    Attributes:
        batch: rows.
        steps: time steps.
        input_size: features of x.
        hidden_size: units.
        lengths: rows end at different steps, one of them (of two or more) before the first.
        reset: rows begin afresh in the middle.
        reverse: from the last step to the first.
        zero_state: start from zeros instead of a state that wants gradients.
        strided: inputs whose numbers lie apart in memory.
        recompute: keep little for the backward pass, and run forward again in it.
        wanted: the gradients that are asked for: ``x``, ``states`` and packed parameters.
        loss: what the loss depends on: ``all``, the ``outputs`` or the ``final`` states alone.
    """

    batch: int
    steps: int
    input_size: int
    hidden_size: int
    lengths: bool = False
    reset: bool = False
    reverse: bool = False
    zero_state: bool = False
    strided: bool = False
    recompute: bool = False
    wanted: tuple[str, ...] = ("x", "states", *_WEIGHTS)
    loss: Literal["all", "outputs", "final"] = "all"

    def __str__(self) -> str:
        sizes = f"batch {self.batch}, {self.steps} steps, input {self.input_size}, hidden {self.hidden_size}"
        flags = ("lengths", "reset", "reverse", "zero_state", "strided", "recompute")
        said = [flag.replace("_", " ") for flag in flags if getattr(self, flag)]
        if self.wanted != Case.wanted:
            said.append(f"gradients of {' and '.join(self.wanted)}")
        if self.loss != "all":
            said.append(f"a loss of the {self.loss} alone")
        return ", ".join([sizes, *said])


#: Every size at one step, where the tolerances are strictest; then sequences, every option in several.
CASES: Final = (
    Case(1, 1, 1, 1),
    Case(2, 1, 3, 2, reverse=True),
    Case(3, 1, 50, 3, zero_state=True),
    Case(7, 1, 2, 15, loss="outputs"),
    Case(17, 1, 16, 16, strided=True),
    Case(20, 1, 7, 17, wanted=("x", "states")),
    Case(1, 1, 31, 31, zero_state=True),
    Case(3, 1, 28, 33, loss="final"),
    Case(2, 1, 17, 48, wanted=("weight_x", "weight_h")),
    Case(20, 1, 5, 65, lengths=True),
    Case(7, 1, 33, 130, reset=True),
    Case(1, 2, 2, 1, loss="final"),
    Case(3, 5, 1, 2, lengths=True, reset=True),
    Case(20, 33, 4, 3, lengths=True, reverse=True),
    Case(17, 2, 9, 15, reset=True, strided=True),
    Case(2, 5, 50, 16, reverse=True, reset=True, lengths=True),
    Case(7, 33, 13, 17, wanted=("x",)),
    Case(1, 5, 8, 31, reverse=True, recompute=True),
    Case(20, 2, 32, 33, zero_state=True, wanted=("weight_x", "weight_h", "bias", "diagonal")),
    Case(3, 33, 28, 48, zero_state=True, wanted=("bias", "diagonal"), loss="outputs"),
    Case(17, 5, 11, 65, lengths=True, strided=True, loss="outputs"),
    Case(2, 33, 20, 130, reset=True, lengths=True, recompute=True),
    Case(1, 33, 3, 16, wanted=("states",), loss="final"),
    Case(17, 33, 6, 17, lengths=True, reverse=True, reset=True, recompute=True, strided=True),
    Case(20, 5, 16, 130, reverse=True),
)


class Numbers:
    """The weights and inputs of a case in float64 on the CPU, the same on every machine; each fits in float32.

    Args:
        cell: whose weights.
        case: of which sizes.
        draw: which numbers; another draw is other numbers.
    """

    def __init__(self, cell: type[Cell], case: Case, draw: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(1990 + draw)
        self.case = case
        self.cell = cell(case.input_size, case.hidden_size, dtype=torch.float64)
        self.parameters = {name: self._weights(name, value) for name, value in self.cell.named_parameters()}
        self.x = self._random(case.batch, case.steps, case.input_size)
        # between 0 and 1 a logarithm, a square root and a normaliser are at home too
        shape = (len(cell.states), case.batch, case.hidden_size)
        self.state = torch.zeros(shape, dtype=torch.float64) if case.zero_state else self._random(*shape, low=0.1)
        self.valid = self.reset = None
        if case.lengths:
            lengths = torch.randint(1, case.steps + 1, (case.batch,), generator=self._generator)
            if case.batch > 1:
                lengths[case.batch // 2] = 0
            self.valid = torch.arange(case.steps)[None, :] < lengths[:, None]
        if case.reset:
            reset = torch.rand(case.batch, case.steps, generator=self._generator) < 0.3
            self.reset = reset if self.valid is None else reset & self.valid

    def laid_out(self, value: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return numbers for a run: of a type, on a device, apart in memory where the case wants that."""
        value = value.to(device=device, dtype=dtype)
        if not self.case.strided:
            return value
        return torch.stack([value, -value], dim=-1).transpose(0, 1).contiguous().transpose(0, 1)[..., 0]

    def factors(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weight every number of a loss differently, so that no error cancels."""
        return {
            name: torch.cos(1.0 + k + torch.arange(value.numel())).double().reshape(value.shape)
            for k, (name, value) in enumerate(values.items())
        }

    def _weights(self, name: str, like: Tensor) -> Tensor:
        size = like.shape[1] ** -0.5 if name.startswith("weight") else 1.0
        return self._random(*like.shape, low=-size, high=size)

    def _random(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=self._generator)).double()
