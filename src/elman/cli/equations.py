"""``elman equations``: a cell and its back-propagation through time, as equations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from elman.cli.arguments import parse
from elman.errors import OptionError

__all__ = ["main"]

_Cell = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="CELL")]]
_Steps = Annotated[int | None, tyro.conf.arg(metavar="STEPS")]


def main(argv: Sequence[str]) -> int:
    """Run ``elman equations CELL``."""
    return parse(equations, argv, "equations")


def equations(cell: _Cell, *, unfold: _Steps = None, latex: bool = False, html: bool = False) -> int:
    """Print the equations of a cell, and those of back-propagation through time as elman derives them.

    Args:
        cell: A name that `elman cells` lists, or my_module:MyCell.
        unfold: Unfold the loss over so many steps (2 to 9), and show every path that a gradient takes.
        latex: As a LaTeX document.
        html: As one page of HTML.
    """
    if latex and html:
        raise OptionError("--latex and --html are two forms of the same: give one of them.")
    from elman.cells import find
    from elman.compiler import equations, typeset, unfolding

    found = find(cell)
    graph = found(1, 1).graph
    write = typeset.latex_document if latex else typeset.html_page if html else typeset.plain_text
    document = equations.derive(graph) if unfold is None else unfolding.unfold(graph, unfold)
    sys.stdout.write(write(document, found.__name__))
    return 0
