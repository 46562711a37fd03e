"""The network that reads sequences. See `SequenceModel`."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.errors import ShapeError, describe
from elman.layers import Linear
from elman.tasks.sequence.config import SequenceModelConfig

__all__ = ["Readout", "SequenceModel"]

Readout = Literal["steps", "final", "last"]


class SequenceModel(nn.Module):
    r"""Recurrent layers and a linear readout, of each step or of the end of a sequence.

    .. math::

        y_t = V s_t + d \qquad\text{or}\qquad y = V s + d

    where s_t is the output of a step (``readout="steps"``), and s the final state of each direction side by side
    (``readout="final"``) or the output of the last step (``readout="last"``).

    Args:
        config: the network.
        features: numbers in a step of x.
        outputs: numbers in an answer.
        readout: what is answered to.
        scale: what x is multiplied by.

    Shapes:
        x ``(batch, time, features)`` of any dtype; lengths ``(batch,)``; answers ``(batch, time, outputs)`` with
        ``readout="steps"``, else ``(batch, outputs)``.

    Raises:
        ShapeError: x has another number of features.

    Example:
        >>> model = SequenceModel(SequenceModelConfig(hidden_size=16), features=2, outputs=3, readout="steps")
        >>> model(torch.zeros(4, 7, 2)).shape
        torch.Size([4, 7, 3])
    """

    def __init__(
        self, config: SequenceModelConfig, features: int, outputs: int, *, readout: Readout, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.config = config
        self.features = features
        self.place = readout
        self.scale = scale
        self.recurrent = config.layers(
            features, bidirectional=config.bidirectional, input_projection=config.input_projection
        )
        self.readout = Linear(self.recurrent.directions * config.hidden_size, outputs)

    @property
    def outputs(self) -> int:
        """The numbers in an answer."""
        return self.readout.out_features

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the answers."""
        if x.ndim != 3 or x.shape[2] != self.features:
            expected = f"(batch, time, features={self.features})"
            raise ShapeError(describe(f"{type(self).__name__}: x", expected=expected, got=str(tuple(x.shape))))
        inputs = x.to(self.readout.weight.dtype) * self.scale
        outputs, state = self.recurrent(inputs, lengths=lengths)
        if self.place == "steps":
            seen = outputs
        elif self.place == "final":
            seen = state[0][:, -1].flatten(1)
        elif lengths is None:
            seen = outputs[:, -1]
        else:
            last = (lengths - 1).clamp(min=0)
            seen = outputs[torch.arange(len(outputs), device=outputs.device), last]
        answers: Tensor = self.readout(F.dropout(seen, self.config.output_dropout, self.training))
        return answers
