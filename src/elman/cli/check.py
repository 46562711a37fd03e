"""``elman check``: is a cell right on this machine, wherever it can run?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from elman.cli.arguments import parse
from elman.cli.check_report import Comparisons, Gradients, Outcome, Properties, Report

if TYPE_CHECKING:
    from elman.cells import Cell
    from elman.testing import GradientCheck, Place

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
    sizes, lengths, resets and both directions; then every gradient with central differences of the loss; then come the
    properties of elman.testing.assert_cell_conforms. The exit status is 1 where something is wrong. Takes some seconds.

    With --flow it measures instead whether gradients vanish or explode over time: elman check --flow --help.

    Args:
        cell: A name that `elman cells` lists, or my_module:MyCell.
        backend: llvm or reference; none: all.
        device: Such as cpu or cuda:1; none: the CPU and the accelerator that torch finds.
        as_json: Print JSON instead of tables.
    """
    import torch
    from rich.console import Console

    from elman.cells import find
    from elman.testing import compare_backends, places

    found, devices, backends = find(cell), device or None, backend or None
    with Console(stderr=True).status(f"checking {found.__name__}"):
        comparisons = compare_backends(found, backends=backends, devices=devices)
        where = places(found, backends=backends, devices=devices)
        exact = [place for place, reason in where.items() if reason is None and place.dtype == torch.float64]
        sections = (
            Comparisons(comparisons),
            Gradients([*_gradients(found, exact)]),
            Properties([*_properties(found, exact)]),
        )
    report = Report(found.__name__, sections, {place: reason for place, reason in where.items() if reason})
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        report.show(Console())
    return 0 if report.passed else 1


def _gradients(cell: type[Cell], able: Sequence[Place]) -> Iterator[GradientCheck]:
    """Check gradients against central differences."""
    from elman.testing import check_gradients

    for place in able:
        try:
            yield from check_gradients(cell, device=place.device, backend=cast(Any, place.backend))
        except RuntimeError:  # not every device has every operation of torch: the property of this name says which
            if place.device == "cpu":
                raise


def _properties(cell: type[Cell], able: Sequence[Place]) -> Iterator[Outcome]:
    """Check the properties of a layer."""
    from elman.testing import properties

    for place in able:
        for name, holds in properties(cell, device=place.device, backend=cast(Any, place.backend)).items():
            message = None
            try:
                holds()
            except AssertionError as error:
                message = str(error)
            except RuntimeError as error:
                if place.device == "cpu":
                    raise
                message = f"{cell.__name__}: {name}: {error}"
            yield Outcome(name, place.backend, place.device, message)
