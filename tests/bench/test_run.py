"""The whole of it on tiny works: what is reported, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_works import SMALL

from elman.bench import run
from elman.bench.flops import needed
from elman.bench.peak import Peak
from elman.bench.peers import PEERS
from elman.bench.peers.torch_loop import loop

BY_NAME = {peer.name: peer for peer in PEERS}
NN, LOOP = BY_NAME["torch.nn"], BY_NAME["loop"]
MEGABYTES = {None: 1.5, "torch.nn": 3.0, "loop": 4.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Memory and peak are measured elsewhere; here they are known."""
    monkeypatch.setattr(run, "step_megabytes", lambda work, peer, threads: MEGABYTES[peer and peer.name])
    peaks = iter([3e9, 5e9, *[4e9] * 20])
    monkeypatch.setattr(run, "machine_peak", lambda threads: Peak(next(peaks), "a fake"))


@pytest.fixture
def bench():
    said = []

    def call(works, peers, pairs=2):
        said.clear()
        report = run.bench([SMALL[name] for name in works], peers, pairs=pairs, threads=1, say=said.append)
        return report, said

    return call


def test_a_row_for_each_work_and_peer(bench) -> None:
    report, said = bench(["lstm", "step", "own"], [NN, LOOP])
    rows = {(row.work, row.peer): row for row in report.rows}
    assert list(rows) == [("lstm", "torch.nn"), ("lstm", "loop"), ("step", "torch.nn"), ("own", "loop")]
    assert (report.refused, report.skipped, report.pairs) == ((), (), 2)
    assert report.peak == Peak(5e9, "a fake")  # the best of all works
    assert len(report.loads) == 4
    for (work, peer), row in rows.items():
        assert 0 < row.elman_ms < 1e3
        assert 0 < row.ratio < 1e3
        assert row.share_of_peak == pytest.approx(needed(SMALL[work]) / (row.elman_ms * 1e-3 * 5e9))
        assert (row.elman_mb, row.peer_mb) == (1.5, MEGABYTES[peer])
    assert said[0] == f"[1/3] lstm: {SMALL['lstm'].summary}"
    assert len(said) == 3 + 4


def test_times_are_medians_and_the_ratio_a_quartile(bench, monkeypatch) -> None:
    times = [[1e-3, 2e-3, 4e-3, 1e-3, 1e-3], [3e-3, 2e-3, 8e-3, 5e-3, 4e-3]]
    monkeypatch.setattr(run, "interleave", lambda programs, rounds: times[: len(programs)])
    monkeypatch.setattr(run.Load, "others", lambda load: 0.25)
    report, said = bench(["lstm"], [NN])
    (row,) = report.rows
    assert (row.elman_ms, row.peer_ms, row.ratio) == (1.0, 4.0, 2.0)
    assert report.loads == (0.25,)
    assert said[-1].startswith("  elman 1.00 ms, ")
    assert said[-1].endswith(" of the peak; torch.nn 4.00 ms, 2.00x; load by others 25%")


def test_without_a_peer_elman_alone(bench) -> None:
    report, said = bench(["loss"], [LOOP])
    (row,) = report.rows
    assert (row.peer, row.peer_ms, row.ratio, row.peer_mb, row.elman_mb) == (None, None, None, None, 1.5)
    assert "of the peak" in said[-1]
    assert "x" not in said[-1].partition("of the peak")[2]


def test_what_grows_is_measured_alone(bench, monkeypatch) -> None:
    monkeypatch.setitem(SMALL, "grows", replace(SMALL["lstm"], name="grows", group="growth-time"))
    report, _ = bench(["grows"], [NN, LOOP])
    assert [(row.work, row.peer) for row in report.rows] == [("grows", None)]


def test_a_peer_with_a_wrong_weight_is_refused(bench, monkeypatch) -> None:
    def off(example, threads):
        program = loop(example, threads)
        with torch.no_grad():
            next(program.module.parameters()).view(-1)[0] += 0.01
        return program

    monkeypatch.setattr("elman.bench.peers.torch_loop.loop", off)
    report, said = bench(["lstm"], [NN, LOOP])
    assert [row.peer for row in report.rows] == ["torch.nn"]
    (reason,) = report.refused
    assert reason.startswith("lstm, loop: ")
    assert "differs from the reference by" in reason
    assert any(line.startswith("  refused: loop: ") for line in said)
    report, _ = bench(["own"], [LOOP])
    assert [(row.work, row.peer) for row in report.rows] == [("own", None)]


def test_nothing_is_reported_where_elman_is_wrong(bench, monkeypatch) -> None:
    right = run.elman_program

    def off(example):
        program = right(example)
        if example.work.name == "lstm":
            with torch.no_grad():
                program.module.cells[0][0].bias[0] += 1e-3
        return program

    monkeypatch.setattr(run, "elman_program", off)
    report, _ = bench(["lstm", "gru"], [NN, LOOP])
    assert [(row.work, row.peer) for row in report.rows] == [("gru", "torch.nn"), ("gru", "loop")]
    assert [reason.partition(":")[0] for reason in report.refused] == ["lstm, elman"]


def test_a_peer_that_is_not_here_is_said_once_and_only_if_it_is_missed(bench) -> None:
    absent = replace(NN, packages=("no_such_library",))
    report, said = bench(["lstm", "gru"], [absent, LOOP])
    assert [row.peer for row in report.rows] == ["loop", "loop"]
    assert report.skipped == ("torch.nn needs no_such_library: pip install 'elman[bench]'",)
    assert said.count(f"not measured: {report.skipped[0]}") == 1
    report, _ = bench(["own"], [absent, LOOP])
    assert report.skipped == ()


def test_threads_are_those_that_are_asked_for() -> None:
    seen = []
    run.bench([SMALL["rnn"]], [], pairs=2, threads=2, say=lambda line: seen.append(torch.get_num_threads()))
    assert set(seen) == {2}
