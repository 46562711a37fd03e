"""Two tiny tasks, and functions that train them in this process or in another one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch import Tensor, nn

from elman.training import GraphNode, Measurement, RunDirectory, StepResult, Summary, TrainingConfig, prepare, train
from elman.training.checkpoint import load_checkpoint


class Silent:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.points: list[tuple[Measurement, Measurement | None]] = []

    def start(self, step: int, total_steps: int, steps_per_epoch: int, unit: str) -> None: ...

    def update(self, point: Measurement) -> None: ...

    def log(self, train: Measurement, validation: Measurement | None) -> None:
        self.points.append((train, validation))

    def message(self, text: str) -> None:
        self.messages.append(text)

    def close(self) -> None: ...


class Softmax:
    """Points in three classes, a hidden layer with dropout, shuffled batches of 8 with a short last one."""

    monitor = ("accuracy", "max")
    unit = "samples"
    samples_per_step = 8

    def __init__(self, config: TrainingConfig) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(59, 6, generator=generator)
        self.y = (self.x @ torch.randn(6, 3, generator=generator)).argmax(1)
        self.seed = config.seed
        self.model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 3))
        self.steps_per_epoch = 5  # 37 training examples, 22 for validation

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, index = divmod(step, self.steps_per_epoch)
        order = torch.randperm(37, generator=torch.Generator().manual_seed(1000 * self.seed + epoch))
        rows = order[8 * index : 8 * index + 8]
        return self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> StepResult:
        x, y = batch
        logits = model(x)
        return StepResult(F.cross_entropy(logits, y), len(y), {"accuracy": (logits.argmax(1) == y).sum()})

    def evaluate(self, model: nn.Module) -> dict[str, float] | None:
        assert not model.training
        assert not torch.is_grad_enabled()
        logits, y = model(self.x[37:]), self.y[37:]
        return {
            "loss": float(F.cross_entropy(logits, y)),
            "accuracy": float((logits.argmax(1) == y).double().mean()),
        }

    def metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        return means

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        assert not state

    def description(self) -> dict[str, Any]:
        return {"classes": ("a", "b", "c")}

    def graph(self) -> list[GraphNode]:
        return [GraphNode("points", "Input", shape=(-1, 6)), GraphNode("readout/logits", "MatMul", ["points"])]

    def images(self) -> dict[str, Tensor]:
        return {"samples": torch.arange(2 * 4 * 4, dtype=torch.uint8).reshape(2, 1, 4, 4)}

    def parameters_by_name(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        for name, parameter in self.model.named_parameters():
            yield name.replace(".", "/"), parameter, parameter.grad


class TiedModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.cell = nn.GRUCell(8, 8)
        self.readout = nn.Linear(8, 7)
        self.readout.weight = self.embedding.weight

    def forward(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for word in words.unbind(1):
            hidden = self.cell(F.dropout(self.embedding(word), 0.2, self.training), hidden)
            outputs.append(self.readout(hidden))
        return torch.stack(outputs, 1), hidden


class Carried(Softmax):
    """A language model on four streams of seven words; the hidden state goes from batch to batch; tied weights."""

    monitor = ("loss", "min")
    unit = "words"
    samples_per_step = 20

    def __init__(self, config: TrainingConfig) -> None:
        self.words = torch.randint(7, (4, 31), generator=torch.Generator().manual_seed(2))
        self.model = TiedModel()
        self.steps_per_epoch = 6
        self.hidden = torch.zeros(4, 8)

    def batch(self, step: int) -> tuple[Tensor, Tensor, bool]:
        index = step % self.steps_per_epoch
        return self.words[:, 5 * index : 5 * index + 5], self.words[:, 5 * index + 1 : 5 * index + 6], index == 0

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, bool]) -> StepResult:
        words, targets, first = batch
        if first:
            self.hidden = torch.zeros(4, 8)
        logits, hidden = model(words, self.hidden)
        self.hidden = hidden.detach()
        return StepResult(F.cross_entropy(logits.flatten(0, 1), targets.flatten()), targets.numel())

    def evaluate(self, model: nn.Module) -> dict[str, float] | None:
        logits, _ = model(self.words[:, :-1], torch.zeros(4, 8))
        return {"loss": float(F.cross_entropy(logits.flatten(0, 1), self.words[:, 1:].flatten()))}

    def state_dict(self) -> dict[str, Tensor]:
        return {"hidden": self.hidden}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.hidden = state["hidden"]


TASKS = {"softmax": Softmax, "carried": Carried}


def go_on(path: Path, *, task: Any = None, reporter: Any = None, **changes: Any) -> Summary:
    """Train the run at a path, from its start or its last checkpoint."""
    run = RunDirectory.open(path)
    fields = dict(run.config) | changes
    kind = TASKS[fields.pop("task")]
    config = TrainingConfig(**{"log_steps": 3, "threads": 1, "device": "cpu"} | fields)
    prepare(config)
    return train(task(config) if task else kind(config), config, run, reporter=reporter or Silent())


# For processes that are killed


class Slow(Softmax):
    """Leaves the killer time."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        time.sleep(0.004)
        return super().batch(step)


class SlowCarried(Carried):
    def batch(self, step: int) -> tuple[Tensor, Tensor, bool]:
        time.sleep(0.004)
        return super().batch(step)


def slowly(path: Path, started: Any) -> None:
    """Train with 4 ms a step; tells when it has begun."""
    started.set()
    kind = {"softmax": Slow, "carried": SlowCarried}[RunDirectory.open(path).config["task"]]
    go_on(path, task=kind)


def stall_in_write(path: Path, reached: Any, number: int) -> None:
    """Train until the checkpoint of this number (counted from 0) is half on disk, and stop there."""
    written = 0

    def stall(descriptor: int) -> None:
        nonlocal written
        size = os.fstat(descriptor).st_size
        if size and written == 2 * number:  # each checkpoint forces its file and its folder
            os.ftruncate(descriptor, size // 2)
            reached.set()
            time.sleep(60)
        written += 1

    os.fsync = stall  # type: ignore[assignment]
    go_on(path)


# What a run left behind


def curves(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the clock's numbers."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]


def events(path: Path) -> list[tuple[int, str, Any]]:
    """Step, tag and value of all that TensorBoard would read, in order; histograms by their sums."""
    found: list[tuple[int, str, Any]] = []
    for file in sorted((path / "tensorboard").iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                content = value.tensor.SerializeToString()
                found.append((event.step, value.tag, content if value.tag != "samples_per_second" else None))
            if event.graph_def:
                found.append((event.step, "graph", event.graph_def))
    return found


def assert_same(path: Path, other: Path) -> None:
    """All tensors bit for bit, the whole position, both journals."""
    left, right = (
        load_checkpoint(path / "checkpoints/last.safetensors"),
        load_checkpoint(other / "checkpoints/last.safetensors"),
    )
    assert left.tensors.keys() == right.tensors.keys()
    for name, value in left.tensors.items():
        assert value.dtype == right.tensors[name].dtype, name
        assert torch.equal(value, right.tensors[name]), name
    for progress in (left.document.progress, right.document.progress):
        progress.seconds = progress.window.seconds = 0.0
    assert left.document.progress == right.document.progress
    assert curves(path) == curves(other)
    assert events(path) == events(other)
