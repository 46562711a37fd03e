from __future__ import annotations

import json

from rich.console import Console

from elman.bench.peak import Peak
from elman.bench.report import Report, Row, table

ROWS = (
    Row(
        work="lstm",
        peer="torch.nn",
        elman_ms=7.125,
        peer_ms=16.5,
        ratio=2.25,
        share_of_peak=0.7525,
        elman_mb=15.32,
        peer_mb=29.65,
    ),
    Row(
        work="growth-time-1",
        peer=None,
        elman_ms=0.0912,
        peer_ms=None,
        ratio=None,
        share_of_peak=0.034,
        elman_mb=None,
        peer_mb=None,
    ),
)


def report(*loads: float | None) -> Report:
    return Report(
        machine="Some Processor, 2 of 2 cores",
        peak=Peak(440e9, "fused multiply-adds"),
        pairs=50,
        rows=ROWS,
        loads=loads,
        refused=(),
        skipped=(),
    )


def test_rows_for_programs() -> None:
    first, second = json.loads(json.dumps([row.as_json() for row in ROWS]))
    names = ["work", "peer", "elman_ms", "peer_ms", "ratio", "share_of_peak", "elman_mb", "peer_mb"]
    assert list(first) == list(second) == names
    assert list(first.values()) == ["lstm", "torch.nn", 7.125, 16.5, 2.25, 0.7525, 15.32, 29.65]
    assert list(second.values()) == ["growth-time-1", None, 0.0912, None, None, 0.034, None, None]


def test_the_caption() -> None:
    assert report(0.02, None, 0.5, 0.1).caption().splitlines() == [
        "Some Processor, 2 of 2 cores",
        "peak 440 GFLOP/s: fused multiply-adds",
        "load by others: 10% of the processor, at most 50%; 50 pairs a row",
    ]
    assert report(None).caption().endswith("load by others: unknown; 50 pairs a row")


def test_the_table() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table(ROWS))
    head, units, first, second = (line.split() for line in captured.get().splitlines())
    assert " ".join(head) == "elman peer share elman peer"
    assert " ".join(units) == "work peer ms ms ratio of peak MB MB"
    assert first == ["lstm", "torch.nn", "7.12", "16.50", "2.25x", "75%", "15.3", "29.6"]
    assert second == ["growth-time-1", "0.0912", "3.4%"]
