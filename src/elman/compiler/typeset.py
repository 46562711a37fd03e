"""The equations of a cell as documents: text for a terminal, LaTeX to compile, a page of HTML to open."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Final

from elman.compiler.equations import Derivation, Equation
from elman.compiler.expression import Expression, operation, symbol
from elman.compiler.notation import LATEX, MATHML, TEXT, Notation

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
</style>
</head>
<body>
<h1>{title}</h1>
{body}</body>
</html>
"""


def plain_text(derivation: Derivation, title: str) -> str:
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
    for heading, equations in _sections(derivation):
        lines += ["", heading, ""]
        width = max(len(TEXT.expression(equation.target)) for equation in equations)
        for equation in equations:
            target = TEXT.expression(equation.target).rjust(width)
            first, *rest = _lines(equation.expression, TEXT)
            lines += [f"  {target} = {first}", *(f"  {'':{width}}   {line}" for line in rest)]
    return "\n".join([*lines, "", *(_note(note, TEXT, "{}") for note in _notes(derivation)), ""])


def latex_align(equations: Sequence[Equation]) -> str:
    """Write equations as an ``align*`` of amsmath, which notebooks show as well."""
    rows = (
        f"{LATEX.expression(equation.target)} &= {first}" + "".join(f" \\\\\n  &\\quad {line}" for line in rest)
        for equation in equations
        for first, *rest in [_lines(equation.expression, LATEX)]
    )
    return "\\begin{align*}\n  " + " \\\\\n  ".join(rows) + "\n\\end{align*}"


def latex_document(derivation: Derivation, title: str) -> str:
    """Write the equations as a LaTeX document that compiles as it stands."""
    escaped = title.replace("_", r"\_")
    parts = [f"\\section*{{{escaped}}}"]
    for heading, equations in _sections(derivation):
        parts += [f"\\subsection*{{{heading}}}", latex_align(equations)]
    parts += [_note(note, LATEX, "${}$") + "\n" for note in _notes(derivation)]
    return _TEX + "\n".join(parts) + "\\end{document}\n"


def html_page(derivation: Derivation, title: str) -> str:
    """Write the equations as one page of HTML with MathML, which needs nothing else."""
    parts: list[str] = []
    for heading, equations in _sections(derivation):
        rows = [row for equation in equations for row in _rows(equation)]
        table = f"<math display='block'><mtable displaystyle='true'>{''.join(rows)}</mtable></math>"
        parts.append(f"<h2>{html.escape(heading)}</h2>\n<div class='equations'>{table}</div>\n")
    parts += [f"<p>{_note(note, MATHML, '<math>{}</math>', escape=True)}</p>\n" for note in _notes(derivation)]
    return _HTML.format(title=html.escape(title), body="".join(parts))


def _sections(derivation: Derivation) -> Iterator[tuple[str, tuple[Equation, ...]]]:
    """The groups of equations with their headings."""
    yield "Forward, t from 1 to T", derivation.forward
    yield "Backward, t from T to 1", derivation.backward
    yield "Gradients of the weights", derivation.parameters
    yield "Gradients of the inputs and of the initial state", derivation.inputs


def _notes(derivation: Derivation) -> Iterator[tuple[str | Expression, ...]]:
    """What the reader has to know, sentence by sentence; expressions stand among the words."""
    loss, step, delta = symbol("L"), symbol("ℓ", "t"), symbol("δ")
    yield "The loss is ", operation("equal", loss, operation("total", step)), ", where ", step, " is that of step t."
    yield (
        delta,
        " of a state is its gradient; ",
        delta,
        " of a gate is that of its pre-activation, before the ",
        "non-linearity.",
    )
    yield (
        "At t = T every gradient of step t + 1 is 0. A loss that also reads a final state adds to its ",
        delta,
        " there.",
    )
    if any(part.op == "indicator" for e in derivation.backward for part in e.expression.parts()):
        yield Expression("indicator", (symbol("condition"),)), " is 1 where the condition holds, and 0 elsewhere."


def _note(note: Sequence[str | Expression], notation: Notation, mathematics: str, *, escape: bool = False) -> str:
    """Write a note."""
    words = (
        (html.escape(part) if escape else part)
        if isinstance(part, str)
        else mathematics.format(notation.expression(part))
        for part in note
    )
    return "".join(words)


def _lines(a: Expression, notation: Notation) -> list[str]:
    """Write an expression, a long sum on several lines; they are broken where the text is."""
    lines, width = [""], 0
    for measured, term in zip(TEXT.terms(a), notation.terms(a), strict=True):
        if width and width + len(measured) > _WIDTH:
            lines.append("")
            width = 0
        lines[-1] += term
        width += len(measured)
    return [line.strip() for line in lines]


def _rows(equation: Equation) -> Iterator[str]:
    """Write the rows of an equation in a table of MathML."""
    first, *rest = _lines(equation.expression, MATHML)
    target = MATHML.expression(equation.target)
    for left, sign, right in [(target, "<mo>=</mo>", first), *(("", "", line) for line in rest)]:
        cells = "".join(f"<mtd>{cell}</mtd>" for cell in (left, sign, f"<mrow>{right}</mrow>"))
        yield f"<mtr>{cells}</mtr>\n"
