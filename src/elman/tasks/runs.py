"""A run directory and its task: start it, go on with it, use what it learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from elman.errors import OptionError, describe
from elman.tasks.base import Task
from elman.tasks.configuration import checked, from_mapping, to_mapping
from elman.tasks.registry import TASKS, TaskEntry
from elman.training import Reporter, RunDirectory, Summary, load_checkpoint, prepare, train

__all__ = ["evaluate_run", "load_run", "open_run", "resume_run", "start_run", "train_run"]

TaskT = TypeVar("TaskT", bound=Task[Any])


def start_run(entry: TaskEntry, config: Any, path: Path) -> tuple[RunDirectory, Task[Any]]:
    """Load the data, make the model, and then a run directory that holds the configuration.

    The number of threads is written down as it is now, so that every resumption uses it again.

    Raises:
        ElmanError: the data, the configuration or the folder will not do; nothing is left behind then.
    """
    threads = config.training.threads or torch.get_num_threads()
    config = replace(config, training=replace(config.training, threads=threads))
    prepare(config.training)
    task = entry.load().from_config(config)
    info = {"seed": config.training.seed, "threads": threads, "device": config.training.device}
    mapping = to_mapping(entry, config)
    return RunDirectory.create(path, mapping, title=f"elman: {entry.name} on {config.data}", info=info), task


def resume_run(path: Path, **length: Any) -> tuple[RunDirectory, Task[Any]]:
    """Open a run to go on with it.

    Args:
        path: the run directory.
        length: ``epochs``, ``samples`` or ``steps`` in place of the configured length, to train a finished run longer.

    Raises:
        ElmanError: it is no run, its data is not there any more, or the length is none; nothing is changed then.
    """
    run = RunDirectory.open(path)
    entry, config = _config_of(run)
    longer = any(value is not None for value in length.values())
    if longer:
        config = checked(entry, replace(config, training=config.training.with_length(**length)))
    prepare(config.training)
    task = entry.load().from_config(config)
    if longer:
        with run.lock():  # not under the feet of a process that trains it
            run = run.reconfigured(to_mapping(entry, config))
    return run, task


def train_run(run: RunDirectory, task: Task[Any], reporter: Reporter) -> Summary:
    """Train the task in its run directory, from the last checkpoint where there is one."""
    return train(task, task.config.training, run, reporter=reporter)


def load_run(path: Path, kind: type[TaskT]) -> tuple[type[TaskT], nn.Module]:
    """Load the model that a run has learned: that of its best evaluation, or else the last. Needs no data.

    Args:
        path: the run directory.
        kind: what its task has to be.

    Raises:
        CheckpointError: it is no run directory, or there is no checkpoint yet, or one that cannot be used.
        OptionError: its task is of another kind.
    """
    task, _, model = _learned(path, kind)
    return task, model


def open_run(path: Path, kind: type[TaskT], *, data: str | None = None) -> TaskT:
    """Load the model of a run with its data, or other data of the same make.

    Raises:
        CheckpointError: as `load_run`.
        OptionError: as `load_run`.
        DataError: the data cannot be used, or is not of the make of the run's.
    """
    task, config, model = _learned(path, kind)
    if data is not None:
        config = replace(config, data=data)
    return task.from_config(config, model)


def evaluate_run(path: Path, *, split: str = "test", data: str | None = None) -> dict[str, Any]:
    """Evaluate the model of a run on ``train``, ``validation`` or ``test``.

    Returns:
        The task, the split, and the metrics of the task.
    """
    task: Task[Any] = open_run(path, Task, data=data)
    metrics = task.evaluate_split(task.model, split)
    if metrics is None:
        raise OptionError(describe("--split", expected="a split that the data has", got=split))
    return {"task": task.name, "split": split, **metrics}


def _learned(path: Path, kind: type[TaskT]) -> tuple[type[TaskT], Any, nn.Module]:
    """The task of a run, its configuration, and the model of its best checkpoint, or else the last."""
    run = RunDirectory.open(path)
    entry, config = _config_of(run)
    task = _class_of(entry, kind, path)  # which says what does not fit before a large model is read
    checkpoint = load_checkpoint(run.checkpoint())
    model = task.model_from(config, checkpoint.document.task)
    checkpoint.restore_model(model)
    return task, config, model.eval()


def _class_of(entry: TaskEntry, kind: type[TaskT], path: Path) -> type[TaskT]:
    task = entry.load()
    if issubclass(task, kind):
        return task
    fitting = ", ".join(other.name for other in TASKS if issubclass(other.load(), kind))
    raise OptionError(describe(f"The task of {path}", expected=fitting, got=entry.name))


def _config_of(run: RunDirectory) -> tuple[TaskEntry, Any]:
    return from_mapping(run.config, source=str(run.path / "config.yaml"))
