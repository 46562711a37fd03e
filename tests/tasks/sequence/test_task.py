"""What the base does with answers at every step, with and without lengths; `classification` has one a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.errors import DataError
from elman.insight import gradient_flow
from elman.tasks.sequence.config import SequenceModelConfig
from elman.tasks.sequence.model import SequenceModel
from elman.tasks.sequence.task import SequenceTask
from elman.training import StepResult, TrainingConfig, graph_def


@dataclass(frozen=True)
class Labelled:
    x: Tensor
    y: Tensor
    lengths: Tensor | None

    def __len__(self) -> int:
        return len(self.y)

    def select(self, indices: Any) -> Labelled:
        lengths = None if self.lengths is None else self.lengths[indices]
        return Labelled(self.x[indices], self.y[indices], lengths)


@dataclass(frozen=True)
class Config:
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=1))


class Labels(SequenceTask[Config]):
    """A label a step; steps past the end do not count."""

    def __init__(self, lengths: Tensor | None) -> None:
        model = SequenceModel(SequenceModelConfig(hidden_size=5, bidirectional=True), 3, 4, readout="steps")
        super().__init__(Config(), model.double())
        self.test = Labelled(torch.randn(7, 6, 3), torch.randint(4, (7, 6)), lengths)

    def splits(self) -> Mapping[str, Labelled]:
        return {"test": self.test}

    def measure(self, answers: Tensor, y: Tensor, lengths: Tensor | None) -> StepResult:
        ends = torch.full_like(y[:, 0], y.shape[1]) if lengths is None else lengths
        counts = torch.arange(y.shape[1]) < ends[:, None]
        right = (answers.argmax(2) == y)[counts].sum()
        return StepResult(F.cross_entropy(answers[counts], y[counts]), int(counts.sum()), {"accuracy": right})

    @classmethod
    def from_config(cls, config: Any, model: Any = None) -> Any: ...

    @classmethod
    def model_from(cls, config: Any, description: Any) -> Any: ...

    @classmethod
    def predict(cls, model: Any, files: Any) -> Any: ...

    def examples(self, model: Any, count: int) -> Any: ...

    def description(self) -> Any: ...

    def notes(self) -> Any: ...

    steps_per_epoch = 1

    def batch(self, step: int) -> Any: ...


LENGTHS = [None, torch.tensor([6, 2, 5, 1, 6, 3, 4])]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_evaluation_weighs_every_step_alike(lengths: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.tasks.sequence.task._EVALUATION_BATCH", 3)
    task = Labels(lengths)
    losses, right = [], []
    for k in range(7):
        n = 6 if lengths is None else int(lengths[k])
        answers = task.model(task.test.x[k : k + 1, :n])[0]
        losses += F.cross_entropy(answers, task.test.y[k, :n], reduction="none").tolist()
        right += (answers.argmax(1) == task.test.y[k, :n]).tolist()
    expected = {"accuracy": sum(right) / len(right), "loss": sum(losses) / len(losses), "examples": 7}
    assert task.evaluate_split(task.model, "test") == pytest.approx(expected, rel=1e-9)
    assert task.evaluate_split(task.model, "train") is None
    loss = task.loss(task.model, task.test)
    assert loss.loss.item() == pytest.approx(expected["loss"], rel=1e-9)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_gradient_flow_is_of_the_last_step_of_each(lengths: Tensor | None) -> None:
    task, count = Labels(lengths), 5
    found = task.gradient_flow(count)
    ends = torch.full((7,), 6) if lengths is None else lengths
    x, y = task.test.x[:count].double(), task.test.y[:count]
    last = (torch.arange(count), ends[:count] - 1)

    def loss() -> Tensor:
        outputs, _ = task.model.recurrent(x, lengths=None if lengths is None else lengths[:count])
        return F.cross_entropy(task.model.readout(outputs[last]), y[last])

    expected = gradient_flow(task.model.recurrent, loss)
    for name, norms in expected.norms.items():
        torch.testing.assert_close(found.norms[name], norms, rtol=1e-9, atol=0)
    assert (found.norms["h"][0, 0] > 0).all()
    backward = found.norms["h"][0, 1]
    if lengths is None:  # of the other direction it is the first step: nothing comes before it
        assert backward[-1] > 1e-4
        assert backward[:-1].max() == 0


def test_drawing() -> None:
    nodes = {node.name: node for node in Labels(None).graph()}
    graph_def(list(nodes.values()))
    assert nodes["inputs/y"].shape == (-1, 6)
    assert nodes["readout/state"].op == "Outputs"
    assert nodes["loss/cross_entropy"].op == "CrossEntropy"


def test_examples_are_spread_over_the_test_split() -> None:
    task = Labels(None)
    assert task.chosen_examples(7, 4).tolist() == [0, 2, 4, 6]
    for count in (0, 8):
        with pytest.raises(DataError, match=rf"--examples must be 1 to 7, the test examples, got {count}"):
            task.chosen_examples(7, count)
