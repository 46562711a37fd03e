"""The learning rate of every step, as a function: there is nothing to store in a checkpoint."""

from __future__ import annotations

import math

from elman.training.config import TrainingConfig

__all__ = ["learning_rate"]


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """The learning rate of one step.

    During the warm-up the rate is multiplied by ``(step + 1) / warmup_steps``. ``linear`` and ``cosine`` fall over the
    steps after the warm-up and would reach zero right after the last one. ``exponential`` changes at the start of an
    epoch: epoch ``e``, counted from 1, runs at ``decay ** max(0, e - decay_after)``, as the classic language models do.

    Args:
        config: The schedule and its numbers.
        step: The step, counted from 0.
        steps_per_epoch: Steps in an epoch.
        total_steps: Steps in the whole training.

    Example:
        >>> config = TrainingConfig(epochs=6, learning_rate=1.0, schedule="exponential", decay=0.5, decay_after=4)
        >>> [learning_rate(config, 10 * epoch, 10, 60) for epoch in range(6)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.25]
    """
    rate = config.learning_rate
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    falling = total_steps - config.warmup_steps
    done = max(0, step - config.warmup_steps) / falling if falling > 0 else 0.0
    if config.schedule == "linear":
        return rate * (1.0 - done)
    if config.schedule == "cosine":
        return rate * 0.5 * (1.0 + math.cos(math.pi * done))
    if config.schedule == "exponential":
        assert config.decay is not None  # TrainingConfig sees to it
        epoch = step // steps_per_epoch + 1
        return rate * config.decay ** max(0, epoch - config.decay_after)
    return rate
