from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from elman.cells import Cell
from elman.data import LabelledData, LabelledSequences
from elman.errors import DataError, OptionError
from elman.tasks.classification.config import ClassificationConfig
from elman.tasks.classification.task import Classification
from elman.training import RunDirectory, StepResult, TrainingConfig, load_checkpoint, train
from elman.training.progress import PlainReporter

MakeTask = Callable[..., Classification]
MakeData = Callable[..., LabelledData]
CELLS = sorted(name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman."))


class Quiet(PlainReporter):
    def __init__(self) -> None: ...

    def message(self, text: str) -> None: ...


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Of each example, written out."""
    z = logits.detach().double().numpy()
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), y.numpy()]


@pytest.mark.parametrize("cell", CELLS)
def test_overfits_a_tiny_set(make_task: MakeTask, tmp_path: Path, cell: str) -> None:
    config = TrainingConfig(steps=30, batch_size=13, learning_rate=0.05, tensorboard=False, log_steps=1, threads=1)
    task = make_task(config, cell=cell, hidden_size=12)
    before = task.evaluate_split(task.model, "train")
    run = RunDirectory.create(tmp_path / "run", {}, title="tiny")
    train(task, config, run, reporter=Quiet())
    after = task.evaluate_split(task.model.eval(), "train")
    assert before is not None
    assert after is not None
    assert before["loss"] > 0.7
    assert after["loss"] < 0.05
    assert after["accuracy"] == 1.0


@pytest.mark.parametrize("lengths", [False, True])
def test_loss_and_accuracy(make_task: MakeTask, lengths: bool) -> None:
    task = make_task(lengths=lengths)
    batch = task.data.train.select(torch.tensor([3, 1, 4, 11]))
    result = task.loss(task.model, batch)
    logits = task.model(batch.x, batch.lengths)
    assert isinstance(result, StepResult)
    assert result.loss.item() == pytest.approx(cross_entropy(logits, batch.y).mean(), rel=1e-6)
    assert result.count == 4
    assert result.sums["accuracy"].item() == sum(logits.argmax(1) == batch.y)
    assert result.loss.requires_grad
    assert not result.sums["accuracy"].requires_grad


@pytest.mark.parametrize(("split", "count"), [("train", 13), ("validation", 7), ("test", 11)])
@pytest.mark.parametrize("lengths", [False, True])
def test_evaluate_split(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, split: str, count: int, lengths: bool
) -> None:
    monkeypatch.setattr("elman.tasks.sequence.task._EVALUATION_BATCH", 4)  # the last batch is shorter
    task = make_task(lengths=lengths)
    task.model.eval()
    sequences = task.data.splits()[split]
    losses, right = [], 0
    for k in range(count):
        row = sequences.select(slice(k, k + 1))
        logits = task.model(row.x, row.lengths)
        losses.append(cross_entropy(logits, row.y)[0])
        right += int(logits.argmax() == row.y)
    found = task.evaluate_split(task.model, split)
    expected = {"accuracy": right / count, "loss": sum(losses) / count, "examples": count}
    assert found == pytest.approx(expected, rel=1e-6)
    assert 0 < right < count  # so that an accuracy of all or nothing cannot pass


def test_evaluate_is_of_the_validation_split_alone(make_task: MakeTask) -> None:
    task = make_task()
    metrics = task.evaluate_split(task.model, "validation")
    assert metrics is not None
    assert task.evaluate(task.model) == {"accuracy": metrics["accuracy"], "loss": metrics["loss"]}
    without = Classification(task.config, replace(task.data, validation=None))
    assert without.evaluate(without.model) is None
    assert without.evaluate_split(without.model, "validation") is None


def test_every_training_example_once_an_epoch(make_task: MakeTask) -> None:
    task = make_task(TrainingConfig(epochs=2, batch_size=5, seed=3))
    assert task.steps_per_epoch == 3
    epochs = []
    for epoch in range(2):
        batches = [task.batch(3 * epoch + k) for k in range(3)]
        assert [len(batch) for batch in batches] == [5, 5, 3]
        epochs.append(torch.cat([batch.x for batch in batches]))
    assert not torch.equal(epochs[0], epochs[1])
    for seen in epochs:
        assert torch.equal(seen[:, 0, 3].sort()[0], task.data.train.x[:, 0, 3].sort()[0])


def test_a_model_from_the_description_gives_the_same(make_task: MakeTask, tmp_path: Path) -> None:
    config = TrainingConfig(steps=3, batch_size=5, threads=1)
    task = make_task(config, as_bytes=True, cell="peephole", bidirectional=True, input_projection=3)
    run = RunDirectory.create(tmp_path / "run", {}, title="tiny")
    train(task, config, run, reporter=Quiet())
    checkpoint = load_checkpoint(run.last)
    model = Classification.model_from(task.config, checkpoint.document.task)
    checkpoint.restore_model(model)
    assert model.specification == task._classifier.specification
    assert torch.equal(model.eval()(task.data.test.x), task.model.eval()(task.data.test.x))


def test_a_trained_model_is_used(make_task: MakeTask) -> None:
    task = make_task()
    assert Classification(task.config, task.data, task.model).model is task.model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"classes": ("ape", "bee", "elk")},
            r"toy: classes must be .*'cow'\) as in training, got \('ape', 'bee', 'elk'",
        ),
        ({"scale": 0.5}, "toy: scale must be 1.0 as in training, got 0.5"),
        ("features", "toy: features must be 4 as in training, got 3"),
    ],
)
def test_a_trained_model_refuses_other_data(make_task: MakeTask, change: Any, message: str) -> None:
    task = make_task()
    data = task.data
    if change == "features":
        parts = {n: LabelledSequences(s.x[:, :, :3].contiguous(), s.y) for n, s in data.splits().items()}
        other = replace(data, **parts)
    else:
        other = replace(data, **change)
    with pytest.raises(DataError, match=message):
        Classification(task.config, other, task.model)


def test_notes(make_task: MakeTask) -> None:
    task = make_task()  # LSTM 4 → 6: 4 · 6 · (4 + 6 + 1) = 264; readout 6 · 3 + 3 = 21
    assert task.notes() == [
        "toy: 13 train, 7 validation, 11 test; 5 steps of 4, 3 classes. Model: 285 parameters.",
        "a note",
    ]


def test_images_are_the_first_of_each_class(make_task: MakeTask) -> None:
    assert make_task().images() == {}
    task = make_task(as_bytes=True)
    (shown,) = task.images().values()
    assert shown.dtype == torch.uint8
    assert torch.equal(shown, task.data.train.x[:3, None])  # labels go 0, 1, 2, 0, ...
    digits = Classification(ClassificationConfig(data="digits"))
    first = digits.images()["inputs"][:, 0]
    assert first.shape == (10, 8, 8)
    assert first.max() == 255  # 16 in the data
    assert torch.equal((first.double() * 16 / 255).round().int()[4], digits.data.train.x[digits.data.train.y == 4][0])


def test_predict(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(as_bytes=True)
    x = task.data.test.x[:2]
    files = [str(tmp_path / f"{k}.png") for k in range(2)]
    for file, picture in zip(files, x, strict=True):
        Image.fromarray(picture.numpy()).save(file)
    predictions = [prediction.as_json() for prediction in Classification.predict(task.model, files)]
    expected = torch.softmax(task.model.eval()(x), 1)
    for k, found in enumerate(predictions):
        assert found["source"] == files[k]
        assert found["probabilities"] == pytest.approx(
            dict(zip(("ape", "bee", "cow"), expected[k].tolist(), strict=True)), abs=2e-2
        )
        assert found["class"] == max(found["probabilities"], key=found["probabilities"].get)
        assert "truth" not in found
    with pytest.raises(DataError, match="trained on sequences, not on images"):
        Classification.predict(make_task().model, files)


@pytest.mark.parametrize("lengths", [False, True])
def test_examples(make_task: MakeTask, lengths: bool) -> None:
    task = make_task(lengths=lengths)
    found = [prediction.as_json() for prediction in task.examples(task.model, 3)]
    assert [(one["source"], one["truth"]) for one in found] == [
        ("test example 0", "ape"), ("test example 5", "cow"), ("test example 10", "bee"),
    ]  # fmt: skip
    five = task.data.test.select(torch.tensor([5]))
    expected = torch.softmax(task.model.eval()(five.x, five.lengths), 1)[0]
    assert sorted(found[1]["probabilities"].values()) == pytest.approx(sorted(expected.tolist()), rel=1e-5)
    for count in (0, 12, -1):
        with pytest.raises(DataError, match=rf"--examples must be 1 to 11, the test examples, got {count}"):
            task.examples(task.model, count)


def test_batches_follow_the_seed() -> None:
    tasks = [
        Classification(ClassificationConfig(data="digits", training=TrainingConfig(steps=1, seed=seed)))
        for seed in (0, 0, 1)
    ]
    first, same, other = (task.batch(0).x for task in tasks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(tasks[0].data.test.x, tasks[2].data.test.x)
    held, other_held = tasks[0].data.validation, tasks[2].data.validation
    assert held is not None
    assert other_held is not None
    assert not torch.equal(held.x, other_held.x)


@pytest.mark.parametrize(("validation", "held"), [(0.1, 144), (50.0, 50), (0, 0)])
def test_validation_is_taken_from_the_training_images(validation: float, held: int) -> None:
    data = Classification(ClassificationConfig(data="digits", validation=validation)).data
    assert (0 if data.validation is None else len(data.validation)) == held
    assert (len(data.train), len(data.test)) == (1438 - held, 359)


def test_validation_that_cannot_be_had() -> None:
    with pytest.raises(OptionError, match="--validation: size of a hold-out must be from 1 to 1428"):
        Classification(ClassificationConfig(data="digits", validation=5000))
