from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from elman.errors import CheckpointError, DataError, OptionError
from elman.tasks.base import Predictor
from elman.tasks.classification.config import ClassificationConfig, ClassifierConfig
from elman.tasks.language_model.task import LanguageModelling
from elman.tasks.registry import find_task
from elman.tasks.runs import evaluate_run, load_run, open_run, resume_run, start_run, train_run
from elman.training import PlainReporter, RunDirectory, TrainingConfig, load_checkpoint

ENTRY = find_task("classification")
Start = Callable[..., Path]


class Quiet(PlainReporter):
    def __init__(self) -> None: ...

    def start(self, step: int, total_steps: int, steps_per_epoch: int, unit: str) -> None: ...

    def log(self, train: Any, validation: Any) -> None: ...

    def message(self, text: str) -> None: ...


def save_npz(path: Path, *, noise: float = 0.3, features: int = 3, seed: int = 0) -> Path:
    """60 sequences of three classes with lengths, 48 of them for training."""
    random = np.random.default_rng(seed)
    y = np.arange(60) % 3
    x = random.normal(0, noise, (60, 4, features)).astype(np.float32)
    x[np.arange(60), :, y] += 1
    np.savez(path, x=x, y=y, lengths=random.integers(1, 5, 60))
    return path


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Trains a little run on generated data; returns its directory."""

    def make(name: str = "run", **training: Any) -> Path:
        data = tmp_path / "toy.npz"
        if not data.exists():
            save_npz(data)
        fields = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "threads": 1, "tensorboard": False} | training
        config = ClassificationConfig(
            data=str(data), validation=9, model=ClassifierConfig(hidden_size=5), training=TrainingConfig(**fields)
        )
        run, task = start_run(ENTRY, config, tmp_path / name)
        train_run(run, task, Quiet())
        return run.path

    return make


def test_start_writes_down_the_threads_in_use(start: Start) -> None:
    assert torch.get_num_threads() == 1
    run = RunDirectory.open(start(threads=None, steps=1, epochs=None))
    assert run.config["training"]["threads"] == 1
    assert (run.info["threads"], run.info["seed"], run.info["device"]) == (1, 0, "auto")
    first = (run.path / "config.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# elman: classification on {run.config['data']}"


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"data": "nowhere"}, DataError), ({"validation": 48.0}, OptionError), ({"model": "zzz"}, OptionError)],
)
def test_start_leaves_nothing_when_it_fails(tmp_path: Path, change: dict[str, Any], fault: type[Exception]) -> None:
    config = ClassificationConfig(data=str(save_npz(tmp_path / "toy.npz")))
    if "model" in change:
        change = {"model": ClassifierConfig(cell="zzz")}
    with pytest.raises(fault):
        start_run(ENTRY, replace(config, **change), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.npz"]


def test_load_takes_the_best_and_needs_no_data(start: Start, tmp_path: Path) -> None:
    path = start()
    (tmp_path / "toy.npz").unlink()
    run = RunDirectory.open(path)
    best, last = load_checkpoint(run.best).group("model"), load_checkpoint(run.last).group("model")
    run.best.rename(tmp_path / "best")
    run.last.rename(run.best)  # told apart by their places, whichever they are
    (tmp_path / "best").rename(run.last)
    weights = load_run(path, Predictor)[1].state_dict()
    assert all(torch.equal(value, last[name]) for name, value in weights.items())
    run.best.unlink()
    weights = load_run(path, Predictor)[1].state_dict()
    assert all(torch.equal(value, best[name]) for name, value in weights.items())
    run.last.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_run(path, Predictor)


def test_evaluate_is_of_the_best_model_on_the_split_asked_for(start: Start) -> None:
    path = start()
    task, model = load_run(path, Predictor)
    assert not model.training
    opened = open_run(path, Predictor)
    assert isinstance(opened, task)
    sizes = {"train": 39, "validation": 9, "test": 12}
    for split, size in sizes.items():
        sequences = opened.data.splits()[split]
        logits = model(sequences.x, sequences.lengths)
        found = evaluate_run(path, split=split)
        assert (found["task"], found["split"], found["examples"]) == ("classification", split, size)
        assert found["accuracy"] == (logits.argmax(1) == sequences.y).double().mean()
        assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, sequences.y).item(), rel=1e-6)


def test_evaluate_on_other_data(start: Start, tmp_path: Path) -> None:
    path = start()
    other = save_npz(tmp_path / "other.npz", noise=3.0, seed=1)
    assert evaluate_run(path, data=str(other))["accuracy"] < evaluate_run(path)["accuracy"]
    wider = save_npz(tmp_path / "wider.npz", features=4)
    with pytest.raises(DataError, match="wider: features must be 3 as in training, got 4"):
        evaluate_run(path, data=str(wider))
    with pytest.raises(OptionError, match="--split must be a split that the data has, got dev"):
        evaluate_run(path, split="dev")


def test_resume_with_another_length(start: Start) -> None:
    path = start(steps=2, epochs=None)
    run, task = resume_run(path, epochs=None, samples=None, steps=4)
    written = yaml.safe_load((path / "config.yaml").read_text())
    assert (written["training"]["steps"], written["training"]["epochs"]) == (4, None)
    assert train_run(run, task, Quiet()).step == 4
    run, task = resume_run(path, epochs=1.0)
    assert run.config["training"]["steps"] is None
    assert train_run(run, task, Quiet()).step == 5
    again, _ = resume_run(path)
    assert again.config == run.config


def test_config_that_was_damaged_by_hand(start: Start) -> None:
    path = start(steps=1, epochs=None)
    file = path / "config.yaml"
    file.write_text(file.read_text().replace("hidden_size: 5", "hidden_sise: 5"))
    for use in (resume_run, partial(load_run, kind=Predictor), partial(open_run, kind=Predictor)):
        with pytest.raises(OptionError, match=rf"{file}: model\.hidden_sise is unknown\. Did you mean 'hidden_size'\?"):
            use(path)


def test_config_that_does_not_fit_the_checkpoint(start: Start) -> None:
    path = start(steps=1, epochs=None)
    file = path / "config.yaml"
    file.write_text(file.read_text().replace("hidden_size: 5", "hidden_size: 6"))
    with pytest.raises(
        CheckpointError, match=r"best\.safetensors does not fit: .* has shape \(20, 3\) where the model has \(24, 3\)"
    ) as caught:
        load_run(path, Predictor)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_kind_is_refused(start: Start) -> None:
    path = start(steps=1, epochs=None)
    for use in (load_run, open_run):
        with pytest.raises(OptionError, match=rf"The task of {path} must be language-model, got classification\."):
            use(path, LanguageModelling)
