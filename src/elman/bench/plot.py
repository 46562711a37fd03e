"""Pictures of rows: how much quicker than whom, and how near the peak."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from elman.bench.report import Row
from elman.bench.works import catalogue
from elman.errors import MissingExtraError, OptionError, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_target", "draw"]

_FORMATS: Final = (".svg", ".png", ".pdf")


def check_target(path: Path) -> None:
    """See to it before anything is measured that it can be drawn.

    Raises:
        OptionError: the file has a form that is not known, or its folder is not there.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix not in _FORMATS:
        raise OptionError(describe("--plot", expected=f"a file that ends in {' or '.join(_FORMATS)}", got=path.name))
    if not path.absolute().parent.is_dir():
        raise OptionError(describe("--plot", expected="a file in a folder that is there", got=str(path)))
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("--plot needs the package matplotlib: pip install 'elman[bench]'")


def draw(rows: Sequence[Row], caption: str, path: Path) -> None:
    """Draw rows: ratios and shares as bars, works that grow as curves of their share.

    Args:
        rows: of `elman.bench.run.bench`, one at least.
        caption: stands under the picture.
        path: to write; the ending says in which form.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    groups = {work.name: work.group for work in catalogue()}
    growing = [row for row in rows if groups.get(row.work)]
    standing = [row for row in rows if not groups.get(row.work)]
    panels = [part for part in ((_ratios, standing), (_shares, standing), (_growth, growing)) if part[1]]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "elman"}):  # the same rows, the same file
        figure = Figure(figsize=(4.5 * len(panels), max(3.5, 1.2 + 0.28 * len(standing))), layout="constrained")
        for k, (panel, mine) in enumerate(panels):
            panel(figure.add_subplot(1, len(panels), k + 1), mine)
        figure.supxlabel(caption, fontsize=7)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _ratios(axes: Axes, rows: Sequence[Row]) -> None:
    """A bar a row: the peer's time over elman's."""
    compared = [row for row in rows if row.ratio is not None]
    places = range(len(compared))
    peers = list(dict.fromkeys(row.peer for row in compared))
    colours = [f"C{peers.index(row.peer) % 10}" for row in compared]
    drawn = axes.barh(places, [row.ratio or 0.0 for row in compared], color=colours)
    axes.bar_label(drawn, [f"{row.ratio:.2f}x {row.peer}" for row in compared], fontsize=7, padding=2)
    first = [row.work if k == 0 or compared[k - 1].work != row.work else "" for k, row in enumerate(compared)]
    axes.set_yticks(places, first, fontsize=7)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.margins(x=0.35, y=0.01)
    axes.invert_yaxis()
    axes.set_title("peer's time / elman's", fontsize=9)


def _shares(axes: Axes, rows: Sequence[Row]) -> None:
    """A bar a work: its best share of the peak over its rows."""
    shares: dict[str, float] = {}
    for row in rows:
        shares[row.work] = max(row.share_of_peak, shares.get(row.work, 0.0))
    drawn = axes.barh(list(shares), list(shares.values()), color="C7")
    axes.bar_label(drawn, [f"{share:.0%}" for share in shares.values()], fontsize=7, padding=2)
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    axes.set_xlim(0, max(1.0, *shares.values()) * 1.1)
    axes.invert_yaxis()
    axes.set_title("elman's share of the peak", fontsize=9)


def _growth(axes: Axes, rows: Sequence[Row]) -> None:
    """A curve a group: the share of the peak over the size that grows."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        group, _, size = row.work.rpartition("-")
        curves.setdefault(group, []).append((int(size), row.share_of_peak))
    for group, points in curves.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=group)
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("size", fontsize=8)
    axes.legend(fontsize=7)
    axes.set_title("elman's share of the peak", fontsize=9)
