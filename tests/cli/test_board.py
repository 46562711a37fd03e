from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_nothing_to_show(refused, tmp_path: Path) -> None:
    expected = "must be a folder with TensorBoard events, got"
    assert f"none {expected} nothing there." in refused("board", "none")
    (tmp_path / "empty").mkdir()
    assert f"empty {expected} one without." in refused("board", "empty")


@pytest.mark.parametrize("shown", ["runs/a", "runs"])
def test_starts_tensorboard(elman, monkeypatch, tmp_path: Path, shown: str) -> None:
    (tmp_path / "runs/a/tensorboard").mkdir(parents=True)
    (tmp_path / "runs/a/tensorboard/events.out.tfevents.1.elman").touch()
    started = []
    monkeypatch.setattr(subprocess, "call", lambda command: started.append(command) or 7)
    assert elman("board", shown, "--port", 7007).status == 7
    options = ["--logdir", shown, "--port", "7007", "--host", "localhost"]
    assert started == [[sys.executable, "-m", "tensorboard.main", *options]]
