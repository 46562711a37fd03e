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


def main(argv: Sequence[str]) -> int:
    """Run ``elman equations CELL``."""
    return parse(equations, argv, "equations")


def equations(cell: _Cell, *, latex: bool = False, html: bool = False) -> int:
    """Print the equations of a cell, and those of back-propagation through time as elman derives them.

    Args:
        cell: A name that `elman cells` lists, or my_module:MyCell.
        latex: As a LaTeX document.
        html: As one page of HTML.
    """
    if latex and html:
        raise OptionError("--latex and --html are two forms of the same: give one of them.")
    from elman.cells import find
    from elman.compiler.equations import derive
    from elman.compiler.typeset import html_page, latex_document, plain_text

    found = find(cell)
    write = latex_document if latex else html_page if html else plain_text
    sys.stdout.write(write(derive(found(1, 1).graph), found.__name__))
    return 0
