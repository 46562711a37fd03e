"""The network of the classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elman.data import ImageFormat
from elman.errors import CheckpointError, describe
from elman.tasks.classification.config import ClassifierConfig
from elman.tasks.sequence.model import SequenceModel

__all__ = ["SequenceClassifier", "Specification"]


@dataclass(frozen=True)
class Specification:
    """What a classifier reads and answers; stands in every checkpoint.

    Attributes:
        classes: names, by label.
        steps: time steps of the training sequences; rows of an image.
        features: numbers in a step; pixels of a row.
        scale: what x is multiplied by.
        image: form of the training images; None where x is not images.
    """

    classes: tuple[str, ...]
    steps: int
    features: int
    scale: float
    image: ImageFormat | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        image = None if self.image is None else self.image.to_dict()
        return {**vars(self), "classes": list(self.classes), "image": image}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Specification:
        """Read what `to_json` gave, checked.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            image = fields["image"]
            return cls(
                classes=tuple(str(name) for name in fields["classes"]),
                steps=int(fields["steps"]),
                features=int(fields["features"]),
                scale=float(fields["scale"]),
                image=None if image is None else ImageFormat.from_dict(dict(image)),
            )
        except (KeyError, TypeError, ValueError) as error:
            expected = "the description of a classifier"
            got = f"{sorted(fields)} ({error})"
            raise CheckpointError(describe("The task of the checkpoint", expected=expected, got=got)) from error


class SequenceClassifier(SequenceModel):
    r"""Recurrent layers and a linear readout of the end of a sequence.

    .. math::

        p(\text{class}) = \operatorname{softmax}(V s + d)

    where s is the final state of each direction side by side (``readout="final"``), or the output of the last step
    (``"last"``).

    Args:
        config: the network.
        specification: what it reads and answers.

    Shapes:
        x ``(batch, time, features)`` of any number type, lengths ``(batch,)`` or None; logits ``(batch, classes)``.

    Example:
        >>> specification = Specification(("zero", "one"), steps=8, features=8, scale=1 / 255, image=None)
        >>> model = SequenceClassifier(ClassifierConfig(cell="gru", hidden_size=16), specification)
        >>> model(torch.zeros(3, 8, 8, dtype=torch.uint8)).shape
        torch.Size([3, 2])
    """

    def __init__(self, config: ClassifierConfig, specification: Specification) -> None:
        super().__init__(
            config,
            specification.features,
            len(specification.classes),
            readout=config.readout,
            scale=specification.scale,
        )
        self.specification = specification

    @torch.no_grad()
    def probabilities(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the probability of each class, ``(batch, classes)``, in evaluation mode."""
        was_training = self.training
        logits: Tensor = self.eval()(x, lengths)
        self.train(was_training)
        return F.softmax(logits, dim=1)

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, by label."""
        return self.specification.classes
