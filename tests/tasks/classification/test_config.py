from __future__ import annotations

from typing import Any

import pytest

from elman.errors import OptionError
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.training.config import TrainingConfig


def test_dropout_between_layers_needs_layers() -> None:
    with pytest.raises(OptionError, match=r"--dropout acts between layers and --num-layers is 1\. Use --input-dropout"):
        ClassifierConfig(dropout=0.5)
    assert ClassifierConfig(dropout=0.5, num_layers=2).dropout == 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation": 1.5}, "--validation must be a whole number or a share under 1, got 1.5"),
        (
            {"validation": 0, "training": TrainingConfig(epochs=1, patience=2)},
            "--patience needs validation examples, and --validation is 0",
        ),
    ],
)
def test_conflicts(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ClassificationConfig(data="digits", **fields)
