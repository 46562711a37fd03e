"""The task of the memory problems: data without end, loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from elman.errors import CheckpointError, DataError, describe
from elman.tasks.base import Prediction
from elman.tasks.memory.config import MemoryConfig
from elman.tasks.memory.problems import Adding, Copy, MadeSequences, find_problem
from elman.tasks.sequence.model import SequenceModel
from elman.tasks.sequence.task import SequenceTask
from elman.training import StepResult

__all__ = ["Memory"]

_HELD_OUT = {"validation": 1000, "test": 2000}  # the same sequences whatever the seed


class Memory(SequenceTask[MemoryConfig]):
    """Learn to remember, on sequences that are made as they are needed.

    Args:
        config: the configuration.
        model: a trained network to go on with; None makes a fresh one.

    Raises:
        DataError: the model was trained on another problem.

    Example:
        >>> from elman.training import TrainingConfig
        >>> task = Memory(MemoryConfig(data="copy", length=5, training=TrainingConfig(steps=1, batch_size=3)))
        >>> task.batch(7).x.shape, round(task.problem.baseline, 3)
        (torch.Size([3, 25, 10]), 0.832)
    """

    name = "memory"
    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("loss", "min")

    def __init__(self, config: MemoryConfig, model: nn.Module | None = None) -> None:
        self.problem = find_problem(config.data, config.length)
        if model is None:
            model = _model_of(self.problem, config)
        elif cast(SequenceModel, model).features != self.problem.features:
            names = [name for name in ("adding", "copy") if name != config.data]
            raise DataError(describe("--data", expected=f"{names[0]} as in training", got=config.data))
        super().__init__(config, model)

    @classmethod
    def from_config(cls, config: MemoryConfig, model: nn.Module | None = None) -> Self:
        """Make a fresh model or use this one."""
        return cls(config, model)

    @classmethod
    def model_from(cls, config: MemoryConfig, description: Mapping[str, Any]) -> SequenceModel:
        """Make a model for the weights of a checkpoint."""
        if description.get("problem") != config.data:
            expected, got = f"the problem {config.data!r}", f"{description.get('problem')!r}"
            raise CheckpointError(describe("The task of the checkpoint", expected=expected, got=got))
        return _model_of(find_problem(config.data, config.length), config)

    def description(self) -> dict[str, Any]:
        """Return the problem."""
        return {"problem": self.problem.name, "length": self.problem.length}

    def notes(self) -> list[str]:
        """The problem and the model in a few lines."""
        problem = self.problem
        sizes = ", ".join(f"{count:,} {name}" for name, count in _HELD_OUT.items())
        shape = f"{problem.steps} steps of {problem.features}"
        return [
            f"{problem.name}: training sequences without end, {sizes}; {shape}. {self.size_of_model()}",
            f"who remembers nothing has a loss of {problem.baseline:.4f}; accuracy counts {problem.right}",
        ]

    @property
    def measured_by(self) -> str:
        """The loss of the problem."""
        return self.problem.loss

    @property
    def steps_per_epoch(self) -> int:
        """Steps between evaluations."""
        return self.config.evaluation_steps

    def batch(self, step: int) -> MadeSequences:
        """Make the training batch of a step."""
        return self._drawn(self.config.training.batch_size, self.config.training.seed, 0, step)

    def splits(self) -> Mapping[str, MadeSequences]:
        """Validation and test."""
        return self._held_out

    @cached_property
    def _held_out(self) -> dict[str, MadeSequences]:
        return {name: self._drawn(count, 0, k) for k, (name, count) in enumerate(_HELD_OUT.items(), start=1)}

    def _drawn(self, count: int, seed: int, *key: int) -> MadeSequences:
        """Draw from a stream of its own: training is 0 and the step, validation 1, test 2."""
        stream = np.random.SeedSequence(seed, spawn_key=key)
        return self.problem.draw(np.random.default_rng(stream), count)

    def measure(self, answers: Tensor, y: Tensor, lengths: Tensor | None) -> StepResult:
        """Mean squared error or cross-entropy, and how many were right."""
        loss, right = self.problem.measure(answers, y)
        return StepResult(loss, len(y), {"accuracy": right})

    @classmethod
    def predict(cls, model: nn.Module, files: Sequence[str]) -> list[Prediction]:
        """There are no files of memory problems."""
        raise DataError("The sequences of this run are made, not read from files: ask for --examples N.")

    def examples(self, model: nn.Module, count: int) -> list[Prediction]:
        """Answer to some test sequences, from the first to the last."""
        test = self.splits()["test"]
        chosen = self.chosen_examples(len(test), count)
        some = test.select(chosen)
        with torch.inference_mode():
            answers = model.eval()(some.x)
        return [*self.problem.predictions([f"test example {k}" for k in chosen.tolist()], some, answers)]


def _model_of(problem: Adding | Copy, config: MemoryConfig) -> SequenceModel:
    return SequenceModel(config.model, problem.features, problem.outputs, readout=problem.readout)
