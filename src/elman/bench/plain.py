"""Models in plain torch operations: what elman's results are compared with, and what one writes by hand."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.backends import chain, reference
from elman.bench.tagger import Tagger
from elman.cells import Cell
from elman.layers import LinearChainCRF, LinearCrossEntropy, Recurrent

__all__ = ["CRF", "Loop", "Readout", "plain"]


class Loop(nn.Module):
    """What one writes by hand for a cell that no library has: W x of all steps in one product, then step after step.

    The products of a step are grouped: one for all gates that read a value. It takes the weights of a layer, under the
    same names, and never runs elman's compiled code.

    Args:
        layer: its dropout is left out.

    Example:
        >>> from elman import GRU
        >>> layer, x = GRU(3, 5, num_layers=2, bidirectional=True), torch.ones(2, 4, 3)
        >>> bool(torch.allclose(Loop(layer)(x)[0], layer(x)[0], atol=1e-6))
        True
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.cells, self.projection = layer.cells, layer.projection
        self.hidden_size, self.states = layer.hidden_size, len(layer.cell.states)

    def forward(
        self, x: Tensor, state: Sequence[Tensor] | None = None, lengths: None = None, reset: None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run over x; shapes as in `Recurrent`."""
        assert lengths is None
        assert reset is None
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


class Readout(nn.Module):
    """A linear layer and softmax cross-entropy, in torch's two operations.

    Args:
        readout: whose weights it takes, under the same names.

    Example:
        >>> readout, x, targets = LinearCrossEntropy(4, 9), torch.ones(2, 4), torch.tensor([3, 8])
        >>> bool(torch.allclose(Readout(readout)(x, targets), readout(x, targets)))
        True
    """

    def __init__(self, readout: LinearCrossEntropy) -> None:
        super().__init__()
        self.weight, self.bias = readout.weight, readout.bias

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of x ``(..., features)`` and targets ``(...)``."""
        return F.cross_entropy(self.logits(x).flatten(0, -2), targets.flatten())

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of x, ``(..., vocabulary)``."""
        return F.linear(x, self.weight, self.bias)


class CRF(nn.Module):
    """A linear-chain CRF as a loop over its steps.

    Args:
        crf: whose weights it takes, under the same names.

    Example:
        >>> crf, x, tags = LinearChainCRF(4), torch.ones(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)
        >>> bool(torch.allclose(CRF(crf)(x, tags), crf(x, tags)))
        True
    """

    def __init__(self, crf: LinearChainCRF) -> None:
        super().__init__()
        self.transitions, self.start, self.end = crf.transitions, crf.start, crf.end

    def forward(self, x: Tensor, tags: Tensor) -> Tensor:
        """Return the loss of each row of x ``(batch, time, tags)``."""
        batch, time, _ = x.shape
        return chain.loss(chain.Chain(x, self.transitions, self.start, self.end, torch.full((batch,), time)), tags)


def plain(model: nn.Module) -> nn.Module:
    """Return a copy of a model in plain torch operations, whose parameters have the same names.

    Args:
        model: a layer, a readout with its loss, a CRF, or a model whose layer is called ``recurrent`` and its readout
            ``readout``.
    """
    copied = copy.deepcopy(model)
    if isinstance(copied, Recurrent):
        return Loop(copied)
    if isinstance(copied, LinearCrossEntropy):
        return Readout(copied)
    if isinstance(copied, LinearChainCRF):
        return CRF(copied)
    copied.add_module("recurrent", Loop(cast(Recurrent, copied.recurrent)))
    if isinstance(copied.readout, LinearCrossEntropy):
        copied.add_module("readout", Readout(copied.readout))
    if isinstance(copied, Tagger):
        copied.crf = plain(copied.crf)
    return copied
