"""A cell unfolded over time, drawn: as lines of text, as an array of LaTeX, as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from elman.compiler.notation import LATEX, TEXT, Notation

__all__ = ["Drawing"]

_WIDE, _HIGH, _ROUND, _MARGIN = 130, 84, 20, 30  # pixels: between steps, between rows, of a node, around all
_TIP: Final = 9.0  # pixels, of an arrow


@dataclass(frozen=True)
class Drawing:
    """A few steps of a cell.

    Attributes:
        states: of the cell; the loss of a step reads the first one.
        steps: how many.
        reads: what a new state reads: (state, other state, how many steps ago: 0 or 1).
    """

    states: tuple[str, ...]
    steps: int
    reads: tuple[tuple[str, str, int], ...]

    def text(self) -> list[str]:
        r"""Draw with characters, a box for each step.

        Example:
            >>> print("\n".join(Drawing(("h", "c"), 2, ()).text()))
                        ℓ₁           ℓ₂
                 ┌─┐    ↑     ┌─┐    ↑
            h₀ → │ │ →  h₁  → │ │ →  h₂
            c₀ → │ │ →  c₁  → │ │ →  c₂
                 └─┘          └─┘
                  ↑            ↑
                  x₁           x₂
        """
        rows = [
            ("", "", "ℓ"),
            ("", "┌─┐", "↑"),
            *((state, "→ │ │ →", state) for state in self.states),
            ("", "└─┘", ""),
            ("", "↑", ""),
            ("", "x", ""),
        ]
        wide = max(len(self._named(state, self.steps, TEXT)) for state in self.states)
        lines = []
        for start, step, state in rows:
            line = self._named(start, 0, TEXT).ljust(wide)
            for t in range(1, self.steps + 1):
                line += f" {self._named(step, t, TEXT):^8} {self._named(state, t, TEXT).ljust(wide)} "
            lines.append(line.rstrip())
        return lines

    def latex(self) -> str:
        """Draw as an array, for the mathematics mode of LaTeX."""
        rows = [
            ("", "", "ℓ"),
            ("", "", r"\uparrow"),
            *((state, r"\longrightarrow", state) for state in self.states),
            ("", r"\uparrow", ""),
            ("", "x", ""),
        ]
        lines = [
            " & ".join(
                [
                    self._named(start, 0, LATEX),
                    *(self._named(name, t, LATEX) for t in range(1, self.steps + 1) for name in (step, state)),
                ]
            )
            for start, step, state in rows
        ]
        columns = "c" * (2 * self.steps + 1)
        return f"\\begin{{array}}{{{columns}}}\n  " + " \\\\\n  ".join(lines) + "\n\\end{array}"

    def _named(self, name: str, time: int, notation: Notation) -> str:
        """Write what has a name with its time, and leave the rest as it is."""
        return notation.symbol(name, str(time)) if name in {"ℓ", "x", *self.states} else name

    def svg(self) -> str:
        """Draw as SVG, with an arrow for each value that a state reads."""
        width = 2 * _MARGIN + _WIDE * self.steps + _HIGH // 2
        height = 2 * _MARGIN + _HIGH * len(self.states)
        return (
            f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img'>"
            f"<title>{self.steps} steps</title>{''.join(self._arrows())}{''.join(self._nodes())}</svg>"
        )

    def _at(self, state: str, time: int) -> tuple[float, float]:
        """Where the node of a state stands."""
        return _MARGIN + _WIDE * time, _MARGIN + _HIGH * (self.states.index(state) + 1)

    def _nodes(self) -> Iterator[str]:
        for time in range(self.steps + 1):
            for state in self.states:
                x, y = self._at(state, time)
                yield f"<circle cx='{x:.0f}' cy='{y:.0f}' r='{_ROUND}'/>{_label(x, y, TEXT.symbol(state, str(time)))}"
            if time:
                x, y = self._at(self.states[0], time)
                yield _label(x, y - _HIGH, TEXT.symbol("ℓ", str(time)))

    def _arrows(self) -> Iterator[str]:
        for time in range(1, self.steps + 1):
            x, y = self._at(self.states[0], time)
            yield _arrow((x, y), (x, y - _HIGH), 0.0)
            for state, other, ago in self.reads:
                over = abs(self.states.index(state) - self.states.index(other)) - 1
                yield _arrow(self._at(other, time - ago), self._at(state, time), 0.0 if ago else 34.0 * over)


def _label(x: float, y: float, text: str) -> str:
    return f"<text x='{x:.0f}' y='{y:.0f}'>{html.escape(text)}</text>"


def _arrow(start: tuple[float, float], end: tuple[float, float], aside: float) -> str:
    """Draw an arrow from node to node, bent to the right by some pixels so that it passes what stands between."""
    (x0, y0), (x1, y1) = start, end
    middle = ((x0 + x1) / 2 + 2 * aside, (y0 + y1) / 2)

    def towards(here: tuple[float, float], there: tuple[float, float], by: float) -> tuple[float, float]:
        part = by / math.dist(here, there)
        return here[0] + part * (there[0] - here[0]), here[1] + part * (there[1] - here[1])

    (ax, ay), (bx, by) = towards(start, middle, _ROUND), towards(end, middle, _ROUND)
    (cx, cy), (mx, my) = towards(end, middle, _ROUND + _TIP), middle
    across_x, across_y = (by - cy) * 0.45, (cx - bx) * 0.45
    tip = f"M{bx:.1f} {by:.1f}L{cx + across_x:.1f} {cy + across_y:.1f}L{cx - across_x:.1f} {cy - across_y:.1f}Z"
    line = f"M{ax:.1f} {ay:.1f}Q{mx:.1f} {my:.1f} {cx:.1f} {cy:.1f}"
    return f"<path class='line' d='{line}'/><path d='{tip}'/>"
