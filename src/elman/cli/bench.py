"""``elman bench``: what elman costs on this machine, beside other libraries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from elman.cli.arguments import parse
from elman.errors import OptionError, describe

__all__ = ["main"]

_Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")]


def main(argv: Sequence[str]) -> int:
    """Run ``elman bench``."""
    return parse(bench, argv, "bench")


def bench(
    *,
    only: _Names = (),
    peers: _Names = (),
    pairs: int = 50,
    threads: int | None = None,
    plot: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    names: Annotated[bool, tyro.conf.arg(name="list")] = False,
) -> int:
    """Measure elman on this machine: time, share of the processor's peak and memory, beside other libraries.

    A row is one work (a cell and its shapes), done by elman and by a peer in turn, in one process. Before that, the
    outputs and gradients of both are compared with the reference in float64: what is wrong is not reported, and the
    exit status is 1. All of it takes several minutes.

    Args:
        only: Works, or groups of them, that --list names, or my_module:MyCell; none: all that are in no group.
        peers: Peers that --list names, or all; none: all but torch.compile, which takes up to a minute a work to
            compile. Those that are not installed are left out: pip install 'elman[bench]'.
        pairs: Samples of elman and of the peer in a row; the ratio is the lower quartile of theirs.
        threads: CPU threads; none: PyTorch's choice.
        plot: Also draw the rows into this file: .svg, .png or .pdf.
        as_json: Print the rows as a JSON list instead of a table.
        names: Say which works and peers there are, and measure nothing.
    """
    if pairs < 2:
        raise OptionError(describe("--pairs", expected="at least 2", got=str(pairs)))
    if threads is not None and threads < 1:
        raise OptionError(describe("--threads", expected="at least 1", got=str(threads)))
    if names:
        return _list()
    from rich.console import Console

    from elman.bench.peers import select_peers
    from elman.bench.plot import check_target, draw
    from elman.bench.report import table
    from elman.bench.run import bench as run
    from elman.bench.works import select

    works, against = select(only), select_peers(peers)
    if plot is not None:
        check_target(plot)
    progress = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    report = run(works, against, pairs=pairs, threads=threads, say=progress.print)
    if as_json:
        print(json.dumps([row.as_json() for row in report.rows], indent=1))
        progress.print(report.caption())
    else:
        Console().print(table(report.rows))
        print(f"\n{report.caption()}")
    if plot is not None and report.rows:
        draw(report.rows, report.caption(), plot)
    return 1 if report.refused else 0


def _list() -> int:
    from rich.console import Console
    from rich.table import Table

    from elman.bench.peers import PEERS
    from elman.bench.works import catalogue

    works = Table("work", "what", box=None, pad_edge=False)
    groups: dict[str, list[str]] = {}
    for work in catalogue():
        if work.group:
            groups.setdefault(work.group, []).append(work.name)
        else:
            works.add_row(work.name, work.summary)
    for group, members in groups.items():
        works.add_row(group, f"{members[0]} to {members[-1]}: how the share of the peak grows (only when asked for)")
    peers = Table("peer", "what", box=None, pad_edge=False)
    for peer in PEERS:
        peers.add_row(peer.name, peer.summary + (" (only when asked for)" if peer.slow else ""))
    Console().print(works, "", peers, sep="\n")
    return 0
