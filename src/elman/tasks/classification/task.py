"""The task of classification: data, loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.data import LabelledData, LabelledSequences, ShuffledBatches, load_labelled, read_picture
from elman.errors import DataError, describe
from elman.tasks.base import Prediction
from elman.tasks.classification.config import ClassificationConfig
from elman.tasks.classification.model import SequenceClassifier, Specification
from elman.tasks.classification.prediction import ClassPrediction
from elman.tasks.sequence.task import SequenceTask
from elman.training import StepResult

__all__ = ["Classification"]


class Classification(SequenceTask[ClassificationConfig]):
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
        data = self.data
        sizes = ", ".join(f"{len(sequences):,} {name}" for name, sequences in data.splits().items())
        shape = f"{data.train.steps} steps of {data.train.features}, {len(data.classes)} classes"
        return [f"{data.name}: {sizes}; {shape}. {self.size_of_model()}", *data.notes]

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training data."""
        return self._batches.steps_per_epoch

    def batch(self, step: int) -> LabelledSequences:
        """The training batch of a step."""
        return self._batches.batch(step)

    def splits(self) -> Mapping[str, LabelledSequences]:
        """Train, validation and test, where they are."""
        return self.data.splits()

    def measure(self, answers: Tensor, y: Tensor, lengths: Tensor | None) -> StepResult:
        """Cross-entropy, and how many were right."""
        right = (answers.detach().argmax(1) == y).sum()
        return StepResult(F.cross_entropy(answers, y), len(y), {"accuracy": right})

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
        classifier, chosen = cast(SequenceClassifier, model), self.chosen_examples(len(self.data.test), count)
        some = self.data.test.select(chosen)
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
