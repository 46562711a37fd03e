"""What is reported: rows, as JSON and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from elman.bench.peak import Peak

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report", "Row", "milliseconds", "share", "table"]


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


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came out.

    Attributes:
        machine: in a line.
        peak: of the machine.
        pairs: how many a row.
        rows: the rows.
        loads: for each row the share of the processor that others took; None where the system does not tell.
        refused: what is not reported because its numbers are wrong, a line each.
        skipped: what could not be measured here, a line each.
    """

    machine: str
    peak: Peak
    pairs: int
    rows: tuple[Row, ...]
    loads: tuple[float | None, ...]
    refused: tuple[str, ...]
    skipped: tuple[str, ...]

    def caption(self) -> str:
        """Return machine, peak and load in lines."""
        known = [load for load in self.loads if load is not None]
        load = "unknown" if not known else f"{statistics.median(known):.0%} of the processor, at most {max(known):.0%}"
        peak = f"peak {self.peak.flops / 1e9:,.0f} GFLOP/s: {self.peak.of}"
        return f"{self.machine}\n{peak}\nload by others: {load}; {self.pairs} pairs a row"


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("work", "peer"):
        made.add_column(name, overflow="fold")
    for name in ("elman\nms", "peer\nms", "ratio", "share\nof peak", "elman\nMB", "peer\nMB"):  # 80 columns will do
        made.add_column(name, justify="right")
    before = None
    for row in rows:
        made.add_row(
            row.work if row.work != before else "",
            row.peer or "",
            milliseconds(row.elman_ms),
            milliseconds(row.peer_ms),
            "" if row.ratio is None else f"{row.ratio:.2f}x",
            share(row.share_of_peak),
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


def share(value: float) -> str:
    """Write a share, a small one with a decimal.

    Example:
        >>> share(0.7512), share(0.0345)
        ('75%', '3.5%')
    """
    return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"


def megabytes(value: float | None) -> str:
    """Write a size.

    Example:
        >>> megabytes(12.34), megabytes(None)
        ('12.3', '')
    """
    return "" if value is None else f"{value:,.1f}"
