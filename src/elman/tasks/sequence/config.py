"""What people choose about a network that reads sequences. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from elman.tasks.recurrent_config import RecurrentConfig
from elman.training.config import PositiveInt

__all__ = ["SequenceModelConfig"]


@dataclass(frozen=True, kw_only=True)
class SequenceModelConfig(RecurrentConfig):
    """The network: optional linear layer on each step, recurrent layers, linear readout."""

    bidirectional: bool = False
    """Also read the steps from the last to the first."""

    input_projection: PositiveInt | None = None
    """Size of a linear layer on each step (each image row) before the first cell; none: no such layer."""
