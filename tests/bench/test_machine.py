from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from elman.bench import machine, peak
from elman.bench.machine import Load, describe_machine
from elman.bench.peak import Peak, machine_peak


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A machine of four cores whose counters a test sets, in seconds."""
    stat = tmp_path / "stat"
    own = SimpleNamespace(user=0.0, system=0.0)
    clock = SimpleNamespace(now=0.0)

    def write(**seconds: float) -> None:
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
        ticks = [round(100 * seconds.get(name, 0.0)) for name in names]
        stat.write_text(f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n")

    monkeypatch.setattr(machine, "_STAT", stat)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    monkeypatch.setattr(os, "times", lambda: own)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock.now)
    return SimpleNamespace(write=write, own=own, clock=clock, stat=stat)


def test_load_is_what_others_took(fake) -> None:
    fake.write(user=10, idle=50)
    load = Load()
    fake.write(user=15, nice=1, system=2, irq=0.5, softirq=0.5, steal=3, idle=70, iowait=9, guest=5)
    fake.own.user, fake.own.system, fake.clock.now = 3.0, 1.0, 10.0
    assert load.others() == pytest.approx((5 + 1 + 2 + 1 + 3 - 4) / 40)


def test_load_is_no_less_than_nothing(fake) -> None:
    fake.write(user=10)
    load = Load()
    fake.own.user, fake.clock.now = 5.0, 5.0  # the counters of the system are coarse
    assert load.others() == 0.0


def test_load_that_the_system_does_not_tell(fake) -> None:
    fake.stat.unlink(missing_ok=True)
    assert Load().others() is None


def test_a_machine_in_a_line(tmp_path, monkeypatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name : Some Processor\nmodel name : Some Processor\n")
    monkeypatch.setattr(machine, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert describe_machine(3).startswith(f"Some Processor, 3 of 8 cores, torch {torch.__version__}, Python ")
    cpuinfo.unlink()
    assert "3 of 8 cores" in describe_machine(3)


def test_the_peak_is_the_best_of_half_a_second(monkeypatch) -> None:
    found = iter([2e9, 5e9, 3e9, *[1e9] * 100])
    ticks = iter(range(1000))
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(ticks) * 0.1)
    monkeypatch.setattr(peak.runtime, "host", lambda: "none")
    monkeypatch.setattr(peak, "_product", lambda threads: next(found) * threads)
    assert machine_peak(threads=2) == Peak(10e9, "a large product of torch")


def test_a_peak_without_compiled_code(monkeypatch) -> None:
    threads = torch.get_num_threads()
    ticks = iter(range(100))
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(ticks) * 0.5)
    assert peak._product(threads=2) == 2 * 1024**3 / 0.5
    assert torch.get_num_threads() == threads


def test_a_peak_of_compiled_code(monkeypatch) -> None:
    llvm = pytest.importorskip("elman.backends.llvm.peak")
    monkeypatch.setattr(peak.runtime, "host", lambda: object())
    monkeypatch.setattr(peak, "_SECONDS", 0.0)
    monkeypatch.setattr(llvm, "measured_peak", lambda dtype, threads: {torch.float32: 7e9}[dtype] * threads)
    assert machine_peak(threads=3) == Peak(21e9, "fused multiply-adds on registers")
