"""Measure works against peers: check the numbers first, then time in turn, then the memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch

from elman.bench.flops import needed
from elman.bench.machine import Load, describe_machine
from elman.bench.memory import step_megabytes
from elman.bench.parity import wrong
from elman.bench.peak import measured_peak
from elman.bench.peers import Peer
from elman.bench.program import Example, Program, Results, elman_program, plain_program, reference_results
from elman.bench.report import Report, Row, milliseconds
from elman.bench.timing import Times, interleave
from elman.bench.works import Work

__all__ = ["bench"]

Say = Callable[[str], None]


def bench(works: Sequence[Work], peers: Sequence[Peer], *, pairs: int, threads: int, say: Say) -> Report:
    """Measure every work against every peer that can do it.

    Args:
        works: what to measure.
        peers: against whom; a work that none of them can do is measured alone.
        pairs: samples of elman and of the peer in a row, at least 2.
        threads: of all programs.
        say: told how it goes.

    Returns:
        The rows, and what was refused because elman's or a peer's numbers differ from the reference in float64.
    """
    torch.set_num_threads(threads)
    report = Report(describe_machine(threads), measured_peak(torch.float32, threads), pairs)
    here = []
    for peer in peers:
        reason = peer.missing(threads)
        if reason is None:
            here.append(peer)
        elif any(peer.serves(work) for work in works if not work.group):
            report.skipped.append(f"{peer.name} {reason}")
            say(f"not measured: {report.skipped[-1]}")
    for k, work in enumerate(works, start=1):
        say(f"[{k}/{len(works)}] {work.name}: {work.summary}")
        _measure(work, [peer for peer in here if peer.serves(work) and not work.group], report, threads, say)
    return report


def _measure(work: Work, peers: Sequence[Peer], report: Report, threads: int, say: Say) -> None:
    """Add the rows of a work to the report."""
    example = Example.of(work)
    truth = reference_results(example)
    ours = elman_program(example)
    if not _right(f"{work.name}: elman", ours, truth, example, report, say):
        return
    elman_mb = step_megabytes(work, None, threads)
    sides: list[tuple[Peer, Program]] = []
    for peer in peers:
        theirs = peer.build(example, threads)
        if _right(f"{work.name}: {peer.name}", theirs, truth, example, report, say):
            sides.append((peer, theirs))
    ...
