from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elman.bench import memory
from elman.bench.memory import step_megabytes
from elman.bench.peers import PEERS
from elman.bench.works import Work

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
BY_NAME = {peer.name: peer for peer in PEERS}


#: A program that takes so many bytes, half of them again and again.
GREEDY = """
import torch
from contextlib import nullcontext
from elman.bench import memory

class Greedy:
    def __init__(self, size):
        self.numbers = size // 8

    def setting(self):
        return nullcontext()

    def step(self):
        self.kept = torch.ones(self.numbers)
        for _ in range(3):
            torch.ones(self.numbers)

memory._extra(Greedy(1 << 20))  # what a first call takes besides
for size in (64 << 20, 16 << 20):  # a smaller one after a larger one: the peak is that of the step alone
    print(memory._extra(Greedy(size)))
"""


@linux
def test_the_peak_of_a_step_is_measured() -> None:
    environment = {**os.environ, **memory._ENVIRONMENT}
    said = subprocess.check_output([sys.executable, "-c", GREEDY], text=True, env=environment)
    assert [int(line) for line in said.split()] == [pytest.approx(size, abs=2 << 20) for size in (64 << 20, 16 << 20)]


@linux
def test_a_process_of_its_own_measures_elman_and_a_peer() -> None:
    work = Work(name="", kind="cross-entropy", cell="", input_size=8, classes=20_000, batch=256, steps=1)
    logits = work.batch * work.classes * 4 / 1e6
    elman, peer = (step_megabytes(work, who, threads=1) for who in (None, BY_NAME["torch.nn"]))
    assert 2 * logits < peer < 6 * logits
    assert 0 < elman < logits


def test_what_cannot_be_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory.subprocess, "run", pytest.fail)
    assert step_megabytes(Work(name="", kind="inference"), None, threads=1) is None
    assert step_megabytes(Work(name=""), BY_NAME["keras"], threads=1) is None
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert step_megabytes(Work(name=""), None, threads=1) is None


def test_a_peak_that_cannot_be_reset(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "_PEAK", tmp_path / "no" / "clear_refs")
    assert memory._extra(None) is None
