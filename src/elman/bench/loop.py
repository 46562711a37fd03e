"""A layer as a plain Python loop over its steps, in torch operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from elman.backends import reference
from elman.cells import Cell
from elman.layers import Recurrent

__all__ = ["Loop", "as_loop"]

M = TypeVar("M", bound=nn.Module)


class Loop(nn.Module):
    """What one writes by hand for a cell that no library has: W x of all steps in one product, then step after step.

    The products of a step are grouped: one for all gates that read a value. It takes the weights of a layer, under the
    same names, and never runs elman's compiled code: in float64 it is what results are compared with.

    Args:
        layer: without dropout.

    Example:
        >>> from elman import GRU
        >>> layer, x = GRU(3, 5, num_layers=2, bidirectional=True), torch.ones(2, 4, 3)
        >>> bool(torch.allclose(Loop(layer)(x)[0], layer(x)[0]))
        True
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.cells, self.projection = layer.cells, layer.projection
        self.hidden_size, self.states = layer.hidden_size, len(layer.cell.states)

    def forward(
        self, x: Tensor, state: Sequence[Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run over x; shapes as in `Recurrent`."""
        assert lengths is None
        outputs = x if self.projection is None else self.projection(x)
        zero = outputs.new_zeros(len(x), self.hidden_size)
        final: list[Tensor] = []
        for k, directions in enumerate(self.cells):
            runs = []
            for d, module in enumerate(cast(nn.ModuleList, directions)):
                cell = cast(Cell, module)
                initial = [zero] * self.states if state is None else [s[:, k, d] for s in state]
                parameters = dict(cell.named_parameters())
                runs.append(reference.unroll(cell.graph, parameters, outputs, initial, reverse=d == 1))
            outputs = torch.cat([run[0] for run in runs], dim=2) if len(runs) > 1 else runs[0][0]
            final.append(torch.stack([torch.stack(run[1]) for run in runs], dim=1))  # (states, directions, batch, H)
        return outputs, torch.stack(final, dim=1).permute(0, 3, 1, 2, 4).unbind(0)


def as_loop(model: M) -> M:
    """Return a copy of a layer, or of a model whose layer is called ``recurrent``, that runs as a plain loop."""
    copied = copy.deepcopy(model)
    if isinstance(copied, Recurrent):
        return cast(M, Loop(copied))
    copied.add_module("recurrent", Loop(cast(Recurrent, copied.recurrent)))
    return copied
