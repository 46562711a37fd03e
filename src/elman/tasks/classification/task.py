"""The task of classification: data, loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.data import LabelledData, LabelledSequences, ShuffledBatches, in_order, load_labelled, read_picture
from elman.errors import DataError, describe
from elman.tasks.base import Prediction, Predictor
from elman.tasks.classification.config import ClassificationConfig
from elman.tasks.classification.model import SequenceClassifier, Specification
from elman.tasks.classification.prediction import ClassPrediction
from elman.tasks.drawing import draw_linear, draw_recurrent
from elman.training import GraphNode, StepResult

__all__ = ["Classification"]

_EVALUATION_BATCH = 500


class Classification(Predictor[ClassificationConfig]):
    """Learn which class a sequence belongs to.

    Args:
        config: the configuration.
        data: what to learn from; None loads what the configuration names.
        model: a trained classifier to go on with; None makes a fresh one.

    Raises:
        DataError: the data has other classes, features or another scale than the model was trained on.

    Example:
        >>> from elman.training import TrainingConfig
        >>> task = Classification(ClassificationConfig(data="digits", training=TrainingConfig(epochs=1)))
        >>> task.data.name, len(task.data.test)
        ('digits', 359)
    """

    name = "classification"
    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("accuracy", "max")

    def __init__(
        self, config: ClassificationConfig, data: LabelledData | None = None, model: nn.Module | None = None
    ) -> None:
        data = _load(config) if data is None else data
        self.data = data
        self._batches = ShuffledBatches(data.train, config.training.batch_size, config.training.seed)
        specification = Specification(data.classes, data.train.steps, data.train.features, data.scale, data.image)
        if model is None:
            model = SequenceClassifier(config.model, specification)
        else:
            _require_same(data.name, trained=cast(SequenceClassifier, model).specification, found=specification)
        super().__init__(config, model)

    @classmethod
    def from_config(cls, config: ClassificationConfig, model: nn.Module | None = None) -> Self:
        """Load the data, and make a fresh model or use this one."""
        return cls(config, model=model)

    @classmethod
    def model_from(cls, config: ClassificationConfig, description: Mapping[str, Any]) -> SequenceClassifier:
        """Make a model for the weights of a checkpoint."""
        return SequenceClassifier(config.model, Specification.from_json(description))

    def description(self) -> dict[str, Any]:
        """Return the specification of the model."""
        return self._classifier.specification.to_json()

    def notes(self) -> list[str]:
        """The data and the model in a few lines."""
        data, parameters = self.data, sum(parameter.numel() for parameter in self.model.parameters())
        sizes = ", ".join(f"{len(sequences):,} {name}" for name, sequences in data.splits().items())
        shape = f"{data.train.steps} steps of {data.train.features}, {len(data.classes)} classes"
        return [f"{data.name}: {sizes}; {shape}. Model: {parameters:,} parameters.", *data.notes]

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training data."""
        return self._batches.steps_per_epoch

    def batch(self, step: int) -> LabelledSequences:
        """The training batch of a step."""
        return self._batches.batch(step)

    def loss(self, model: nn.Module, batch: LabelledSequences) -> StepResult:
        """Cross-entropy, and how many were right."""
        logits, y = _logits(model, batch)
        right = (logits.detach().argmax(1) == y).sum()
        return StepResult(F.cross_entropy(logits, y), len(batch), {"accuracy": right})

    def evaluate_split(self, model: nn.Module, split: str) -> dict[str, Any] | None:
        """Mean cross-entropy and accuracy on a split."""
        sequences = self.data.splits().get(split)
        if sequences is None:
            return None
        loss, right = 0.0, 0
        with torch.inference_mode():
            for batch in in_order(sequences, _EVALUATION_BATCH):
                logits, y = _logits(model, batch)
                loss += F.cross_entropy(logits.double(), y, reduction="sum").item()
                right += int((logits.argmax(1) == y).sum())
        return {"accuracy": right / len(sequences), "loss": loss / len(sequences), "examples": len(sequences)}

    @classmethod
    def predict(cls, model: nn.Module, files: Sequence[str]) -> list[Prediction]:
        """Classify pictures."""
        classifier = cast(SequenceClassifier, model)
        image = classifier.specification.image
        if image is None:
            raise DataError("This model was trained on sequences, not on images: it cannot read picture files.")
        pictures = [read_picture(file, image) for file in files]
        x = torch.stack([torch.from_numpy(picture) for picture, _ in pictures])
        return [
            ClassPrediction.of(classifier, file, pixels, probabilities, notes=tuple(notes))
            for file, pixels, probabilities, (_, notes) in zip(
                files, x, classifier.probabilities(x), pictures, strict=True
            )
        ]

    def examples(self, model: nn.Module, count: int) -> list[Prediction]:
        """Classify some test sequences, from the first to the last."""
        classifier, test = cast(SequenceClassifier, model), self.data.test
        if not 1 <= count <= len(test):
            raise DataError(describe("--examples", expected=f"1 to {len(test)}, the test examples", got=str(count)))
        chosen = torch.linspace(0, len(test) - 1, count).long()
        some = test.select(chosen)
        return [
            ClassPrediction.of(classifier, f"test example {index}", x, probabilities, truth=self.data.classes[y])
            for index, x, y, probabilities in zip(
                chosen.tolist(), some.x, some.y.tolist(), classifier.probabilities(some.x, some.lengths), strict=True
            )
        ]

    def images(self) -> Mapping[str, Tensor]:
        """The first training images, by class, as TensorBoard shows them."""
        if self.data.image is None:
            return {}
        first = {y: k for k, y in reversed(list(enumerate(self.data.train.y.tolist())))}
        some = self.data.train.x[[first[y] for y in sorted(first)][:16]]
        return {"inputs": (some * (self.data.scale * 255)).round().to(torch.uint8)[:, None]}

    def graph(self) -> Sequence[GraphNode]:
        """Inputs, recurrent layers with the step of their cell, readout, loss."""
        model, shape = self._classifier, (-1, self.data.train.steps, self.data.train.features)
        nodes, outputs = draw_recurrent(model.recurrent, "recurrent", "inputs/x")
        classes = len(self.data.classes)
        return [
            GraphNode("inputs/x", "Placeholder", shape=shape),
            GraphNode("inputs/y", "Placeholder", shape=(-1,)),
            *nodes,
            GraphNode("readout/state", "FinalState" if model.config.readout == "final" else "LastOutput", outputs),
            *draw_linear("readout", "readout/state", classes),
            GraphNode("loss/cross_entropy", "CrossEntropy", ("readout/output", "inputs/y"), ()),
        ]

    @property
    def _classifier(self) -> SequenceClassifier:
        return cast(SequenceClassifier, self.model)


def _load(config: ClassificationConfig) -> LabelledData:
    validation = int(config.validation) if config.validation >= 1 else config.validation
    return load_labelled(config.data, validation=validation, seed=config.training.seed, image_size=config.image_size)


def _require_same(name: str, *, trained: Specification, found: Specification) -> None:
    for what in ("classes", "features", "scale"):
        if getattr(trained, what) != getattr(found, what):
            expected = f"{getattr(trained, what)} as in training"
            raise DataError(describe(f"{name}: {what}", expected=expected, got=f"{getattr(found, what)}"))


def _logits(model: nn.Module, batch: LabelledSequences) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    lengths = None if batch.lengths is None else batch.lengths.to(device)
    return model(batch.x.to(device), lengths), batch.y.to(device)
