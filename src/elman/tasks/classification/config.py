"""What people choose about a classifier. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from elman.errors import OptionError
from elman.training.config import TrainingConfig

__all__ = ["ClassificationConfig", "ClassifierConfig"]

PositiveInt = Annotated[int, Gt(0)]
Probability = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The network: optional linear layer on each step, recurrent layers, linear readout."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cell: str = "lstm"
    """Cell: a name that `elman cells` lists, or my_module:MyCell."""

    hidden_size: PositiveInt = 128
    """Units of each recurrent layer and direction."""

    num_layers: PositiveInt = 1
    """Recurrent layers on each other."""

    bidirectional: bool = False
    """Also read the steps from the last to the first."""

    input_projection: PositiveInt | None = None
    """Size of a linear layer on each step (each image row) before the first cell; none: no such layer."""

    readout: Literal["final", "last"] = "final"
    """What is classified: the final state of each direction, or the output of the last step in time (of the backward
    direction that is its first)."""

    dropout: Probability = 0.0
    """Probability of dropout between recurrent layers."""

    input_dropout: Probability = 0.0
    """Probability of dropout on what the first recurrent layer reads."""

    output_dropout: Probability = 0.0
    """Probability of dropout on what the readout reads."""

    initial_bias: dict[str, float] = field(default_factory=dict)
    """Initial biases by gate, instead of the cell's own: f 0.0 (the LSTM's own is f 1.0)."""

    def __post_init__(self) -> None:
        """Name conflicts between fields by their flags."""
        if self.dropout and self.num_layers == 1:
            raise OptionError(
                "--dropout acts between layers and --num-layers is 1. Use --input-dropout or --output-dropout, "
                "or more layers."
            )


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
