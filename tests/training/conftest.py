from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # toy_tasks is also run in processes of its own

import toy_tasks

from elman.training import RunDirectory


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., RunDirectory]:
    """Makes a run directory for toy_tasks, with a configuration of TrainingConfig's fields."""

    def make(name: str = "run", **config: Any) -> RunDirectory:
        return RunDirectory.create(tmp_path / name, {"task": "softmax"} | config, title="a toy")

    return make


@pytest.fixture
def go(new_run: Callable[..., RunDirectory]) -> Callable[..., Any]:
    """Trains a toy from its start in this process; returns the run directory and the summary."""

    def train(name: str = "run", **config: Any) -> tuple[RunDirectory, Any]:
        run = new_run(name, **config)
        return run, toy_tasks.go_on(run.path)

    return train
