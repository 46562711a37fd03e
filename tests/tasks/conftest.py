from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from elman.data import ImageFormat, LabelledData, LabelledSequences
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.tasks.classification.task import Classification
from elman.training import TrainingConfig


def make_sequences(count: int, *, lengths: bool, as_bytes: bool) -> LabelledSequences:
    """Three classes, told apart by which of the three first features is large; one more is noise."""
    generator = torch.Generator().manual_seed(count)
    y = torch.arange(count) % 3
    x = 0.2 * torch.rand(count, 5, 4, generator=generator)
    x[torch.arange(count), :, y] += 0.6
    steps = torch.randint(1, 6, (count,), generator=generator) if lengths else None
    return LabelledSequences((x * 255).round().to(torch.uint8) if as_bytes else x, y, steps)


@pytest.fixture
def make_data() -> Callable[..., LabelledData]:
    """Makes a data set of 13 training, 7 validation and 11 test sequences of 5 steps of 4 features."""

    def make(*, lengths: bool = False, as_bytes: bool = False) -> LabelledData:
        train, validation, test = (make_sequences(n, lengths=lengths, as_bytes=as_bytes) for n in (13, 7, 11))
        image = ImageFormat.measure(train.x.numpy()) if as_bytes and not lengths else None
        classes, scale = ("ape", "bee", "cow"), 1 / 255 if as_bytes else 1.0
        return LabelledData("toy", train, validation, test, classes, scale, image, ("a note",))

    return make


@pytest.fixture
def make_task(make_data: Callable[..., LabelledData]) -> Callable[..., Classification]:
    """Makes a task of toy data; the arguments are those of the model, ``training`` and those of `make_data`."""

    def make(
        training: TrainingConfig | None = None, *, lengths: bool = False, as_bytes: bool = False, **model: Any
    ) -> Classification:
        config = ClassificationConfig(
            data="toy",
            model=ClassifierConfig(**{"hidden_size": 6} | model),
            training=training or TrainingConfig(steps=1, batch_size=5),
        )
        return Classification(config, make_data(lengths=lengths, as_bytes=as_bytes))

    return make
