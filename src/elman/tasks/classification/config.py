"""What people choose about a classifier. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from elman.errors import OptionError
from elman.tasks.sequence.config import SequenceModelConfig
from elman.training.config import PositiveInt, TrainingConfig

__all__ = ["ClassificationConfig", "ClassifierConfig"]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(SequenceModelConfig):
    """The network: optional linear layer on each step, recurrent layers, linear readout."""

    readout: Literal["final", "last"] = "final"
    """What is classified: the final state of each direction, or the output of the last step in time (of the backward
    direction that is its first)."""


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig:
    """Learn which class a sequence belongs to: images row by row, or any labelled sequences."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    data: str
    """What to learn from: digits, mnist, a folder of idx files, a folder of images with a sub-folder for each class,
    or an .npz with x (N, T, F), y (N,) and optional lengths (N,)."""

    validation: Annotated[float, Ge(0)] = 0.1
    """Training examples held out to watch the training: a number, or under 1 a share; 0 for none."""

    image_size: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width that the images of a folder are brought to; none: the most frequent size there."""

    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    """The network."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=10))
    """The training."""

    def __post_init__(self) -> None:
        """Name conflicts between fields by their flags."""
        if self.validation >= 1 and self.validation != int(self.validation):
            raise OptionError(f"--validation must be a whole number or a share under 1, got {self.validation}.")
        if self.validation == 0 and self.training.patience is not None:
            raise OptionError("--patience needs validation examples, and --validation is 0.")
