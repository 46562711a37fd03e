"""What tasks share whose examples are sequences. See `SequenceTask`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from elman.data import in_order
from elman.insight import GradientFlow, gradient_flow
from elman.tasks.base import Predictor, TaskConfig
from elman.tasks.drawing import draw_linear, draw_recurrent
from elman.tasks.sequence.model import SequenceModel
from elman.training import GraphNode, StepResult

__all__ = ["Examples", "SequenceTask"]

_EVALUATION_BATCH = 500
_READOUTS = {"steps": "Outputs", "final": "FinalState", "last": "LastOutput"}

ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class Examples(Protocol):
    """Sequences with what is to be answered to them, on the CPU."""

    @property
    def x(self) -> Tensor:
        """``(N, T, features)``."""

    @property
    def y(self) -> Tensor:
        """``(N,)``, or ``(N, T)`` where there is an answer at every step."""

    @property
    def lengths(self) -> Tensor | None:
        """``(N,)``, the steps of each sequence that count; None where all do."""

    def __len__(self) -> int:
        """N."""

    def select(self, indices: Tensor | slice, /) -> Self:
        """Take some of the sequences."""


class SequenceTask(Predictor[ConfigT]):
    """A task whose model reads sequences and answers once to each (many to one), or at every step.

    A subclass says what there is to read (`splits`, `batch`) and what an answer is worth (`measure`); loss, evaluation,
    drawing and gradient flow are the same for all. Its model is a `SequenceModel`.
    """

    @property
    def measured_by(self) -> str:
        """The loss, as TensorBoard names it."""
        return "cross_entropy"

    @abstractmethod
    def splits(self) -> Mapping[str, Examples]:
        """The splits that can be evaluated, by name."""

    @abstractmethod
    def measure(self, answers: Tensor, y: Tensor, lengths: Tensor | None) -> StepResult:
        """Loss and metrics of a batch.

        Args:
            answers: of the model, ``(batch, outputs)`` or ``(batch, time, outputs)``.
            y: what it should have answered, on the device of the answers.
            lengths: the steps that count, there too; None for all.
        """

    def loss(self, model: nn.Module, batch: Examples) -> StepResult:
        """Loss and metrics of a training batch."""
        return self.measure(*_asked(model, batch))

    def evaluate_split(self, model: nn.Module, split: str) -> dict[str, Any] | None:
        """Mean loss and metrics on a split, summed up in double precision."""
        examples = self.splits().get(split)
        if examples is None:
            return None
        count, totals = 0, dict[str, float]()
        with torch.inference_mode():
            for some in in_order(examples, _EVALUATION_BATCH):
                answers, y, lengths = _asked(model, some)
                result = self.measure(answers.double(), y, lengths)
                sums = {**result.sums, "loss": result.loss * result.count}
                totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
                count += result.count
        means = self.metrics({name: total / count for name, total in totals.items()})
        return {**means, "examples": len(examples)}

    def gradient_flow(self, count: int = 100) -> GradientFlow:
        """Measure how the loss of the last step of each sequence flows back, on the first test examples.

        Returns:
            The norms of ∂L/∂h_t, and of every other state, for all layers and steps; see `elman.insight`.
        """
        model, some = self._sequence_model, self.splits()["test"].select(slice(0, count))

        def loss() -> Tensor:
            answers, y, lengths = _asked(model, some)
            if model.place != "steps":
                return self.measure(answers, y, lengths).loss
            last = torch.full_like(y[:, 0], y.shape[1]) if lengths is None else lengths
            rows, steps = torch.arange(len(y), device=y.device), (last - 1).clamp(min=0)
            ended = None if lengths is None else lengths.clamp(max=1)
            return self.measure(answers[rows, steps, None], y[rows, steps, None], ended).loss

        return gradient_flow(model.recurrent, loss)

    def graph(self) -> Sequence[GraphNode]:
        """Inputs, recurrent layers with the step of their cell, readout, loss."""
        model, some = self._sequence_model, next(iter(self.splits().values()))
        nodes, outputs = draw_recurrent(model.recurrent, "recurrent", "inputs/x")
        title = "".join(part.capitalize() for part in self.measured_by.split("_"))
        return [
            GraphNode("inputs/x", "Placeholder", shape=(-1, *some.x.shape[1:])),
            GraphNode("inputs/y", "Placeholder", shape=(-1, *some.y.shape[1:])),
            *nodes,
            GraphNode("readout/state", _READOUTS[model.place], outputs),
            *draw_linear("readout", "readout/state", model.outputs),
            GraphNode(f"loss/{self.measured_by}", title, ("readout/output", "inputs/y"), ()),
        ]

    @property
    def _sequence_model(self) -> SequenceModel:
        return cast(SequenceModel, self.model)


def _asked(model: nn.Module, examples: Examples) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the answers of a model, what they should have been, and the lengths, on the device of the model."""
    device = next(model.parameters()).device
    lengths = None if examples.lengths is None else examples.lengths.to(device)
    return model(examples.x.to(device), lengths), examples.y.to(device), lengths
