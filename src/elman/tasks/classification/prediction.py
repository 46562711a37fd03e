"""The answer of a classifier to one sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text
from torch import Tensor

from elman.tasks.classification.model import SequenceClassifier

__all__ = ["ClassPrediction"]


@dataclass(frozen=True)
class ClassPrediction:
    """The probabilities of the classes for one sequence.

    Attributes:
        source: the file, or what else it came from.
        probabilities: by class, the most probable first.
        truth: the class it has, where that is known.
        notes: how a picture was brought into the form of the training images.
        grey: the picture as the model read it, rows of 0 (black) to 255; empty for sequences that are not pictures.
    """

    source: str
    probabilities: dict[str, float]
    truth: str | None = None
    notes: tuple[str, ...] = ()
    grey: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(
        cls,
        model: SequenceClassifier,
        source: str,
        x: Tensor,
        probabilities: Tensor,
        *,
        truth: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> ClassPrediction:
        """Sort the probabilities ``(classes,)`` of a sequence x ``(time, features)`` by size."""
        sizes, order = probabilities.sort(descending=True)
        by_class = {model.class_names[k]: p for k, p in zip(order.tolist(), sizes.tolist(), strict=True)}
        grey: tuple[tuple[int, ...], ...] = ()
        if model.specification.image is not None:
            pixels = (x.double() * model.specification.scale * 255).round().clamp(0, 255).int()
            grey = tuple(tuple(row) for row in pixels.tolist())
        return cls(source, by_class, truth, notes, grey)

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))

    def as_json(self) -> dict[str, Any]:
        """Return the answer for programs."""
        fields: dict[str, Any] = {"source": self.source, "class": self.label, "probabilities": self.probabilities}
        if self.truth is not None:
            fields["truth"] = self.truth
        return fields | {"notes": list(self.notes)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the picture beside the three most probable classes."""
        bars = Table.grid(padding=(0, 1))
        for name, p in list(self.probabilities.items())[:3]:
            bars.add_row(Text(name, style="bold" if name == self.label else ""), "█" * round(20 * p), f"{p:.1%}")
        verdict = Text(f"{self.source}: ").append(self.label, style="bold")
        if self.truth is not None:
            right = self.truth == self.label
            verdict.append(" (right)" if right else f" (it is {self.truth})", style="green" if right else "red")
        notes = [Text(note, style="dim") for note in self.notes]
        page = Table.grid(padding=(0, 2))
        coloured = console.color_system is not None and not console.no_color
        picture = _half_blocks(self.grey) if coloured else _letters(self.grey)
        page.add_row(Text("\n").join(picture), Group(verdict, bars, *notes))
        yield page


def _half_blocks(grey: tuple[tuple[int, ...], ...]) -> Iterator[Text]:
    """Two rows of pixels in a line of text: an upper half block in the upper pixel's grey on the lower pixel's."""
    for upper, lower in zip(grey[::2], [*grey[1::2], *[(0,) * len(grey[0])] * (len(grey) % 2)], strict=True):
        line = Text()
        for a, b in zip(upper, lower, strict=True):
            line.append("▀", style=f"rgb({a},{a},{a}) on rgb({b},{b},{b})")
        yield line


def _letters(grey: tuple[tuple[int, ...], ...]) -> Iterator[Text]:
    """Where there is no colour: a row of pixels in a line of text, two letters each, the lighter the denser."""
    for row in grey:
        yield Text("".join(2 * " .:-=+*#%@"[10 * pixel // 256] for pixel in row))
