"""Runs that are stopped and killed, and gone on with by ``elman resume``: as if it had never been."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import interrupted
import pytest
from toy_tasks import assert_same

from elman.cli import main
from elman.training import load_checkpoint

OPTIONS = ["--steps", "300", "--checkpoint-seconds", "0.2", "--threads", "1", "--log-steps", "20"]
SMALL = ["--hidden-size", "32", "--input-dropout", "0.1"]
DIGITS = ["train", "digits", *SMALL, *OPTIONS]
TEXT = ["train", "pydoc", *SMALL, "--window", "9", *OPTIONS]  # the state is carried over from step to step


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """A server that has imported everything once and forks the children, before torch has computed anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["interrupted", "elman.training.loop", "sklearn.datasets", "tyro", "rich"])
        yield context


@pytest.fixture(scope="module", params=[DIGITS, TEXT], ids=["digits", "text"])
def train(request: pytest.FixtureRequest) -> list[str]:
    """The command of a training."""
    return list(request.param)


@pytest.fixture(scope="module")
def whole(train: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert main([*train, "--out", str(path)]) == 0
    return path


@pytest.fixture
def begin(processes: ForkServerContext, tmp_path: Path) -> Callable[..., Any]:
    """Starts a command in a process of its own and waits for its first step."""

    def start(arguments: list[str], target: Callable[..., None] = interrupted.command) -> Any:
        begun = processes.Event()
        child = processes.Process(target=target, args=(arguments, tmp_path / "said", begun))
        child.start()
        assert begun.wait(60), (tmp_path / "said").read_text()
        return child

    return start


def last_step(run: Path) -> int:
    return load_checkpoint(run / "checkpoints/last.safetensors").document.progress.step


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal(
    begin, elman, train: list[str], whole: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    child = begin([*train, "--out", "run"])
    time.sleep(0.3)
    os.kill(child.pid, number)
    child.join()
    assert child.exitcode == status
    said = (tmp_path / "said").read_text().splitlines()[-1]
    match = re.fullmatch(r"Stopped at step (\d+), saved\. Go on with: elman resume run", said)
    assert match is not None, said
    assert last_step(tmp_path / "run") == int(match[1])
    assert 0 < int(match[1]) < 300
    assert elman("resume", "run").status == 0
    assert_same(whole, tmp_path / "run")


def test_killed_five_times(begin, elman, refused, train: list[str], whole: Path, tmp_path: Path) -> None:
    """Before there is a checkpoint, and at four random moments."""
    run = tmp_path / "run"
    child = begin([*train, "--out", "run"], interrupted.stalled_before_the_first_checkpoint)
    child.kill()
    child.join()
    assert list((run / "checkpoints").iterdir()) == []
    assert "run has no checkpoint yet: training stopped before its first one." in refused("evaluate", "run")
    moments, steps = random.Random(0), []
    for k in range(4):
        child = begin(["resume", "run"])
        time.sleep(moments.uniform(0.05, 0.5))
        while k == 3 and last_step(run) == 0:  # on a busy machine half a second may not do
            time.sleep(0.01)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        steps.append(last_step(run))
    assert steps == sorted(steps)
    assert 0 < steps[-1] < 300
    assert elman("resume", "run").status == 0
    assert_same(whole, run)


def test_two_at_once(begin, elman, tmp_path: Path) -> None:
    child = begin([*DIGITS, "--out", "run"])
    config = (tmp_path / "run/config.yaml").read_bytes()
    try:
        refusals = [elman("resume", "run", *length) for length in ((), ("--steps", 400))]
    finally:
        child.kill()
        child.join()
    for status, _, err in refusals:
        assert status == 2
        assert err.splitlines()[-1] == "elman: run is being trained by another process. Wait for it, or stop it first."
    assert (tmp_path / "run/config.yaml").read_bytes() == config
