"""``elman cells``: the recurrent cells."""

from __future__ import annotations

from collections.abc import Sequence

from elman.cli.arguments import parse

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman cells``."""
    return parse(cells, argv, "cells")


def cells() -> int:
    """List the recurrent cells that --cell knows; one of your own is --cell my_module:MyCell."""
    from rich.console import Console
    from rich.table import Table

    from elman.cells import Cell

    table = Table("name", "states", "gates", "weights", "what", caption="weights: of a layer 28 → 128", box=None)
    for name, cell in sorted(Cell.registry.items()):
        count = sum(parameter.numel() for parameter in cell(28, 128).parameters())
        what = (cell.__doc__ or "").strip().partition("\n")[0]
        table.add_row(name, " ".join(cell.states), " ".join([*cell.gates, *cell.diagonals]), f"{count:,}", what)
    Console().print(table)
    return 0
