"""Measure works against peers: check the numbers first, then time in turn, then the memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from elman.bench.example import Example
from elman.bench.flops import needed
from elman.bench.machine import Load, describe_machine
from elman.bench.memory import step_megabytes
from elman.bench.parity import wrong
from elman.bench.peak import Peak, machine_peak
from elman.bench.peers import Peer
from elman.bench.program import Program, Results, elman_program, plain_program, reference_results
from elman.bench.report import Report, Row, milliseconds, share
from elman.bench.timing import Times, interleave
from elman.bench.works import Work

__all__ = ["bench"]

Say = Callable[[str], None]


def bench(works: Sequence[Work], peers: Sequence[Peer], *, pairs: int, threads: int | None, say: Say) -> Report:
    """Measure every work against every peer that can do it.

    Args:
        works: what to measure.
        peers: against whom; a work that none of them can do is measured alone.
        pairs: samples of elman and of the peer in a row, at least 2.
        threads: of all programs; None for torch's choice.
        say: told how it goes.

    Returns:
        The rows, and what was refused because elman's or a peer's numbers differ from the reference in float64.
    """
    threads = torch.get_num_threads() if threads is None else threads
    torch.set_num_threads(threads)
    return _Bench(works, peers, pairs, threads, say).run()


class _Measured(NamedTuple):
    """A row, its share of the peak aside."""

    work: Work
    peer: Peer | None
    times: Times
    elman_mb: float | None
    peer_mb: float | None


class _Bench:
    """One run of the benchmark."""

    def __init__(self, works: Sequence[Work], peers: Sequence[Peer], pairs: int, threads: int, say: Say) -> None:
        self.works, self.peers, self.pairs, self.threads, self.say = works, peers, pairs, threads, say
        self.peak = Peak(0.0, "")
        self.measured: list[_Measured] = []
        self.loads: list[float | None] = []
        self.refused: list[str] = []
        self.skipped: list[str] = []

    def run(self) -> Report:
        here = [peer for peer in self.peers if self._is_here(peer)]
        for k, work in enumerate(self.works, start=1):
            self.say(f"[{k}/{len(self.works)}] {work.name}: {work.summary}")
            # A peak that others have disturbed would make shares too large: the best of all is that of all rows.
            self.peak = max(self.peak, machine_peak(self.threads))
            self._measure(work, [peer for peer in here if _meets(peer, work)])
        return Report(
            machine=describe_machine(self.threads),
            peak=self.peak,
            pairs=self.pairs,
            rows=tuple(self._row(measured) for measured in self.measured),
            loads=tuple(self.loads),
            refused=tuple(self.refused),
            skipped=tuple(self.skipped),
        )

    def _is_here(self, peer: Peer) -> bool:
        reason = peer.missing(self.threads)
        if reason is not None and any(_meets(peer, work) for work in self.works):
            self.skipped.append(f"{peer.name} {reason}")
            self.say(f"not measured: {self.skipped[-1]}")
        return reason is None

    def _measure(self, work: Work, peers: Sequence[Peer]) -> None:
        """Measure the rows of a work."""
        example = Example.of(work)
        truth = reference_results(example)
        elman = elman_program(example)
        if not self._is_right("elman", elman, example, truth):
            return
        rivals: list[tuple[Peer | None, Program]] = []
        for peer in peers:
            program = peer.build(example, self.threads)
            if self._is_right(peer.name, program, example, truth):
                rivals.append((peer, program))
        elman_mb = step_megabytes(work, None, self.threads)
        for who, program in rivals or [(None, elman)]:
            load = Load()
            times = Times(*interleave([elman] if who is None else [elman, program], self.pairs))
            self.loads.append(load.others())
            peer_mb = None if who is None else step_megabytes(work, who, self.threads)
            self.measured.append(_Measured(work, who, times, elman_mb, peer_mb))
            self.say(f"  {_line(self._row(self.measured[-1]), self.loads[-1])}")

    def _is_right(self, name: str, program: Program, example: Example, truth: Results) -> bool:
        """Compare a program's numbers with the truth; say so and remember where they differ."""
        with program.setting():
            results = program.results()
        reason = wrong(results, truth, yardstick=plain_program(example).results)
        if reason is not None:
            self.refused.append(f"{example.work.name}, {name}: {reason}")
            self.say(f"  refused: {name}: {reason}")
        return reason is None

    def _row(self, measured: _Measured) -> Row:
        work, peer, times, elman_mb, peer_mb = measured
        seconds = statistics.median(times.elman)
        return Row(
            work=work.name,
            peer=None if peer is None else peer.name,
            elman_ms=seconds * 1e3,
            peer_ms=None if times.peer is None else statistics.median(times.peer) * 1e3,
            ratio=times.ratio,
            share_of_peak=needed(work) / (seconds * self.peak.flops),
            elman_mb=elman_mb,
            peer_mb=peer_mb,
        )


def _meets(peer: Peer, work: Work) -> bool:
    """Tell whether a peer is measured in a work: those of a group show how elman's own share grows."""
    return peer.serves(work) and not work.group


def _line(row: Row, load: float | None) -> str:
    """Say a row while others are still measured."""
    parts = [f"elman {milliseconds(row.elman_ms)} ms, {share(row.share_of_peak)} of the peak"]
    if row.ratio is not None:
        parts.append(f"{row.peer} {milliseconds(row.peer_ms)} ms, {row.ratio:.2f}x")
    if load is not None:
        parts.append(f"load by others {load:.0%}")
    return "; ".join(parts)
