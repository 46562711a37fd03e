"""``elman check``: is a cell right on this machine, wherever it can run?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from elman.cli.arguments import parse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from elman.cells import Cell
    from elman.testing import Comparison, Place

__all__ = ["main"]

_Cell = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="CELL")]]
_Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")]


def main(argv: Sequence[str]) -> int:
    """Run ``elman check CELL``, or ``elman check --flow CELL|RUN ...``."""
    if "--flow" in argv:
        from elman.cli import flow

        return flow.main([argument for argument in argv if argument != "--flow"])
    return parse(check, argv, "check")


def check(
    cell: _Cell,
    *,
    backend: _Names = (),
    device: _Names = (),
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Check a cell on this machine, on every backend and device: numbers, gradients and what a layer must do.

    Outputs, final states and every gradient are compared by name with the reference in float64 on the CPU, for odd
    sizes, lengths, resets and both directions; then come the properties of elman.testing.assert_cell_conforms. The exit
    status is 1 where something is wrong. Takes some seconds.

    With --flow it measures instead whether gradients vanish or explode over time: elman check --flow --help.

    Args:
        cell: A name that `elman cells` lists, or my_module:MyCell.
        backend: llvm or reference; none: all.
        device: Such as cpu or cuda:1; none: the CPU and the accelerator that torch finds.
        as_json: Print JSON instead of tables.
    """
    from rich.console import Console

    from elman.cells import find
    from elman.testing import compare_backends, places

    found, devices, backends = find(cell), device or None, backend or None
    with Console(stderr=True).status(f"checking {found.__name__}"):
        comparisons = compare_backends(found, backends=backends, devices=devices)
        where = places(found, backends=backends, devices=devices)
        outcomes = _properties(found, [place for place, reason in where.items() if reason is None])
    report = _Report(found.__name__, comparisons, outcomes, {p: reason for p, reason in where.items() if reason})
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        report.show(Console())
    return 0 if report.passed else 1


@dataclass(frozen=True)
class _Outcome:
    """Whether a property holds on a backend and device; the message says where it does not."""

    property: str
    backend: str
    device: str
    message: str | None


def _properties(cell: type[Cell], able: Sequence[Place]) -> list[_Outcome]:
    """Check the properties of a layer wherever float64 is."""
    import torch

    from elman.testing import properties

    outcomes = []
    for place in able:
        if place.dtype == torch.float64:
            for name, holds in properties(cell, device=place.device, backend=cast(Any, place.backend)).items():
                message = None
                try:
                    holds()
                except AssertionError as error:
                    message = str(error)
                except RuntimeError as error:
                    if place.device == "cpu":
                        raise
                    message = f"{cell.__name__}: {name}: {error}"  # not every device has every operation of torch
                outcomes.append(_Outcome(name, place.backend, place.device, message))
    return outcomes


@dataclass(frozen=True)
class _Report:
    """What was found."""

    cell: str
    comparisons: Sequence[Comparison]
    outcomes: Sequence[_Outcome]
    refused: dict[Place, str]

    @property
    def passed(self) -> bool:
        return all(c.good for c in self.comparisons) and not any(outcome.message for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        return {
            "cell": self.cell,
            "passed": self.passed,
            "comparisons": [
                {
                    "what": c.what,
                    **_place(c.place),
                    "error": c.error if c.error < float("inf") else None,
                    "limit": c.limit,
                    "case": c.case,
                    "passed": c.good,
                }
                for c in self.comparisons
            ],
            "properties": [{**vars(outcome), "passed": outcome.message is None} for outcome in self.outcomes],
            "not_checked": [{**_place(place), "reason": reason} for place, reason in self.refused.items()],
        }

    def show(self, console: Console) -> None:
        console.print(self._numbers(), "", self._laws())
        for place, reason in self.refused.items():
            console.print(f"not checked: {place}: {reason}", highlight=False)
        wrong = [str(c) for c in self.comparisons if not c.good]
        wrong += [f"{o.message} ({o.backend}, {o.device})" for o in self.outcomes if o.message]
        for line in wrong:
            console.print(line, style="red", highlight=False)
        verdict = f"is wrong in {len(wrong)} of" if wrong else "is right in all"
        console.print(f"{self.cell} {verdict} {len(self.comparisons)} comparisons and {len(self.outcomes)} properties.")

    def _numbers(self) -> Table:
        """The worst errors: a row for each result, a column for each place."""
        places = list(dict.fromkeys(c.place for c in self.comparisons))
        table = _table("error", [str(place).replace(", ", "\n") for place in places])
        table.caption = "max|difference| / max|reference in float64|, the worst of all cases"
        cells = {(c.what, c.place): (f"{c.error:.1e}", c.good) for c in self.comparisons}
        for what in dict.fromkeys(c.what for c in self.comparisons):
            table.add_row(what, *(_cell(*cells.get((what, place), ("", True))) for place in places))
        return table

    def _laws(self) -> Table:
        """The properties: a row for each, a column for each backend and device."""
        columns = list(dict.fromkeys((o.backend, o.device) for o in self.outcomes))
        table = _table("property", ["\n".join(column) for column in columns])
        holds = {(o.property, o.backend, o.device): o.message is None for o in self.outcomes}
        for name in dict.fromkeys(o.property for o in self.outcomes):
            table.add_row(name, *(_cell("", holds[name, *column]) for column in columns))
        return table


def _place(place: Place) -> dict[str, str]:
    return {"backend": place.backend, "device": place.device, "dtype": str(place.dtype).removeprefix("torch.")}


def _table(first: str, columns: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(first, box=None)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cell(text: str, good: bool) -> str:
    return f"{text} [green]ok[/]" if good else f"{text} [bold red]WRONG[/]"
