"""The equations of a cell as documents: text for a terminal, LaTeX to compile, a page of HTML to open."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from elman.compiler.drawing import Drawing
from elman.compiler.expression import Expression
from elman.compiler.notation import LATEX, MATHML, TEXT, Notation
from elman.compiler.values import Equation

__all__ = ["html_page", "latex_align", "latex_document", "plain_text"]

_WIDTH: Final = 76  # of a sum in text, before it goes on in a new line

_TEX: Final = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[a4paper, margin=25mm]{geometry}
\usepackage{amsmath}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\begin{document}
"""

_HTML: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 17px/1.5 serif; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; color: #111; background: #fff; }}
h1, h2 {{ font-weight: normal; }}
h2 {{ font-size: 1.2rem; margin: 1.6rem 0 0.4rem; }}
.equations {{ overflow-x: auto; }}
math {{ font-size: 1.08rem; }}
mtd {{ text-align: left; padding: 0.3rem 0.15rem; }}
mtd:first-child {{ text-align: right; text-align: -webkit-right; }}
mtd:nth-child(4) {{ padding-left: 2.5rem; color: #555; }}
svg {{ max-width: 100%; height: auto; }}
svg circle {{ fill: #fff; stroke: #111; }}
svg text {{ font: 17px serif; text-anchor: middle; dominant-baseline: central; }}
svg text {{ paint-order: stroke; stroke: #fff; stroke-width: 4px; }}
svg .line {{ fill: none; stroke: #111; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}</body>
</html>
"""


class Document(Protocol):
    """What is written: `elman.compiler.equations.Derivation` or `elman.compiler.unfolding.Unfolding`."""

    def sections(self) -> Iterator[tuple[str, Drawing | tuple[Equation, ...]]]:
        """Groups of equations, and drawings, with their headings."""

    def notes(self) -> Iterator[tuple[str | Expression, ...]]:
        """What the reader has to know, sentence by sentence; expressions stand among the words."""


def plain_text(document: Document, title: str) -> str:
    r"""Write the equations as Unicode text.

    Example:
        >>> from elman.cells import RNNCell
        >>> from elman.compiler.equations import derive
        >>> print("\n".join(plain_text(derive(RNNCell(2, 3).graph), "RNNCell").splitlines()[:8]))
        RNNCell
        <BLANKLINE>
        Forward, t from 1 to T
        <BLANKLINE>
          hₜ = tanh(W xₜ + U hₜ₋₁ + b)
        <BLANKLINE>
        Backward, t from T to 1
        <BLANKLINE>
    """
    lines = [title]
    for heading, content in document.sections():
        rows = content.text() if isinstance(content, Drawing) else _aligned(content)
        lines += ["", heading, "", *(f"  {row}".rstrip() for row in rows)]
    return "\n".join([*lines, "", *(_note(note, TEXT, "{}") for note in document.notes()), ""])


def _aligned(equations: Sequence[Equation]) -> Iterator[str]:
    """Write equations as lines of text, the targets of all in one column, and the remarks."""
    width = max(len(TEXT.expression(equation.target)) for equation in equations)
    written = [_lines(equation, TEXT) for equation in equations]
    wide = max((len(line) for lines in written for line, remark in lines if remark), default=0)
    for equation, lines in zip(equations, written, strict=True):
        target = TEXT.expression(equation.target).rjust(width)
        for left, (line, remark) in zip([f"{target} =", *[" " * (width + 2)] * len(lines)], lines, strict=False):
            yield f"{left} {line.ljust(wide) + '    ' + remark if remark else line}"


def latex_align(equations: Sequence[Equation]) -> str:
    """Write equations as an ``align*`` of amsmath, which notebooks show as well."""
    rows = (
        f"{left} {line}" + (f" && {remark}" if remark else "")
        for equation in equations
        for left, (line, remark) in zip(
            itertools.chain([f"{LATEX.expression(equation.target)} &="], itertools.repeat("&\\quad")),
            _lines(equation, LATEX),
            strict=False,
        )
    )
    return "\\begin{align*}\n  " + " \\\\\n  ".join(rows) + "\n\\end{align*}"


def latex_document(document: Document, title: str) -> str:
    """Write the equations as a LaTeX document that compiles as it stands."""
    escaped = title.replace("_", r"\_")
    parts = [f"\\section*{{{escaped}}}"]
    for heading, content in document.sections():
        shown = f"\\[{content.latex()}\\]" if isinstance(content, Drawing) else latex_align(content)
        parts += [f"\\subsection*{{{heading}}}", shown]
    parts += [_note(note, LATEX, "${}$") + "\n" for note in document.notes()]
    return _TEX + "\n".join(parts) + "\\end{document}\n"


def html_page(document: Document, title: str) -> str:
    """Write the equations as one page of HTML with MathML, which needs nothing else."""
    parts: list[str] = []
    for heading, content in document.sections():
        shown = content.svg() if isinstance(content, Drawing) else _table(content)
        parts.append(f"<h2>{html.escape(heading)}</h2>\n<div class='equations'>{shown}</div>\n")
    parts += [f"<p>{_note(note, MATHML, '<math>{}</math>', escape=True)}</p>\n" for note in document.notes()]
    return _HTML.format(title=html.escape(title), body="".join(parts))


def _note(note: Sequence[str | Expression], notation: Notation, mathematics: str, *, escape: bool = False) -> str:
    """Write a note."""
    words = (
        (html.escape(part) if escape else part)
        if isinstance(part, str)
        else mathematics.format(notation.expression(part))
        for part in note
    )
    return "".join(words)


def _lines(equation: Equation, notation: Notation) -> list[tuple[str, str]]:
    """Write an expression with its remarks, which have lines of their own; a long sum is broken where the text is."""
    terms = notation.terms(equation.expression)
    if equation.remarks:
        remarks = map(notation.expression, equation.remarks)
        return [(term.strip(), remark) for term, remark in zip(terms, remarks, strict=True)]
    lines, width = [""], 0
    for measured, term in zip(TEXT.terms(equation.expression), terms, strict=True):
        if width and width + len(measured) > _WIDTH:
            lines.append("")
            width = 0
        lines[-1] += term
        width += len(measured)
    return [(line.strip(), "") for line in lines]


def _table(equations: Sequence[Equation]) -> str:
    """Write equations as a table of MathML."""
    rows = []
    for equation in equations:
        left = [MATHML.expression(equation.target), "<mo>=</mo>"]
        for line, remark in _lines(equation, MATHML):
            cells = [*left, f"<mrow>{line}</mrow>", *([remark] if remark else [])]
            rows.append(f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in cells)}</mtr>\n")
            left = ["", ""]
    return f"<math display='block'><mtable displaystyle='true'>{''.join(rows)}</mtable></math>"
