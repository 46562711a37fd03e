"""The tagger that is measured: a recurrent layer, scores of the tags at each step, and a CRF."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

__all__ = ["Tagger"]


class Tagger(nn.Module):
    """A tagger, called with its inputs and their tags.

    Args:
        recurrent: the layer.
        readout: from its outputs to the scores of the tags.
        crf: called as `elman.layers.LinearChainCRF` is.
    """

    def __init__(self, recurrent: nn.Module, readout: nn.Linear, crf: nn.Module) -> None:
        super().__init__()
        self.recurrent, self.readout, self.crf = recurrent, readout, crf

    def forward(self, x: Tensor, tags: Tensor) -> Tensor:
        """Return the mean loss of the rows of x ``(batch, time, features)``."""
        return cast(Tensor, self.crf(self.readout(self.recurrent(x)[0]), tags).mean())
