"""A run to read from, and a folder in which the files that a page shows exist."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from docs.pages import blocks
from elman.cli import main


def short_run(path: Path, *options: str) -> Path:
    """Train for a few steps."""
    threads = torch.get_num_threads()
    try:
        assert main(["train", *options, "--threads", "1", "--no-tensorboard", "--out", str(path)]) == 0
    finally:
        torch.set_num_threads(threads)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the bundled digits."""
    return short_run(tmp_path_factory.mktemp("trained") / "run", "digits", "--steps", "45")


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a small language model on the bundled text."""
    path = tmp_path_factory.mktemp("speaking") / "run"
    return short_run(path, "pydoc", "--steps", "5", "--hidden-size", "16")


@pytest.fixture(scope="session")
def labelling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a small tagger of Python's source."""
    path = tmp_path_factory.mktemp("labelling") / "run"
    return short_run(path, "python-tokens", "--steps", "2", "--hidden-size", "8")


@pytest.fixture
def folder_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path, speaking: Path, labelling: Path
) -> Callable[[Path], Path]:
    """Enter a new folder with the runs that pages speak of, and the YAML files that this one shows."""

    def enter(page: Path) -> Path:
        for run in ("RUN", "run", "runs/first"):
            shutil.copytree(trained, tmp_path / run)
        shutil.copytree(speaking, tmp_path / "runs/pydoc")
        shutil.copytree(labelling, tmp_path / "runs/python")
        for block in blocks(page, "yaml"):
            name, _, _ = block.text.removeprefix("# ").partition("\n")
            (tmp_path / name).write_text(block.text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return enter
