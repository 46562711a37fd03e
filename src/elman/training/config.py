"""What people tune about training, whatever the task. Imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from elman.errors import OptionError

__all__ = ["PositiveInt", "Probability", "TrainingConfig"]

PositiveInt = Annotated[int, Gt(0)]
PositiveFloat = Annotated[float, Gt(0), Lt(math.inf)]
Probability = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained.

    The length is given by exactly one of ``epochs``, ``samples`` and ``steps``. Ranges stand in the annotations, for
    pydantic to check; conflicts between fields are found here.

    Raises:
        OptionError: If options contradict each other; one message names every conflict by its flags.

    Example:
        >>> TrainingConfig(samples=100_000).total_steps(steps_per_epoch=430, samples_per_step=128)
        782
        >>> TrainingConfig(epochs=2, samples=1000)
        Traceback (most recent call last):
        ...
        elman.errors.OptionError: The length of training must be exactly one of --epochs, --samples and --steps, got
        --epochs and --samples.
    """

    epochs: PositiveFloat | None = None
    """Length of training in passes over the training data; fractions are allowed."""

    samples: PositiveInt | None = None
    """Length of training in training examples (of text: words or characters), rounded up to whole batches."""

    steps: PositiveInt | None = None
    """Length of training in optimiser steps (batches)."""

    batch_size: PositiveInt = 128
    """Examples in a batch; of text, the streams that are read side by side."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimiser: Adam, Adam with decoupled weight decay, or stochastic gradient descent."""

    learning_rate: PositiveFloat = 1e-3
    """Learning rate, before the schedule."""

    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Momentum of --optimizer sgd."""

    weight_decay: Annotated[float, Ge(0), Lt(math.inf)] = 0.0
    """Weight decay: decoupled with adamw, added to the gradient with adam and sgd."""

    schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """Course of the learning rate: constant, falling to zero linearly or as a cosine, or times --decay each epoch."""

    decay: Annotated[float, Gt(0), Le(1)] | None = None
    """Factor on the learning rate each epoch, with --schedule exponential (0.5 halves it)."""

    decay_after: Annotated[int, Ge(0)] = 0
    """Epochs at the full learning rate before --decay sets in."""

    warmup_steps: Annotated[int, Ge(0)] = 0
    """Steps over which the learning rate rises linearly from zero at the start."""

    clip_norm: PositiveFloat | None = None
    """Scale gradients down to this global norm where it is exceeded; none: never."""

    patience: PositiveInt | None = None
    """Stop after this many evaluations in a row without a new best; none: never."""

    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """Seed of everything random: initial weights, dropout, order of the data."""

    threads: PositiveInt | None = None
    """CPU threads; none: PyTorch's choice. The same number gives the same bits."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto: a GPU where there is one."""

    precision: Literal["32-true", "64-true", "bf16-true", "bf16-mixed"] = "32-true"
    """Number format: -true for weights and arithmetic, -mixed for arithmetic alone where that is safe."""

    checkpoint_seconds: Annotated[float, Ge(0), Lt(math.inf)] = 60.0
    """Seconds between checkpoints; one is also written at the end of each epoch."""

    log_steps: PositiveInt = 50
    """Steps between points of the training curves."""

    tensorboard: bool = True
    """Write TensorBoard's event files into the run directory."""

    def __post_init__(self) -> None:
        """Name every conflict between fields in one message."""
        problems = [*self._length_problems(), *self._optimizer_problems()]
        if problems:
            raise OptionError(" ".join(problems))

    def _length_problems(self) -> list[str]:
        given = [f"--{name}" for name in ("epochs", "samples", "steps") if getattr(self, name) is not None]
        if len(given) == 1:
            return []
        got = " and ".join(given) or "none of them"
        return [f"The length of training must be exactly one of --epochs, --samples and --steps, got {got}."]

    def _optimizer_problems(self) -> list[str]:
        problems = []
        if self.momentum and self.optimizer != "sgd":
            problems.append(f"--momentum belongs to --optimizer sgd, got --optimizer {self.optimizer}.")
        if self.schedule == "exponential" and self.decay is None:
            problems.append("--schedule exponential needs --decay, the factor of an epoch.")
        if self.schedule != "exponential" and self.decay is not None:
            problems.append(f"--decay belongs to --schedule exponential, got --schedule {self.schedule}.")
        if self.schedule != "exponential" and self.decay_after:
            problems.append(f"--decay-after belongs to --schedule exponential, got --schedule {self.schedule}.")
        return problems

    def total_steps(self, steps_per_epoch: int, samples_per_step: int) -> int:
        """The length of training in steps."""
        if self.steps is not None:
            return self.steps
        if self.samples is not None:
            return math.ceil(self.samples / samples_per_step)
        assert self.epochs is not None  # one of the three is given
        return max(1, round(self.epochs * steps_per_epoch))

    def with_length(
        self, *, epochs: float | None = None, samples: int | None = None, steps: int | None = None
    ) -> TrainingConfig:
        """The same configuration with another length, for a preset or a finished run that is to go on.

        Example:
            >>> TrainingConfig(epochs=10).with_length(samples=5000).epochs is None
            True
        """
        return replace(self, epochs=epochs, samples=samples, steps=steps)
