from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from elman.cli import main

sys.path.append(str(Path(__file__).parent))  # for `interrupted`
sys.path.append(str(Path(__file__).parents[1] / "training"))  # for `toy_tasks`, which compares runs


class Outcome(NamedTuple):
    """What a command left with, and what it said."""

    status: int
    out: str
    err: str


Elman = Callable[..., Outcome]


def run(*arguments: object) -> int:
    """Run a command in this process; return its exit status."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as exit_:  # tyro's way out
        return int(exit_.code or 0)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without data, on a wide screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.delenv("ELMAN_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "500")


@pytest.fixture
def elman(capsys: pytest.CaptureFixture[str]) -> Elman:
    """Runs a command in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run(*arguments)
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def refused(elman: Elman, tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must fail with one line and leave nothing; returns the line."""

    def call(*arguments: object) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        status, out, err = elman(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("elman: ")
        assert err.count("\n") == 1
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        return err

    return call


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits that knows most of them; not to be changed."""
    path = tmp_path_factory.mktemp("digits") / "run"
    assert run("train", "digits", "--epochs", 8, "--threads", 1, "--no-tensorboard", "--out", path) == 0
    return path


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 sequences of three classes, with lengths; not to be changed."""
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = random.normal(0, 0.3, (60, 4, 3)).astype(np.float32)
    x[np.arange(60), :, y] += 1
    path = tmp_path_factory.mktemp("npz") / "toy.npz"
    np.savez(path, x=x, y=y + 5, lengths=random.integers(1, 5, 60))
    return path


def _language_model(path: Path, level: str) -> Path:
    text = path / "text.txt"
    text.write_text("the cat sat on the mat .\nthe dog 's ball ran off !\n" * 40, encoding="utf-8")
    network = ("--hidden-size", 16, "--num-layers", 1, "--init-scale", 0.3)
    training = ("--epochs", 4, "--batch-size", 4, "--window", 10, "--learning-rate", 0.02, "--threads", 1)
    options = ("--data", text, "--level", level, *network, *training, "--no-tensorboard")
    assert run("train", "language-model", *options, "--out", path / "run") == 0
    return path / "run"


@pytest.fixture(scope="session")
def words_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a language model of words that has learned two sentences; not to be changed."""
    return _language_model(tmp_path_factory.mktemp("words"), "word")


@pytest.fixture(scope="session")
def characters_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by characters; not to be changed."""
    return _language_model(tmp_path_factory.mktemp("characters"), "character")


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of columns, and a run of a tagger that has learned them; not to be changed."""
    path = tmp_path_factory.mktemp("tagged")
    sentences = ["the DT B-NP\ncat NN I-NP\nsees VB B-VP\n. . O\n\n", "a DT B-NP\nbig JJ I-NP\ndog NN I-NP\n\n"]
    for split in ("train", "valid", "test"):
        (path / f"{split}.txt").write_text("".join(sentences * 12), encoding="utf-8")
    network = ("--hidden-size", 8, "--embedding-size", 6, "--character-size", 4)
    training = ("--epochs", 15, "--batch-size", 4, "--learning-rate", 0.05, "--threads", 1, "--no-tensorboard")
    assert run("train", "tags", "--data", path, *network, *training, "--out", path / "run") == 0
    return path


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """Puts a text on standard input."""

    def put(text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))

    return put
