"""What all tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from elman.cells import Cell
from elman.errors import DataError, describe
from elman.layers import Recurrent
from elman.training import GraphNode, StepResult, TrainingConfig

__all__ = ["LabelPrediction", "Labeller", "Prediction", "Predictor", "Task", "TaskConfig"]


class TaskConfig(Protocol):
    """The configuration of a task: a frozen dataclass that holds that of the training."""

    @property
    def training(self) -> TrainingConfig:
        """How to train."""


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class Prediction(Protocol):
    """The answer of a model to one input of the user's."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""

    def __rich_console__(self, console: Any, options: Any) -> Any:
        """For people."""


class Task(ABC, Generic[ConfigT]):
    """A model with its data: what the training loop trains (`elman.training.Trainable`) and the commands use.

    Args:
        config: the configuration it was made from.
        model: the network.
    """

    name: ClassVar[str]
    monitor: ClassVar[tuple[str, Literal["max", "min"]]]  #: the metric that tells the best checkpoint

    @property
    def unit(self) -> str:
        """What the training examples are, in the plural."""
        return "samples"

    def __init__(self, config: ConfigT, model: nn.Module) -> None:
        self.config = config
        self.model = model

    @classmethod
    @abstractmethod
    def from_config(cls, config: ConfigT, model: nn.Module | None = None) -> Self:
        """Load the data, and make a fresh model, its weights drawn from torch's random generator, or use this one.

        Raises:
            DataError: the data cannot be used, or is not what the model, made by `model_from`, was trained on.
        """

    @classmethod
    @abstractmethod
    def model_from(cls, config: ConfigT, description: Mapping[str, Any]) -> nn.Module:
        """Make a model for the weights of a checkpoint, from what `description` once said; needs no data."""

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training data."""

    @property
    def samples_per_step(self) -> int:
        """Training examples in a full batch."""
        return self.config.training.batch_size

    @abstractmethod
    def batch(self, step: int) -> Any:
        """The training batch of a step, counted from 0 over all epochs: a pure function of the step."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> StepResult:
        """Run the model on a batch."""

    @abstractmethod
    def evaluate_split(self, model: nn.Module, split: str) -> dict[str, Any] | None:
        """Metrics of the model on ``train``, ``validation`` or ``test``; None where there is no such split."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """JSON for the checkpoint: what `model_from` needs."""

    @abstractmethod
    def notes(self) -> list[str]:
        """What to say before training: the data, what was done to it, the size of the model."""

    def size_of_model(self) -> str:
        """Say how many parameters there are."""
        return f"Model: {sum(parameter.numel() for parameter in self.model.parameters()):,} parameters."

    def evaluate(self, model: nn.Module) -> dict[str, float] | None:
        """Metrics on the validation split, without its size."""
        metrics = self.evaluate_split(model, "validation")
        return metrics and {name: value for name, value in metrics.items() if isinstance(value, float)}

    def metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The metrics to show for running means of the loss and of the sums of `loss`: these means."""
        return means

    def state_dict(self) -> dict[str, Tensor]:
        """What a step hands to the next besides the model: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""

    def graph(self) -> Sequence[GraphNode] | None:
        """The model as TensorBoard draws it: no picture."""
        return None

    def images(self) -> Mapping[str, Tensor]:
        """Sample pictures for TensorBoard: none."""
        return {}

    def parameters_by_name(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Yield name, value and gradient of each weight, those of a recurrent layer gate by gate."""
        for scope, module in self.model.named_modules():
            if isinstance(module, Recurrent):
                for place, cell in module.named_cells():
                    for name, value, gradient in cell.named_gate_parameters():
                        yield f"{scope}/{place}/{name}".lstrip("/"), value, gradient
            elif not isinstance(module, Cell):
                for name, value in module.named_parameters(recurse=False):
                    yield "/".join((*scope.split("."), name)).lstrip("/"), value, value.grad


class Predictor(Task[ConfigT]):
    """A task whose model answers to inputs of the user's: ``elman predict``."""

    @classmethod
    @abstractmethod
    def predict(cls, model: nn.Module, files: Sequence[str]) -> Iterable[Prediction]:
        """Answer to files of the user's."""

    @abstractmethod
    def examples(self, model: nn.Module, count: int) -> Sequence[Prediction]:
        """Answer to some test examples that come with the data."""

    @staticmethod
    def chosen_examples(number: int, count: int) -> Tensor:
        """Choose so many of a number of test examples, from the first to the last.

        Raises:
            DataError: there are not so many.
        """
        if not 1 <= count <= number:
            raise DataError(describe("--examples", expected=f"1 to {number}, the test examples", got=str(count)))
        return torch.linspace(0, number - 1, count).long()


class LabelPrediction(Prediction, Protocol):
    """The labels of one sequence of tokens."""

    def as_conll(self) -> str:
        """For programs that read columns: a token and its label a line."""


class Labeller(Predictor[ConfigT]):
    """A task whose model labels the tokens of texts; `predict` reads files of running text."""

    @classmethod
    @abstractmethod
    def predict(cls, model: nn.Module, files: Sequence[str]) -> Iterable[LabelPrediction]:
        """Label text files."""

    @classmethod
    @abstractmethod
    def predict_text(cls, model: nn.Module, text: str, source: str) -> Iterable[LabelPrediction]:
        """Label a text; `source` is what the predictions say they come from."""

    @classmethod
    @abstractmethod
    def predict_columns(cls, model: nn.Module, files: Sequence[str]) -> Iterable[LabelPrediction]:
        """Label files that hold a token a line, as those of the training data."""

    @abstractmethod
    def examples(self, model: nn.Module, count: int) -> Sequence[LabelPrediction]:
        """Label some test examples that come with the data."""
