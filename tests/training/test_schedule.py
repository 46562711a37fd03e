from __future__ import annotations

from typing import Any

import pytest

from elman.training.config import TrainingConfig
from elman.training.schedule import learning_rate


def rates(steps: int, steps_per_epoch: int = 4, **fields: Any) -> list[float]:
    config = TrainingConfig(steps=steps, learning_rate=0.8, **fields)
    return [learning_rate(config, step, steps_per_epoch, steps) for step in range(steps)]


def test_constant() -> None:
    assert rates(3) == [0.8, 0.8, 0.8]


def test_linear_would_reach_zero_after_the_last_step() -> None:
    assert rates(4, schedule="linear") == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_cosine() -> None:
    half = 0.8 * 0.5
    assert rates(4, schedule="cosine") == pytest.approx([0.8, half * (1 + 2**-0.5), half, half * (1 - 2**-0.5)])


def test_warmup_then_linear_over_the_rest() -> None:
    assert rates(6, schedule="linear", warmup_steps=2) == pytest.approx([0.4, 0.8, 0.8, 0.6, 0.4, 0.2])


def test_warmup_as_long_as_training() -> None:
    assert rates(2, schedule="cosine", warmup_steps=4) == pytest.approx([0.2, 0.4])


def test_exponential_changes_at_epochs() -> None:
    assert rates(8, steps_per_epoch=2, schedule="exponential", decay=0.5) == [0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]


def test_exponential_keeps_the_first_epochs() -> None:
    got = rates(6, steps_per_epoch=1, schedule="exponential", decay=0.1, decay_after=4)
    assert got == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.08, 0.008])
