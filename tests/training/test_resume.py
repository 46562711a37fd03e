"""Processes that are killed: what remains goes on to the same bits."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from toy_tasks import assert_same, go_on, slowly, stall_in_write

from elman.training import RunDirectory, load_checkpoint

NewRun = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """A server that has imported torch once and forks a child for each killing, before torch has computed anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["toy_tasks", "elman.training.loop", "pydantic"])
        yield context


@pytest.mark.parametrize("task", ["softmax", "carried"])
def test_killed_at_random_moments(new_run: NewRun, processes: ForkServerContext, task: str) -> None:
    whole = new_run("whole", task=task, epochs=60)
    go_on(whole.path)
    run = new_run("killed", task=task, epochs=60, checkpoint_seconds=0.02)
    moments = random.Random(0)
    for k in range(5):
        started = processes.Event()
        child = processes.Process(target=slowly, args=(run.path, started))
        child.start()
        assert started.wait(30)
        time.sleep(moments.uniform(0.0, 0.2))
        while k == 4 and (not run.last.exists() or load_checkpoint(run.last).document.progress.step == 0):
            time.sleep(0.01)  # on a busy machine 0.2 s may not do
        child.kill()
        child.join()
        assert child.exitcode == -9
    assert load_checkpoint(run.last).document.progress.step > 0
    assert go_on(run.path).outcome == "finished"
    assert_same(whole.path, run.path)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_killed_in_the_middle_of_writing_a_checkpoint(
    new_run: NewRun, processes: ForkServerContext, number: int
) -> None:
    whole = new_run("whole", epochs=3)
    go_on(whole.path)
    run = new_run("killed", epochs=3)
    reached = processes.Event()
    child = processes.Process(target=stall_in_write, args=(run.path, reached, number))
    child.start()
    assert reached.wait(30)
    child.kill()
    child.join()
    drafts = list(run.last.parent.glob("*.tmp"))
    assert len(drafts) == 1
    assert run.last.exists() == (number > 0)  # the first checkpoint of all was not there yet
    assert go_on(run.path).outcome == "finished"
    assert_same(whole.path, run.path)
    assert list(run.last.parent.glob("last*.tmp")) == []
