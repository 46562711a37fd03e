"""What people choose about the memory problems. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from elman.tasks.sequence.config import SequenceModelConfig
from elman.training.config import PositiveInt, TrainingConfig

__all__ = ["MemoryConfig"]


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Learn to remember: the sum of two marked numbers of a long sequence, or ten symbols over a long silence."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    data: Literal["adding", "copy"]
    """The problem; its sequences are made, not read: each step of training has new ones."""

    length: Annotated[int, Ge(2)] = 100
    """T: of adding, the steps of a sequence; of copy, those between the last symbol and the answer (T + 20 in all)."""

    evaluation_steps: PositiveInt = 250
    """Steps between evaluations; they count as an epoch, since the training data has no end."""

    model: SequenceModelConfig = field(default_factory=SequenceModelConfig)
    """The network."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=3000, clip_norm=1.0))
    """The training."""
