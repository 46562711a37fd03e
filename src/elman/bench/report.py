"""What is reported: rows, as JSON and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report", "Row", "table"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A work, done by elman and by a peer; what the peer has is None where there is no peer.

    Attributes:
        work: its name.
        peer: its name.
        elman_ms: milliseconds of a step, the median.
        peer_ms: the same.
        ratio: peer's time over elman's, the lower quartile of the pairs.
        share_of_peak: operations that the work needs, over what the machine's measured peak could do in elman's time.
        elman_mb: megabytes that a training step takes at its peak; None for inference, and where it cannot be measured.
        peer_mb: the same.
    """

    work: str
    peer: str | None
    elman_ms: float
    peer_ms: float | None
    ratio: float | None
    share_of_peak: float
    elman_mb: float | None
    peer_mb: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        return asdict(self)


@dataclass
class Report:
    """What came out.

    Attributes:
        machine: in a line.
        peak: FLOP/s.
        pairs: how many a row.
        rows: the rows.
        loads: for each row the share of the processor that others took; None where the system does not tell.
        refused: what is not reported because its numbers are wrong, a line each.
        skipped: what could not be measured here, a line each.
    """

    machine: str
    peak: float
    pairs: int
    rows: list[Row] = field(default_factory=list)
    loads: list[float | None] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def caption(self) -> str:
        """Return machine, peak and load in lines."""
        known = [load for load in self.loads if load is not None]
        load = f"others took {statistics.median(known):.0%} of it, at most {max(known):.0%}" if known else "load unknown"
        return f"{self.machine}\npeak {self.peak / 1e9:,.0f} GFLOP/s; {load}; {self.pairs} pairs a row"


def table(rows: Sequence[Row], caption: str) -> Table:
    """Return the rows as a table."""
    from rich.table import Table

    made = Table(box=None, caption=caption, caption_justify="left", pad_edge=False)
    made.add_column("work")
    made.add_column("peer")
    for name in ("elman ms", "peer ms", "ratio", "share of peak", "elman MB", "peer MB"):
        made.add_column(name, justify="right")
    before = None
    for row in rows:
        made.add_row(
            row.work if row.work != before else "",
            row.peer or "",
            milliseconds(row.elman_ms),
            milliseconds(row.peer_ms),
            "" if row.ratio is None else f"{row.ratio:.2f}x",
            f"{row.share_of_peak:.0%}",
            megabytes(row.elman_mb),
            megabytes(row.peer_mb),
        )
        before = row.work
    return made


def milliseconds(value: float | None) -> str:
    """Write a time with three digits or more.

    Example:
        >>> milliseconds(0.0912), milliseconds(7.129), milliseconds(123.4)
        ('0.0912', '7.13', '123')
    """
    if value is None:
        return ""
    return f"{value:.4f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def megabytes(value: float | None) -> str:
    """Write a size.

    Example:
        >>> megabytes(12.34), megabytes(None)
        ('12.3', '')
    """
    return "" if value is None else f"{value:,.1f}"
