from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from elman.cells import Cell
from elman.errors import CheckpointError, DataError
from elman.insight import gradient_flow
from elman.tasks.memory.config import MemoryConfig
from elman.tasks.memory.task import Memory
from elman.tasks.sequence.config import SequenceModelConfig
from elman.training import RunDirectory, TrainingConfig, load_checkpoint, prepare, train
from elman.training.progress import PlainReporter

CELLS = sorted(name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman."))
PROBLEMS = ["adding", "copy"]


class Quiet(PlainReporter):
    def __init__(self) -> None: ...

    def message(self, text: str) -> None: ...


def make(data: str = "adding", length: int = 6, training: TrainingConfig | None = None, **model: Any) -> Memory:
    training = training or TrainingConfig(steps=1, batch_size=5)
    fields = {"hidden_size": 12} | model
    return Memory(
        MemoryConfig(data=data, length=length, model=SequenceModelConfig(**fields), training=training)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("cell", CELLS)
def test_learns_to_add(tmp_path: Path, cell: str) -> None:
    """Over a few steps any cell can remember."""
    config = TrainingConfig(steps=250, batch_size=32, learning_rate=0.02, clip_norm=1.0, tensorboard=False, threads=1)
    prepare(config)
    task = make(length=4, training=config, cell=cell, hidden_size=16)
    run = RunDirectory.create(tmp_path / "run", {}, title="tiny")
    train(task, config, run, reporter=Quiet())
    found = task.evaluate_split(task.model.eval(), "test")
    assert found is not None
    assert found["loss"] < 0.02 < task.problem.baseline / 5


def test_learns_a_copy_by_heart(tmp_path: Path) -> None:
    config = TrainingConfig(steps=120, batch_size=2, learning_rate=0.02, clip_norm=1.0, tensorboard=False, threads=1)
    prepare(config)
    task = make("copy", length=2, training=config, hidden_size=32)
    batch = task.batch(0)
    task.batch = lambda step: batch  # type: ignore[method-assign]
    run = RunDirectory.create(tmp_path / "run", {}, title="tiny")
    train(task, config, run, reporter=Quiet())
    result = task.loss(task.model.eval(), batch)
    assert result.loss < 0.1
    assert result.sums["accuracy"] == 2.0


@pytest.mark.parametrize("data", PROBLEMS)
def test_a_batch_is_a_function_of_seed_and_step(data: str) -> None:
    tasks = [make(data, training=TrainingConfig(steps=1, batch_size=5, seed=seed)) for seed in (0, 0, 1)]
    drawn = {}
    for k, task in enumerate(tasks):
        for step in (3, 0, 3):
            drawn.setdefault((k, step), []).append(task.batch(step))
    for (k, step), batches in drawn.items():
        assert all(torch.equal(batch.x, batches[0].x) and torch.equal(batch.y, batches[0].y) for batch in batches)
        others = [batch for key, (batch, *_) in drawn.items() if key not in {(k, step), (1 - k, step)}]
        assert not any(torch.equal(batches[0].y, other.y) for other in others)
    assert torch.equal(drawn[0, 3][0].x, drawn[1, 3][0].x)


def test_held_out_sequences_are_the_same_for_every_seed() -> None:
    one, other = (make(training=TrainingConfig(steps=1, seed=seed)).splits() for seed in (0, 7))
    assert list(one) == ["validation", "test"]
    assert [len(split) for split in one.values()] == [1000, 2000]
    assert all(torch.equal(one[name].x, other[name].x) for name in one)
    sums = [round(float(value), 6) for split in one.values() for value in split.x[:, :, 0].sum(1)]
    assert len(set(sums)) > 2990  # none stands in both


@pytest.mark.parametrize("data", PROBLEMS)
def test_resuming_gives_the_same_bits(data: str, tmp_path: Path) -> None:
    config = TrainingConfig(steps=14, batch_size=4, learning_rate=0.02, log_steps=2, tensorboard=False, threads=1)
    last = {}
    for name, lengths in {"whole": [14], "parts": [5, 9, 14]}.items():
        for steps in lengths:
            now = replace(config, steps=steps)
            prepare(now)
            task = make(data, training=now, num_layers=2, dropout=0.3)
            path = tmp_path / name
            run = RunDirectory.open(path) if path.exists() else RunDirectory.create(path, {}, title="tiny")
            train(task, now, run, reporter=Quiet())
        last[name] = load_checkpoint(tmp_path / name / "checkpoints/last.safetensors")
    assert last["whole"].document.progress.step == 14
    for name, value in last["whole"].tensors.items():
        assert torch.equal(value, last["parts"].tensors[name]), name


@pytest.mark.parametrize("data", PROBLEMS)
def test_evaluation_by_hand(data: str) -> None:
    task = make(data)
    test = task.splits()["test"]
    loss, right = task.problem.measure(task.model.eval()(test.x).double(), test.y)
    expected = {"accuracy": right.item() / 2000, "loss": loss.item(), "examples": 2000}
    assert task.evaluate_split(task.model, "test") == pytest.approx(expected, rel=1e-6)
    assert task.evaluate_split(task.model, "train") is None


@pytest.mark.parametrize("data", PROBLEMS)
def test_gradient_flow_of_the_last_step(data: str) -> None:
    task = make(data, cell="lstm")
    some = task.splits()["test"].select(slice(0, 9))

    def loss() -> torch.Tensor:
        answers = task.model(some.x)
        if data == "adding":
            return (answers[:, 0] - some.y).square().mean()
        return torch.nn.functional.cross_entropy(answers[:, -1], some.y[:, -1])

    expected, found = gradient_flow(task.model.recurrent, loss), task.gradient_flow(9)
    for name, norms in expected.norms.items():
        torch.testing.assert_close(found.norms[name], norms, rtol=1e-6, atol=0)
        assert norms.min() > 0


def test_notes() -> None:
    data, baseline = make("adding", length=50).notes()
    # LSTM 2 → 12: 4 · 12 · (2 + 12 + 1) = 720; readout 13
    assert data == (
        "adding: training sequences without end, 1,000 validation, 2,000 test; 50 steps of 2. Model: 733 parameters."
    )
    assert baseline == (
        "who remembers nothing has a loss of 0.1667; accuracy counts an answer that is off by less than 0.04"
    )
    assert "23 steps of 10." in make("copy", length=3).notes()[0]


@pytest.mark.parametrize("data", PROBLEMS)
def test_drawing_names_the_loss(data: str) -> None:
    nodes = {node.name: node for node in make(data).graph()}
    name, op, state = {
        "adding": ("loss/mean_squared_error", "MeanSquaredError", "FinalState"),
        "copy": ("loss/cross_entropy", "CrossEntropy", "Outputs"),
    }[data]
    assert nodes[name].op == op
    assert nodes["readout/state"].op == state


def shown(prediction: Any) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(prediction)
    return capture.get()


def test_examples_of_adding() -> None:
    task = make(length=5)
    with torch.no_grad():
        task.model.readout.weight.zero_()
        task.model.readout.bias.fill_(1.0)  # who remembers nothing
    for k, found in zip((0, 999, 1999), task.examples(task.model, 3), strict=True):
        x, y = (values[k] for values in (task.splits()["test"].x, task.splits()["test"].y))
        fields = found.as_json()
        assert fields["source"] == f"test example {k}"
        assert fields["numbers"] == x[:, 0].tolist()
        assert fields["truth"] == y.item() == pytest.approx(sum(x[t, 0].item() for t in fields["marked"]), rel=1e-6)
        assert fields["answer"] == 1.0
        assert fields["right"] == (abs(y.item() - 1) < 0.04)
        text = shown(found)
        assert text.count("[") == 2
        assert f" = {y:.3f}; answer 1.000 ({'right' if fields['right'] else 'wrong'})" in text


def test_examples_of_copy() -> None:
    task = make("copy", length=3)
    with torch.no_grad():
        task.model.readout.weight.zero_()
        task.model.readout.bias[:] = torch.arange(9) == 5  # always the same symbol
    (found,) = task.examples(task.model, 1)
    fields = found.as_json()
    read = task.splits()["test"].x[0].argmax(1).tolist()
    assert (fields["read"], fields["truth"], fields["answer"]) == (read, read[:10], [5] * 10)
    symbols = "".join(map(str, read[:10]))
    assert shown(found).splitlines() == [
        "test example 0:",
        f"read    {symbols}··▸··········",
        f"answer  {' ' * 13}5555555555  {symbols.count('5')} of 10 right",
    ]


def test_refusals() -> None:
    adding, copy = make("adding"), make("copy")
    with pytest.raises(DataError, match="--data must be adding as in training, got copy"):
        Memory(copy.config, adding.model)
    with pytest.raises(DataError, match="made, not read from files: ask for --examples N"):
        Memory.predict(adding.model, ["numbers.txt"])
    with pytest.raises(CheckpointError, match="must be the problem 'copy', got 'adding'"):
        Memory.model_from(copy.config, adding.description())
    assert partial(Memory.model_from, adding.config)(adding.description()).features == 2
