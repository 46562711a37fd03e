"""The answer of a model to one sequence of a memory problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

__all__ = ["AddingPrediction", "CopyPrediction"]


@dataclass(frozen=True)
class AddingPrediction:
    """What a model says the sum is.

    Attributes:
        source: which sequence.
        numbers: u_t of all steps.
        marked: the two steps that are marked, counted from 0.
        truth: the sum.
        answer: of the model.
        right: whether that is near enough.
    """

    source: str
    numbers: tuple[float, ...]
    marked: tuple[int, ...]
    truth: float
    answer: float
    right: bool

    def as_json(self) -> dict[str, Any]:
        """Return the answer for programs."""
        return vars(self) | {"numbers": list(self.numbers), "marked": list(self.marked)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the numbers, those that are marked in bold, and the sum."""
        line = Text(f"{self.source}: ")
        for t, number in enumerate(self.numbers):
            line.append(
                f"[{number:.2f}]" if t in self.marked else f"{number:.2f}", "bold" if t in self.marked else "dim"
            )
            line.append(" ")
        yield line
        terms = " + ".join(f"{self.numbers[t]:.3f}" for t in self.marked)
        yield (
            Text(f"{terms} = {self.truth:.3f}; answer ")
            .append(f"{self.answer:.3f}", style="bold green" if self.right else "bold red")
            .append(f" ({'right' if self.right else 'wrong'})")
        )


@dataclass(frozen=True)
class CopyPrediction:
    """What a model writes down again.

    Attributes:
        source: which sequence.
        read: the symbols of all steps; 8 is the blank, 9 the mark.
        truth: what it should write after the mark.
        answer: what it writes there.
    """

    source: str
    read: tuple[int, ...]
    truth: tuple[int, ...]
    answer: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the answer for programs."""
        return vars(self) | {name: list(getattr(self, name)) for name in ("read", "truth", "answer")}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show what was read and, under the last steps, what was written, symbols that are wrong in red."""
        yield f"{self.source}:"
        signs = "01234567·▸"
        yield Text("read    ").append("".join(signs[symbol] for symbol in self.read))
        line = Text("answer  " + " " * (len(self.read) - len(self.truth)))
        right = [said == symbol for said, symbol in zip(self.answer, self.truth, strict=True)]
        for symbol, hit in zip(self.answer, right, strict=True):
            line.append(signs[symbol], style="bold green" if hit else "bold red")
        yield line.append(f"  {sum(right)} of {len(right)} right")
