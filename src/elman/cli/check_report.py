"""What ``elman check`` shows: a section for each kind of check, as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from elman.testing import Comparison, GradientCheck, Place

__all__ = ["Comparisons", "Gradients", "Outcome", "Properties", "Report", "Section"]


class Section(Protocol):
    """The results of one kind of check.

    Attributes:
        name: what they are, in the plural; their key in JSON.
    """

    name: str

    def __len__(self) -> int:
        """How many there are."""

    def wrong(self) -> list[str]:
        """A line for each that is not good."""

    def as_json(self) -> list[dict[str, Any]]:
        """Each of them."""

    def table(self) -> Table:
        """All of them, a column for each place."""


@dataclass(frozen=True)
class Outcome:
    """Whether a property holds on a backend and device; the message says where it does not."""

    property: str
    backend: str
    device: str
    message: str | None


@dataclass(frozen=True)
class Comparisons:
    """Backends beside the reference in float64."""

    found: Sequence[Comparison]
    name = "comparisons"

    def __len__(self) -> int:
        return len(self.found)

    def wrong(self) -> list[str]:
        """A line for each that is not good."""
        return [str(c) for c in self.found if not c.good]

    def as_json(self) -> list[dict[str, Any]]:
        """Each of them."""
        return [
            {
                "what": c.what,
                **_place(c.place),
                "error": _number(c.error),
                "limit": c.limit,
                "case": c.case,
                "passed": c.good,
            }
            for c in self.found
        ]

    def table(self) -> Table:
        """The worst errors: a row for each result, a column for each place."""
        places = list(dict.fromkeys(c.place for c in self.found))
        table = _table("error", [str(place).replace(", ", "\n") for place in places])
        table.caption = "max|difference| / max|reference in float64|, the worst of all cases"
        cells = {(c.what, c.place): _cell(f"{c.error:.1e}", c.good) for c in self.found}
        for what in dict.fromkeys(c.what for c in self.found):
            table.add_row(what, *(cells.get((what, place), "") for place in places))
        return table


@dataclass(frozen=True)
class Gradients:
    """Gradients beside central differences."""

    found: Sequence[GradientCheck]
    name = "gradients"

    def __len__(self) -> int:
        return len(self.found)

    def wrong(self) -> list[str]:
        """A line for each that is not good."""
        return [str(g) for g in self.found if not g.good]

    def as_json(self) -> list[dict[str, Any]]:
        """Each of them."""
        return [
            {
                "name": g.name,
                "backend": g.backend,
                "device": g.device,
                "entries": g.entries,
                "norm": _number(g.norm),
                "error": _number(g.error),
                "limit": g.limit,
                "passed": g.good,
            }
            for g in self.found
        ]

    def table(self) -> Table:
        """The worst errors: a row for each gradient, a column for each place."""
        places = list(dict.fromkeys((g.backend, g.device) for g in self.found))
        table = _table("gradient", ["\n\nentries", "\n\nnorm", *("\n".join((*place, "float64")) for place in places)])
        limit = ", ".join(f"{limit:.0e}" for limit in dict.fromkeys(g.limit for g in self.found))
        table.caption = f"worst |a - n| / max(|a|, |n|, eps); limit {limit}"
        cells = {(g.name, g.backend, g.device): _cell(f"{g.error:.1e}", g.good) for g in self.found}
        sizes = {(g.name, g.entries): g.norm for g in reversed(self.found)}
        for (name, entries), norm in reversed(sizes.items()):
            errors = (cells.get((name, *place), "") for place in places)
            table.add_row(name, str(entries), f"{norm:.3g}", *errors)
        return table


@dataclass(frozen=True)
class Properties:
    """What a layer of any cell must do."""

    found: Sequence[Outcome]
    name = "properties"

    def __len__(self) -> int:
        return len(self.found)

    def wrong(self) -> list[str]:
        """A line for each that is not good."""
        return [f"{o.message} ({o.backend}, {o.device})" for o in self.found if o.message]

    def as_json(self) -> list[dict[str, Any]]:
        """Each of them."""
        return [{**vars(outcome), "passed": outcome.message is None} for outcome in self.found]

    def table(self) -> Table:
        """A row for each property, a column for each backend and device."""
        columns = list(dict.fromkeys((o.backend, o.device) for o in self.found))
        table = _table("property", ["\n".join(column) for column in columns])
        holds = {(o.property, o.backend, o.device): o.message is None for o in self.found}
        for name in dict.fromkeys(o.property for o in self.found):
            table.add_row(name, *(_cell("", holds[name, *column]) for column in columns))
        return table


@dataclass(frozen=True)
class Report:
    """What was found."""

    cell: str
    sections: Sequence[Section]
    refused: Mapping[Place, str]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(section.wrong() for section in self.sections)

    def as_json(self) -> dict[str, Any]:
        """Everything, and what could not be checked."""
        return {
            "cell": self.cell,
            "passed": self.passed,
            **{section.name: section.as_json() for section in self.sections},
            "not_checked": [{**_place(place), "reason": reason} for place, reason in self.refused.items()],
        }

    def show(self, console: Console) -> None:
        """Print a table for each section, what could not be checked, what is wrong, and the verdict."""
        tables = [section.table() for section in self.sections if len(section)]
        console.print(tables[0], *(part for table in tables[1:] for part in ("", table)))
        for place, reason in self.refused.items():
            console.print(f"not checked: {place}: {reason}", highlight=False)
        wrong = [line for section in self.sections for line in section.wrong()]
        for line in wrong:
            console.print(line, style="red", highlight=False)
        verdict = f"is wrong in {len(wrong)} of" if wrong else "is right in all"
        *others, last = (f"{len(section)} {section.name}" for section in self.sections)
        console.print(f"{self.cell} {verdict} {', '.join(others)} and {last}.")


def _place(place: Place) -> dict[str, str]:
    return {"backend": place.backend, "device": place.device, "dtype": str(place.dtype).removeprefix("torch.")}


def _number(value: float) -> float | None:
    """A number of JSON, which has none that is not finite."""
    return value if math.isfinite(value) else None


def _table(first: str, columns: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(first, box=None)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cell(text: str, good: bool) -> str:
    return f"{text} [green]ok[/]" if good else f"{text} [bold red]WRONG[/]"
