"""One point of the curves: what goes to metrics.jsonl, to TensorBoard and to the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Measurement"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Metrics at a step.

    Attributes:
        step: Optimiser steps done.
        epoch: Passes over the training data done, with a fraction.
        samples: Training examples seen.
        seconds: Training time so far, interruptions left out.
        split: ``train``: means since the point before; ``validation``: over the whole split.
        metrics: Loss, accuracy, ... by name.
        speed: Learning rate, gradient norm and examples a second of training; empty for an evaluation.
        best: Whether an evaluation is the best so far; None for training.
    """

    step: int
    epoch: float
    samples: int
    seconds: float
    split: Literal["train", "validation"]
    metrics: Mapping[str, float]
    speed: Mapping[str, float] = field(default_factory=dict)
    best: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """The line of metrics.jsonl; a number that is not finite becomes null, as JSON has none.

        Example:
            >>> Measurement(step=7, epoch=0.5, samples=96, seconds=1.5, split="validation",
            ...             metrics={"loss": 0.25}, best=True).as_json()
            {'step': 7, 'epoch': 0.5, 'samples': 96, 'split': 'validation', 'loss': 0.25, 'best': True, 'seconds': 1.5}
        """
        shown = {**self.metrics, **self.speed}
        numbers = {name: value if math.isfinite(value) else None for name, value in shown.items()}
        head = {"step": self.step, "epoch": self.epoch, "samples": self.samples, "split": self.split}
        best = {} if self.best is None else {"best": self.best}
        return head | numbers | best | {"seconds": round(self.seconds, 3)}
